"""Where NetworKit is installed (it is not required): its own implementations of the same rules."""

import networkx as nx
import pytest
import torch

from graphprune.graphs.sparsifiers import EffectiveResistance, ForestFire, LocalDegree, ScanSimilarity
from tests.graphs.test_sparsifiers import both_ways

networkit = pytest.importorskip("networkit", reason="NetworKit is not installed")


@pytest.fixture
def graphs():
    """A graph as ours and as NetworKit's, edges in the same order."""
    graph = nx.barabasi_albert_graph(80, 4, seed=2)
    theirs = networkit.Graph(80)
    for u, v in graph.edges:
        theirs.addEdge(u, v)
    theirs.indexEdges()
    return graph, both_ways(graph), theirs


def in_our_order(graph, theirs, scores):
    return torch.tensor([scores[theirs.edgeId(u, v)] for u, v in graph.edges], dtype=torch.float64)


def run(algorithm):
    algorithm.run()
    return algorithm.scores()


def test_scan(graphs):
    """NetworKit counts one of the two ends to what closed neighbourhoods share; Xu et al. count both."""
    graph, data, theirs = graphs
    triangles = run(networkit.sparsification.TriangleEdgeScore(theirs))
    found = in_our_order(graph, theirs, run(networkit.sparsification.SCANStructuralSimilarityScore(theirs, triangles)))
    sizes = torch.tensor([(graph.degree[u] + 1) * (graph.degree[v] + 1) for u, v in graph.edges]).double().sqrt()
    assert (ScanSimilarity()(data)[::2] - 1 / sizes).tolist() == pytest.approx(found.tolist())


def test_effective_resistance(graphs):
    graph, data, theirs = graphs
    found = in_our_order(graph, theirs, run(networkit.centrality.SpanningEdgeCentrality(theirs)))
    assert EffectiveResistance()(data)[::2].tolist() == pytest.approx(found.tolist(), abs=1e-5)


def test_local_degree(graphs):
    """Neighbours of equal degree share a rank with us, NetworKit ranks them in some order: never better."""
    graph, data, theirs = graphs
    found = in_our_order(graph, theirs, run(networkit.sparsification.LocalDegreeScore(theirs)))
    ours = LocalDegree()(data)[::2]
    assert bool((ours >= found - 1e-9).all()) and float((ours - found).abs().median()) < 0.05


def test_forest_fire(graphs):
    """Edges burn in the same proportions; NetworKit divides by the highest count, and a first node may burn again."""
    graph, data, theirs = graphs
    rounds = 200
    ours = torch.stack([ForestFire(seed)(data)[::2].floor() for seed in range(rounds)]).mean(0)
    runs = [run(networkit.sparsification.ForestFireScore(theirs, 0.6, 5.0)) for _ in range(rounds)]
    found = torch.stack([in_our_order(graph, theirs, scores) for scores in runs]).mean(0)
    ours, found = ours / ours.mean(), found / found.mean()
    assert torch.corrcoef(torch.stack([ours, found]))[0, 1] > 0.95
    assert float((ours - found).abs().mean()) < 0.1
