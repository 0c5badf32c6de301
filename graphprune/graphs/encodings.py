"""Encodings: where each node lies in its graph, as inputs for networks and predictors alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.prune import check_unseen
from graphprune.graphs.rule import EdgeRule, in_chunks
from graphprune.graphs.walks import MOST_STEPS, walk_features

K = TypeVar("K")

ENCODINGS = "encodings"  # node attribute, float32 of shape (N, columns)


@dataclass(frozen=True)
class Encodings:
    """What is counted of each node's place in its graph.

    Args:
        walks: log(1 + degree), and the probabilities that a random walk is back after 2, 3, ..., this many steps
            (Dwivedi et al., ICLR 2022; see :func:`~graphprune.graphs.walks.walk_features`), from 2 to 128.

    Raises:
        ValueError: a number of steps out of range.
    """

    walks: int

    def __post_init__(self) -> None:
        if type(self.walks) is not int or not 2 <= self.walks <= MOST_STEPS:
            raise ValueError(
                f"encodings: walks must be from 2, when a walk can be back, to {MOST_STEPS} steps, got {self.walks!r}"
            )

    @classmethod
    def of(cls, given: Encodings | Mapping[str, Any]) -> Self:
        """From plain data, or what it is already.

        Raises:
            ValueError: other words or values; the text says what is expected.
        """
        if isinstance(given, cls):
            return given
        try:
            return cls(**given)  # type: ignore[arg-type]
        except TypeError:
            raise ValueError(f"encodings are gp.Encodings or a mapping such as {{walks: 16}}, got {given!r}") from None

    def config(self) -> dict[str, int]:
        """Plain data that it can be made from."""
        return asdict(self)

    @property
    def columns(self) -> int:
        """Numbers a node."""
        return self.walks

    @property
    def words(self) -> str:
        """For the provenance of a data set."""
        return f"degree and return probabilities of random walks of 2 to {self.walks} steps ({self})"

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())

    def count(self, data: Data) -> Tensor:
        """Of a graph or batch on the arcs that it has now: float32, ``(N, columns)``; a row knows its graph alone.

        Raises:
            ValueError: no ``edge_index``, or a graph that would take too long.
        """
        return walk_features(data, self.walks)

    def counted(self, graphs: PackedGraphs) -> PackedGraphs:
        """These graphs with the attribute, counted on the arcs that they have now; raises as :meth:`count`."""
        parts = [self.count(batch) for batch in in_chunks(graphs, EdgeRule())]
        return graphs.with_node(**{ENCODINGS: torch.cat(parts) if parts else torch.zeros(0, self.columns)})

    def there(self, data: Data, reader: str) -> Tensor:
        """The attribute of a graph or batch, which ``reader`` needs.

        Raises:
            ValueError: it is not there, or of another shape or dtype; the text has the line that adds it.
        """
        found = data.get(ENCODINGS)
        if found is None:
            raise ValueError(
                f"{reader} reads encodings, and the graphs have no attribute {ENCODINGS!r}: count them on the full "
                f"graphs, graph = gp.AddEncodings({self})(graph), or of a set, data = data.with_encodings({self})"
            )
        return self.checked(found, int(data.num_nodes or 0), f"{reader} reads encodings")

    def in_split(self, graphs: PackedGraphs, where: str) -> None:
        """Raise ValueError, beginning with ``where``, for graphs without the attribute."""
        self.checked(graphs.node.get(ENCODINGS), graphs.num_nodes, f"{where}: the set has encodings")

    def check_free(self, graphs: PackedGraphs, where: str) -> None:
        """Raise ValueError, beginning with ``where``, for graphs whose attribute of this name is something else."""
        own = {**graphs.graph, **graphs.objects, **graphs.node}.get(ENCODINGS)
        if own is None:
            return
        if (
            not isinstance(own, Tensor)
            or own.shape != (graphs.num_nodes, self.columns)
            or not torch.allclose(own.float(), self.counted(graphs).node[ENCODINGS], atol=1e-5)
        ):
            raise ValueError(
                f"{where}: the graphs have an attribute {ENCODINGS!r} that is not what gp.AddEncodings({self}) counts: "
                "rename it"
            )

    def checked(self, found: Any, nodes: int, where: str) -> Tensor:
        """What graphs of so many nodes bring along; raises ValueError, beginning with ``where``, if it is no such."""
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape != (nodes, self.columns):
            got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"{where} ({self}) of shape ({nodes}, {self.columns}), real numbers, and the attribute {ENCODINGS!r} "
                f"is {got}"
            )
        return found


def rounded(splits: Mapping[K, PackedGraphs]) -> dict[K, PackedGraphs]:
    """Graphs whose encodings are the same wherever they agree up to their last bits, for a digest of them.

    They are whole numbers whose steps begin beside the fractions that probabilities are, so that no last bit decides.
    """
    return {
        split: graphs.with_node(**{ENCODINGS: (graphs.node[ENCODINGS].double() * 1024 + math.pi / 8).floor().float()})
        for split, graphs in splits.items()
    }


class AddEncodings(BaseTransform):  # type: ignore[misc]
    """A PyG transform that gives a graph its node attribute ``encodings``, as ``data.with_encodings`` does a set.

    Counted on the arcs that the graph has now, in place of any that it brings along: apply it before edges are pruned
    to have those of the full graph, which is what networks and tickets are trained with unless they say otherwise.

    Args:
        options: of :class:`Encodings`, such as ``walks=16``.

    Raises:
        ValueError: as :class:`Encodings`; (when called) a batch, a graph without ``edge_index`` or one that would take
            too long.
        TypeError: (when called) something that is no ``Data``.
    """

    def __init__(self, **options: int) -> None:
        self.encodings = Encodings.of(options)

    def forward(self, data: Data) -> Data:
        """The graph with the attribute; PyG's call of a transform gives a shallow copy."""
        if isinstance(data, Batch):
            raise ValueError("AddEncodings takes one graph: apply it before graphs are collated")
        check_unseen(data, type(self).__name__)
        data[ENCODINGS] = self.encodings.count(data)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.encodings})"
