"""What a search has found out so far, on the disk, so that a killed one goes on to the same end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.methods.hamp.genes import Gene
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

    def dense(self) -> Ticket | None:
        """The dense network, if it has been trained.

        Raises:
            ValueError: the folder holds something else, or it is damaged.
        """
        if self.folder is None or not (self.folder / DENSE).exists():
            return None
        return Ticket.load(self.folder / DENSE)

    def keep(self, dense: Ticket) -> None:
        """Save the dense network."""
        if self.folder is not None:
            dense.save(self.folder / DENSE)

    def open(self, genes: Sequence[Gene], objectives: Sequence[str]) -> None:
        """Read the evaluations of an earlier sitting, or begin.

        Raises:
            ValueError: they are of another search, or damaged before the last line.
        """
        if self.folder is None:
            return
        file, head = self.folder / EVALUATIONS, _head(genes, objectives)
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = list(_whole_lines(file))
        if lines and lines[0] != head:
            differ = [name for name in head if lines[0].get(name) != head[name]]
            raise ValueError(
                f"{file} is of another search, which differs in {', '.join(differ)}: choose another folder"
            )
        for line in lines[1:]:
            self.known[tuple(line["point"])] = line["found"]
        # Without what a killed process has begun to write.
        part = file.with_name(file.name + ".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in [head, *lines[1:]]), encoding="utf-8")
        part.replace(file)

    def add(self, point: Point, found: Found) -> None:
        """Remember an evaluation."""
        self.known[point] = found
        if self.folder is not None:
            with (self.folder / EVALUATIONS).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"point": point, "found": found}) + "\n")
                stream.flush()
                os.fsync(stream.fileno())


def read(folder: Path) -> Record:
    """The evaluations in a journal's folder.

    Raises:
        FileNotFoundError: there are none.
        ValueError: the file is damaged.
    """
    file = folder / EVALUATIONS
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no {EVALUATIONS}")
    head, *lines = list(_whole_lines(file)) or [{}]
    try:
        genes = tuple(Gene(**gene) for gene in head["genes"])
        found = tuple(Evaluation(tuple(line["point"]), line["found"]) for line in lines)
        return Record(genes, tuple(head["objectives"]), found)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged: {error!r}") from error


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


def _head(genes: Sequence[Gene], objectives: Sequence[str]) -> dict[str, Any]:
    return {"genes": [vars(gene) for gene in genes], "objectives": list(objectives)}


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Lines up to the first that was not written to its end; raises ValueError if others follow it."""
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"{file}, line {number}: damaged ({error})") from error
            return
        yield found
