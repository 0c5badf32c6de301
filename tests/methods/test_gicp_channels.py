"""Edges, channels and single weights from one training of GICP."""

from typing import Any

import pytest
import torch

import graphprune as gp
from graphprune.compaction import coupled_channels
from graphprune.masks import Channel, MaskSet, Weight
from graphprune.methods import GICP
from graphprune.train import Fit

DENSITIES = (1.0, 0.5)
EPOCHS, BATCH = 6, 64


@pytest.fixture(scope="module")
def data() -> gp.data.GraphData:
    return gp.data.load("MUTAG")


def model(data: gp.data.GraphData, kind: str = "GIN") -> Any:
    torch.manual_seed(0)
    return getattr(gp.models, kind).for_data(data, hidden=16, layers=2)


def method(data: gp.data.GraphData, **changes: Any) -> GICP:
    torch.manual_seed(1)
    predictor = gp.EdgePredictor.for_data(data, hidden=8, layers=1)
    channels = {"channel_density": 0.4, "unit": "coupled", "weight_density": 0.1, "stop": 9, "every": 3}
    return GICP(**{"predictor": predictor, "densities": DENSITIES} | channels | changes)


def fit() -> Fit:
    return Fit(epochs=EPOCHS, batch_size=BATCH, lr=0.01, seed=0)


def unit_of(data: gp.data.GraphData, network: Any, *, apart: bool) -> Any:
    found = coupled_channels(network, data.train.batch(range(4)))
    return found.apart() if apart else found


@pytest.mark.parametrize("weight_density", [0.1, 1.0])
@pytest.mark.parametrize("unit", ["coupled", "channel"])
@pytest.mark.parametrize("kind", ["GIN", "SAGE"])
def test_channels_and_weights_are_left_in_exact_counts_and_make_a_small_network(
    data: gp.data.GraphData, kind: str, unit: str, weight_density: float
) -> None:
    network = model(data, kind)
    run = method(data, unit=unit, weight_density=weight_density)
    tickets = list(run.rounds(network, data, fit()))
    channels = run.unit_in(run.prepared(network, data), data)
    ticket = tickets[-1]
    assert all(other.masks == ticket.masks for other in tickets)
    dense = MaskSet.dense(network, run.selector, unit=channels)
    weights = {name for name in ticket.masks if name not in channels.followers and name != "head.weight"}
    total = sum(ticket.masks[name].numel() for name in weights)
    kept = sum(int(ticket.masks[name].sum()) for name in weights)
    counts = ticket.masks.units(channels)
    alive, there = (sum(count[place] for count in counts.values()) for place in (0, 1))
    assert set(ticket.masks) <= set(dense)
    assert all(left > 0 for left, _ in counts.values())
    if weight_density == 1:
        assert alive == round(0.4 * there)
        assert kept < 0.7 * total
    else:
        assert kept == round(0.1 * total)
        assert alive <= round(0.4 * there)  # single weights may take the last ones of a channel
    # What belongs to a channel that is gone is gone.
    gone = 0
    for group in channels.groups(ticket.masks):
        dead = ~sum(how.alive(ticket.masks[name]) for name, how in group.weights.items()).bool()
        for name, how in group.followers.items():
            assert not (how.alive(ticket.masks[name]) & dead).any()
            gone += int(dead.sum())
    assert gone or (kind, unit) == ("SAGE", "channel")  # where sums join layers nothing goes with one alone
    pruned = ticket.prune(data.test)
    batch = pruned.batch(range(len(pruned)))
    built = ticket.build(network).eval()
    small = gp.compact(built, batch)
    with torch.no_grad():
        torch.testing.assert_close(small(batch), built(batch), atol=1e-4, rtol=1e-4)
    assert sum(p.numel() for p in small.parameters()) < 0.75 * sum(p.numel() for p in built.parameters())
    whole = [data.test[i].edge_index.size(1) // 2 for i in range(len(data.test))]
    assert [pruned[i].edge_index.size(1) // 2 for i in range(len(pruned))] == [round(0.5 * units) for units in whole]


def test_a_ticket_of_another_density_keeps_channels_and_weights(data: gp.data.GraphData, tmp_path: Any) -> None:
    run = method(data)
    first, second = run.rounds(model(data), data, fit())
    first.save(tmp_path / "ticket")
    loaded = gp.Ticket.load(tmp_path / "ticket")
    between = method(data).at(0.7, loaded, model(data), data)
    assert between.masks == second.masks
    (resumed,) = method(data).rounds(model(data), data, fit(), after=loaded)
    assert resumed.row["test_metric"] == second.row["test_metric"]
    with pytest.raises(ValueError, match="channel_density"):
        method(data, channel_density=0.5).at(0.7, loaded, model(data), data)


def test_without_a_density_of_their_own_channels_have_that_of_the_unit(data: gp.data.GraphData) -> None:
    (*_, one), (*_, other) = (
        method(data, **shares).rounds(model(data), data, fit())
        for shares in ({"weight_density": 0.4, "channel_density": None}, {"weight_density": 1.0})
    )
    assert one.masks == other.masks


def test_tickets_without_channels_say_what_they_always_said(data: gp.data.GraphData) -> None:
    settings = method(data, unit="weight", channel_density=None).settings()
    assert "unit" not in settings
    assert "channel_density" not in settings
    assert method(data).settings()["channel_density"] == 0.4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "weight"}, "channel_density=0.4 needs unit='coupled', or 'channel'"),
        ({"channel_density": 0.0}, r"channel_density must lie in \(0, 1\]"),
        ({"unit": "row"}, "unit must be one of"),
        ({"unit": Channel()}, "unit must be one of .* or what coupled_channels returns"),
        ({"unit": Weight()}, "unit must be one of"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data: gp.data.GraphData, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(data, **changes)


def test_what_coupled_channels_returns_is_a_unit(data: gp.data.GraphData) -> None:
    network = model(data)
    unit = unit_of(data, network, apart=False)
    (*_, one), (*_, other) = (method(data, unit=each).rounds(network, data, fit()) for each in (unit, "coupled"))
    assert one.masks == other.masks


def test_a_density_that_empties_layers_is_refused_before_any_step(data: gp.data.GraphData) -> None:
    steps = []
    job_fit = Fit(epochs=EPOCHS, batch_size=BATCH, lr=0.01, on_epoch=lambda job, row: steps.append(row))
    with pytest.raises(ValueError, match="floor"):
        next(method(data, channel_density=0.01).rounds(model(data), data, job_fit))
    assert not steps
