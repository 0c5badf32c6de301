"""Where a node lies in its graph: its degree and how often a random walk comes back to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch_geometric.data import Data

from graphprune.graphs.pairs import arcs_and_nodes
from graphprune.graphs.scorers import arc_hashes
from graphprune.graphs.segments import graph_of_nodes, pointers, ranges
from graphprune.graphs.sums import bags

# Node attribute: walk features counted beforehand. They are believed of the very arcs that they were counted on.
RETURN_WALKS = "graphprune_walks"
# Graph attribute: what tells these arcs from others.
WALKED = "graphprune_walked"

M = TypeVar("M", Tensor, csr_array)

MOST_STEPS = 128
LARGEST = 8192  # nodes of a graph that is walked whatever it takes: as a matrix, a handful of 512 MiB at once
MOST_PRODUCTS = 1 << 36  # of a larger graph: a minute or two of one CPU
_SMALL = 128  # nodes of a graph that is a matrix at any rate
_FASTER = 8  # by so much a product of dense matrices is faster than one by the arcs, multiplication by multiplication
_COLUMNS = 64  # nodes whose walks are followed together along the arcs
_INSTEAD = "take fewer steps, or none (walks=0)"  # of predictors, whose option it is
_FEW = 1 << 22  # walks of half the steps, of graphs that are sparse matrices
_AT_ONCE = 1 << 22  # entries of the matrices of a few small graphs


def counted_walks(data: Data, steps: int) -> dict[str, Tensor]:
    """Walk features and what they were counted on, as attributes that graphs can bring along."""
    return {RETURN_WALKS: walk_features(data, steps, instead=_INSTEAD), WALKED: _arcs(data)}


def walks_of(data: Data, steps: int) -> Tensor:
    """Walk features that a graph or batch has brought along, or else counted now; as :func:`walk_features`."""
    found: Tensor | None = data.get(RETURN_WALKS)
    walked: Tensor | None = data.get(WALKED)
    if found is None or walked is None or found.shape != (data.num_nodes, steps) or not walked.equal(_arcs(data)):
        return walk_features(data, steps, instead=_INSTEAD)
    return found


@torch.no_grad()
def walk_features(data: Data, steps: int, *, instead: str = "take fewer steps") -> Tensor:
    """Degrees and return probabilities of random walks, which tell rings, chains, hubs and their sizes apart.

    The random-walk encoding of Dwivedi et al. ("Graph Neural Networks with Learnable Structural and Positional
    Representations", ICLR 2022), with the degree in place of the first step, after which no walk has come back. Arcs
    count as undirected edges, several between two nodes as one, self-loops not at all.

    Exact, and so the more work the larger a graph is. Where few walks of half the steps begin at a node, as in
    molecules at up to 8 steps, graphs of any size are sparse matrices. Else those of up to 128 nodes, and dense ones of
    up to 8,192, are matrices of all pairs of nodes, 8 bytes each, many small ones at once; of others the walks from 64
    nodes at a time are followed along the arcs, which takes nodes times arcs (both directions of an edge) times
    ``steps / 2`` products, half a nanosecond to two each, and 1.5 KiB of memory a node. Above 8,192 nodes 2^36 products
    are the limit, and what needs more is refused: at 16 steps 10^4 nodes with 10^5 arcs take 5 seconds, 10^5 nodes with
    10^6 arcs are too many.

    Args:
        data: a graph or a batch; a row depends on its own graph alone.
        steps: of the longest walk, from 2 to 128.
        instead: what a caller may do where that takes too long, the end of the error's sentence.

    Returns:
        Shape ``(N, steps)``, float32 out of double precision: log(1 + degree), then the probabilities to be back after
        2, 3, ..., ``steps`` steps (0 for a node without neighbours).

    Raises:
        ValueError: another number of steps, no ``edge_index``, or a graph that would take too long.
    """
    if not 2 <= steps <= MOST_STEPS:
        raise ValueError(f"walks come back after 2 steps at the earliest, and {MOST_STEPS} are the limit, got {steps}")
    arcs, nodes = arcs_and_nodes(data)
    graph, ptr = graph_of_nodes(data, nodes, arcs.device)
    sizes = ptr.diff()
    out = torch.zeros(nodes, steps, device=arcs.device)
    arcs = arcs[:, arcs[0] != arcs[1]]
    order = torch.argsort(graph[arcs[0]], stable=True)
    source, target = arcs[:, order]
    arc_ptr = torch.searchsorted(graph[source], torch.arange(len(sizes) + 1, device=arcs.device))
    work = _walked(arcs, graph, len(sizes), (steps + 1) // 2)
    few = (work <= 2 * sizes * sizes * ((steps + 1) // 2)) & (work <= _FEW) & (arcs.device.type == "cpu")
    for members in _split(few, work):
        mine = ranges(arc_ptr[members], arc_ptr[members + 1] - arc_ptr[members])
        shift = torch.zeros_like(sizes).index_copy_(0, members, pointers(sizes[members])[:-1] - ptr[members])
        local = torch.stack([source, target])[:, mine] + shift[graph[source[mine]]]
        rows = ranges(ptr[members], sizes[members])
        out[rows] = _walks_by_rows(local, len(rows), steps).float()
    sizes = sizes.masked_fill(few, 0)
    along = (sizes > _SMALL) & ((sizes > LARGEST) | (sizes * sizes > _FASTER * arc_ptr.diff()))
    for number in along.nonzero().flatten().tolist():
        local = torch.stack([source, target])[:, arc_ptr[number] : arc_ptr[number + 1]] - ptr[number]
        joined, found = _walks_along(local, steps, instead)
        out[ptr[number] + joined] = found.float()
    for members in _similar_sizes(sizes.masked_fill(along, 0)):
        width, count = int(sizes[members].max()), len(members)
        place = torch.full((len(sizes),), -1, device=arcs.device)
        place[members] = torch.arange(count, device=arcs.device)
        mine = ranges(arc_ptr[members], arc_ptr[members + 1] - arc_ptr[members])
        adjacency = torch.zeros(count, width, width, dtype=torch.float64, device=arcs.device)
        row, first = place[graph[source[mine]]], ptr[graph[source[mine]]]
        adjacency[row, source[mine] - first, target[mine] - first] = 1
        adjacency[row, target[mine] - first, source[mine] - first] = 1
        column = torch.arange(width, device=arcs.device)
        inside = column < sizes[members][:, None]
        out[(ptr[members][:, None] + column)[inside]] = _walks(adjacency, steps)[inside].float()
    return out


def _walked(arcs: Tensor, graph: Tensor, graphs: int, steps: int) -> Tensor:
    """About how many walks of up to so many steps there are in each graph: products to follow them all."""
    degree = torch.bincount(arcs.flatten(), minlength=graph.numel()).double() / 2
    once, twice = (torch.bincount(graph, each, minlength=graphs) for each in (degree, degree * degree))
    longer = twice / once.clamp(min=1)
    return sum((once * longer**step for step in range(steps)), start=torch.zeros_like(once))


def _split(few: Tensor, work: Tensor) -> Sequence[Tensor]:
    """Numbers of the graphs that are marked, in parts that bound the memory."""
    members = few.nonzero().squeeze(1)
    part = (work[members].cumsum(0) / _FEW).long()
    parts: Sequence[Tensor] = members.split(torch.unique_consecutive(part, return_counts=True)[1].tolist())
    return parts


def _walks_by_rows(arcs: Tensor, nodes: int, steps: int) -> Tensor:
    """Of each node, ``(nodes, steps)``, by products of sparse matrices: few nodes lie within half of the steps."""
    (source, target), ones = arcs.numpy(), np.ones(2 * arcs.size(1))
    ends = np.concatenate([source, target]), np.concatenate([target, source])
    once = csr_array((ones, ends), shape=(nodes, nodes))
    once.sum_duplicates()
    degree = np.diff(once.indptr)
    scale = 1 / np.sqrt(degree.clip(min=1))
    once.data = np.repeat(scale, degree) * scale[once.indices]
    back = _back(once, lambda power: power @ once, steps, 1)
    return torch.from_numpy(np.stack([np.log1p(degree), *back], 1))


def _arcs(data: Data) -> Tensor:
    """64 bits of the arcs of each graph, whatever their order, shape ``(B,)``."""
    arcs, nodes = arcs_and_nodes(data)
    graph, ptr = graph_of_nodes(data, nodes, arcs.device)
    return arc_hashes(arcs, graph, ptr)[1]


def _walks(adjacency: Tensor, steps: int) -> Tensor:
    """Of each node of several graphs, ``(B, n, n)`` to ``(B, n, steps)``."""
    degree = adjacency.sum(-1)
    scale = degree.clamp(min=1).rsqrt()
    once = (
        adjacency * scale[:, :, None] * scale[:, None, :]
    )  # similar to the walk's matrix: the same diagonals of powers
    return torch.stack([degree.log1p(), *_back(once, lambda power: power @ once, steps, -1)], -1)


def _back(power: M, further: Callable[[M], M], steps: int, dim: int) -> Iterator[M]:
    """How likely walks are back after 2, 3, ..., ``steps`` steps.

    The matrix of one step is symmetric, and so the diagonal of a product of two powers a sum of products.

    Args:
        power: one step, all or some columns of the matrix.
        further: one step more.
        steps: of the longest walk.
        dim: that is summed over.
    """
    for step in range(2, steps + 1, 2):
        yield (power * power).sum(dim)
        if step < steps:
            longer = further(power)
            yield (power * longer).sum(dim)
            power = longer


def _walks_along(arcs: Tensor, steps: int, instead: str) -> tuple[Tensor, Tensor]:
    """The nodes of a graph that have neighbours, ``(n,)``, and what :func:`_walks` says of them, ``(n, steps)``.

    Raises:
        ValueError: it would take too long.
    """
    joined, ends = torch.unique(arcs, return_inverse=True)
    nodes = len(joined)
    places = torch.unique(torch.cat([ends[0] * nodes + ends[1], ends[1] * nodes + ends[0]]))
    products = nodes * len(places) * (steps // 2)
    if nodes > LARGEST and products > MOST_PRODUCTS:
        raise ValueError(
            f"a graph has {nodes:,} nodes with neighbours and {len(places):,} arcs; return probabilities of "
            f"{steps} steps would take {products:.1e} products, {MOST_PRODUCTS:.1e} are the limit above {LARGEST:,} "
            f"nodes: {instead}"
        )
    row, column = places // max(nodes, 1), places % max(nodes, 1)
    degree = torch.bincount(row, minlength=nodes)
    scale = degree.double().rsqrt()
    ptr, weight = pointers(degree), scale[row] * scale[column]
    found = scale.new_zeros(nodes, steps)
    found[:, 0] = degree.double().log1p()
    for first in range(0, nodes, _COLUMNS):
        these = torch.arange(first, min(first + _COLUMNS, nodes), device=arcs.device)
        power = scale.new_zeros(nodes, len(these))
        power[these, these - first] = 1
        power = bags(column, power, ptr, weight)
        back = _back(power, lambda power: bags(column, power, ptr, weight), steps, 0)
        found[these, 1:] = torch.stack(list(back), -1)
    return joined, found


def _similar_sizes(sizes: Tensor) -> Iterator[Tensor]:
    """Numbers of the graphs that have nodes, in groups of similar size that bound the memory."""
    order = torch.argsort(sizes)
    order = order[sizes[order] > 0]
    start, widths = 0, sizes[order].tolist()
    while start < len(widths):
        stop, limit = start + 1, max(8, widths[start] * 3 // 2)
        while stop < len(widths) and widths[stop] <= limit and (stop + 1 - start) * widths[stop] ** 2 <= _AT_ONCE:
            stop += 1
        yield order[start:stop]
        start = stop
