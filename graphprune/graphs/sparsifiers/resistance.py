"""Effective resistance: how much of an edge's current finds no other way. Exact on small graphs, sketched on large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from graphprune.checks import whole
from graphprune.graphs.scorers import mix
from graphprune.graphs.segments import pointers
from graphprune.graphs.sparsifiers.simple import SimpleGraph, StructureScorer

_ENTRIES = 1 << 22  # numbers in the matrices inverted at once: bounds the memory, does not change a result
_COLUMNS = 16  # projections solved for at once
_TOLERANCE = 1e-6  # of the residual; far below what projections miss
_SPAN = 1e12  # of the weights of a component: beyond, double precision does not hold them together


class EffectiveResistance(StructureScorer):
    """Edges of high effective resistance stay: those that few other paths run beside (Spielman & Srivastava, 2011).

    Every edge is a resistor of 1 ohm. A bridge scores 1; an edge that lies on many short cycles scores little. The
    scores of a connected component add up to its nodes minus one. Trees that hang off the cycles are cut off first:
    their edges are bridges and change no other resistance. With weights an edge is a conductor of its weight, so that
    copies are parallel, and scores the resistance times its weight, by which the authors sample: the share of current
    that takes the edge itself, the probability that a random spanning tree has it. A bridge scores 1 again.

    Args:
        seed: of the projections.
        exact_nodes: connected components (without hanging trees) of at most so many nodes are solved exactly, by a
            dense inverse; a few matrices of ``exact_nodes**2`` numbers of 8 bytes are held for that.
        projections: random projections for larger ones. The estimates are unbiased with a relative standard error of at
            most ``sqrt(2 / projections)``, 8.8 % with 256; they are then cut to the bounds that the degrees of both
            ends give, which can only take them nearer to the truth.

    Raises:
        ValueError: fewer than one projection, ``exact_nodes`` below 0, or an argument that is no whole number; in use,
            weights of one component that differ by more than 12 orders of magnitude, which double precision does not
            hold together.
    """

    reads_weights = True

    def __init__(self, seed: int = 0, exact_nodes: int = 2000, projections: int = 256) -> None:
        super().__init__()
        self.seed, self.exact_nodes = whole("seed", seed), whole("exact_nodes", exact_nodes, 0)
        self.projections = whole("projections", projections, 1)

    def score(self, graph: SimpleGraph) -> Tensor:
        """The effective resistance between the ends of each edge times its weight, in (0, 1]."""
        resistance = torch.ones(graph.ends.size(1), dtype=torch.float64, device=graph.ends.device)
        cyclic = _core(graph).nonzero().flatten()
        bits = graph.bits(graph.ends, self.seed)[cyclic]
        for part in _parts(graph.ends[:, cyclic], graph.weight[cyclic], self.exact_nodes):
            exact = part.size <= self.exact_nodes
            solved = part.exact() if exact else part.sketched(bits[part.edges], self.projections)
            resistance[cyclic[part.edges]] = solved
        # Were all other nodes one, the current beside the edge would find this conductance; it finds no more than that.
        others = (graph.strength[graph.ends] / graph.weight - 1).clamp(min=0)
        beside = others.prod(0) / others.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
        return resistance.clamp(max=1).maximum(1 / (1 + beside))


def _core(graph: SimpleGraph) -> Tensor:
    """Which edges are left when leaves are cut off again and again (the 2-core), bool of shape ``(P,)``."""
    ends, degree = graph.ends, graph.degree.clone()
    number = torch.arange(ends.size(1), device=ends.device)
    left = torch.ones_like(number, dtype=torch.bool)
    # The sum of the numbers of a node's edges is the number of its only edge once it has become a leaf.
    total = torch.zeros_like(degree).index_add_(0, ends.flatten(), number.repeat(2))
    leaves = (degree == 1).nonzero().flatten()
    while leaves.numel():
        cut = total[leaves].unique()
        left[cut] = False
        both = ends[:, cut].flatten()
        degree.index_add_(0, both, torch.full_like(both, -1))
        total.index_add_(0, both, -cut.repeat(2))
        leaves = both[degree[both] == 1].unique()
    return left


@dataclass(frozen=True)
class _Part:
    """Some connected components that are solved together.

    Attributes:
        edges: which of the edges these are, shape ``(K,)``.
        component: of each edge, from 0, shape ``(K,)``.
        ends: of each edge, as numbers within its component, shape ``(2, K)``.
        weight: of each edge, over the mean of its component, shape ``(K,)``.
        sizes: nodes of each component, shape ``(C,)``.
    """

    edges: Tensor
    component: Tensor
    ends: Tensor
    weight: Tensor
    sizes: Tensor

    @property
    def size(self) -> int:
        """Nodes of the largest component."""
        return int(self.sizes.max())

    def exact(self) -> Tensor:
        """Resistances by inverse Laplacians, all components in one batch of padded matrices."""
        which, (u, v) = self.component, self.ends
        matrix = torch.zeros(len(self.sizes), self.size, self.size, dtype=torch.float64, device=u.device)
        matrix[which, u, v] = matrix[which, v, u] = -self.weight
        diagonal = matrix.diagonal(dim1=1, dim2=2)
        diagonal -= matrix.sum(2)
        # A constant on every entry makes the Laplacian of a component regular, and cancels in the difference below.
        inside = torch.arange(self.size, device=u.device) < self.sizes[:, None]
        matrix += (inside[:, :, None] & inside[:, None, :]) / self.sizes[:, None, None]
        diagonal += ~inside
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        own = inverse.diagonal(dim1=1, dim2=2)
        return (own[which, u] + own[which, v] - 2 * inverse[which, u, v]) * self.weight

    def sketched(self, bits: Tensor, projections: int) -> Tensor:
        """Estimates of one component: squared differences of potentials under currents of random signs an edge."""
        (u, v), weight, size, device = self.ends.cpu(), self.weight.cpu(), self.size, bits.device
        edge, root = torch.arange(u.numel()), weight.sqrt()
        entries = torch.cat([root, -root]).numpy(), (edge.repeat(2).numpy(), torch.cat([u, v]).numpy())
        incidence = coo_array(entries, (u.numel(), size)).tocsr()
        laplacian = (incidence.T @ incidence).tocsr()
        inverse_degree = 1 / laplacian.diagonal()[:, None]
        total = torch.zeros_like(weight)
        for block, start in enumerate(range(0, projections, _COLUMNS)):
            columns = min(_COLUMNS, projections - start)
            draw = (mix(bits.cpu() + block)[:, None] >> torch.arange(columns)) & 1
            current = incidence.T @ (2.0 * draw.numpy() - 1)
            # All columns are one system of equations, so that a product serves them together.
            shape = (size * columns, size * columns)
            flow = LinearOperator(shape, lambda x: (laplacian @ x.reshape(size, -1)).ravel(), dtype=float)
            scale = LinearOperator(shape, lambda x: (inverse_degree * x.reshape(size, -1)).ravel(), dtype=float)
            solution, failed = cg(flow, current.ravel(), rtol=_TOLERANCE, maxiter=10 * size, M=scale)
            if failed:
                raise RuntimeError(
                    f"effective resistances of a component of {size} nodes did not converge; raise exact_nodes"
                )
            potential = torch.from_numpy(solution).view(size, -1)
            total += (potential[u] - potential[v]).square().sum(1)
        return (total * weight / projections).to(device)


def _parts(ends: Tensor, weight: Tensor, exact_nodes: int) -> Iterator[_Part]:
    """Connected components, the largest first: large ones one by one, smaller ones of similar size together."""
    if ends.size(1) == 0:
        return
    node, local = torch.unique(ends, return_inverse=True)
    low, high = local.cpu().numpy()
    links = coo_array((torch.ones(len(low)).numpy(), (low, high)), (node.numel(), node.numel()))
    of_node = torch.from_numpy(connected_components(links, directed=False)[1]).long().to(ends.device)
    sizes, by_size = torch.sort(torch.bincount(of_node), descending=True, stable=True)
    of_node = torch.argsort(by_size)[of_node]  # components numbered from the largest
    in_component = torch.argsort(of_node, stable=True)
    within = torch.empty_like(of_node)
    within[in_component] = torch.arange(node.numel(), device=ends.device) - pointers(sizes)[of_node[in_component]]
    of_edge, by_component = torch.sort(of_node[local[0]], stable=True)
    count = torch.bincount(of_edge)
    weight = weight[by_component] * (count / torch.bincount(of_edge, weight[by_component]))[of_edge]
    least, most = (
        torch.ones_like(count, dtype=weight.dtype).scatter_reduce(0, of_edge, weight, how, include_self=False)
        for how in ("amin", "amax")
    )
    if bool((most > _SPAN * least).any()):
        raise ValueError(
            f"EffectiveResistance: edge_weight differs by a factor of {float((most / least).max()):.0e} within a "
            f"connected component, and {_SPAN:.0e} is the limit: remove the lightest arcs, or cut the heaviest weights"
        )
    start, first_edge = 0, pointers(count).tolist()
    while start < sizes.numel():
        size = int(sizes[start])
        together = 1 if size > exact_nodes else max(1, _ENTRIES // size**2)
        stop = min(start + together, sizes.numel())
        rows = slice(first_edge[start], first_edge[stop])
        edges = by_component[rows]
        yield _Part(edges, of_edge[rows] - start, within[local[:, edges]], weight[rows], sizes[start:stop])
        start = stop
