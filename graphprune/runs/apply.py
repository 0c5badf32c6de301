"""A ticket's edge pruning applied to a whole data set, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from graphprune.data import GraphData, ImageData
from graphprune.graphs import PackedGraphs
from graphprune.graphs.pairs import EdgeUnit
from graphprune.graphs.rule import prunable_arcs
from graphprune.runs.files import write_json, writing
from graphprune.ticket import Ticket


def prune_data(ticket: Ticket, data: GraphData | ImageData, out: Path, source: str) -> dict[str, Any]:
    """Prune the graphs of all splits by a ticket and write which edges stay.

    Args:
        ticket: its predictors prune each graph on its own.
        data: graphs with the features that the ticket was trained on; another data set is welcome.
        out: new folder. It gets a mask for each split, ``train.npy`` (one bool an arc, True is kept, in the order of
            the data set's arcs; :meth:`graphprune.EdgeMask.load` reads it), and ``summary.json``.
        source: what the summary says of where the ticket is from.

    Returns:
        The summary.

    Raises:
        FileExistsError: ``out`` is there and not empty.
        ValueError: images, a ticket that prunes no edges, or graphs with other features.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; choose another --out")
    if isinstance(data, ImageData):
        raise ValueError(f"{data.name} is a set of images: there are no edges to prune")
    if not ticket.edges.stages:
        raise ValueError(f"{source}: this ticket of {ticket.method} prunes no edges")
    _check_features(ticket, data, source)
    summary: dict[str, Any] = {
        "ticket": {"path": source, "method": ticket.method, "round": ticket.round, "row": ticket.row},
        "data": {"name": data.name, "digest": data.digest(), **data.provenance},
        "splits": {},
    }
    masks = {split: ticket.edge_mask(graphs) for split, graphs in data.splits.items()}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for split, mask in masks.items():
            mask.save(out / f"{split}.npy")
            counts = summary["splits"][split] = _counts(data.splits[split], mask.keep, ticket.edges.rule.unit)
            print(
                f"{split}: {counts['removed_arcs']:,} of {counts['arcs']:,} arcs removed from {counts['graphs']:,} "
                f"graphs, edge sparsity {counts['edge_sparsity']:.2%}"
            )
    write_json(out / "summary.json", summary)
    print(f"masks and summary: {out}")
    return summary


def _counts(graphs: PackedGraphs, keep: Tensor, unit: EdgeUnit) -> dict[str, Any]:
    proper = prunable_arcs(graphs, unit)
    loops = int((graphs.edge_index[0] == graphs.edge_index[1]).sum())
    arcs, removed = int(proper.sum()), int((proper & ~keep).sum())
    return {
        "graphs": len(graphs),
        "arcs": arcs,
        "self_loops": loops,
        "protected_arcs": graphs.num_edges - loops - arcs,
        "removed_arcs": removed,
        "edge_sparsity": removed / arcs if arcs else 0.0,
        "graphs_pruned": int((graphs.keep_edges(keep).edge_count < graphs.edge_count).sum()),
        "graphs_without_edges": int((graphs.edge_count == 0).sum()),
    }


def _check_features(ticket: Ticket, data: GraphData, source: str) -> None:
    for stage in ticket.edges.stages:
        config = getattr(stage.scorer, "config", None)
        wanted = config().get("features", data.features) if callable(config) else data.features
        if wanted != data.features:
            raise ValueError(
                f"{source}: the ticket's predictor reads features {wanted!r}, the graphs of {data.name} have "
                f"{data.features!r}"
            )
