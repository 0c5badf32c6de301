"""Spurious motifs: generated graphs whose base goes along with the class in training and not in the test split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.data.base import GraphData
from graphprune.data.degrees import DegreeColumns
from graphprune.data.sets.shared import both_ways
from graphprune.data.splits import SEED
from graphprune.graphs.packed import PackedGraphs

CLASSES = 3
MOTIF_NODES = 5

USUAL = ("spmotif-0.33", "spmotif-0.5", "spmotif-0.7", "spmotif-0.9")

_NAME = re.compile(r"spmotif-(\d*\.?\d+)")

Ints = NDArray[np.int64]
Edges = list[tuple[int, int]]


@dataclass(frozen=True)
class Recipe:
    """How a set is generated; the defaults follow Wu et al., "Discovering Invariant Rationales" (DIR, ICLR 2022).

    Args:
        bias: share of each class's training graphs on the base that goes along with it; the others are split between
            the two other bases. A third is no bias.
        train: training graphs. DIR's own generator makes 3,000, 3,000 and 6,000 graphs.
        val: validation graphs: bases without bias, as large as in training.
        test: test graphs: bases without bias, and larger.
        extra: edges added at random, as a share of all others; never inside the motif. DIR's code has the step and
            leaves it out (0) in its published notebook, with 0.05 noted as the original.
        seed: of everything that is random.

    Raises:
        ValueError: a bias outside [0, 1], a negative or infinite share, or too few graphs for the classes.
    """

    bias: float = 0.9
    train: int = 3000
    val: int = 1000
    test: int = 1000
    extra: float = 0.05
    seed: int = SEED

    def __post_init__(self) -> None:
        if not 0 <= self.bias <= 1:
            raise ValueError(f"bias must lie in [0, 1], got {self.bias!r}")
        if not 0 <= self.extra < float("inf"):
            raise ValueError(f"extra must be a finite share and not negative, got {self.extra!r}")
        if min(self.train, self.val, self.test) < CLASSES:
            sizes = (self.train, self.val, self.test)
            raise ValueError(f"each split needs at least {CLASSES} graphs, got {sizes} to train, validate and test")


def names(name: str) -> tuple[str, ...]:
    """The sets that are known by name: the usual ones, and ``name`` if it is one, such as ``spmotif-0.85``."""
    return (*USUAL, name) if _NAME.fullmatch(name) else USUAL


def load(name: str, *, split_seed: int = SEED) -> GraphData:
    """The set of the bias in its name, generated again, which takes less than a second.

    Args:
        name: ``spmotif-BIAS``, with a bias from 0 to 1.
        split_seed: of everything that is random.

    Raises:
        ValueError: a name of another form, or a bias outside [0, 1].
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(f"{name!r} is not spmotif-BIAS, such as {USUAL[-1]}")
    return generate(Recipe(bias=float(match[1]), seed=split_seed), name=name)


def generate(recipe: Recipe, *, name: str = "spmotif") -> GraphData:
    """A spurious-motif set: each graph is a base and one motif, joined by one edge; the motif is the class.

    Bases are balanced trees (branching 2 or 3, height 0 to 2; in the test split 3 to 5), ladders (8 to 11 rungs; 30 to
    49) and wheels (15 to 19 nodes; 60 to 79). ``edge_truth`` marks the motif's arcs, ``base`` is the number of the
    base of each graph (tree, ladder, wheel). Nodes are renumbered at random and edges sorted, so that position tells
    nothing. Features are those of bare TU graphs, ``1 | deg | onehot(deg)`` up to degree 10; DIR uses random numbers.

    Args:
        recipe: sizes, bias and seed.
        name: of the set.
    """
    rng = np.random.default_rng(recipe.seed)
    degrees = DegreeColumns(first=1, cap=10)
    train, val, test = (
        degrees.append(_graphs(count, bias, bases, recipe.extra, rng))
        for count, bias, bases in (
            (recipe.train, recipe.bias, _SMALL),
            (recipe.val, 1 / CLASSES, _SMALL),
            (recipe.test, 1 / CLASSES, _LARGE),
        )
    )
    achieved = float((train.graph["y"] == train.graph["base"]).double().mean())
    return GraphData(
        name=name,
        train=train,
        val=val,
        test=test,
        task="multiclass",
        metric="accuracy",
        features=train.node["x"].size(1),
        num_classes=CLASSES,
        degrees=degrees,
        provenance={
            "source": f"generated, seed {recipe.seed}, after Wu et al. (DIR, ICLR 2022)",
            "licence": "MIT",
            "split": f"bias {achieved:.3f} in training, none in validation and test; larger bases in test",
        },
    )


@dataclass(frozen=True)
class _Shapes:
    """Small graphs to build from: their edges one after the other (P, 2), and how many edges and nodes each has."""

    pairs: Ints
    edges: Ints
    nodes: Ints

    @classmethod
    def of(cls, graphs: Iterable[Edges]) -> _Shapes:
        """From lists of edges; a graph without any has one node."""
        lists = list(graphs)
        pairs = np.array([pair for edges in lists for pair in edges], dtype=np.int64)
        nodes = np.array([1 + max(map(max, edges), default=0) for edges in lists])
        return cls(pairs, np.array([len(edges) for edges in lists]), nodes)

    def take(self, index: Ints) -> tuple[Ints, Ints]:
        """The edges of the graphs of these numbers, one after the other, and the place in ``index`` they belong to."""
        count = self.edges[index]
        start = (np.cumsum(self.edges) - self.edges)[index] - (np.cumsum(count) - count)
        rows = np.repeat(start, count) + np.arange(count.sum())
        return self.pairs[rows], np.repeat(np.arange(len(index)), count)


@dataclass(frozen=True)
class _Bases:
    """The bases of one split: every tree, ladder and wheel of some sizes; kind k begins at ``first[k]``."""

    shapes: _Shapes
    first: Ints

    @classmethod
    def of(cls, heights: range, rungs: range, rims: range) -> _Bases:
        kinds = (
            [_tree(branches, height) for branches in (2, 3) for height in heights],
            list(map(_ladder, rungs)),
            list(map(_wheel, rims)),
        )
        return cls(_Shapes.of(chain(*kinds)), np.cumsum([0, *map(len, kinds)]))

    def draw(self, kind: Ints, rng: np.random.Generator) -> Ints:
        """A shape of each of these kinds."""
        return rng.integers(self.first[kind], self.first[kind + 1])


def _cycle(nodes: int) -> Edges:
    return [*pairwise(range(nodes)), (0, nodes - 1)]


def _tree(branches: int, height: int) -> Edges:
    nodes = sum(branches**level for level in range(height + 1))
    return [((node - 1) // branches, node) for node in range(1, nodes)]


def _ladder(length: int) -> Edges:
    sides = [*pairwise(range(length)), *pairwise(range(length, 2 * length))]
    return [*sides, *((rung, rung + length) for rung in range(length))]


def _wheel(nodes: int) -> Edges:
    return [*((0, node) for node in range(1, nodes)), *((u + 1, v + 1) for u, v in _cycle(nodes - 1))]


# The motif of class c. Base c goes along with it: cycle and tree, house and ladder, crane and wheel.
_CYCLE = _cycle(MOTIF_NODES)
_MOTIFS = _Shapes.of([_CYCLE, [*_CYCLE, (1, 4)], [*_CYCLE, (0, 2), (0, 3)]])

# Training and validation graphs have small bases, test graphs large ones.
_SMALL = _Bases.of(range(3), range(8, 12), range(15, 20))
_LARGE = _Bases.of(range(3, 6), range(30, 50), range(60, 80))


def _graphs(count: int, bias: float, bases: _Bases, extra: float, rng: np.random.Generator) -> PackedGraphs:
    """One split: every class equally often, and each one's share on its own base exact; in random order."""
    number = rng.permutation(count)
    label, rank = number % CLASSES, number // CLASSES  # class, and place within the class
    along = rank < np.rint(bias * np.bincount(label)[label])
    base = np.where(along, label, (label + 1 + rank % (CLASSES - 1)) % CLASSES)
    shape = bases.draw(base, rng)
    body = bases.shapes.nodes[shape]  # nodes of the base; they come first, the motif's after them
    size = body + MOTIF_NODES
    first = np.cumsum(size) - size
    pairs, graph = bases.shapes.take(shape)
    motif, owner = _MOTIFS.take(label)
    bridge = np.stack([rng.integers(body), body], axis=1)
    given = np.concatenate([pairs + first[graph, None], bridge + first[:, None]])
    truth = motif + (first + body)[owner, None]
    edges = bases.shapes.edges[shape] + 1
    wanted = np.rint(extra * (edges + _MOTIFS.edges[label])).astype(np.int64)
    free = body * (body - 1) // 2 + body * MOTIF_NODES - edges
    added = _extra(given, np.minimum(wanted, free), body, size, rng)
    return _packed(np.concatenate([truth, given, added]), len(truth), size, {"y": label, "base": base}, rng)


def _extra(given: Ints, need: Ints, body: Ints, size: Ints, rng: np.random.Generator) -> Ints:
    """``need[i]`` more edges for each graph, none of them there already or inside the motif."""
    first, total = np.cumsum(size) - size, int(size.sum())
    taken = np.sort(given, axis=1) @ [total, 1]
    added = taken[:0]
    while need.any():
        graph = np.repeat(np.arange(len(need)), need)
        ends = np.sort(rng.integers(size[graph, None], size=(len(graph), 2)), axis=1)
        key = (ends + first[graph, None]) @ [total, 1]
        fits = (ends[:, 0] < body[graph]) & (ends[:, 0] < ends[:, 1]) & ~np.isin(key, taken)
        new, where = np.unique(key[fits], return_index=True)
        need = need - np.bincount(graph[fits][where], minlength=len(need))
        taken, added = np.concatenate([taken, new]), np.concatenate([added, new])
    return np.stack([added // total, added % total], axis=1)


def _packed(pairs: Ints, true: int, size: Ints, labels: Mapping[str, Ints], rng: np.random.Generator) -> PackedGraphs:
    """Graphs of edges between all graphs' nodes, of which the first ``true`` are the motifs'; numbering shuffled."""
    owner = np.repeat(np.arange(len(size)), size)
    number = np.empty(len(owner), dtype=np.int64)
    number[np.lexsort((rng.random(len(owner)), owner))] = np.arange(len(owner))
    pairs = np.sort(number[pairs], axis=1)
    order = np.lexsort(pairs.T[::-1])
    pairs, truth = pairs[order], order < true
    graph = owner[pairs[:, 0]]
    return PackedGraphs(
        torch.from_numpy(size),
        torch.from_numpy(2 * np.bincount(graph, minlength=len(size))),
        both_ways(pairs - (np.cumsum(size) - size)[graph, None]),
        node={"x": torch.ones(len(owner), 1)},
        edge={"edge_truth": torch.from_numpy(truth).repeat_interleave(2)},
        graph={key: torch.from_numpy(values) for key, values in labels.items()},
    )
