import json
from pathlib import Path

import pytest
import torch

from graphprune import EdgeMask, Ticket
from graphprune.cli import main
from graphprune.data import load
from graphprune.runs import run_one
from graphprune.runs.tickets import prune_data
from tests.runs.samples import NAME, tiny_run, tiny_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    root = tiny_set(folder / "raw")
    for method in ("icpg", "dense"):
        run_one(tiny_run(root, method, **({"edge_rate": 0.2} if method == "icpg" else {})), folder / method)
    run_one(tiny_run(root, "icpg", edge_rate=0.2, unit="channel", weight_rate=0.4), folder / "channels")
    return folder


def test_masks_are_those_of_the_ticket_graph_by_graph(folder: Path, tmp_path: Path) -> None:
    ticket = Ticket.load(folder / "icpg/round-2")
    data = load(NAME, root=folder / "raw", features="deg+odeg10")
    summary = prune_data(ticket, data, tmp_path / "out", "here")
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    for split, graphs in data.splits.items():
        mask = EdgeMask.load(tmp_path / "out" / f"{split}.npy")
        for number, graph in enumerate(graphs):
            pruned = ticket.prune_graph(graph)
            assert torch.equal(graph.edge_index[:, mask.graph(number)], pruned.edge_index)
        counts = summary["splits"][split]
        assert counts["edge_sparsity"] == pytest.approx(ticket.row[f"edge_sparsity_{split}"])
        assert counts["removed_arcs"] == mask.total - mask.kept


def test_what_cannot_be_pruned_is_refused(folder: Path, tmp_path: Path) -> None:
    data = load(NAME, root=folder / "raw", features="deg+odeg10")
    with pytest.raises(ValueError, match="prunes no edges"):
        prune_data(Ticket.load(folder / "dense/round-1"), data, tmp_path / "out", "here")
    ticket = Ticket.load(folder / "icpg/round-2")
    with pytest.raises(ValueError, match="reads features"):
        prune_data(ticket, load("ogbg-molbace"), tmp_path / "out", "here")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="not empty"):
        prune_data(ticket, data, tmp_path, "here")


def made(folder: Path, command: str, out: Path, number: int = 2) -> None:
    words = [command, str(folder / f"channels/round-{number}"), "--out", str(out)]
    assert main(words) == 0


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "program.pt2"}


@pytest.mark.parametrize("command", ["prune-graphs", "compact"])
def test_the_same_command_again_leaves_what_is_finished(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep/out"
    made(folder, command, out)
    before = contents(out)
    assert "nothing to do" not in capsys.readouterr().out
    (out.parent / ".out.0123.tmp").mkdir()  # of a kill between the naming of the folder and the end
    made(folder, command, out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert "nothing to do" in capsys.readouterr().out
    assert contents(out) == before
    assert main([command, str(folder / "channels"), "--out", str(out)]) == 0  # the same ticket by another path
    for words in ([str(folder / "channels/round-1")], [str(folder / "channels"), "--data-features", "deg"]):
        assert main([command, *words, "--out", str(out)]) == 2
        assert "error" in capsys.readouterr().err
    assert contents(out) == before


@pytest.mark.parametrize("command", ["prune-graphs", "compact"])
@pytest.mark.parametrize("kind", ["none", "empty", "leftover", "link"])
def test_what_is_no_output_is_made(kind: str, command: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "empty":
        out.mkdir()
    if kind == "leftover":
        (tmp_path / ".out.0123.tmp/out").mkdir(parents=True)
        (tmp_path / ".out.0123.tmp/out/train.npy").write_bytes(b"half")
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to("elsewhere")
    made(folder, command, out)
    assert (out / "summary.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"out", *(["elsewhere"] if kind == "link" else [])}


@pytest.mark.parametrize("summary", [None, "{", "{}", "[]", '{"ticket": 3, "data": []}'])
def test_something_else_is_never_overwritten(summary: str | None, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train.npy").write_text("precious")
    if summary is not None:
        (tmp_path / "summary.json").write_text(summary)
    before = contents(tmp_path)
    for command in ("prune-graphs", "compact"):
        assert main([command, str(folder / "channels"), "--out", str(tmp_path)]) == 2
    assert contents(tmp_path) == before
