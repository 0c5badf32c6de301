"""Data sets larger than memory: the tensors of a folder that :mod:`graphprune.data.disk.write` wrote, mapped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from graphprune import __version__, limits
from graphprune.data.base import GraphData
from graphprune.data.degrees import DegreeColumns
from graphprune.data.disk.columns import DTYPES
from graphprune.data.labelled import SPLITS
from graphprune.files import parsed
from graphprune.graphs.encodings import Encodings
from graphprune.graphs.stored import StoredGraphs, mapped
from graphprune.sealed import DIGEST, check_seal

DOCUMENT = "stored.json"
FORMAT, VERSION = "graphprune stored graphs", 1

_PARTS = {"format", "version", "written_by", "data", "splits", DIGEST}
# What is said of a data set besides its splits.
FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "task": (str,),
    "metric": (str,),
    "num_classes": (int,),
    "num_tasks": (int,),
    "provenance": (dict,),
    "features": (int, str, list),
    "edge_features": (int, str, list, type(None)),
    "degrees": (dict, type(None)),
    "ogb_name": (str,),
    "level": (str,),
    "transductive": (bool,),
}

_FILE = re.compile(r"(train|val|test)-[a-z]+-\d+\.(raw|jsonl)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def open_stored(
    folder: str | os.PathLike[str], *, verify: bool = True, scratch: str | os.PathLike[str] | None = None
) -> GraphData:
    """The data set in a folder that :func:`store` wrote, its tensors mapped from the files.

    It can do what any data set can, with the same results. Only what is looked at is read, and the system may drop it
    again; the files are never written, and must not be changed while they are open. Where edges are pruned, what is
    left of them is in files without a name. Counts (24 bytes a graph) and attributes that are no tensors are in memory.

    Args:
        folder: of the set.
        verify: read every file once, against its SHA-256, and see that arcs lie within their graphs. False looks at
            the files' sizes only.
        scratch: folder for the arcs that pruning leaves: twice their size is needed, on a disk and not in memory;
            None: ``folder`` itself.

    Raises:
        ValueError: no stored set, one of another version, or a file that is missing, truncated or altered.
    """
    folder = Path(folder)
    document = described(folder / DOCUMENT)
    try:
        fields = _fields(document["data"])
        reader = Reader(folder, verify, folder if scratch is None else Path(scratch))
        train, val, test = (reader.split(document["splits"][split]) for split in SPLITS)
        if len(fields["held_out"]) not in (0, len(val)):
            raise TypeError(f"held_out has {len(fields['held_out'])} places for {len(val)} graphs")
    except (LookupError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        problem = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{folder / DOCUMENT} does not describe a stored set: {problem}. It was written by "
            f"{document.get('written_by')} and is read by graphprune {__version__}: if it is whole, read it with the "
            "version that wrote it, or store the set again"
        ) from error
    return GraphData(train=train, val=val, test=test, **fields)


def described(file: Path) -> dict[str, Any]:
    """What a set's document says; it has a ``digest`` unless it was written before there were any.

    Raises:
        ValueError: as :func:`open_stored`, of this file alone.
    """
    if not file.is_file():
        raise ValueError(f"{file.parent} is no stored set: it has no {DOCUMENT}")
    limits.check("document", file.stat().st_size, str(file))
    try:
        document = parsed(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{file} does not describe a stored set")
    if document.get("version") != VERSION:
        raise ValueError(
            f"{file} is of version {document.get('version')!r}, written by {document.get('written_by')!r}; "
            f"graphprune {__version__} reads version {VERSION}"
        )
    try:
        check_seal(document)
    except ValueError as error:
        raise ValueError(f"{file} does not describe a stored set: {error}") from error
    if odd := document.keys() - _PARTS:
        raise ValueError(f"{file} does not describe a stored set: it has {sorted(odd)}"[:400])
    return document


def _fields(found: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(found.keys() - {*FIELDS, "held_out", "vocabulary", "encodings"}):
        raise TypeError(f"it says {', '.join(unknown)} of the data, which this version does not know")
    for name, kinds in FIELDS.items():
        if type(found[name]) not in kinds:
            raise TypeError(f"{name} is {found[name]!r}")
    fields = {name: found[name] for name in FIELDS}
    if fields["degrees"] is not None:
        fields["degrees"] = DegreeColumns(int(fields["degrees"]["first"]), int(fields["degrees"]["cap"]))
    held_out = found.get("held_out", [])  # older files have none
    if any(type(place) is not int or place < 0 for place in held_out):
        raise TypeError(f"held_out is {held_out!r}")
    vocabulary = found.get("vocabulary", [])
    if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
        raise TypeError(f"vocabulary is {vocabulary!r}")
    if (encodings := found.get("encodings")) is not None:  # of sets that have some
        fields["encodings"] = Encodings.of(encodings)
    return fields | {"held_out": held_out, "vocabulary": vocabulary}


class Reader:
    """Maps the files of a folder, each once.

    Args:
        folder: of the files.
        verify: compare their digests, and look at every arc.
        scratch: of the graphs.
    """

    def __init__(self, folder: Path, verify: bool, scratch: Path) -> None:
        self.folder, self.verify, self.scratch = folder, verify, scratch
        self._tensors: dict[tuple[str, str, tuple[int, ...]], Tensor] = {}

    def split(self, found: dict[str, Any]) -> StoredGraphs:
        """The graphs of a split that is described so.

        Raises:
            ValueError: a file that is missing, truncated or altered, or files that contradict each other.
        """
        levels: dict[str, dict[str, Any]] = {level: {} for level in ("arcs", "node", "edge", "graph", "objects")}
        for entry in found["tensors"]:
            levels[entry["level"]][str(entry["name"])] = self._tensor(entry)
        for entry in found["objects"]:
            levels["objects"][str(entry["name"])] = self._objects(entry)
        try:
            return StoredGraphs(self.scratch, checked=not self.verify, **levels.pop("arcs"), **levels)
        except ValueError as error:
            raise ValueError(f"{self.folder}: {error}") from error

    def _tensor(self, entry: dict[str, Any]) -> Tensor:
        shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
        if not shape or any(type(size) is not int or size < 0 for size in shape):
            raise TypeError(f"shape {shape}")
        key = entry["file"], entry["dtype"], shape
        if key not in self._tensors:
            path = self._checked(entry, math.prod(shape) * dtype.itemsize)
            with path.open("rb") as file:
                self._tensors[key] = mapped(file, dtype, shape)
        return self._tensors[key]

    def _objects(self, entry: dict[str, Any]) -> list[Any]:
        path = self._checked(entry, entry["bytes"])
        try:
            return [json.loads(line) for line in path.read_bytes().splitlines()]
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _checked(self, entry: dict[str, Any], size: int) -> Path:
        if not _FILE.fullmatch(entry["file"]) or not _SHA256.fullmatch(entry["sha256"]):
            raise TypeError(f"file {entry['file']!r}, SHA-256 {entry['sha256']!r}")
        path: Path = self.folder / entry["file"]
        if not path.is_file():
            raise ValueError(f"{path} is missing")
        if path.stat().st_size != size:
            raise ValueError(f"{path} is truncated or altered: {path.stat().st_size:,} bytes instead of {size:,}")
        if self.verify:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    raise ValueError(f"{path} is altered: its SHA-256 is not the one in {DOCUMENT}")
        return path
