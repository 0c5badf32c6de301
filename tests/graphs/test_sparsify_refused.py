"""What `Sparsify` cannot do is refused in words, and graphs with nothing to thin are thinned to themselves."""

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data, HeteroData

from graphprune import Sparsify
from graphprune.graphs import RandomEdges
from graphprune.graphs.sparsifiers import EffectiveResistance, ForestFire, GreedySpanner, KNeighbour, SpanningForest
from tests.graphs.samples import RULES, Given, random_graph


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "give one budget of keep, edges, mean_degree, threshold, got none"),
        ({"keep": 0.5, "edges": 3}, "got keep and edges"),
        ({"keep": 1.01}, "keep must be a share from 0 to 1, got 1.01"),
        ({"keep": -0.1}, "keep must be a share"),
        ({"keep": float("nan")}, "keep must be a share"),
        ({"keep": True}, "keep must be a share from 0 to 1, got True"),
        ({"keep": "half"}, "keep must be a share from 0 to 1, got 'half'"),
        ({"edges": 2.0}, "edges must be a whole number of edges, 0 or more, got 2.0"),
        ({"edges": -1}, "edges must be a whole number"),
        ({"mean_degree": -1}, "mean_degree must be a number of neighbours"),
        ({"mean_degree": float("inf")}, "mean_degree must be a number of neighbours"),
        ({"threshold": float("nan")}, "threshold must be a number, got nan"),
        ({"keep": 0.5, "scope": "batch"}, "scope must be 'graph' or 'all', got 'batch'"),
        ({"keep": 0.5, "unit": "edge"}, r"unit must be one of \('pair', 'arc'\), got 'edge'"),
        ({"keep": 0.5, "min_degree": -1}, "min_degree must be a whole number"),
        ({"keep": 0.5, "connected": 1}, "connected must be True or False"),
        ({"keep": 0.5, "seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"keep": 0.5, "seed": "x"}, "seed must be a whole number, got 'x'"),
        ({"keep": 0.5, "seed": True}, "seed must be a whole number, got True"),
        ({"edges": np.float64(2)}, "edges must be a whole number of edges"),
        ({"edges": np.bool_(True)}, "edges must be a whole number of edges"),
        ({"keep": np.float32(1.5)}, "keep must be a share"),
    ],
)
def test_options_that_are_none(options, text):
    with pytest.raises(ValueError, match=text):
        Sparsify("random", **options)


def test_numbers_of_numpy_are_numbers():
    graph = random_graph(0)
    for options, plain in (
        ({"edges": np.int64(5)}, {"edges": 5}),
        ({"keep": np.float32(0.5)}, {"keep": 0.5}),
        ({"mean_degree": np.float64(1.5)}, {"mean_degree": 1.5}),
        ({"mean_degree": np.int32(1)}, {"mean_degree": 1}),
        ({"threshold": np.float16(0.25), "seed": np.int64(3)}, {"threshold": 0.25, "seed": 3}),
    ):
        thin, other = Sparsify("random", **options), Sparsify("random", **plain)
        assert repr(thin) == repr(other) and torch.equal(thin(graph).edge_index, other(graph).edge_index)


@pytest.mark.parametrize(
    ("scorer", "argument", "least"),
    [
        *((kind, "seed", None) for kind in (RandomEdges, EffectiveResistance, ForestFire, GreedySpanner)),
        *((kind, "seed", None) for kind in (SpanningForest, KNeighbour)),
        (GreedySpanner, "stretch", 1),
        (EffectiveResistance, "projections", 1),
        (EffectiveResistance, "exact_nodes", 0),
    ],
)
def test_arguments_of_scorers_that_are_no_whole_numbers(scorer, argument, least):
    for wrong in (2.5, True, "2", None, 2.0) + (() if least is None else (least - 1,)):
        with pytest.raises(ValueError, match=f"^{argument} must be a whole number.*, got {wrong!r}$"):
            scorer(**{argument: wrong})
    assert type(scorer(**{argument: np.int64(7)}).config()[argument]) is int


def test_unknown_scorers():
    with pytest.raises(ValueError, match=r"got 'efective-resistance'; did you mean effective-resistance\?"):
        Sparsify("efective-resistance", keep=0.5)
    for scorer in (None, 3, RandomEdges, object()):
        with pytest.raises(TypeError, match=r"scorer must be a name, a module from a batch .*, or a Ticket"):
            Sparsify(scorer, keep=0.5)


def bipartite():
    class Bipartite(Data):
        def __inc__(self, key, value, *args):
            sizes = torch.tensor([[3], [2]])
            return sizes if key == "edge_index" else super().__inc__(key, value, *args)

    return Bipartite(edge_index=torch.tensor([[0, 1, 2], [1, 0, 1]]), num_nodes=5)


EMPTY = torch.zeros(2, 0, dtype=torch.int64)
HETERO = HeteroData({"atom": {"x": torch.zeros(2, 1)}})
RING = torch.tensor([[0, 1, 2], [1, 2, 0]])


@pytest.mark.parametrize(
    ("graph", "kind", "text"),
    [
        (HETERO, TypeError, "a HeteroData, expected a torch_geometric.data.Data"),
        (bipartite(), ValueError, "graph .*is bipartite, its arcs join nodes of two kinds"),
        (Data(x=(torch.zeros(3, 1), torch.zeros(2, 1)), edge_index=RING), ValueError, "is bipartite"),
        (Data(edge_index=RING), ValueError, "does not say how many nodes it has: give it num_nodes"),
        (Data(x=torch.zeros(3, 1)), ValueError, "no edge_index"),
        (Data(edge_index=RING, num_nodes=2), ValueError, "points outside"),
        (
            Data(edge_index=RING, num_nodes=3, edge_weight=torch.tensor([1, -1, 1.0])),
            ValueError,
            "arc 1: edge_weight is -1, expected 0 or",
        ),
        (Data(edge_index=RING, num_nodes=3, edge_weight=torch.tensor([1, float("nan"), 1])), ValueError, "arc 1"),
        (Data(edge_index=RING, num_nodes=3, edge_protected=torch.ones(3)), ValueError, "must be bool of shape"),
        (
            Data(edge_index=RING, num_nodes=4, strength=torch.ones(3)),
            ValueError,
            "'strength' has .*'edge' in it",
        ),
    ],
)
def test_graphs_that_cannot_be_thinned(graph, kind, text):
    thin = Sparsify("random", keep=0.5)
    with pytest.raises(kind, match=text):
        thin(graph)
    with pytest.raises(kind, match=text):
        thin.prune([graph])
    if "strength" not in graph:  # which nothing is cut from where edges are counted
        with pytest.raises(kind, match=text):
            thin.counts(graph)


def test_graphs_in_the_wrong_place():
    thin, graph = Sparsify("random", keep=0.5), random_graph(0)
    batch = Batch.from_data_list([graph, graph])
    with pytest.raises(ValueError, match="prune graphs before they are collated: Sparsify takes one Data"):
        thin(batch)
    with pytest.raises(TypeError, match="prune and mask take a list of graphs"):
        thin.prune(graph)
    with pytest.raises(TypeError, match="graph 1 is a HeteroData"):
        thin.prune([graph, HETERO])
    with pytest.raises(ValueError, match="cannot pack an empty sequence of graphs"):
        thin.prune([])


def test_marks_that_are_none():
    graph = random_graph(0)
    for wrong in (graph.edge_attr, torch.ones(graph.num_edges), torch.ones(graph.num_edges - 1, dtype=torch.bool)):
        graph.edge_must = wrong
        with pytest.raises(ValueError, match=r"edge_must must be bool of shape \(\d+,\), True where an arc stays"):
            Sparsify("random", keep=0.5, protect="edge_must")(graph)
    with pytest.raises(ValueError, match="protect='edge_most': the graphs have no edge attribute of that name"):
        Sparsify("random", keep=0.5, protect="edge_most")(graph)
    with pytest.raises(ValueError, match="protect='edge_most': the graphs have no"):
        Sparsify("random", keep=0.5, protect="edge_most").prune([random_graph(0)])


def test_scores_that_are_none():
    graph = random_graph(0)
    graph.edge_score = torch.full((graph.num_edges,), float("nan"))
    with pytest.raises(ValueError, match="graph 0: Given scores an edge NaN"):
        Sparsify(Given(), keep=0.5, connected=True)(graph)
    graph.edge_score = torch.zeros(graph.num_edges, 2)
    with pytest.raises(ValueError, match="Given gives scores of shape"):
        Sparsify(Given(), keep=0.5)(graph)

    class Listed(nn.Module):
        def forward(self, data):
            return [0.0] * data.num_edges

    text = rf"Listed gives a list, expected a tensor of one score an arc, of shape \({graph.num_edges},\)"
    with pytest.raises(TypeError, match=text):
        Sparsify(Listed(), keep=0.5)(graph)
    with pytest.raises(TypeError, match="Listed gives a list"):
        Sparsify(Listed(), keep=0.5).prune([graph])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("budget", [{"keep": 0.5}, {"edges": 4}, {"mean_degree": 2}, {"threshold": 0.1}])
def test_graphs_with_nothing_to_thin(name, budget):
    thin = Sparsify(name, **budget, connected=True, min_degree=1)
    for nodes, index in ((0, EMPTY), (1, EMPTY), (4, EMPTY), (2, torch.tensor([[0, 1, 1], [0, 1, 1]]))):
        graph = Data(edge_index=index, num_nodes=nodes, edge_attr=torch.zeros(index.size(1), 2))
        less = thin(graph)
        assert torch.equal(less.edge_index, index) and less.num_nodes == nodes and less.edge_attr.shape[1] == 2
        assert thin.counts(graph).edges.tolist() == [0]
        assert thin.prune([graph, graph]).num_edges == 2 * index.size(1)


@pytest.mark.parametrize("rows", [1, 9, 36])
def test_edge_features_of_another_number_of_rows(rows):
    data = random_graph(0, loops=False)
    data.edge_attr = torch.ones(rows, 2)
    assert rows != data.num_edges
    with pytest.raises(ValueError, match=rf"edge_attr has shape \({rows}, 2\), expected a row for each of the"):
        Sparsify("degree", keep=0.5)(data)
