"""Edge weights that a degree cannot be summed from are refused, and never become silent zeros."""

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from graphprune.data import from_graphs, from_nodes
from graphprune.graphs import EdgeRound, PackedGraphs, PruneEdges, RandomEdges, score_arcs
from graphprune.graphs.adjacency import Adjacency
from graphprune.graphs.conv import GCNLayer
from tests.graphs.samples import to_index

INDEX = to_index([(0, 1), (1, 0), (1, 2), (2, 1)])


def graph(weight, **attributes):
    weights = {} if weight is None else {"edge_weight": weight}
    return Data(x=torch.randn(3, 2), edge_index=INDEX, y=torch.tensor([0]), **weights, **attributes)


GOOD = torch.tensor([0.0, 1e-12, 2.0, 3.0])
BAD = {
    "negative": (torch.tensor([1.0, 1.0, -0.5, 1.0]), ValueError, "arc 2: edge_weight is -0.5"),
    "nan": (torch.tensor([1.0, float("nan"), 1.0, 1.0]), ValueError, "arc 1: edge_weight is nan"),
    "infinite": (torch.tensor([1.0, 1.0, 1.0, float("inf")]), ValueError, "arc 3: edge_weight is inf"),
    "tiny": (torch.tensor([1e-30, 1.0, 1.0, 1.0]), ValueError, "arc 0: edge_weight is 1e-30"),
    "column": (torch.ones(4, 1), ValueError, r"edge_weight has shape \(4, 1\), expected \(4,\)"),
    "integers": (torch.ones(4, dtype=torch.int64), TypeError, "edge_weight must be a float tensor, got torch.int64"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("split", [0, 1, 2])
def test_bad_weights_are_named_with_their_place(name, split):
    weight, error, text = BAD[name]
    splits = [[graph(GOOD), graph(GOOD)] for _ in range(3)]
    splits[split][1] = graph(weight)
    where = f"own, {('train', 'val', 'test')[split]} graph 1"
    with pytest.raises(error, match=rf"{where}(, |: ){text}"):
        from_graphs(*splits, name="own", task="multiclass", num_classes=2)


@pytest.mark.parametrize("name", BAD)
def test_bad_weights_that_come_by_themselves(name):
    weight, error, text = BAD[name]
    with pytest.raises(error, match=text):
        PruneEdges([EdgeRound(RandomEdges(), 0.5, 0.5)])(graph(weight))
    with pytest.raises(error, match=text):
        score_arcs(RandomEdges(), graph(weight))
    if weight.shape == (4,) and weight.is_floating_point():
        with pytest.raises(error, match=f"graph 1, {text}"):
            PackedGraphs.of([graph(GOOD), graph(weight)])
    two = torch.cat([weight, weight])
    with pytest.raises(error, match="edge_weight"):
        PackedGraphs(torch.tensor([3, 3]), torch.tensor([4, 4]), INDEX.repeat(1, 2), edge={"edge_weight": two})
    masks = {f"{split}_mask": torch.arange(3) == place for place, split in enumerate(("train", "val", "test"))}
    one = graph(weight, **masks)
    one.y = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(error, match=text):
        from_nodes(one, name="own", num_classes=2)


@pytest.mark.parametrize("lacking", [0, 1, 2])
def test_all_graphs_have_weights_or_none(lacking):
    splits = [[graph(GOOD), graph(GOOD)] for _ in range(3)]
    splits[lacking][1] = graph(None)
    with pytest.raises(ValueError, match="graph 1 lacks edge_weight, unlike train graph 0"):
        from_graphs(*splits, name="own", task="multiclass", num_classes=2)
    splits = [[graph(None), graph(None)] for _ in range(3)]
    splits[lacking][1] = graph(GOOD)
    with pytest.raises(ValueError, match="graph 1 has edge_weight, unlike train graph 0"):
        from_graphs(*splits, name="own", task="multiclass", num_classes=2)


def test_good_weights_pass():
    data = from_graphs(*[[graph(GOOD)]] * 3, name="own", task="multiclass", num_classes=2)
    assert torch.equal(data.train.edge["edge_weight"], GOOD)
    assert PruneEdges([EdgeRound(RandomEdges(), 0.5, 0.5)])(graph(GOOD)).edge_weight.shape == (2,)


@pytest.mark.parametrize("value", [-3.0, -0.5, float("nan"), 0.0, 1e-20])
def test_a_degree_below_zero_is_what_it_is_in_torch_geometric(value):
    torch.manual_seed(0)
    x, weight = torch.randn(3, 2), torch.tensor([1.0, value, 1.0, 0.3])
    theirs = GCNConv(2, 4)
    ours = GCNLayer(2, 4)
    ours.load_state_dict(theirs.state_dict())
    out = ours(x, Adjacency(INDEX, 3, edge_weight=weight))
    torch.testing.assert_close(out, theirs(x, INDEX, weight), equal_nan=True)
    assert bool(out.isnan().any()) == (value in (-3.0,) or value != value)
