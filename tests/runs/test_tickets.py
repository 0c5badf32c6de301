import json
from pathlib import Path

import pytest
import torch

from graphprune import EdgeMask, Ticket
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
