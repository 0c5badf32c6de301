"""Writing a data set of graphs to a folder, whole or graph by graph, for :mod:`graphprune.data.disk.open` to map."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch_geometric.data import Data

from graphprune import __version__
from graphprune.data.base import GraphData, Level
from graphprune.data.check import Check
from graphprune.data.disk.columns import ADVICE, SplitFiles
from graphprune.data.disk.open import DOCUMENT, FIELDS, FORMAT, VERSION, Reader
from graphprune.data.labelled import SPLITS, Split
from graphprune.data.metrics import Task, default_metric
from graphprune.data.users import described
from graphprune.files import new_folder
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.stored import room
from graphprune.sealed import seal

PIECE = 1 << 20  # nodes and arcs of a stream that are in memory at once


def store(data: GraphData, folder: str | os.PathLike[str]) -> None:
    """Write a data set of graphs to a new folder, from which :func:`open_stored` maps it.

    The folder appears when it is complete. Tensors are raw little-endian files, which splits share where they are
    equal; ``stored.json`` says what they are.

    Args:
        data: with plain provenance, and attributes that are tensors or plain JSON values.
        folder: must not exist; its parents are made.

    Raises:
        FileExistsError: the folder exists.
        ValueError: an attribute that cannot be stored, or a folder without room or that cannot be written to.
        TypeError: a data set that is not one of graphs.
    """
    if not isinstance(data, GraphData):
        raise TypeError(f"only data sets of graphs can be stored, got a {type(data).__name__}")
    _write(Path(folder), {split: iter([graphs]) for split, graphs in data.splits.items()}, lambda _: data)


def store_graphs(
    folder: str | os.PathLike[str],
    train: Iterable[Data],
    val: Iterable[Data],
    test: Iterable[Data],
    *,
    name: str,
    task: Task,
    metric: str | None = None,
    num_classes: int | None = None,
    features: Literal["ogb-mol"] | Sequence[int] | None = None,
    provenance: Mapping[str, str] | None = None,
    level: Level = "graph",
    edge_features: Sequence[int] | None = None,
) -> None:
    """As :func:`store`, from iterators, of which about a million nodes and arcs are in memory at once.

    ``folder`` must not exist; its parents are made. All else is as in :func:`graphprune.data.from_graphs`.

    Raises:
        FileExistsError: the folder exists.
        ValueError: as :func:`graphprune.data.from_graphs` and :func:`store`; a sequence task, whose words have to be
            seen at once (store what :func:`graphprune.data.from_graphs` makes).
        TypeError: something that is no ``Data``, or a tensor of the wrong dtype.
    """
    metric = metric or default_metric(task)
    if task == "sequence":
        raise ValueError(f"{name}: words of a stream make no vocabulary; store(from_graphs(...), folder) writes it")
    streams = {split: iter(graphs) for split, graphs in zip(SPLITS, (train, val, test), strict=True)}
    like = next(streams["train"], None)
    if like is None:
        raise ValueError(f"{name}: the train split has no graphs")
    streams["train"] = chain([like], streams["train"])
    check = Check.like(like, task, features, num_classes, level, edge_features)
    pieces = {split: _pieces(graphs, check, f"{name}, {split}") for split, graphs in streams.items()}
    _write(Path(folder), pieces, lambda splits: described(splits, check, name, metric, provenance))


def _pieces(graphs: Iterable[Data], check: Callable[[Data, str], Data], where: str) -> Iterator[PackedGraphs]:
    part, first, weight, number = list[Data](), 0, 0, -1
    for number, graph in enumerate(graphs):
        part.append(check(graph, f"{where} graph {number}"))
        weight += part[-1].num_nodes + part[-1].num_edges
        if weight >= PIECE:
            yield _packed(part, f"{where} graphs from {first} on")
            part, first, weight = [], number + 1, 0
    if number < 0:
        raise ValueError(f"{where} split has no graphs")
    if part:
        yield _packed(part, f"{where} graphs from {first} on")


def _packed(part: list[Data], where: str) -> PackedGraphs:
    try:
        return PackedGraphs.of(part)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _write(
    folder: Path,
    pieces: Mapping[Split, Iterator[PackedGraphs]],
    describe: Callable[[Mapping[Split, PackedGraphs]], GraphData],
) -> None:
    with ExitStack() as stack:
        with room(folder.parent, ADVICE):
            temporary = stack.enter_context(new_folder(folder))
        splits: dict[Split, Any] = {}
        known: dict[str, str] = {}  # files by their content
        for split in SPLITS:
            files = SplitFiles(temporary, split)
            for graphs in pieces[split]:
                files.append(graphs)
            splits[split] = files.finish(known)
        reader = Reader(temporary, verify=False, scratch=temporary)
        data = describe({split: reader.split(splits[split]) for split in SPLITS})
        document = {
            "format": FORMAT,
            "version": VERSION,
            "written_by": {"graphprune": __version__, "torch": str(torch.__version__)},
            "data": _described(data),
            "splits": splits,
        }
        text = json.dumps(seal(document), allow_nan=False, indent=1)
        with room(temporary, ADVICE):
            (temporary / DOCUMENT).write_text(text + "\n")
            stack.close()


def _described(data: GraphData) -> dict[str, Any]:
    fields = {name: getattr(data, name) for name in FIELDS}
    fields |= {"provenance": dict(data.provenance), "degrees": data.degrees and asdict(data.degrees)}
    fields |= {"held_out": list(data.held_out)}
    if data.vocabulary:  # so that those of other sets are what they were
        fields["vocabulary"] = list(data.vocabulary)
    fields |= {} if data.encodings is None else {"encodings": data.encodings.config()}
    if json.loads(json.dumps(fields)) != fields:
        raise ValueError(f"{data.name}: provenance must be plain JSON values to be stored, got {data.provenance}")
    return fields
