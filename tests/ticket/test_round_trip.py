"""A ticket that was saved and loaded is the same ticket, to the last bit."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from graphprune.graphs import EdgeRule, RandomEdges
from graphprune.masks import MaskSet
from graphprune.ticket import SCORERS, Ticket
from tests.ticket.samples import facts, graphs, predictors, random_scorers, ticket, with_states

JSON, TENSORS = "ticket.json", "ticket.safetensors"


def loaded(sample: Ticket, folder: Path) -> Ticket:
    shutil.rmtree(folder, ignore_errors=True)
    sample.save(folder)
    return Ticket.load(folder)


# ---------------------------------------------------------------------- round trip


numbers = st.floats() | st.integers(-(2**70), 2**70) | st.booleans() | st.none() | st.text(max_size=5)
plain_data = st.recursive(
    numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=15)
@given(
    encoder=st.sampled_from(["gcn", "gin", "gat", "mlp"]),
    score=st.sampled_from(["concat_mlp", "inner_product"]),
    features=st.sampled_from([4, "ogb-mol", [3, 7]]),
    rule=st.builds(EdgeRule, st.sampled_from(["pair", "arc"]), st.sampled_from(["cumulative", "floor"])),
    rate=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 100),
)
def test_a_loaded_ticket_prunes_as_the_original(
    tmp_path_factory: pytest.TempPathFactory,
    features: Any,
    rule: EdgeRule,
    rate: float,
    seed: int,
    **options: Any,
) -> None:
    scorers = predictors(2, features=features, seed=seed, **options)
    original = ticket(scorers, rule=rule, rate=rate, seed=seed)
    again = loaded(original, tmp_path_factory.mktemp("trip") / "ticket")
    assert facts(again) == facts(original)
    for data in graphs(features):
        assert torch.equal(again.prune_graph(data).edge_index, original.prune_graph(data).edge_index)
        assert torch.equal(again.score_edges(data), original.score_edges(data))


@given(
    thresholds=st.lists(st.floats(allow_nan=False), min_size=2, max_size=2),
    metric=st.floats(),
    history=st.lists(st.dictionaries(st.text(max_size=5), plain_data, max_size=3), max_size=3),
    scorer_seed=st.integers(0, 2**63 - 1),
    density=st.floats(0, 1),
    junk=st.binary(max_size=64),
)
def test_every_number_and_bit_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    thresholds: list[float],
    metric: float,
    history: list[dict[str, Any]],
    scorer_seed: int,
    density: float,
    junk: bytes,
) -> None:
    scorers = [RandomEdges(scorer_seed), RandomEdges()]
    rule = EdgeRule(budget="global")
    original = ticket(scorers, rule=rule, thresholds=thresholds, density=density, row={"test_metric": metric})
    any_bits = torch.tensor(list(junk), dtype=torch.uint8)
    floats = any_bits[: len(junk) // 4 * 4].clone().view(torch.float32)  # NaNs of all kinds among them
    original = with_states(replace(original, history=tuple(history)), {"extra.junk": any_bits, "extra.f": floats})
    folder = tmp_path_factory.mktemp("trip") / "ticket"
    assert facts(loaded(original, folder)) == facts(original)
    json.loads((folder / JSON).read_text(), parse_constant=pytest.fail)  # standard JSON holds no NaN


def test_unusual_tensors_come_back(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    extra = {
        "base": base,
        "view": base[1:],
        "strided": base.t(),
        "expanded": torch.ones(1).expand(5),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "half": torch.randn(3).bfloat16(),
        "slash/and ünicode": torch.zeros(1),
    }
    original = with_states(ticket(), extra)
    assert facts(loaded(original, tmp_path / "t")) == facts(original)


def test_the_order_of_the_masks_comes_back(tmp_path: Path) -> None:
    """Among equal weights position decides, so the order is part of a run that goes on."""
    original = ticket()
    backwards = MaskSet.of(dict(reversed(list(original.masks.items()))))
    assert list(loaded(replace(original, masks=backwards), tmp_path / "t").masks) == list(backwards)


def test_numpy_and_torch_numbers_are_saved_as_numbers(tmp_path: Path) -> None:
    entry = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": torch.tensor(0.25),
        "d": np.bool_(True),
        "e": (1, 2),
    }
    again = loaded(replace(ticket(), history=(entry,)), tmp_path / "t")
    assert again.history == ({"a": 0.5, "b": 3, "c": 0.25, "d": True, "e": [1, 2]},)


def test_a_loaded_ticket_can_be_saved_again(saved: Path, tmp_path: Path) -> None:
    Ticket.load(saved).save(str(tmp_path / "deep" / "again"))
    for name in (JSON, TENSORS):
        assert (tmp_path / "deep" / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_loading_draws_no_random_number(saved: Path) -> None:
    before = torch.random.get_rng_state()
    Ticket.load(saved)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_loading_does_not_depend_on_defaults(saved: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        again = Ticket.load(saved)
    finally:
        torch.set_default_dtype(torch.float32)
    assert facts(again) == facts(ticket())


def test_infinite_thresholds_and_missing_metrics_are_kept(tmp_path: Path) -> None:
    original = ticket(random_scorers(2), rule=EdgeRule(budget="global"), thresholds=(-math.inf, math.inf))
    again = loaded(original, tmp_path / "t")
    assert [stage.threshold for stage in again.edges.rounds] == [-math.inf, math.inf]
    assert math.isnan(again.row["test_metric"])


# ---------------------------------------------------------------------- scorers of one's own


class Degree(nn.Module):
    def __init__(self, power: float = 1.0, shifts: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.power, self.shifts = power, tuple(shifts)
        self.scale = nn.Parameter(torch.ones(1))

    def config(self) -> dict[str, Any]:
        return {"power": self.power, "shifts": self.shifts}

    def forward(self, data: Any) -> Tensor:
        degree = torch.bincount(data.edge_index[1], minlength=data.num_nodes).double()
        return self.scale * degree[data.edge_index].sum(0) ** self.power


def test_a_foreign_scorer_is_refused_until_it_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ticket([Degree(2.0, (1, 2))])
    with pytest.raises(
        TypeError, match=r"test_round_trip\.Degree.*graphprune\.ticket\.SCORERS\['my-scorer'\] = Degree"
    ):
        original.save(tmp_path / "t")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setitem(SCORERS, "mine", Degree)
        original.save(tmp_path / "t")
        assert facts(Ticket.load(tmp_path / "t")) == facts(original)
    with pytest.raises(ValueError, match=r"unknown kind of edge scorer 'mine' \(known: predictor, random"):
        Ticket.load(tmp_path / "t")
