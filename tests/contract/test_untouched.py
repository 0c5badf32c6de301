"""A method leaves what is the user's as it was: network, data, predictor, random states, the process."""

import pytest

from tests.contract.methods import KINDS, Case, units
from tests.contract.nets import WRITERS
from tests.contract.runs import Ran, run
from tests.contract.snapshots import same_bits


def changed(ran: Ran) -> list[str]:
    return [name for name in {**ran.before, **ran.behind} if ran.before.get(name) != ran.behind.get(name)]


def test_nothing_of_the_users_has_changed(ran: Ran) -> None:
    assert changed(ran) == []


@pytest.mark.parametrize("name", KINDS)
def test_nor_has_the_data_where_a_network_writes_its_input(name: str) -> None:
    """Each pass over a batch starts from the user's graphs, so that the results are those of a network that copies."""
    copying, writing = (run(Case(name, "clean", units(KINDS[name])[0], network)) for network in WRITERS)
    assert changed(writing) == []
    assert str(writing.refusal) == str(copying.refusal).replace("ScaledNet", "InPlaceNet")
    for one, two in zip(copying.tickets, writing.tickets, strict=True):
        assert one.masks.digest() == two.masks.digest() and one.row["test_metric"] == two.row["test_metric"]
        assert all(same_bits(value, two.trained[key]) for key, value in one.trained.items())
