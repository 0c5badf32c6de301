"""What a search has found out so far, on the disk, so that a killed one goes on to the same end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.files import LOCK, append_json, locked, make_folder, parsed, remove_leftovers, write_text
from graphprune.methods.core.fit import state_digest
from graphprune.methods.hamp.genes import Gene
from graphprune.sealed import DIGEST, check_seal, seal
from graphprune.ticket import Ticket

JOURNAL, DENSE, EVALUATIONS = "search", "dense", "evaluations.jsonl"  # the first is its folder in a run's
Point = tuple[int, ...]
Found = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """One evaluated point.

    Attributes:
        point: a level of each gene.
        found: ``error``, the costs, and the ``seconds`` that it took.
    """

    point: Point
    found: Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """A journal as it is read.

    Attributes:
        genes: of the points.
        objectives: what was minimised beside the error.
        evaluations: in their order.
    """

    genes: tuple[Gene, ...]
    objectives: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]

    def values(self) -> list[list[float]]:
        """The objectives of each evaluation, the error first."""
        return [[one.found[name] for name in ("error", *self.objectives)] for one in self.evaluations]


@dataclass
class Journal:
    """The evaluations of one search; each is on the disk before the next begins.

    Args:
        folder: holds the dense network as a ticket (``dense``) and ``evaluations.jsonl``; None: nothing is written.
    """

    folder: Path | None
    known: dict[Point, Found] = field(default_factory=dict, init=False)
    _head: dict[str, Any] = field(default_factory=dict, init=False)
    _dense: str | None = field(default=None, init=False)  # digest of the network that the evaluations are of
    _sealed: bool = field(default=True, init=False)  # a journal from before there were digests goes on without any

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder; no other process can write to it inside the block.

        Raises:
            ValueError: it is no folder.
            BlockingIOError: another process searches with it.
        """
        if self.folder is None:
            yield
            return
        try:
            make_folder(self.folder)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(f"journal={str(self.folder)!r} is no folder: {error.strerror}") from error
        with locked(self.folder / LOCK):
            remove_leftovers(self.folder)
            yield

    def dense(self) -> Ticket | None:
        """The dense network, if it has been trained.

        Raises:
            ValueError: the folder holds something else, or it is damaged.
        """
        if self.folder is None or not (self.folder / DENSE).exists():
            return None
        return Ticket.load(self.folder / DENSE)

    def open(self, genes: Sequence[Gene], objectives: Sequence[str], clock: Mapping[str, str]) -> None:
        """Read the evaluations of an earlier sitting; what they are of is checked before anything is trained.

        ``clock`` is what measured seconds depend on.

        Raises:
            ValueError: they are of another search, or damaged before the last line.
        """
        self._head = {"genes": [vars(gene) for gene in genes], "objectives": list(objectives), **clock}
        if self.folder is None:
            return
        file = self.folder / EVALUATIONS
        if not (lines := list(_whole_lines(file))):
            return
        old = lines[0]
        if differ := [name for name, value in self._head.items() if old.get(name, value) != value]:
            told = ", ".join(
                name if name in ("genes", "objectives") else f"{name} ({old[name]} then, {self._head[name]} now)"
                for name in differ
            )
            raise ValueError(f"{file} is of another search, which differs in {told}: choose another folder")
        self.known = {one.point: dict(one.found) for one in _record(file, lines).evaluations}
        self._dense, self._sealed = old.get("dense"), DIGEST in old
        if self.known and self._dense is None and not (self.folder / DENSE).exists():
            raise ValueError(
                f"{file} does not say which dense network it is of, and none is beside it: choose another folder"
            )

    def bind(self, dense: Ticket) -> None:
        """Keep the dense network, and begin or go on with evaluations of it.

        Raises:
            ValueError: those that were read are of another dense network.
        """
        if self.folder is None:
            return
        file, own = self.folder / EVALUATIONS, state_digest(dense.trained)
        if self.known and self._dense not in (None, own):
            raise ValueError(f"{file} is of another dense network, of other trained weights: choose another folder")
        if not (self.folder / DENSE).exists():
            dense.save(self.folder / DENSE)
        # Without what a killed process has begun to write.
        lines = [self._head | {"dense": own}, *map(_line, self.known, self.known.values())]
        write_text(file, "".join(json.dumps(self._entry(line)) + "\n" for line in lines))

    def add(self, point: Point, found: Found) -> None:
        """Remember an evaluation."""
        self.known[point] = found
        if self.folder is not None:
            append_json(self.folder / EVALUATIONS, self._entry(_line(point, found)))

    def _entry(self, line: Mapping[str, Any]) -> Mapping[str, Any]:
        return seal(line) if self._sealed else line


def read(folder: Path) -> Record:
    """The evaluations in a journal's folder.

    Raises:
        FileNotFoundError: there are none.
        ValueError: the file is damaged.
    """
    file = folder / EVALUATIONS
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no {EVALUATIONS}")
    if not (lines := list(_whole_lines(file))):
        raise ValueError(f"{file}, line 1: damaged (it ends before)")
    return _record(file, lines)


def check_start(dense: Ticket, model: nn.Module) -> None:
    """Make sure that a search begins with the weights that the dense network was trained from.

    Raises:
        ValueError: another architecture, or other initial weights.
    """
    dense.rewound(model)  # of the same architecture
    own = model.state_dict()
    other = [name for name, value in dense.rewind.items() if not torch.equal(value, own[name].cpu())]
    if other:
        raise ValueError(f"the journal is of a model with other initial weights, in {', '.join(other[:3])}")


def _record(file: Path, lines: Sequence[Mapping[str, Any]]) -> Record:
    """What lines say, a head and evaluations; raises ValueError with the number of one that says nothing."""
    number, found = 1, list[Evaluation]()
    try:
        genes = tuple(Gene(**gene) for gene in lines[0]["genes"])
        objectives = tuple(lines[0]["objectives"])
        sealed = check_seal(lines[0])
        for line in lines[1:]:
            number += 1
            found.append(_evaluation(line, genes, objectives))
            if check_seal(line) != sealed:
                raise ValueError(f"{'it has no digest' if sealed else 'it has a digest'}, unlike the first line")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}, line {number}: damaged ({type(error).__name__}: {error})") from error
    return Record(genes, objectives, tuple(found))


def _evaluation(line: Mapping[str, Any], genes: Sequence[Gene], objectives: Sequence[str]) -> Evaluation:
    point, found = tuple(line["point"]), line["found"]
    bounds = [range(1, gene.levels + 1) for gene in genes]
    if len(point) != len(bounds) or not all(map(range.__contains__, bounds, point)):
        raise ValueError(f"{list(point)} is no point")
    numbers = {name: found.get(name) for name in ("error", *objectives, "seconds")}
    if wrong := [name for name, value in numbers.items() if not (isinstance(value, int | float) and isfinite(value))]:
        raise ValueError(f"no number for {', '.join(wrong)}")
    return Evaluation(point, found)


def _line(point: Point, found: Found) -> dict[str, Any]:
    return {"point": point, "found": found}


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Lines up to the first that was not written to its end; raises ValueError if others follow it."""
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            found = parsed(line)
        except ValueError as error:
            if number < len(lines) or line.endswith("\n"):
                raise ValueError(f"{file}, line {number}: damaged ({error})") from error
            return
        if not isinstance(found, dict):
            raise ValueError(f"{file}, line {number}: damaged (no object)")
        yield found
