"""What is made of a ticket, as files: a small network, or the pruned graphs of a whole data set."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from graphprune.compaction import compact, save
from graphprune.data import GraphData, ImageData
from graphprune.files import finite, new_folder, read_json, remove_leftovers, write_json, writing
from graphprune.graphs import PackedGraphs
from graphprune.graphs.pairs import EdgeUnit
from graphprune.graphs.rule import prunable_arcs
from graphprune.measure import Costs, break_even, report
from graphprune.runs.identity import OBJECT, identity
from graphprune.runs.objects import imported, made
from graphprune.runs.trained import Trained
from graphprune.ticket import Ticket
from graphprune.ticket.models import model_of

SUMMARY = "summary.json"
_EXAMPLE = 64  # training samples that show what is constant


def compact_ticket(
    trained: Trained, out: Path, options: Mapping[str, Any] | None = None, path: str | None = None
) -> nn.Module:
    """Build a ticket's network, make it small, measure both on test samples, and write the small one.

    Args:
        trained: the ticket. Its own data set's samples are measured.
        out: new folder, which appears when it is complete; one that the same call has finished is left as it is. It
            gets ``weights.safetensors`` (``graphprune.compaction.restored`` makes a model of them), ``costs.json``,
            ``summary.json`` (of what ticket and data), and, if torch.export can follow the network, ``program.pt2``,
            which ``torch.export.load`` runs without this package; of graphs it takes what
            :func:`graphprune.compaction.save` says, pruned.
        options: of the data set, where its run does not tell them; see :class:`graphprune.runs.trained.Trained`.
        path: where the run's model is imported from, ``module:name``, if it is not the package's.

    Returns:
        The small network.

    Raises:
        FileExistsError: ``out`` holds something else.
        ValueError: a ticket of a model that is not the package's, nothing to remove, or other data than the ticket's.
    """
    ticket = trained.ticket
    data = trained.data(options or {})
    summary = _summary(ticket, data, str(trained.folder)) | ({} if path is None else {"model": path})
    earlier = _earlier(out, summary)
    recorded = ticket.provenance.get("model", {})
    masked = ticket.build(model_of(recorded) if path is None else _own_model(trained, data, path))
    batch = data.train.batch(range(min(_EXAMPLE, len(data.train))))
    example = batch.x if isinstance(data, ImageData) else batch
    small = compact(masked, example)
    if earlier is not None:
        return small
    costs = {"masked": report(masked, data.test, masks=ticket.masks)}
    costs["compacted"] = report(small, data.test, masks=ticket.masks)
    if ticket.edges.rounds:
        costs["compacted, edges pruned"] = report(small, data.test, masks=ticket.masks, scorer=ticket.edges)
    for name, each in costs.items():
        print(f"{name}, on the test samples of {data.name}\n{each}\n")
    print(_gain(*costs.values()))
    with writing(out), new_folder(out.resolve()) as made_in:
        state = {name: value.contiguous() for name, value in small.state_dict().items()}
        safetensors.torch.save_file(state, made_in / "weights.safetensors")
        try:
            save(small, example, made_in / "program.pt2")
        except RuntimeError as error:
            print(f"no program.pt2: {error}")
        write_json(made_in / "costs.json", {name: each.as_row() for name, each in costs.items()})
        write_json(made_in / SUMMARY, summary)
    print(f"written: {', '.join(str(file) for file in sorted(out.iterdir()))}")
    return small


def _own_model(trained: Trained, data: GraphData | ImageData, path: str) -> nn.Module:
    """A user's model with the options that the run had.

    Raises:
        ValueError: another class or function than the run's, or one whose code has changed.
    """
    own, options = imported("model", path), {}
    if trained.config is not None:
        options, now = trained.config.options("model"), identity(own)
        recorded = {name: trained.config.model.get(name) for name in (OBJECT, "source")}
        if differ := [f"{name} {was} -> {now.get(name)}" for name, was in recorded.items() if was != now.get(name)]:
            raise ValueError(f"{path} is not the model of {trained.folder}: {', '.join(differ)}")
    return made("model", own, data, options, 0)  # type: ignore[no-any-return]


def _gain(before: Costs, small: Costs, pruned: Costs | None = None) -> str:
    last = pruned or small
    text = (
        f"parameters {before.weights.total:,} -> {last.weights.total:,}, MACs a sample "
        f"{before.macs.total / before.samples:,.0f} -> {last.macs.total / last.samples:,.0f}, throughput x "
        f"{last.throughput / before.throughput:.2f}"
    )
    if pruned is None or pruned.scoring is None:
        return text
    passes = break_even(pruned.scoring.latency.median, small.latency.median, pruned.latency.median)
    if math.isinf(passes):
        return f"{text}; scoring edges never pays: the pruned graphs are not faster"
    return f"{text}; scoring a graph's edges has paid after {passes:,.1f} passes over it"


# ---------------------------------------------------------------------- pruned graphs


def prune_data(ticket: Ticket, data: GraphData | ImageData, out: Path, source: str) -> dict[str, Any]:
    """Prune the graphs of all splits by a ticket and write which edges stay.

    Args:
        ticket: its predictors prune each graph on its own.
        data: graphs with the features that the ticket was trained on; another data set is welcome.
        out: new folder, which appears when it is complete; one that the same call has finished is left as it is. It
            gets a mask for each split, ``train.npy`` (one bool an arc, True is kept, in the order of
            the data set's arcs; :meth:`graphprune.EdgeMask.load` reads it), and ``summary.json``.
        source: what the summary says of where the ticket is from.

    Returns:
        The summary.

    Raises:
        FileExistsError: ``out`` holds something else.
        ValueError: images, a ticket that prunes no edges, or graphs with other features.
    """
    if isinstance(data, ImageData):
        raise ValueError(f"{data.name} is a set of images: there are no edges to prune")
    if not ticket.edges.rounds:
        raise ValueError(f"{source}: this ticket of {ticket.method} prunes no edges")
    _check_features(ticket, data, source)
    summary = _summary(ticket, data, source)
    if (earlier := _earlier(out, summary)) is not None:
        return earlier
    summary["splits"] = {}
    masks = {split: ticket.edge_mask(graphs) for split, graphs in data.splits.items()}
    with writing(out), new_folder(out.resolve()) as made_in:
        for split, mask in masks.items():
            mask.save(made_in / f"{split}.npy")
            counts = summary["splits"][split] = _counts(data.splits[split], mask.keep, ticket.edges.rule.unit)
            print(
                f"{split}: {counts['removed_arcs']:,} of {counts['arcs']:,} arcs removed from {counts['graphs']:,} "
                f"graphs, edge sparsity {counts['edge_sparsity']:.2%}"
            )
        write_json(made_in / SUMMARY, summary)
    print(f"masks and summary: {out}")
    return summary


def _summary(ticket: Ticket, data: GraphData | ImageData, source: str) -> dict[str, Any]:
    """What an output is made of."""
    return {
        "ticket": {"path": source, "method": ticket.method, "round": ticket.round, "row": ticket.row},
        "data": {"name": data.name, "digest": data.digest(), **data.provenance},
    }


def _earlier(out: Path, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of an output that is there and made of the same; None: it is to be made. An empty folder goes.

    Raises:
        FileExistsError: something else is there.
    """
    place = out.resolve()
    remove_leftovers(place.parent, place.name)  # of a process that was killed
    if not os.path.lexists(out):
        return None
    if out.is_dir() and not any(out.iterdir()):
        place.rmdir()
        return None
    if (out / SUMMARY).is_file():
        found = read_json(out / SUMMARY)
        if isinstance(found, dict) and all(
            _without_path(found.get(name)) == _without_path(value) for name, value in summary.items()
        ):
            print(f"{out} is there already, made of the same ticket and data: nothing to do")
            return found
    raise FileExistsError(f"{out} exists, is not empty and holds something else; choose another --out")


def _without_path(told: Any) -> Any:
    """As JSON has it, without the place of a ticket, which may be said in several ways."""
    told = json.loads(json.dumps(finite(told)))
    return {name: value for name, value in told.items() if name != "path"} if isinstance(told, dict) else told


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
    for edge_round in ticket.edges.rounds:
        config = getattr(edge_round.scorer, "config", None)
        wanted = config().get("features", data.features) if callable(config) else data.features
        if wanted != data.features:
            raise ValueError(
                f"{source}: the ticket's predictor reads features {wanted!r}, the graphs of {data.name} have "
                f"{data.features!r}"
            )
    mine, there = ticket.edges.encodings, data.encodings
    if there is not None and mine not in (None, there):
        raise ValueError(f"{source}: the ticket reads the encodings {mine}, the graphs of {data.name} have {there}")
