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

from graphprune.checks import is_whole
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import arcs_and_nodes
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
        if not is_whole(self.walks) or not 2 <= self.walks <= MOST_STEPS:
            raise ValueError(
                f"encodings: walks must be from 2, when a walk can be back, to {MOST_STEPS} steps, got {self.walks!r}"
            )
        object.__setattr__(self, "walks", int(self.walks))

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
        return walk_features(data, self.walks, instead="take fewer steps, or no encodings")

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
        return self.checked(found, data.num_nodes or 0, f"{reader} reads encodings")

    def believed(self, graphs: Data | PackedGraphs, reader: str) -> None:
        """Make sure that graphs have encodings as they may be: of their arcs, or of more, if some were pruned.

        Raises:
            ValueError: none, others, or numbers that no graph can have, nor a single one or a batch with these arcs.
        """
        if isinstance(graphs, PackedGraphs):
            self.in_split(graphs, reader)
            degrees = degrees_in(graphs.node[ENCODINGS])
        else:
            degrees = degrees_in(self.there(graphs, reader))
        if degrees is None or (isinstance(graphs, Data) and bool((degrees < _degrees(graphs)).any())):
            raise ValueError(_foreign(reader, f"gp.AddEncodings({self})"))

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
        if not _numbers(found) or found.shape != (nodes, self.columns):
            got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"{where} ({self}) of shape ({nodes}, {self.columns}), real numbers, and the attribute {ENCODINGS!r} "
                f"is {got}"
            )
        return found  # type: ignore[no-any-return]


def degrees_in(encodings: Tensor) -> Tensor | None:
    """The degrees that encodings of shape ``(N, columns)`` tell of, int64 ``(N,)``; None: they are of no graph at all.

    Those of graphs begin with log(1 + a whole number), then come probabilities, all 0 for a node without neighbours.
    """
    precision = 8 * max(torch.finfo(dtype).eps for dtype in (encodings.dtype, torch.float32))
    found = encodings.detach().double()
    degrees = found[:, 0].expm1().round()
    whole = (found[:, 0] - degrees.log1p()).abs() <= precision * (1 + found[:, 0].abs())
    chances = (found[:, 1:] >= 0) & (found[:, 1:] <= torch.where(degrees > 0, 1 + precision, 0)[:, None])
    return degrees.long() if bool(whole.all() & chances.all() & (degrees >= 0).all()) else None


def _numbers(found: Any) -> bool:
    """Whether an attribute has the form of encodings."""
    return isinstance(found, Tensor) and found.is_floating_point() and found.dim() == 2 and found.size(1) > 1


def _degrees(data: Data) -> Tensor:
    """How many other nodes each node of a graph or batch is joined with, int64 of shape ``(N,)``."""
    arcs, nodes = arcs_and_nodes(data)
    arcs = arcs[:, arcs[0] != arcs[1]]
    joined = torch.unique(torch.cat([arcs, arcs.flip(0)], 1), dim=1)[0]
    counts: Tensor = joined.bincount(minlength=nodes)
    return counts


def _foreign(where: str, adds: str) -> str:
    return (
        f"{where}: the graphs have an attribute {ENCODINGS!r} that is not what {adds} counts, on these arcs or on "
        "more: rename it if it is another thing, delete it if arcs were added since"
    )


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

    Counted on the arcs that the graph has now, in place of others that it brings along: apply it before edges are
    pruned to have those of the full graph, which is what networks and tickets are trained with unless they say
    otherwise.

    Args:
        options: of :class:`Encodings`, such as ``walks=16``.

    Raises:
        ValueError: as :class:`Encodings`; (when called) a batch, a graph without ``edge_index``, one that would take
            too long or one whose attribute of that name is something else.
        TypeError: (when called) something that is no ``Data``.
    """

    def __init__(self, **options: int) -> None:
        self.encodings = Encodings.of(options)

    def forward(self, data: Data) -> Data:
        """The graph with the attribute; PyG's call of a transform gives a shallow copy."""
        if isinstance(data, Batch):
            raise ValueError("AddEncodings takes one graph: apply it before graphs are collated")
        data = check_unseen(data, type(self).__name__)
        own = data.get(ENCODINGS)
        if own is not None and not (_numbers(own) and len(own) == data.num_nodes and degrees_in(own) is not None):
            raise ValueError(_foreign(type(self).__name__, "it"))
        data[ENCODINGS] = self.encodings.count(data)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.encodings})"
