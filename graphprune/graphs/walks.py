"""Where a node lies in its graph: its degree and how often a random walk comes back to it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphprune.graphs.pairs import arcs_and_nodes
from graphprune.graphs.scorers import arc_hashes
from graphprune.graphs.segments import graph_of_nodes, ranges

# Node attribute: walk features counted beforehand. They are believed of the very arcs that they were counted on.
RETURN_WALKS = "graphprune_walks"
# Graph attribute: what tells these arcs from others.
WALKED = "graphprune_walked"

MOST_STEPS = 128
LARGEST = 8192  # nodes of a graph, of which a handful of matrices of 512 MiB are needed at once
_AT_ONCE = 1 << 22  # entries of the matrices of a few small graphs


def counted_walks(data: Data, steps: int) -> dict[str, Tensor]:
    """Walk features and what they were counted on, as attributes that graphs can bring along."""
    return {RETURN_WALKS: walk_features(data, steps), WALKED: _arcs(data)}


def walks_of(data: Data, steps: int) -> Tensor:
    """Walk features that a graph or batch has brought along, or else counted now; as :func:`walk_features`."""
    found: Tensor | None = data.get(RETURN_WALKS)
    walked: Tensor | None = data.get(WALKED)
    if found is None or walked is None or found.shape != (data.num_nodes, steps):
        return walk_features(data, steps)
    return found if torch.equal(walked, _arcs(data)) else walk_features(data, steps)


@torch.no_grad()
def walk_features(data: Data, steps: int) -> Tensor:
    """Degrees and return probabilities of random walks, which tell rings, chains, hubs and their sizes apart.

    The random-walk encoding of Dwivedi et al. ("Graph Neural Networks with Learnable Structural and Positional
    Representations", ICLR 2022), with the degree in place of the first step, after which no walk has come back. Arcs
    count as undirected edges, several between two nodes as one, self-loops not at all.

    Args:
        data: a graph or a batch; a row depends on its own graph alone.
        steps: of the longest walk, from 2 to 128.

    Returns:
        Shape ``(N, steps)``, float32 out of double precision: log(1 + degree), then the probabilities to be back after
        2, 3, ..., ``steps`` steps (0 for a node without neighbours).

    Raises:
        ValueError: another number of steps, no ``edge_index``, or a graph too large for a matrix of all pairs of nodes.
    """
    if not 2 <= steps <= MOST_STEPS:
        raise ValueError(f"walks come back after 2 steps at the earliest, and {MOST_STEPS} are the limit, got {steps}")
    arcs, nodes = arcs_and_nodes(data)
    graph, ptr = graph_of_nodes(data, nodes, arcs.device)
    sizes = ptr.diff()
    if nodes and int(sizes.max()) > LARGEST:
        raise ValueError(
            f"graph {int(sizes.argmax())} has {int(sizes.max()):,} nodes; return probabilities need a matrix of all "
            f"pairs of nodes, for which {LARGEST:,} is the limit: use a predictor with walks=0"
        )
    out = torch.zeros(nodes, steps, device=arcs.device)
    arcs = arcs[:, arcs[0] != arcs[1]]
    order = torch.argsort(graph[arcs[0]], stable=True)
    source, target = arcs[:, order]
    arc_ptr = torch.searchsorted(graph[source], torch.arange(len(sizes) + 1, device=arcs.device))
    for members in _similar_sizes(sizes):
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
    found, power = [degree.log1p()], once
    while len(found) < steps:  # once is symmetric, and so the diagonal of a product of two powers a sum of products
        found.append((power * power).sum(-1))
        if len(found) < steps:
            longer = power @ once
            found.append((power * longer).sum(-1))
            power = longer
    return torch.stack(found, -1)


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
