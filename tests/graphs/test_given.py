"""Graphs as users have them: arrays and lists of numbers are the tensors that they mean, all else is named."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Data, HeteroData, TemporalData

import graphprune as gp
from graphprune.graphs import PackedGraphs
from graphprune.graphs.given import with_tensors

ENDS = [[0, 1, 2, 3], [1, 0, 3, 2]]
X = [[1.0, 2.0], [0.0, 1.0], [3.0, 0.5], [1.0, 1.0]]


def graph(**changes):
    values = {"x": torch.tensor(X), "edge_index": torch.tensor(ENDS), "y": torch.tensor([0])} | changes
    return Data(**{name: value for name, value in values.items() if value is not None})


def built(one):
    other = graph(**{name: value for name, value in one.to_dict().items() if name != "y"}, y=torch.tensor([1]))
    return gp.data.from_graphs([one, other], [one], [one], name="mine", task="multiclass")


TAKEN = [
    {"x": np.array(X)},
    {"x": np.array(X, dtype=np.float32)},
    {"x": X},
    {"x": tuple(map(tuple, X))},
    {"edge_index": np.array(ENDS)},
    {"edge_index": np.array(ENDS, dtype=np.int32)},
    {"edge_index": ENDS},
    {"edge_index": ENDS, "x": np.array(X, dtype=np.float16)},
]


@pytest.mark.parametrize("changes", TAKEN)
def test_arrays_and_lists_are_the_tensors_that_they_mean(changes):
    one = graph(**changes)
    kept = {name: one[name] for name in changes}
    assert built(one).digest() == built(graph()).digest()
    assert PackedGraphs.of([one]).digest() == PackedGraphs.of([graph()]).digest()
    pruned = gp.Sparsify("degree", keep=0.5)(one)
    assert torch.equal(pruned.edge_index, gp.Sparsify("degree", keep=0.5)(graph()).edge_index)
    assert all(one[name] is kept[name] for name in changes)  # the user's graph is left as it is
    four = [one, graph(y=torch.tensor([1])), one, one]
    data = gp.data.from_pyg(four, [[0, 1], [2], [3]], name="mine", task="multiclass")
    assert torch.equal(data.val[0].x, torch.tensor(X)) and data.val[0].edge_index.dtype == torch.long


@pytest.mark.parametrize("values", [np.ones(4), [1.0] * 4, np.ones((4, 1), dtype=np.float32), torch.ones(4)])
def test_one_number_an_edge_is_a_column(values):
    assert built(graph(edge_attr=values)).digest() == built(graph(edge_attr=torch.ones(4, 1))).digest()
    assert built(graph(edge_attr=values)).edge_features == 1


@pytest.mark.parametrize("kind", [np.array, list, torch.tensor])
def test_weights_and_marks_of_edges(kind):
    weights, marks = [1.0, 1.0, 0.5, 0.5], [True, True, False, False]
    data = built(graph(edge_weight=kind(weights), edge_protected=kind(marks)))
    assert data.val[0].edge_weight.tolist() == weights and data.val[0].edge_protected.tolist() == marks


@pytest.mark.parametrize("empty", [[[], []], np.empty((2, 0)), np.empty((2, 0), dtype=np.int64)])
def test_a_graph_without_edges(empty):
    assert built(graph(edge_index=empty)).train.num_edges == 0


def test_one_graph_whose_nodes_are_split():
    masks = {
        f"{split}_mask": np.isin(np.arange(4), numbers).tolist()
        for split, numbers in (("train", [0, 1]), ("val", [2]), ("test", [3]))
    }
    given = Data(x=np.array(X), edge_index=np.array(ENDS), y=np.array([0, 1, 0, 1]), **masks)
    data = gp.data.from_nodes(given, name="mine")
    assert data.train.node["y"].tolist() == [0, 1, -100, -100] and data.num_classes == 2


REFUSED = [
    ({"x": torch.tensor(X).to_sparse()}, ValueError, "attribute 'x' is sparse .* to_dense"),
    ({"x": scipy.sparse.csr_matrix(X)}, TypeError, "x must be one tensor, got a csr_matrix"),
    ({"x": [[1.0, 2.0], [1.0]]}, TypeError, "x must be one tensor, got a list, which is no array of numbers"),
    ({"x": np.array([None] * 4)}, TypeError, "x must be one tensor, got a ndarray, which is no array of numbers"),
    ({"x": "features"}, TypeError, "x must be one tensor, got a str"),
    ({"edge_index": [["a", "b"], ["b", "a"]]}, TypeError, "edge_index must be one tensor, got a list, which is no"),
    ({"edge_index": {0: 1}}, TypeError, "edge_index must be one tensor, got a dict"),
    ({"edge_attr": ["single"] * 4}, TypeError, "edge_attr must be one tensor, got a list, which is no array"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), REFUSED)
def test_what_is_no_array_of_numbers_is_named(changes, kind, message):
    with pytest.raises(kind, match=f"train graph 0: {message}"):
        built(graph(**changes))
    with pytest.raises(kind, match=f"graph 0: {message}"):
        PackedGraphs.of([graph(**changes)])
    with pytest.raises(kind, match=message):
        gp.Sparsify("degree", keep=0.5)(graph(**changes))


def test_pairs_are_to_be_transposed():
    with pytest.raises(ValueError, match=r"edge_index has shape \(4, 2\), expected \(2, E\): give its transpose"):
        built(graph(edge_index=torch.tensor(ENDS).t().contiguous().tolist()))


def test_what_has_tensors_is_itself():
    one = graph(edge_attr=torch.ones(4, 2))
    assert with_tensors(one) is one and with_tensors("graph") == "graph"


def hetero():
    made = HeteroData()
    made["a"].x, made["a", "to", "a"].edge_index = torch.ones(3, 2), torch.tensor([[0, 1], [1, 0]])
    return made


def temporal():
    one = torch.tensor([0])
    return TemporalData(src=one, dst=one, t=one, msg=torch.ones(1, 1))


@pytest.mark.parametrize("wrong", [hetero(), temporal(), {"x": 1}, None, "MUTAG"], ids=lambda one: type(one).__name__)
def test_what_is_no_homogeneous_graph_is_named_everywhere(wrong):
    kind, data = type(wrong).__name__, "torch_geometric.data.Data"
    rule = gp.Sparsify("degree", keep=0.5)
    for call in (rule, gp.graphs.PruneEdges(())):
        with pytest.raises(TypeError, match=f"got a {kind}, expected a {data}"):
            call.forward(wrong)
    mask = gp.EdgeMask(torch.ones(2, dtype=torch.bool), torch.tensor([0, 2]))
    for call in (PackedGraphs.of, rule.mask, lambda graphs: gp.PrunedDataset(graphs, mask)[0]):
        with pytest.raises(TypeError, match=f"graph 0 is a {kind}, expected a {data}"):
            call([wrong])
    with pytest.raises(TypeError, match=rf"expected a list of graphs, got a {kind}|graph 0 is a {kind}"):
        PackedGraphs.of(wrong)
    with pytest.raises(TypeError, match=f"mine, train graph 0 is a {kind}"):
        gp.data.from_graphs([wrong], [wrong], [wrong], name="mine", task="multiclass")
