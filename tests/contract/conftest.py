"""Each setting is run once, and all that is promised of it is looked at in turn."""

from collections.abc import Iterator

import pytest

from tests.contract.methods import installed
from tests.contract.runs import CASES, Ran, run, usual

slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    """The plug-in's distribution is installed for these tests, and for no others."""
    with installed():
        yield


# Of the session's scope, so that all tests of a setting stand together, in one of several test processes.
@pytest.fixture(
    scope="session", params=[pytest.param(case, id=case.id, marks=() if usual(case) else slow) for case in CASES]
)
def ran(request: pytest.FixtureRequest) -> Ran:
    """A method in one setting, run to its end or refused."""
    with installed():
        return run(request.param)
