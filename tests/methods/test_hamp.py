"""Searches over channels: what points mean, what they are judged by, tickets, resuming, and refusals."""

from __future__ import annotations

import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphprune import HAMP, MaskSet, Ticket, compact, prunable
from graphprune.data import GraphData, from_nodes
from graphprune.files import locked
from graphprune.graphs import EdgeRule
from graphprune.graphs.sparsifiers import Degree
from graphprune.methods import Protocol
from graphprune.methods.core.fit import FitJob, FitResult
from graphprune.methods.core.norms import recalibrate_
from graphprune.methods.hamp import evaluation, journal, proxy, searches
from graphprune.methods.hamp.genes import Gene, Genes
from graphprune.methods.hamp.proxy import Meter, compacted
from graphprune.methods.hamp.searches import diverse, fewest, netadapt, uniform
from graphprune.models import GIN, ResNet20
from graphprune.sealed import seal
from graphprune.search import FloatArray, IntArray, Space, non_dominated, random_search
from tests.methods.graphs import plain_fit, random_graph, small_data

pytest.importorskip("pymoo")

FIT = plain_fit(1)


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data(graphs=24)


def network(data: GraphData, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = GIN.for_data(data, hidden=8, layers=2, **options)
    return model


def hamp(**options: Any) -> HAMP:
    quick = {"budget": 14, "population": 6, "members": 3, "objectives": ("params",), "holdout": 0.3, "batches": 1}
    return HAMP(**{**quick, "repeats": 3, "cost_batch": 4, **options})


# ---------------------------------------------------------------------- points


@given(st.integers(1, 200), st.one_of(st.sampled_from([0.05, 0.1, 0.25, 0.5]), st.integers(1, 64)))
def test_levels_keep_ever_more_channels_and_the_last_one_all(size: int, step: float) -> None:
    gene = Gene.of("layer", size, step)
    kept = [gene.kept(level) for level in range(1, gene.levels + 1)]
    assert kept[0] >= 1 and kept[-1] == size
    assert all(few < more for few, more in pairwise(kept))
    if step >= 1:
        assert all(count % step == 0 for count in kept[:-1])


def test_only_what_compaction_removes_has_a_gene_and_masks_count_exactly(data: GraphData) -> None:
    model = network(data)
    batch = data.train.batch(range(8))
    genes = Genes.of(model, batch, prunable(), 0.25, edges=True)
    assert [gene.name for gene in genes.genes][-1] == "edges"
    assert not any(gene.name.startswith("head") for gene in genes.genes)
    point = (1, 2, 3, 4, 1, 2)
    masks = genes.masks(model, point)
    assert "head.weight" not in masks
    for name, kept in genes.channels(point).items():
        assert int(masks[name].flatten(1).any(1).sum()) == kept
    assert genes.density(point) == 0.5
    masks.apply_(model)
    small = dict(compact(model, batch).named_parameters())
    for name, kept in genes.channels(point).items():
        assert len(small[name]) == kept
    assert genes.masks(model, genes.full).density == 1


def test_the_largest_channels_stay(data: GraphData) -> None:
    model = network(data)
    genes = Genes.of(model, data.train.batch(range(8)), prunable(), 0.25)
    name = "convs.0.nn.0.weight"
    with torch.no_grad():
        model.get_parameter(name).copy_(torch.arange(1.0, 9)[:, None].expand(8, 8))
    masks = genes.masks(model, [1] * len(genes.genes))
    assert masks[name].any(1).tolist() == [False] * 6 + [True] * 2


def test_stages_that_share_some_channels_agree_on_these() -> None:
    torch.manual_seed(0)
    model = ResNet20((1, 8, 8), 10, hidden=8)
    x = torch.randn(8, 1, 8, 8)
    genes = Genes.of(model, x, prunable(), 0.25)
    names = {gene.name for gene in genes.genes}
    assert {"stem.conv.weight", "stages.1.0.second.conv.weight", "stages.2.0.second.conv.weight"} <= names
    masks = genes.masks(model, [2] * len(genes.genes))
    narrow, middle, wide = (
        masks[f"{name}.conv.weight"].flatten(1).any(1) for name in ("stem", "stages.1.0.second", "stages.2.0.second")
    )
    gone = [~narrow, ~middle[:8], ~wide[:8]]
    for one in gone:  # of two stages one drops what the other does, and perhaps more
        for other in gone:
            assert bool((one <= other).all() or (other <= one).all())
    masks.apply_(model)
    small = compact(model, x)
    assert small.stem.conv.weight.shape[0] == int((narrow | middle[:8] | wide[:8]).sum()) < 8


def test_a_network_that_keeps_everything_is_the_same_without_norms(data: GraphData) -> None:
    model = network(data).eval()
    batch = data.train.batch(range(8))
    recalibrate_(model, [batch])
    small = compacted(model, batch)
    assert sum(isinstance(module, nn.BatchNorm1d) for module in small.modules()) < 4
    torch.testing.assert_close(small(batch), model(batch), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------- what points are judged by


def test_batch_norms_are_counted_anew_over_the_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.BatchNorm1d(5, momentum=0.3))
    model.train()
    model[2].eval()
    batches = [torch.randn(20, 3) * 4 + 1, torch.randn(12, 3)]
    recalibrate_(model, batches)
    with torch.no_grad():
        seen = [model[0](batch) for batch in batches]
    mean = torch.stack([one.mean(0) for one in seen]).mean(0)
    variance = torch.stack([one.var(0) for one in seen]).mean(0)
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, variance)
    assert model[3].momentum == 0.3 and model[3].training and not model[2].training


@pytest.mark.parametrize(("samples", "sizes"), [(100, [100]), (129, [65, 64]), (256, [128, 128]), (300, [100] * 3)])
def test_batch_norms_are_counted_on_parts_of_equal_size(
    samples: int, sizes: list[int], data: GraphData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tail of one sample has no variance, and any short one would weigh too much."""
    judging = hamp(budget=6, population=4).explore(network(data), data, FIT).proxy
    seen: list[Any] = []
    monkeypatch.setattr(proxy, "recalibrate_", lambda model, batches, frozen: seen.extend(batches))
    many = data.train.select(torch.arange(samples) % len(data.train))
    replace(judging, calibration=many).network(judging.genes.full)
    assert [batch.num_graphs for batch in seen] == sizes
    every = torch.cat([batch.x for batch in seen])
    assert torch.equal(every.sort(0).values, many.batch(range(samples)).x.sort(0).values)  # each once


def test_points_are_judged_without_validation_and_test_splits(data: GraphData) -> None:
    other = small_data(seed=5, graphs=24)
    swapped = data.with_splits(val=other.val, test=other.test)
    first, second = (hamp().explore(network(data), each, FIT) for each in (data, swapped))
    assert np.array_equal(first.archive.x, second.archive.x)
    assert np.array_equal(first.archive.f, second.archive.f)
    held = first.proxy.data.val
    assert len(held) == round(0.3 * len(data.train))
    assert len(first.proxy.calibration) == len(data.train) - len(held)


def test_the_held_out_part_is_not_trained_on(data: GraphData) -> None:
    seen: list[tuple[str, int, int]] = []

    def fit(job: FitJob) -> FitResult:
        seen.append((job.phase, job.round, len(job.data.train)))
        return FIT(job)

    assert len(list(hamp(members=2).rounds(network(data), data, fit))) == 2
    size = len(data.train)
    assert seen == [("dense", 0, size - round(0.3 * size)), ("ticket", 1, size), ("ticket", 2, size)]


def test_costs_are_those_of_the_compacted_network(data: GraphData) -> None:
    method = hamp(objectives=("params", "macs", "peak", "latency"), budget=8, population=4)
    searched = method.explore(network(data), data, FIT)
    for point, found in searched.known.items():
        small = searched.proxy.judge([point])[0][1]
        assert found["params"] == sum(parameter.numel() for parameter in small.parameters())
        assert 0 < found["latency_low"] <= found["latency"] <= found["latency_high"]
    dense, least = (
        searched.known[searched.proxy.genes.full],
        min(searched.known.values(), key=lambda one: one["params"]),
    )
    assert least["macs"] < dense["macs"] and least["peak"] < dense["peak"]


def test_times_beside_a_reference_are_in_its_seconds() -> None:
    x, network = torch.randn(64, 64), nn.Linear(64, 64)
    meter = Meter(("latency",), 1, 50)
    reference = proxy.Reference(copy.deepcopy(network), x, 7.0)
    assert meter(network, x, reference)["latency"] == pytest.approx(7.0, rel=0.5)


# ---------------------------------------------------------------------- tickets


def test_every_ticket_builds_compacts_and_prunes_graphs_as_its_row_says(data: GraphData, tmp_path: Path) -> None:
    method = hamp(edge_score="random", members=4, budget=20)
    tickets = list(method.rounds(network(data), data, FIT))
    assert [ticket.round for ticket in tickets] == [1, 2, 3, 4]
    assert [ticket.row["costs"]["params"] for ticket in tickets] == sorted(
        (ticket.row["costs"]["params"] for ticket in tickets), reverse=True
    )
    for ticket in tickets:
        ticket.save(tmp_path / str(ticket.round))
        again = Ticket.load(tmp_path / str(ticket.round))
        built = again.build(network(data))
        again.masks.verify(built)
        small = compacted(built, data.train.batch(range(8)))
        params = sum(parameter.numel() for parameter in small.parameters())
        assert params == ticket.row["costs"]["params"] == ticket.row["costs_in_search"]["params"]
        own = dict(small.named_parameters())
        assert all(len(own[name]) == kept for name, kept in ticket.row["channels"].items())
        for graph in data.test:
            left = again.prune_graph(graph).num_edges // 2
            assert left == round(ticket.row["edges_kept"] * (graph.num_edges // 2))
    assert tickets[0].row["epochs_search"] == 1 and tickets[1].row["epochs_search"] == 0


def test_a_ticket_starts_from_the_dense_weights(data: GraphData, tmp_path: Path) -> None:
    method = hamp(journal=tmp_path / "search")
    ticket = next(method.rounds(network(data), data, FIT))
    dense = Ticket.load(tmp_path / "search" / "dense")
    for name, mask in ticket.masks.items():
        assert torch.equal(ticket.rewind[name], dense.trained[name].masked_fill(~mask, 0))
    assert "head.weight" not in ticket.masks
    assert torch.equal(ticket.rewind["head.weight"], dense.trained["head.weight"])


def test_members_spread_over_the_front_and_fall_back_behind_it() -> None:
    values = np.array([[0.1, 9.0], [0.2, 5.0], [0.5, 2.0], [0.52, 1.99], [0.9, 1.0], [0.3, 6.0], [0.95, 8.0]])
    assert diverse(values, 1) == [0]
    chosen = diverse(values, 3)
    assert chosen[0] == 0 and set(chosen) <= {0, 1, 2, 3, 4} and len({2, 3} & set(chosen)) <= 1
    assert diverse(values, 6) == [0, 5, 1, 2, 3, 4]
    assert sorted(diverse(values, 7)) == sorted(diverse(values, 9)) == list(range(7))


def test_rows_say_what_their_round_added(data: GraphData, tmp_path: Path) -> None:
    hamp(journal=tmp_path, search="random", budget=20).explore(network(data), data, FIT)
    method = hamp(journal=tmp_path, members=2)
    tickets = list(method.rounds(network(data), data, FIT))
    assert [ticket.row["epochs_trained"] for ticket in tickets] == [2, 1]
    known = method.explore(network(data), data, FIT)
    seconds = [known.known[tuple(point)]["seconds"] for point in known.archive.x.tolist()]
    assert len(known.known) > len(seconds) == 14
    assert tickets[0].row["search_seconds"] == pytest.approx(sum(seconds))


def test_a_trained_ticket_that_cannot_be_compacted_is_kept(data: GraphData, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("the small network computes something else")

    monkeypatch.setattr("graphprune.methods.hamp.evaluation.compacted", refuse)
    for ticket in hamp(members=2).rounds(network(data), data, FIT):
        assert ticket.row["costs"] is None and "something else" in ticket.row["costs_missing"]
        assert ticket.row["costs_in_search"].keys() == {"params"}
        assert ticket.build(network(data))


@pytest.mark.parametrize("search", ["memetic", "nsga2", "random", "netadapt", "uniform"])
def test_every_search_keeps_the_budget_and_begins_with_the_dense_network(search: Any, data: GraphData) -> None:
    searched = hamp(search=search, step=0.25).explore(network(data), data, FIT)
    archive = searched.archive
    assert len(archive) == (4 if search == "uniform" else 14)
    assert tuple(archive.x[0]) == archive.space.upper
    assert len(searched.chosen) == 3


# ---------------------------------------------------------------------- baselines


def bowl(points: IntArray) -> FloatArray:
    """Error grows with what is missing, most by the first gene; cost by the sum of all."""
    missing = 10 - points.astype(float)
    return np.stack([missing @ np.array([5.0, 1.0, 2.0]), points.sum(1) / 30], 1)


def test_netadapt_lowers_the_gene_that_costs_least_accuracy() -> None:
    space = Space(("a", "b", "c"), (1, 1, 1), (10, 10, 10))
    archive = netadapt(bowl, space, budget=25)
    assert len(archive) == 25
    path = [point for point, on in zip(archive.x.tolist(), non_dominated(archive.f), strict=True) if on]
    assert all(point[0] == 10 and point[2] == 10 for point in path)  # b goes first
    assert min(point[1] for point in path) < 5
    whole = netadapt(bowl, space, budget=10_000)
    assert whole.x.min(0).tolist() == [1, 1, 1]  # it ends where nothing is left to lower


@given(st.lists(st.integers(1, 6), min_size=2, max_size=4).filter(lambda most: max(most) > 1), st.integers(0, 99))
def test_it_is_known_before_how_many_points_a_search_finds_at_least(levels: list[int], seed: int) -> None:
    space = Space(tuple("abcd"[: len(levels)]), (1,) * len(levels), tuple(levels))
    table = np.random.default_rng(seed).random((7**4, 2)) + 0.1

    def noise(points: IntArray) -> FloatArray:
        return table[points @ 7 ** np.arange(len(levels))]

    for budget in (2, 8, 10_000):
        assert len(netadapt(noise, space, budget=budget)) >= fewest("netadapt", space, budget)
        assert len(uniform(noise, space, budget=budget)) == fewest("uniform", space, budget)
    assert fewest("random", space, 10_000) == space.size


def test_uniform_lowers_all_alike() -> None:
    archive = uniform(bowl, Space(("a", "b", "c"), (1, 1, 1), (10, 5, 10)), budget=100)
    assert len(archive) == 10
    assert (np.abs(archive.x[:, 0] / 10 - archive.x[:, 1] / 5) <= 0.11).all()


# ---------------------------------------------------------------------- resuming


class Counted:
    """Counts judged points, and interrupts before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int | None = None) -> None:
        self.judged, self.stop, real = 0, stop, proxy.Proxy._judged

        def judged(this: proxy.Proxy, point: Any) -> Any:
            if self.judged == self.stop:
                raise KeyboardInterrupt
            self.judged += 1
            return real(this, point)

        monkeypatch.setattr(proxy.Proxy, "_judged", judged)


@pytest.mark.parametrize("stop", [0, 1, 9])
def test_a_killed_search_goes_on_to_the_same_front(
    stop: int, data: GraphData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hamp().explore(network(data), data, FIT)
    method = hamp(journal=tmp_path)
    counted = Counted(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        method.explore(network(data), data, FIT)
    file = tmp_path / journal.EVALUATIONS
    with file.open("a") as stream:
        stream.write('{"point": [1, 2')  # what it was writing when it died
    counted.judged, counted.stop = 0, None
    trained: list[FitJob] = []
    again = method.explore(network(data), data, lambda job: (trained.append(job), FIT(job))[1])
    assert not trained
    assert counted.judged == 14 - stop
    assert np.array_equal(whole.archive.x, again.archive.x) and np.array_equal(whole.archive.f, again.archive.f)
    assert whole.chosen == again.chosen


def test_a_run_goes_on_behind_a_ticket_with_the_same_latencies(data: GraphData, tmp_path: Path) -> None:
    method = hamp(journal=tmp_path, objectives=("latency",))
    first, second, third = method.rounds(network(data), data, FIT)
    two, three = method.rounds(network(data), data, FIT, after=first)
    for old, new in ((second, two), (third, three)):
        assert old.row["point"] == new.row["point"] and old.masks == new.masks
        assert old.row["costs_in_search"] == new.row["costs_in_search"]
        assert all(torch.equal(old.trained[name], new.trained[name]) for name in old.trained)
    with pytest.raises(ValueError, match="only with the journal"):
        next(method.replace(journal=None).rounds(network(data), data, FIT, after=first))


def test_a_search_that_has_ended_is_read_and_not_run_again(
    data: GraphData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version of a library that rounds in another way would have other points follow, and other tickets."""
    method = hamp(journal=tmp_path)
    first, second, _ = method.rounds(network(data), data, FIT)
    monkeypatch.setattr(searches, "memetic", random_search)
    two = next(method.rounds(network(data), data, FIT, after=first))
    assert two.row["point"] == second.row["point"] and two.masks == second.masks


def test_other_searches_do_not_evaluate_a_point_again(
    data: GraphData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    first = hamp(journal=tmp_path).explore(network(data), data, FIT)
    assert counted.judged == 14
    second = hamp(journal=tmp_path, search="random", budget=20).explore(network(data), data, FIT)
    assert counted.judged == len({*map(tuple, first.archive.x), *map(tuple, second.archive.x)}) < 34


def test_judging_in_parts_gives_the_same(data: GraphData) -> None:
    whole = hamp().explore(network(data), data, FIT)
    with ThreadPoolExecutor(2) as executor:
        parts = hamp(executor=executor, workers=3).explore(network(data), data, FIT)
    assert np.array_equal(whole.archive.x, parts.archive.x) and np.array_equal(whole.archive.f, parts.archive.f)


@pytest.mark.slow
def test_judging_in_processes_gives_the_same(data: GraphData) -> None:
    whole, parts = (hamp(workers=workers).explore(network(data), data, FIT) for workers in (1, 2))
    assert np.array_equal(whole.archive.x, parts.archive.x) and np.array_equal(whole.archive.f, parts.archive.f)


def test_a_journal_of_another_search_is_refused_by_name(data: GraphData, tmp_path: Path) -> None:
    method = hamp(journal=tmp_path)
    method.explore(network(data), data, FIT)
    with pytest.raises(ValueError, match="data digest"):
        other = small_data(seed=3, graphs=24)
        method.explore(network(other), other, FIT)
    with pytest.raises(ValueError, match=r"settings\.holdout: 0\.3 in the ticket, 0\.4 now"):
        method.replace(holdout=0.4).explore(network(data), data, FIT)
    with pytest.raises(ValueError, match="other initial weights"):
        method.explore(network(data, seed=1), data, FIT)
    with pytest.raises(ValueError, match="another architecture"):
        method.explore(GIN.for_data(data, hidden=4, layers=2), data, FIT)
    with pytest.raises(ValueError, match="objectives"):
        method.replace(objectives=("macs",)).explore(network(data), data, FIT)
    file = tmp_path / journal.EVALUATIONS
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps({**json.loads(head), "objectives": ["macs"]}), *lines]) + "\n")
    with pytest.raises(ValueError, match="another search, which differs in objectives"):
        method.explore(network(data), data, FIT)
    file.write_text("\n".join([head, lines[0], "{", *lines[1:]]) + "\n")
    with pytest.raises(ValueError, match="line 3: damaged"):
        method.explore(network(data), data, FIT)


def untrained(job: FitJob) -> FitResult:
    raise AssertionError("nothing is to be trained")


def test_evaluations_are_bound_to_their_dense_network(data: GraphData, tmp_path: Path) -> None:
    method = hamp(journal=tmp_path)
    whole = method.explore(network(data), data, FIT)
    file, dense = tmp_path / journal.EVALUATIONS, tmp_path / journal.DENSE
    text = file.read_text()
    shutil.rmtree(dense)
    with pytest.raises(ValueError, match="of another dense network"):
        method.explore(network(data), data, plain_fit(2))
    assert not dense.exists() and file.read_text() == text
    assert np.array_equal(method.explore(network(data), data, FIT).archive.f, whole.archive.f)
    head, *lines = text.splitlines(keepends=True)
    older = seal({name: value for name, value in json.loads(head).items() if name != "dense"})
    file.write_text("".join([json.dumps(older) + "\n", *lines]))
    method.explore(network(data), data, untrained)
    assert file.read_text() == text
    file.write_text("".join([json.dumps(older) + "\n", *lines]))
    shutil.rmtree(dense)
    with pytest.raises(ValueError, match="which dense network"):
        method.explore(network(data), data, untrained)


def test_latencies_of_another_machine_are_refused(
    data: GraphData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"budget": 5, "population": 4}
    for objective in ("latency", "params"):
        hamp(journal=tmp_path / objective, objectives=objective, **small).explore(network(data), data, FIT)
    monkeypatch.setattr(torch, "__version__", "0.1")
    monkeypatch.setattr("graphprune.measure.latency.processor", lambda: "Abacus")
    with pytest.raises(ValueError, match=r"differs in processor \(.* then, Abacus now\), torch \(.* then, 0\.1 now\)"):
        hamp(journal=tmp_path / "latency", objectives="latency", **small).explore(network(data), data, untrained)
    hamp(journal=tmp_path / "params", **small).explore(network(data), data, untrained)


@pytest.mark.parametrize(
    ("place", "line", "text"),
    [
        (0, "5", "line 1: damaged"),
        (0, "{}", "line 1: damaged .*genes"),
        (2, "[1]", "line 3: damaged"),
        (2, '{"point": [1]}', "line 3: damaged .*found"),
        (2, '{"point": [1], "found": {}}', r"line 3: damaged .*\[1\]"),
        (2, '{"point": [9, 9, 9, 9, 9], "found": {}}', r"line 3: damaged .*9\]"),
        (2, '{"point": [1, 1, 1, 1, 1], "found": 3}', "line 3: damaged"),
        (2, '{"point": [1, 1, 1, 1, 1], "found": {"error": NaN, "params": 1}}', "line 3: .*error, seconds"),
    ],
)
def test_damaged_journals_are_refused_before_any_training(
    place: int, line: str, text: str, data: GraphData, tmp_path: Path
) -> None:
    method = hamp(journal=tmp_path, budget=5, population=4, step=0.25)
    method.explore(network(data), data, FIT)
    shutil.rmtree(tmp_path / journal.DENSE)
    file = tmp_path / journal.EVALUATIONS
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:place], line, *lines[place + 1 :]]) + "\n")
    for reading in (lambda: method.explore(network(data), data, untrained), lambda: journal.read(tmp_path)):
        with pytest.raises(ValueError, match=rf"evaluations\.jsonl, {text}"):
            reading()


def test_a_journal_that_is_a_file_is_refused(data: GraphData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "search"):
        with pytest.raises(ValueError, match=r"journal=.* is no folder"):
            hamp(journal=folder).explore(network(data), data, untrained)


# ---------------------------------------------------------------------- refusals


class Single(nn.Module):
    """One layer between input and output."""

    def __init__(self, first: int, classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(first, 8), nn.Linear(8, classes)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.last(
            torch.stack([part.mean(0) for part in self.first(batch.x).relu().split(batch.ptr.diff().tolist())])
        )


def test_too_small_a_space_is_refused(data: GraphData) -> None:
    with pytest.raises(ValueError, match=r"two numbers.*channels of first\.weight alone"):
        hamp().explore(Single(3, 2), data, FIT)
    with pytest.raises(ValueError, match=r"nothing to prune in Single: first\.\* protect every weight"):
        hamp(protect=("first.*",)).explore(Single(3, 2), data, FIT)
    for scorer in ("degree", Degree()):
        assert len(hamp(edge_score=scorer).explore(Single(3, 2), data, FIT).archive) == 14
    with pytest.raises(ValueError, match="fewer than members=9"):
        hamp(edge_score="degree", step=0.5, members=9).explore(Single(3, 2), data, FIT)
    with pytest.raises(ValueError, match="only 2 points, fewer than members=3"):
        hamp(search="uniform", step=0.5).explore(network(data), data, untrained)
    with pytest.raises(
        ValueError, match=r"no layer, and step=100 is all that \d of \d groups have: take a smaller step"
    ):
        hamp(step=100).explore(network(data), data, untrained)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": 5}, "fewer than population=6: raise"),
        ({"population": 1}, "population must be at least 2"),
        ({"population": 1, "search": "nsga2"}, "population must be at least 2"),
        ({"budget": 2, "search": "random"}, "members=3"),
        ({"objectives": ()}, "objectives must be"),
        ({"objectives": ("latency", "latency")}, "different ones"),
        ({"objectives": ("power",)}, "objectives must be"),
        ({"step": 0.7}, "share of up to 0.5"),
        ({"step": 2.5}, "whole number"),
        ({"search": "grid"}, "search must be one of"),
        ({"edge_score": "best"}, "edge_score must be one of"),
        ({"step": "a"}, "step must be .*'a'"),
        ({"step": float("inf")}, "step must be"),
        ({"members": 0}, "at least 1"),
        ({"objectives": 3}, "objectives must be"),
        ({"objectives": "latency,power"}, "objectives must be"),
        ({"holdout": 1.0}, r"^holdout must lie between 0 and 1, got 1\.0$"),
        ({"holdout": "0.1"}, "holdout must be .*'0.1'"),
        ({"journal": 3}, "journal must be a folder"),
        ({"executor": "x"}, "executor must be"),
        ({"portfolio": "no"}, "portfolio must be True or False"),
        ({"surrogate": 1}, "surrogate must be True or False"),
        ({"device": 3}, "device must be"),
        ({"seed": "a"}, "seed must be a whole number"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        hamp(**options)


def test_objectives_may_be_a_string() -> None:
    assert hamp(objectives="latency").objectives == ("latency",)
    assert hamp(objectives="latency, params").objectives == ("latency", "params")


@pytest.mark.parametrize("device", ["cuda:77", "nowhere", "meta"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_trained(device: str, data: GraphData) -> None:
    with pytest.raises(ValueError, match=f"device='{device}'"):
        hamp(device=device).supports(network(data), data)


def test_what_cannot_be_searched_is_refused(data: GraphData, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(data)
    with pytest.raises(ValueError, match="leaves nothing to judge"):
        hamp(holdout=0.001).supports(model, data)
    edgeless = data.with_splits(train=data.train.keep_edges(torch.zeros(data.train.num_edges, dtype=torch.bool)))
    with pytest.raises(ValueError, match="no edges to prune"):
        hamp(edge_score="random").supports(model, edgeless)
    with pytest.raises(ValueError, match="budget='graph'"):
        hamp(edge_score="random", protocol=Protocol(rule=EdgeRule(budget="global"))).supports(model, data)
    graph = random_graph(torch.Generator().manual_seed(0), 20, 40)
    graph.y = torch.arange(20) % 2
    masks = {f"{split}_mask": torch.arange(20) % 3 == part for part, split in enumerate(("train", "val", "test"))}
    nodes = from_nodes(type(graph)(**dict(graph), **masks), name="nodes", task="multiclass")
    with pytest.raises(ValueError, match="labels of nodes"):
        hamp().supports(GIN.for_data(nodes, hidden=8, layers=2), nodes)
    model.head.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="hooks"):
        hamp().supports(model, data)
    there = ["moocore"]
    monkeypatch.setattr("graphprune.methods.hamp.method.find_spec", lambda name: name if name in there else None)
    with pytest.raises(ImportError, match=r"needs pymoo: pip install 'graphprune\[search\]'"):
        hamp().supports(network(data), data)
    hamp(search="random").supports(network(data), data)
    there.clear()
    with pytest.raises(ImportError, match="needs moocore"):
        hamp(search="random").supports(network(data), data)


def test_a_point_that_cannot_be_judged_is_named(data: GraphData, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(job: FitJob) -> FitResult:
        result = FIT(job)
        bad = {**result.best, "head.bias": torch.full_like(result.best["head.bias"], torch.nan)}
        return replace(result, best=bad)

    with pytest.raises(ValueError, match=r"network of \{'node_encoder.*not finite"):
        hamp().explore(network(data), data, broken)
    real = Meter.__call__
    monkeypatch.setattr(Meter, "__call__", lambda *given: {**real(*given), "params": float("nan")})
    with pytest.raises(ValueError, match=r"params is nan at \{'node_encoder"):
        hamp().explore(network(data), data, FIT)


def test_workers_judge_what_is_then_measured_and_written_before_they_go_on(
    data: GraphData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else of ours is to run while the clock does; a kill costs as many evaluations as there are workers."""
    events: list[str] = []
    real_judge, real_meter = proxy.Proxy._judged, Meter.__call__
    monkeypatch.setattr(proxy.Proxy, "_judged", lambda *given: (events.append("judge"), real_judge(*given))[1])
    monkeypatch.setattr(evaluation.Meter, "__call__", lambda *given: (events.append("time"), real_meter(*given))[1])
    real_add = journal.Journal.add

    def add(self: journal.Journal, *given: Any) -> None:
        real_add(self, *given)
        assert len((tmp_path / journal.EVALUATIONS).read_text().splitlines()) == 2 + events.count("written")
        events.append("written")

    monkeypatch.setattr(journal.Journal, "add", add)
    with ThreadPoolExecutor(2) as executor:
        hamp(journal=tmp_path, executor=executor, workers=2, search="random").explore(network(data), data, FIT)
    assert events == ["judge", "judge", "time", "written", "time", "written"] * 7


def test_a_journal_has_one_search_at_a_time(data: GraphData, tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"), pytest.raises(BlockingIOError, match="another process is running in"):
        hamp(journal=tmp_path).explore(network(data), data, FIT)


def test_masks_have_the_vectors_of_their_channels(data: GraphData) -> None:
    (ticket, *_) = hamp(search="uniform", step=0.25, members=1).rounds(network(data), data, FIT)
    assert isinstance(ticket.masks, MaskSet)
    assert {"convs.0.nn.0.bias", "convs.0.nn.1.weight", "norms.0.bias"} <= ticket.masks.keys()
