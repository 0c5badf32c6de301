"""Data sets of torch_geometric as objects: what is known of them, how they are split, what does not fit."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.data import Subset
from torch_geometric.data import Data
from torch_geometric.transforms import OneHotDegree

import graphprune as gp
from graphprune.data import from_graphs, from_pyg
from graphprune.data.evaluation import predict
from graphprune.data.pyg import KNOWN
from tests.data import pyg_files
from tests.data.pyg_files import COUNTS, ring

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch_geometric's own processing

# set: task, metric, level, features, edge features, outputs
FACTS = {
    "zinc": (pyg_files.zinc, "regression", "mae", "graph", [28], [4], 1),
    "mnist": (pyg_files.superpixels, "multiclass", "accuracy", "graph", 3, 1, 10),
    "cifar10": (lambda root: pyg_files.superpixels(root, "CIFAR10"), "multiclass", "accuracy", "graph", 5, 1, 10),
    "cluster": (pyg_files.blocks, "multiclass", "balanced-accuracy", "node", 7, None, 6),
    "pattern": (lambda root: pyg_files.blocks(root, "PATTERN"), "multiclass", "balanced-accuracy", "node", 3, None, 2),
    "func": (pyg_files.peptides, "binary", "ap", "graph", "ogb-mol", "ogb-mol", 10),
    "struct": (lambda root: pyg_files.peptides(root, "struct"), "regression", "mae", "graph", "ogb-mol", "ogb-mol", 11),
}


@pytest.mark.parametrize("name", FACTS)
def test_known_sets_come_with_task_metric_and_features(name, tmp_path):
    make, *facts = FACTS[name]
    three = make(tmp_path)
    data = from_pyg(three)
    found = [data.task, data.metric, data.level, data.features, data.edge_features, data.num_outputs]
    assert found == facts
    assert {part: len(graphs) for part, graphs in data.splits.items()} == COUNTS
    assert from_pyg(dict(zip(("train", "valid", "test"), three, strict=True))).digest() == data.digest()
    for graphs, mine in zip(three, data.splits.values(), strict=True):
        for theirs, ours in zip(graphs, mine, strict=True):
            assert torch.equal(theirs.edge_index, ours.edge_index)
            x = theirs.x if name not in ("mnist", "cifar10") else torch.cat([theirs.x, theirs.pos], 1)
            assert torch.equal(x, ours.x)
            assert torch.equal(theirs.y.reshape(ours.y.shape), ours.y)
            if theirs.edge_attr is not None:
                assert torch.equal(theirs.edge_attr.view(ours.edge_attr.shape), ours.edge_attr)
    assert "torch_geometric.datasets" in data.provenance["source"] and "in train too" in data.provenance["duplicates"]
    model = gp.models.GIN.for_data(data, hidden=4, layers=1, **({"readout": "nodes"} if data.level == "node" else {}))
    y = data.labels(data.test)
    value = data.evaluate(y, predict(model, data.test))
    assert np.isfinite(value) and data.higher_is_better == (data.metric != "mae")


def test_bare_graphs_get_what_is_asked_for(tmp_path):
    *three, whole = pyg_files.malnet(tmp_path)
    with pytest.raises(
        ValueError, match=r"train graph 0 has no x \(it has .*\): say .* x='constant', x='deg\+odeg100'"
    ):
        from_pyg(three)
    constant, degrees = from_pyg(three, x="constant"), from_pyg(three, x="deg+odeg10")
    assert (constant.num_classes, constant.features, constant.degrees) == (5, 1, None)
    assert bool((constant.train.node["x"] == 1).all())
    assert degrees.features == 1 + 1 + 11 and degrees.provenance["x"] == "deg+odeg10"
    assert degrees.train[0].x[:, 1].tolist() == [2.0] * 5
    assert torch.equal(degrees.recompute_degrees(degrees.test).node["x"], degrees.test.node["x"])
    assert len(from_pyg(whole, (0.5, 0.25, 0.25), x="constant").test) == 6


def test_folds_are_those_of_the_same_set_by_name(tmp_path):
    whole = pyg_files.tu(tmp_path)
    data = from_pyg(whole, split=3, split_seed=7)
    same = gp.data.load("SMALL", root=tmp_path, fold=3, split_seed=7, features="raw")
    assert (data.name, data.task, data.num_classes, data.edge_features) == ("SMALL", "multiclass", 2, 1)
    for part, graphs in data.splits.items():
        assert torch.equal(graphs.node["x"], same.splits[part].node["x"])
        assert torch.equal(graphs.edge["edge_attr"], same.splits[part].edge["edge_attr"])
        assert torch.equal(graphs.graph["y"], same.splits[part].graph["y"])
    assert data.held_out == same.held_out and len(data.without_val().train) == len(data.train) + len(data.val)
    assert "fold 3 of 10, seed 7" in data.provenance["split"]
    assert from_pyg(whole, split=3, x="deg+odeg10").features == 3 + 1 + 11
    with pytest.raises(ValueError, match="fold must be 0 to 9, got 10"):
        from_pyg(whole, split=10)


def test_shares_are_drawn_with_classes_in_proportion(tmp_path):
    whole = pyg_files.tu(tmp_path)
    data, again, other = (from_pyg(whole, (0.6, 0.2, 0.2), split_seed=seed) for seed in (1, 1, 2))
    assert [len(part) for part in data.splits.values()] == [18, 6, 6]
    assert [int(part.graph["y"].sum()) for part in data.splits.values()] == [9, 3, 3]
    assert data.digest() == again.digest() != other.digest()
    assert "shares 0.6, 0.2, 0.2 at random, seed 1" in data.provenance["split"]


@pytest.mark.parametrize(
    "form",
    [
        lambda numbers: numbers,
        lambda numbers: list(numbers.values()),
        lambda numbers: {key: torch.tensor(value) for key, value in numbers.items()},
        lambda numbers: {"test": numbers["test"], "train": np.array(numbers["train"]), "valid": tuple(numbers["val"])},
        lambda numbers: {key: torch.isin(torch.arange(30), torch.tensor(value)) for key, value in numbers.items()},
    ],
)
def test_numbers_of_graphs_in_any_form(form, tmp_path):
    whole = pyg_files.tu(tmp_path)
    numbers = {"train": list(range(10)), "val": [12, 13], "test": [20, 22, 29]}
    data = from_pyg(whole, form(numbers))
    expected = [whole[number] for number in numbers["test"]]
    assert all(torch.equal(a.x, b.x) for a, b in zip(expected, data.test, strict=True))
    assert [len(part) for part in data.splits.values()] == [10, 2, 3]


def test_a_split_that_the_data_set_knows(tmp_path):
    class Own(list):
        name = "own"

        def get_idx_split(self):
            return {"train": torch.arange(20), "valid": torch.arange(20, 25), "test": torch.arange(25, 30)}

    data = from_pyg(Own(pyg_files.tu(tmp_path)), task="multiclass")
    assert data.name == "own" and [len(part) for part in data.splits.values()] == [20, 5, 5]


SPLITS = {
    "overlap": (
        {"train": [0, 1, 2, 3], "val": [4, 3], "test": [5, 2]},
        r"2 graphs .*: 2, 3 \(graph 2 in train and test\)",
    ),
    "twice": ({"train": [0, 1, 1], "val": [4], "test": [5]}, r"twice in one: 1 \(graph 1 in train\)"),
    "beyond": ({"train": [0, 1, 30], "val": [4], "test": [5]}, "train split: there is no graph 30, of 30"),
    "below": ({"train": [0, -1], "val": [4], "test": [5]}, "there is no graph -1"),
    "empty": ({"train": [0, 1], "val": [], "test": [5]}, "the val split has no graphs"),
    "no test": ({"train": [0, 1], "val": [2]}, "are needed for train, val .or valid. and test, got train, val"),
    "two vals": ({"train": [0], "val": [2], "valid": [3], "test": [1]}, "got train, val, valid, test"),
    "short mask": ([[True, False], [3], [4]], "expected numbers of graphs, or a bool mask of 30, got bool"),
    "real": ([[0.5, 1.5], [3], [4]], "expected numbers of graphs.*got float64"),
    "shares": ((0.5, 0.5, 0.5), "three shares of a split must all be above 0 and sum to 1"),
    "no share": ((0.8, 0.2, 0), r"three shares .* above 0 and sum to 1, got \(0.8, 0.2, 0\)"),
    "two": (([0], [1]), "split must be numbers of train, val and test graphs, a fold or shares"),
    "word": ("public", "split must be numbers .* got 'public'"),
    "none": (None, r"SMALL is one data set without splits: hand in three.*split=0, or shares as split=\(0.8"),
}


@pytest.mark.parametrize("fault", SPLITS)
def test_splits_that_do_not_fit_are_named(fault, tmp_path):
    split, message = SPLITS[fault]
    with pytest.raises(ValueError, match=message):
        from_pyg(pyg_files.tu(tmp_path), split)


def test_graphs_of_training_that_test_too_are_counted(tmp_path):
    whole = list(pyg_files.tu(tmp_path))
    odd = copy.copy(whole[1])
    odd.edge_attr = odd.edge_attr + 1
    other = copy.copy(whole[29])
    other.x = other.x.roll(1, 1)
    train, val, test = whole[:6], [whole[7], whole[4], other], [odd, whole[0], whole[5]]
    data = from_pyg([train, val, test], task="multiclass", name="mine")

    # Features repeat after three graphs, classes after two.
    def same(a, b):
        return all(torch.equal(a[key], b[key]) for key in ("x", "edge_index", "edge_attr"))

    counts = [sum(any(same(graph, other) for other in train) for graph in part) for part in (val, test)]
    assert data.provenance["duplicates"].startswith(f"{counts[0]} of 3 val graphs and {counts[1]} of 3 test graphs")
    assert counts[1] == 2


TOGETHER = {
    "the same": lambda three, whole: [whole, whole, whole],
    "test trains": lambda three, whole: {"train": three[0], "val": three[1], "test": three[0]},
    "subsets": lambda three, whole: [Subset(whole, range(9)), Subset(whole, [9, 10]), Subset(whole, [11, 8])],
    "subsets of subsets": lambda three, whole: [
        Subset(Subset(whole, range(9)), range(5)),
        Subset(whole, [9]),
        Subset(whole, [4, 20]),
    ],
    "a subset of it": lambda three, whole: [whole[:20], Subset(whole, [22]), Subset(whole, [19, 21])],
    "slices": lambda three, whole: [whole[:10], whole[10:20], whole[9:]],
    "shuffled": lambda three, whole: [whole.shuffle()[:20], whole.shuffle()[:20], whole.shuffle()[:20]],
    "one list": lambda three, whole: [graphs := list(whole), [graphs[0]], graphs],
}


@pytest.mark.parametrize("name", TOGETHER)
def test_splits_with_graphs_in_common_are_refused(name, tmp_path):
    three, whole = pyg_files.zinc(tmp_path / "zinc"), pyg_files.tu(tmp_path)
    with pytest.raises(ValueError, match=r"and (val|test) have \d+ graphs of one data set in common: \d+"):
        from_pyg(TOGETHER[name](three, whole), task="regression" if name == "test trains" else "multiclass")


def test_copies_of_what_trains_are_refused(tmp_path):
    train, val, test = pyg_files.zinc(tmp_path)
    with pytest.raises(ValueError, match="ZINC: all graphs of test are in train too, with the same features, arcs and"):
        from_pyg([train, val, copy.deepcopy(train)[2:5]])
    with pytest.raises(ValueError, match="all graphs of val are in train too"):
        from_pyg([train, [copy.copy(train[3])], test], metric="mae")
    other = copy.copy(train[3])
    other.y = other.y + 1  # the same graph with another label is counted, no more
    assert from_pyg([train, [other], test]).provenance["duplicates"].startswith("1 of 1 val graphs")
    halves = from_pyg([train[:6], train[6:9], Subset(train, [9, 10, 11])])
    assert [len(part) for part in halves.splits.values()] == [6, 3, 3]


def test_numbers_are_made_single_and_columns(tmp_path):
    def graph(number):
        return Data(
            x=torch.rand(4, dtype=torch.float64),
            edge_index=ring(4),
            edge_attr=torch.rand(8, dtype=torch.float64),
            edge_weight=torch.rand(8, dtype=torch.float64) + 1,
            y=torch.rand(1, 2, dtype=torch.float64),
        )

    mine = [graph(number) for number in range(20)]
    data = from_pyg(mine, (0.5, 0.25, 0.25), task="regression", name="mine")
    assert data.train.node["x"].dtype == data.train.edge["edge_attr"].dtype == torch.float32
    assert data.train.edge["edge_weight"].dtype == data.train.graph["y"].dtype == torch.float32
    assert (data.features, data.edge_features, data.num_tasks, data.metric) == (1, 1, 2, "rmse")
    assert mine[0].x.dtype == torch.float64 and mine[0].x.dim() == 1
    for each in mine:
        each.x = torch.tensor([0, 1, 2, 1], dtype=torch.int8)
    kinds = from_pyg(mine, (0.5, 0.25, 0.25), task="regression", name="mine", features=[3])
    assert kinds.features == [3] and kinds.train.node["x"].dtype == torch.int64


def one_hot(graph):
    return OneHotDegree(2)(Data(edge_index=graph.edge_index, num_nodes=graph.num_nodes, y=graph.y))


def test_what_is_said_goes_before_what_is_known(tmp_path):
    three = pyg_files.zinc(tmp_path)
    data = from_pyg(three, name="mine", metric="rmse", features=[30], edge_features=[5], provenance={"licence": "MIT"})
    assert (data.name, data.metric, data.features, data.edge_features) == ("mine", "rmse", [30], [5])
    assert data.provenance["licence"] == "MIT"
    with pytest.raises(ValueError, match=r"train graph \d+: x has a value .* outside its categories"):
        from_pyg(three, features=[3])
    with pytest.raises(ValueError, match=r"x='deg\+odeg10' puts degrees beside real columns"):
        from_pyg(three, x="deg+odeg10")
    assert from_pyg(three, x="constant").features == 1
    for each in three:  # a transform that makes real columns: no categories are left
        each.transform = one_hot
    assert (from_pyg(three).features, from_pyg(three).edge_features) == (3, None)


def test_what_is_no_data_set_of_graphs_is_refused(tmp_path):
    whole = pyg_files.tu(tmp_path)
    shares = (0.6, 0.2, 0.2)
    with pytest.raises(TypeError, match=r"train graph 0 is a HeteroData: .*to_homogeneous\(\)"):
        from_pyg([[pyg_files.hetero()]] * 3, task="multiclass", name="mine")
    with pytest.raises(ValueError, match=r"list: nothing is known of this data set, say task='multiclass'.*ZINC"):
        from_pyg(list(whole), shares)
    with pytest.raises(ValueError, match="leave out split="):
        from_pyg([whole, whole, whole], shares)
    with pytest.raises(ValueError, match=r"is one graph: gp.data.from_nodes\(dataset\[0\]\)"):
        from_pyg([whole[0]], shares, task="multiclass")
    with pytest.raises(TypeError, match="expected a data set of graphs, or three, got a Data"):
        from_pyg(whole[0], shares, task="multiclass")
    with pytest.raises(TypeError, match=r"dataset must be a data set, got the text 'MUTAG': gp.data.load takes names"):
        from_pyg("MUTAG")
    with pytest.raises(ValueError, match=r"whole graph 0 has no pos \(it has .*x.*\): say what the input"):
        from_pyg(whole, shares, x=("x", "pos"))
    for seed in (-1, 0.5, "a", 2**32):
        for split in (3, shares):
            with pytest.raises(ValueError, match="SMALL: split_seed must be a whole number "):
                from_pyg(whole, split, split_seed=seed)
    with pytest.raises(ValueError, match=r"metric of a multiclass task must be .*, got 'aucc'"):
        from_pyg(whole, shares, metric="aucc")
    with pytest.raises(
        ValueError, match=r"x must be constant, deg.odeg100, deg.odeg10 or names of attributes, got 'raw'"
    ):
        from_pyg(whole, shares, x="raw")
    with pytest.raises(ValueError, match="the val data set has no graphs"):
        from_pyg([whole, [], whole])
    real = [Data(x=torch.ones(2, 1), edge_index=ring(2), y=torch.tensor([0.5]))]
    with pytest.raises(TypeError, match="y of a multiclass task must be int64"):
        from_pyg([real] * 3, task="multiclass", name="mine")


def test_a_part_of_a_known_set_is_known(tmp_path):
    train, val, test = pyg_files.zinc(tmp_path)
    data = from_pyg([Subset(train, range(4)), val[:3], test])
    assert (data.name, data.metric, len(data.train), len(data.val)) == ("ZINC", "mae", 4, 3)


@pytest.mark.parametrize("name", ["ZINC", "zinc", "peptides-func", "PATTERN", "MalNetTiny"])
def test_by_name_the_object_is_asked_for(name):
    with pytest.raises(ValueError, match=r"is a data set of torch_geometric, .* pickles, .*gp.data.from_pyg\("):
        gp.data.load(name)
    assert any(name.lower() in key.lower() for key in KNOWN)


def test_a_round_of_icpg_on_zinc(tmp_path):
    data = from_pyg(pyg_files.zinc(tmp_path))
    model = gp.models.GIN.for_data(data, hidden=8, layers=2)
    icpg = gp.ICPG(predictor=gp.EdgePredictor.for_data(data, hidden=8, edges=True), rounds=1, edge_rate=0.3)
    (ticket,) = icpg.rounds(model, data, gp.train.Fit(epochs=2, batch_size=4))
    assert np.isfinite(ticket.row["test_metric"])
    assert ticket.prune_graph(data.test[0]).num_edges < data.test[0].num_edges


def test_graphs_handed_in_are_not_changed(tmp_path):
    *three, _ = pyg_files.malnet(tmp_path)
    from_pyg(three, x="deg+odeg10")
    assert three[0][0].x is None
    mine = [Data(x=torch.ones(3) * n, edge_index=ring(3), y=n % 2) for n in range(12)]
    from_pyg([mine[:4], mine[4:8], mine[8:]], task="multiclass", name="mine")
    assert mine[0].x.dim() == 1
    with pytest.raises(ValueError, match=r"x has shape \(3,\)"):
        from_graphs(mine, mine, mine, name="mine", task="multiclass")
