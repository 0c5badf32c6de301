"""What a report says in words, and how many true edges tickets keep."""

import math
from pathlib import Path

import pytest

from graphprune import Ticket, data
from graphprune.report.collect import collect
from graphprune.report.compare import findings
from graphprune.report.illustrate import truth_table
from graphprune.report.report import write_report
from graphprune.report.results import Stat
from graphprune.report.truth import KeptTruth, Opened, kept_truth
from graphprune.report.words import in_words
from graphprune.runs import RunConfig, run_one
from tests.report.rows import cell, grid


def words(folder: Path, truth: dict[str, KeptTruth] | None = None) -> str:
    (group,) = collect([folder])
    return "\n".join(in_words(findings(group), truth or {}))


def test_what_is_ahead_what_is_level_and_what_is_worse(tmp_path: Path) -> None:
    text = words(grid(tmp_path, losses={"dense": 0.0, "no-edges": 0.2, "icpg": 0.0, "imp": 0.001, "random": 0.1}))
    assert "dense reaches rocauc 0.8" in text and "the edges matter" in text
    edges, weights = (line for line in text.splitlines() if line.startswith("Without "))
    assert "icpg is ahead" in edges and "no difference to dense shown" in edges
    assert "shown to be worse: random 0.7" in edges and "not told apart" not in edges
    assert "not told apart from it: imp 0.8" in weights or "not told apart from it: icpg 0.8" in weights


def test_few_runs_claim_no_order(tmp_path: Path) -> None:
    text = words(grid(tmp_path, seeds=3, losses={"dense": 0.0, "no-edges": 0.2, "icpg": 0.0, "random": 0.5}))
    assert "too few runs to say more" in text and "it takes 5 runs to claim an order" in text
    assert "ahead" not in text and "worse" not in text


def test_a_metric_to_be_small_is_ahead_where_it_is(tmp_path: Path) -> None:
    text = words(grid(tmp_path, losses={"icpg": 0.0, "random": 0.2}, metric="rmse"))
    assert "random is ahead" in text and "shown to be worse: icpg" in text


def test_nothing_to_compare_says_nothing(tmp_path: Path) -> None:
    cell(tmp_path / "one", "icpg")
    assert words(tmp_path) == ""


def test_true_edges_are_said_as_they_were_counted(tmp_path: Path) -> None:
    truth = {"icpg": KeptTruth(Stat.of([0.9, 1.0]), Stat.of([0.2, 0.3]))}
    assert "icpg 95%" in words(grid(tmp_path), truth)
    assert truth_table(truth).rows == [["icpg", "95.00 %", "25.00 %", "2"]]


@pytest.fixture(scope="module")
def motifs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    model = {"name": "gcn", "hidden": 4, "layers": 1}
    for seed in (0, 1):
        for method in ({"name": "random", "rounds": 1, "edge_rate": 0.25, "weight_rate": 0.2}, {"name": "dense"}):
            values = {"method": method, "data": {"name": "planted-motif"}, "model": model, "fit": {"epochs": 1}}
            run_one(RunConfig.of({**values, "seed": seed}), out / f"{method['name']}-{seed}")
    return out


def test_true_edges_kept_are_those_of_the_pruned_graphs(motifs: Path) -> None:
    (group,) = collect([motifs])
    found = kept_truth(group, Opened())
    assert found.keys() == {"random"} and found["random"].true.count == 2
    graphs = data.load("planted-motif").test
    whole = sum(int(graph.edge_truth.sum()) for graph in graphs)
    shares = []
    for run in next(series for series in group.series if series.label == "random").runs:
        ticket = Ticket.load(run.folder / "round-1")
        shares.append(sum(int(ticket.prune_graph(graph).edge_truth.sum()) for graph in graphs) / whole)
    assert found["random"].true.mean == pytest.approx(math.fsum(shares) / 2)
    assert found["random"].true.mean == pytest.approx(0.75, abs=0.08)


@pytest.mark.usefixtures("unsaved")
def test_the_report_has_them_in_a_table_and_in_its_last_words(motifs: Path, tmp_path: Path) -> None:
    written = write_report([motifs], tmp_path)
    assert "### True edges" in written.markdown.read_text()
    assert "these are kept on unseen graphs: random" in written.summary.splitlines()[-1]


def test_objects_are_called_by_their_names(tmp_path: Path) -> None:
    for seed in (0, 1):
        for name, source in (("mine", "a"), ("other", "b")):
            told = {"method": {"name": name, "object": f"my:{name}", "source": source, "last_round": 1 + seed}}
            cell(tmp_path / f"{name}{seed}", "icpg", seed, config=told)
    (group,) = collect([tmp_path])
    assert [series.label for series in group.series] == ["mine", "other"]


def test_a_single_run_has_no_deviation_to_tell(tmp_path: Path) -> None:
    text = words(grid(tmp_path, seeds=1, losses={"icpg": 0.0, "random": 0.1}))
    assert "over 1 run; it takes 5 runs" in text and "deviation" not in text
