"""Where much goes, what leaves the network stays, and no layer is emptied without a word."""

import pytest

from tests.contract import counting
from tests.contract.methods import KINDS, Case, options, units
from tests.contract.nets import NETWORKS
from tests.contract.runs import Ran, fit, made

# About a sixth of the weights is left, in one round.
HARSH = {"rounds": 1, "weight_rate": 0.84, "density": 0.16, "weight_density": 0.16}


def test_all_logits_have_weights_where_channels_go(ran: Ran) -> None:
    if ran.case.unit == "weight":
        return
    for ticket in ran.tickets:
        for head in ran.network.heads:
            rows = counting.rows(ticket.masks[head]) if head in ticket.masks else [True]
            assert all(rows), f"{sum(rows)} of {len(rows)} logits are left of round {ticket.round}"


# A network shows what each unit does; the slow run has all of them.
EVERYDAY = {("user", None), ("user", "weight"), ("user", "coupled"), ("conv", "channel")}
LARGE = [
    pytest.param(name, unit, network, marks=() if (network, unit) in EVERYDAY else pytest.mark.slow)
    for name, kind in KINDS.items()
    if "scope" in options(kind)
    for unit in units(kind)
    for network in NETWORKS
]


@pytest.mark.parametrize(("name", "unit", "network"), LARGE)
def test_no_layer_is_emptied_without_a_word(name: str, unit: str | None, network: str) -> None:
    """Over all layers together: each keeps something, or an error names the one that does not."""
    method, model, data = made(Case(name, "clean", unit, network), **HARSH)
    try:
        (*_, last) = method.rounds(model, data, fit())
    except (ValueError, RuntimeError) as error:
        weights = [name for name, _ in model.named_parameters()]
        assert not method.prunes_weights or "no edges" in str(error) or any(name in str(error) for name in weights)
        return
    empty = [name for name, mask in last.masks.items() if mask.dim() > 1 and not any(counting.rows(mask))]
    assert empty == []
