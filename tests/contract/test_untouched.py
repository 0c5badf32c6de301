"""A method leaves what is the user's as it was: network, data, predictor, random states, the process."""

import pytest

from tests.contract.methods import KINDS, Case, units
from tests.contract.runs import Ran, run


def changed(ran: Ran) -> list[str]:
    return [name for name in {**ran.before, **ran.behind} if ran.before.get(name) != ran.behind.get(name)]


def test_nothing_of_the_users_has_changed(ran: Ran) -> None:
    assert changed(ran) == []


@pytest.mark.parametrize("name", KINDS)
def test_nor_has_the_data_where_a_network_writes_its_input(name: str) -> None:
    ran = run(Case(name, "clean", units(KINDS[name])[0], "in-place"))
    assert changed(ran) == []
