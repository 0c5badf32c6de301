"""What a ticket does in memory: scores, pruned graphs, networks, and whether a run may go on behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch, Data

from graphprune.graphs import EdgeRule, PackedGraphs
from graphprune.models import GCN
from tests.ticket.samples import (
    bits,
    facts,
    graph,
    graphs,
    network,
    predictors,
    random_scorers,
    snapshot,
    ticket,
)

SAMPLE = ticket()


# ---------------------------------------------------------------------- summary


def test_summary_says_what_was_achieved() -> None:
    masks = SAMPLE.masks
    text = SAMPLE.summary()
    assert "\n" not in text
    for part in (
        "icpg round 2",
        "30.00% (train)",
        "12.50% (test)",
        f"{masks.sparsity:.2%} ({masks.kept:,} of {masks.total:,} kept)",
        "rocauc 0.7500 (val), nan (test)",
        "epoch 17",
        "3.2 s",
    ):
        assert part in text
    assert "clean" not in text and "COLLAPSED" not in text


def test_summary_names_a_protocol_that_is_not_clean() -> None:
    assert (
        ticket(row={"protocol": "paper (selects on test)"})
        .summary()
        .startswith("icpg [paper (selects on test)] round 2")
    )


def test_summary_names_collapsed_layers() -> None:
    empty = ticket(density=0.0)
    assert empty.masks.collapsed
    _, second = empty.summary().split("\n")
    assert "COLLAPSED" in second and all(name in second for name in empty.masks.collapsed)


def test_repr_is_short_and_the_same_in_every_process() -> None:
    assert repr(SAMPLE) == repr(ticket())
    assert len(repr(SAMPLE)) < 200


# ---------------------------------------------------------------------- graphs


def plain_scores(logits: list[float], arcs: list[tuple[int, int]], unit: str) -> list[float]:
    """The definition, arc by arc, for graphs without multi-edges."""
    scores = []
    for logit, (source, target) in zip(logits, arcs, strict=True):
        partner = [other for other, arc in zip(logits, arcs, strict=True) if arc == (target, source)]
        mean = (logit + partner[0]) / 2 if unit == "pair" and partner else logit
        scores.append(1.0 if source == target else float(torch.tensor(mean).sigmoid()))
    return scores


@pytest.mark.parametrize("unit", ["pair", "arc"])
def test_scores_are_those_of_the_last_stage(unit: Any) -> None:
    arcs = [(0, 1), (1, 0), (2, 2), (1, 2), (3, 2), (2, 3)]
    data = Data(x=torch.randn(4, 4), edge_index=torch.tensor(arcs).t().contiguous())
    sample = ticket(rule=EdgeRule(unit=unit))
    scores = sample.score_edges(data)
    with torch.no_grad():
        logits = sample.edges.rounds[-1].scorer.eval()(data).tolist()
    assert scores.dtype == torch.float32 and scores.shape == (6,)
    assert scores.tolist() == pytest.approx(plain_scores(logits, arcs, unit), abs=1e-6)


def test_scores_do_not_depend_on_batch_mates() -> None:
    data = graphs()
    together = SAMPLE.score_edges(Batch.from_data_list(data))
    alone = torch.cat([SAMPLE.score_edges(one) for one in data])
    assert torch.allclose(together, alone, rtol=0, atol=1e-7)


def test_scores_need_a_stage_and_edges() -> None:
    with pytest.raises(ValueError, match="icpg prunes no unseen graphs"):
        ticket([]).score_edges(graph(3, 2, 0))
    with pytest.raises(ValueError, match="edge_index"):
        SAMPLE.score_edges(Data(x=torch.zeros(2, 4)))


@pytest.mark.parametrize("scorers", [predictors(2), random_scorers(2), []], ids=["predictor", "random", "none"])
def test_one_graph_and_a_data_set_are_pruned_alike(scorers: list[nn.Module]) -> None:
    sample, data = ticket(scorers), graphs()
    one_by_one = [sample.prune_graph(one) for one in data]
    mask = sample.edge_mask(data)
    for packed in (sample.prune(data), sample.prune(PackedGraphs.of(data))):
        assert len(packed) == len(mask) == len(data)
        for number, (alone, among) in enumerate(zip(one_by_one, packed, strict=True)):
            assert torch.equal(alone.edge_index, among.edge_index)
            assert torch.equal(alone.edge_attr, among.edge_attr)
            assert torch.equal(alone.edge_attr[:, 0], mask.graph(number).nonzero()[:, 0])
    assert (mask.kept < mask.total) == bool(scorers)


# ---------------------------------------------------------------------- the network


def test_built_network_has_the_trained_weights_and_zeros() -> None:
    model = network(seed=5)
    before = snapshot(model)
    built = SAMPLE.build(model)
    SAMPLE.masks.verify(built)
    assert type(built) is type(model)
    assert {n: bits(t) for n, t in built.state_dict().items()} == {n: bits(t) for n, t in SAMPLE.trained.items()}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@given(density=st.floats(0, 1), seed=st.integers(0, 1000))
def test_rewound_weights_survive_bit_for_bit(density: float, seed: int) -> None:
    sample = ticket(density=density, seed=seed)
    model = sample.rewound(network(seed=seed + 1))
    for name, value in model.state_dict().items():
        kept = sample.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert bits(value[kept]) == bits(sample.rewind[name][kept])
        assert not value[~kept].any()


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (network(hidden=12), r"'node_encoder.lin.weight' has shape \(12, 4\) instead of shape \(8, 4\)"),
        (GCN(4, 2, hidden=8, layers=2), "'convs.0.eps' is missing"),
        (nn.Sequential(nn.Linear(3, 3)), "and [0-9]+ more"),
        (nn.LazyLinear(3), "ticket.prune"),
    ],
    ids=["width", "type", "unrelated", "lazy"],
)
def test_another_architecture_is_named(model: nn.Module, named: str) -> None:
    for make in (SAMPLE.build, SAMPLE.rewound):
        with pytest.raises(ValueError, match=named) as error:
            make(model)
        assert "only the edges transfer: use ticket.prune(dataset)" in str(error.value)


def test_lazy_parameters_are_asked_to_run_once() -> None:
    model = network()
    model.head = nn.LazyLinear(2)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"'head.weight' has no shape yet \(run the model forward once\)"):
        SAMPLE.build(model)


# ---------------------------------------------------------------------- going on


def origin(**changes: Any) -> dict[str, Any]:
    settings = SAMPLE.provenance["settings"]
    return {"method": "icpg", "settings": settings, "data_digest": "d" * 64} | changes


def test_a_run_may_go_on_and_be_extended() -> None:
    SAMPLE.check(**origin())
    SAMPLE.check(**origin(settings=SAMPLE.provenance["settings"] | {"rounds": 20}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": "imp"}, "method: 'icpg' in the ticket, 'imp' now"),
        ({"data_digest": "e"}, f"data digest: '{'d' * 64}' in the ticket, 'e' now"),
        ({"settings": {"edge_rate": 0.3}}, "settings.edge_rate: 0.2 in the ticket, 0.3 now"),
        ({"settings": {"extra": (1, 2)}}, r"settings.extra: 'nothing' in the ticket, \[1, 2\] now"),
        (
            {"settings": {"protocol": {"select": "test", "rule": {"unit": "pair"}}}},
            "settings.protocol.select: 'val' in the ticket, 'test' now$",
        ),
    ],
)
def test_what_differs_is_named_with_both_values(change: dict[str, Any], named: str) -> None:
    if "settings" in change:
        change = {"settings": SAMPLE.provenance["settings"] | change["settings"]}
    with pytest.raises(ValueError, match=named):
        SAMPLE.check(**origin(**change))


def test_a_missing_setting_differs() -> None:
    with pytest.raises(ValueError, match=r"settings\.edge_rate: 0\.2 in the ticket, 'nothing' now"):
        SAMPLE.check(**origin(settings={"protocol": SAMPLE.provenance["settings"]["protocol"]}))


@pytest.mark.parametrize("provenance", [{}, {"settings": 3, "data": []}])
def test_a_ticket_without_provenance_fits_no_run(provenance: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="data digest: None in the ticket"):
        replace(SAMPLE, provenance=provenance).check(**origin())


def test_facts_tell_tickets_apart() -> None:
    assert facts(SAMPLE) == facts(ticket())
    assert facts(SAMPLE) != facts(ticket(seed=1))
