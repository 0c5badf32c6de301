"""The text format that Xu et al. ("How Powerful are Graph Neural Networks?", 2019) ship TU sets in: NAME.txt.

First the number of graphs; then, for each graph, a line of its number of nodes and its class, and for each node a line
of its tag, how many neighbours it has, and their numbers (from 0, within the graph).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune import limits
from graphprune.data.files.raw import RawFiles, check_integer
from graphprune.data.splits import FOLDS

Ints = NDArray[np.int64]

SHOWN = 20  # graphs without a fold that an error names


@dataclass(frozen=True)
class GinText:
    """The content of the files.

    Args:
        graph_of: graph of each node, shape ``(N,)``, never falling.
        tags: tag of each node, shape ``(N,)``.
        labels: class of each graph as the file has it, shape ``(G,)``.
        arcs: from each node to its neighbours, node numbers over all graphs, shape ``(E, 2)``.
        fold: in which of the ten folds each graph tests, shape ``(G,)``; None without ``10fold_idx``.
    """

    graph_of: Ints
    tags: Ints
    labels: Ints
    arcs: Ints
    fold: Ints | None


def read(files: RawFiles, name: str) -> GinText:
    """Parse and check ``NAME.txt`` and, if they are there, the ten folds in ``10fold_idx``.

    Raises:
        FileNotFoundError: some of the folds are missing.
        ValueError: damaged or contradicting files; names file and line.
    """
    file = f"{name}.txt"
    text = files.read(file, parsed=True).rstrip()
    limits.check("nodes", text.count(b"\n"), files.where(file))
    lines = text.split(b"\n")
    width = np.array([len(line.split()) for line in lines])
    values = _integers(files, file, lines, int(width.sum()))
    start = np.cumsum(width) - width
    heads = _heads(files, file, width, values, start)
    node = np.ones(len(lines), dtype=bool)
    node[[0, *heads]] = False
    rows = np.flatnonzero(node)
    degree = _degrees(files, file, rows, width, values, start)
    size, labels = values[start[heads]], values[start[heads] + 1]
    graph_of = np.repeat(np.arange(len(size)), size)
    # What is neither the number of graphs nor one of the two numbers that every other line begins with.
    neighbour = np.ones(len(values), dtype=bool)
    neighbour[0] = neighbour[start[1:]] = neighbour[start[1:] + 1] = False
    target = values[neighbour]
    source = np.repeat(np.arange(len(rows)), degree)
    owner = graph_of[source]
    wrong = np.flatnonzero((target < 0) | (target >= size[owner]))
    if len(wrong):
        arc = wrong[0]
        problem = f"neighbour {target[arc]} of a graph with {size[owner[arc]]} nodes, which count from 0"
        files.fail(file, int(rows[source[arc]]), problem)
    arcs = np.stack([source, target + (np.cumsum(size) - size)[owner]]).T
    return GinText(graph_of, values[start[rows]], labels, arcs, _folds(files, len(size)))


def _integers(files: RawFiles, file: str, lines: list[bytes], count: int) -> Ints:
    """All numbers of the file, of which there have to be ``count``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's way to say that it stopped at something else
        try:
            values = np.fromstring(b" ".join(lines), dtype=np.int64, sep=" ")
        except ValueError:
            values = np.empty(0, dtype=np.int64)
    limits = np.iinfo(np.int64)  # where numpy stops, without a word, at numbers beyond
    if len(values) == count and not ((values == limits.min) | (values == limits.max)).any():
        return values
    for row, line in enumerate(lines):
        try:
            numbers = [int(field) for field in line.split()]
        except ValueError:
            files.fail(file, row, f"expected integers, found {line[:80].decode(errors='replace')!r}")
        for number in numbers:
            check_integer(files, file, row, number)
    if len(values) == count:
        return values
    raise ValueError(f"{files.where(file)} holds something that is no plain integer")


def _heads(files: RawFiles, file: str, width: Ints, values: Ints, start: Ints) -> list[int]:
    """The line of each graph's number of nodes and class."""
    if width[0] != 1:
        files.fail(file, 0, f"expected the number of graphs, found {width[0]} numbers")
    if values[0] < 1:
        files.fail(file, 0, f"expected the number of graphs, found {values[0]}")
    line, heads = 1, []
    for number in range(1, int(values[0]) + 1):
        if line >= len(width):
            files.fail(file, len(width) - 1, f"the file ends before graph {number} of {values[0]}: truncated?")
        if width[line] != 2 or values[start[line]] < 0:
            files.fail(file, line, f"expected the number of nodes and the class of graph {number}")
        heads.append(line)
        line += 1 + int(values[start[line]])
    if line > len(width):
        files.fail(file, len(width) - 1, f"the file ends within graph {values[0]}: truncated?")
    if line < len(width):
        files.fail(file, line, f"more lines than the {values[0]} graphs of line 1 have")
    return heads


def _degrees(files: RawFiles, file: str, rows: Ints, width: Ints, values: Ints, start: Ints) -> Ints:
    """How many neighbours each node says it has, once its line is found to have as many."""
    short = np.flatnonzero(width[rows] < 2)
    if len(short):
        files.fail(file, int(rows[short[0]]), "expected a node: its tag, its number of neighbours and these")
    degree = values[start[rows] + 1]
    wrong = np.flatnonzero(width[rows] != 2 + degree)
    if len(wrong):
        row, said = rows[wrong[0]], degree[wrong[0]]
        problem = (
            f"{width[row] - 2} numbers follow where the line says {said} neighbours (node attributes are not read)"
        )
        files.fail(file, int(row), problem)
    return degree


def _folds(files: RawFiles, graphs: int) -> Ints | None:
    """In which fold each graph tests; the lists of training graphs must be what the others leave."""
    names = [(f"10fold_idx/test_idx-{fold}.txt", f"10fold_idx/train_idx-{fold}.txt") for fold in range(1, FOLDS + 1)]
    if not any(files.has(test) for test, _ in names):
        return None
    fold_of = np.full(graphs, -1)
    for fold, (test, _) in enumerate(names):
        members = files.column(test, np.int64)
        wrong = np.flatnonzero((members < 0) | (members >= graphs))
        if len(wrong):
            files.fail(test, wrong[0], f"graph {members[wrong[0]]} of {graphs}")
        twice = np.flatnonzero(fold_of[members] >= 0)
        if len(twice):
            files.fail(test, twice[0], f"graph {members[twice[0]]} is in fold {fold_of[members[twice[0]]] + 1} already")
        fold_of[members] = fold
    missing = np.flatnonzero(fold_of < 0)
    if len(missing):
        shown = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        found = f"graph {shown} is" if len(missing) == 1 else f"graphs {shown} ({len(missing)} of {graphs}) are"
        raise ValueError(
            f"{files.where('10fold_idx')}: {found} in none of the ten test folds (graphs count from 0). Get the folds "
            "of all graphs, or rename the folder 10fold_idx: then stratified folds are drawn by split_seed"
        )
    for fold, (test, train) in enumerate(names):
        rest = np.flatnonzero(fold_of != fold)
        if files.has(train) and not np.array_equal(np.sort(files.column(train, np.int64)), rest):
            raise ValueError(f"{files.where(train)} is not the list of all graphs that {files.where(test)} lacks")
    return fold_of
