"""The files of one stored split, while they grow."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.stored import room, write

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()  # noqa: SIM905
}

ADVICE = "nothing was stored"


class _Column:
    """A file that grows by rows of one kind.

    Args:
        path: of the file, which must not exist.
        what: named in errors.
        like: rows of the kind.
    """

    def __init__(self, path: Path, what: str, like: Tensor) -> None:
        self.path, self.what = path, what
        self.kind, self.rows = (like.dtype, like.shape[1:]), 0
        self.dtype = str(like.dtype).removeprefix("torch.")
        if self.dtype not in DTYPES:
            raise ValueError(f"{what} is {like.dtype}, which cannot be stored")

    def append(self, rows: Tensor) -> None:
        if (rows.dtype, rows.shape[1:]) != self.kind:
            found = f"{rows.dtype} of {tuple(rows.shape[1:])}"
            raise ValueError(f"{self.what}: later graphs have rows {found}, earlier {self.dtype} {tuple(self.kind[1])}")
        with room(self.path.parent, ADVICE), self.path.open("ab") as file:
            write(file, [rows])
        self.rows += len(rows)


class SplitFiles:
    """Writes the graphs of one split, piece by piece, a file a tensor.

    Args:
        folder: where to.
        split: begins the files' names.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = folder, split
        self.columns: dict[tuple[str, str], _Column] = {}
        self.objects: dict[str, Path] = {}
        self.graphs = 0

    def append(self, graphs: PackedGraphs) -> None:
        """Write some more graphs, which have the attributes of those before.

        Raises:
            ValueError: they have others, or such that cannot be stored.
        """
        if not graphs.joining.plain:
            odd = sorted({*graphs.joining.dims, *graphs.joining.shifts})
            raise ValueError(
                f"{self.split} graphs of class {graphs.joining.kind.__name__} with attributes {odd} that batches "
                "shift, or join along another dimension than the first, cannot be stored: make them plain "
                "torch_geometric.data.Data, and rename or remove the attributes"
            )
        tensors = self._tensors(graphs)
        if not self.graphs:
            for number, (level, name) in enumerate(tensors):
                path = self.folder / f"{self.split}-{level}-{number}.raw"
                self.columns[level, name] = _Column(path, f"{self.split} {name!r}", tensors[level, name])
            for number, name in enumerate(graphs.objects):
                self.objects[name] = self.folder / f"{self.split}-objects-{number}.jsonl"
        if tensors.keys() != self.columns.keys() or graphs.objects.keys() != self.objects.keys():
            odd = sorted({name for _, name in tensors.keys() ^ self.columns.keys()})
            odd += sorted(graphs.objects.keys() ^ self.objects.keys())
            raise ValueError(
                f"{self.split} graphs from {self.graphs} on differ from those before in the attributes {odd}: "
                "each must be there in all graphs, with one row a node, arc or graph, or be no tensor in all of them"
            )
        for key, values in tensors.items():
            self.columns[key].append(values)
        for name, path in self.objects.items():
            lines = [self._line(value, name) for value in graphs.objects[name]]
            with room(self.folder, ADVICE), path.open("a", encoding="ascii") as file:
                file.writelines(lines)
        self.graphs += len(graphs)

    def _tensors(self, graphs: PackedGraphs) -> dict[tuple[str, str], Tensor]:
        """All tensors by level and name, at the levels of the graphs before."""
        source, target = graphs.edge_index
        tensors = {
            ("arcs", "num_nodes"): graphs.node_count,
            ("arcs", "num_edges"): graphs.edge_count,
            ("arcs", "source"): source,
            ("arcs", "target"): target,
        }
        rows = {"node": graphs.node_count, "edge": graphs.edge_count, "graph": torch.ones_like(graphs.node_count)}
        for level in rows:
            for name, values in getattr(graphs, level).items():
                # A few graphs of, say, one node each do not tell whose rows these are; the first piece does.
                fits = (other for other in rows if torch.equal(rows[other], rows[level]))
                place = next((other for other in fits if (other, name) in self.columns), level)
                tensors[place, name] = values
        return tensors

    def _line(self, value: Any, name: str) -> str:
        try:
            line = json.dumps(value)
            same = json.loads(line) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ValueError(f"{self.split} {name!r}: {value!r} is no tensor and no plain JSON value")
        return line + "\n"

    def finish(self, known: dict[str, str]) -> dict[str, Any]:
        """Describe the files as plain data.

        Args:
            known: names of files by digest; grows. A file whose content is there already goes.
        """
        source, target = (self.columns.pop(("arcs", name)) for name in ("source", "target"))
        with room(self.folder, ADVICE), source.path.open("ab") as file, target.path.open("rb") as rest:
            shutil.copyfileobj(rest, file, 1 << 24)
        target.path.unlink()
        entries = [("arcs", "edge_index", source, [2, source.rows])]
        entries += [(*key, column, [column.rows, *column.kind[1]]) for key, column in self.columns.items()]
        tensors = [
            {"level": level, "name": name, "dtype": column.dtype, "shape": shape, **_once(column.path, known)}
            for level, name, column, shape in entries
        ]
        objects = [
            {"name": name, "bytes": path.stat().st_size, **_once(path, known)} for name, path in self.objects.items()
        ]
        return {"tensors": tensors, "objects": objects}


def _once(path: Path, known: dict[str, str]) -> dict[str, str]:
    """The file's name and digest, or the name of a file of the same content."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = known.setdefault(digest, path.name)
    if name != path.name:
        path.unlink()
    return {"file": name, "sha256": digest}
