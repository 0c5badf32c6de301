"""A user's own graphs: what fits is kept untouched, what does not is named by split and number."""

import copy
import math

import pytest
import torch
from torch_geometric.data import Data

from graphprune import FGGP, Dense, EdgePredictor, NoEdges
from graphprune.data import from_graphs
from graphprune.data.evaluation import evaluate
from graphprune.graphs import PackedGraphs
from graphprune.models import GIN, LeNet5
from graphprune.train import Fit


def graph(label=0, nodes=3, **changes):
    values = {
        "x": torch.arange(2.0 * nodes).reshape(nodes, 2),
        "edge_index": torch.tensor([[0, 1], [1, 0]]) if nodes > 1 else torch.empty(2, 0, dtype=torch.long),
        "y": torch.tensor(label),
    }
    return Data(**{key: value for key, value in (values | changes).items() if value is not None})


def build(train=None, val=None, test=None, task="multiclass", **options):
    default = [graph(0), graph(1)]
    parts = [default if part is None else part for part in (train, val, test)]
    return from_graphs(*parts, name="mine", task=task, **options)


def test_graphs_come_back_as_they_were():
    mine = [graph(0), graph(1, nodes=1), graph(1, nodes=5)]
    before = copy.deepcopy(mine)
    loaded = build(train=mine)
    assert (loaded.num_classes, loaded.num_features, loaded.num_outputs, loaded.metric) == (
        2,
        2,
        2,
        "accuracy",
    )
    assert loaded.edge_features is None and loaded.ogb_name == ""
    for old, new, same in zip(before, loaded.train, mine, strict=True):
        assert torch.equal(new.x, old.x) and torch.equal(new.edge_index, old.edge_index)
        assert int(new.y) == int(old.y) and new.y.shape == (1,)
        assert same.y.shape == old.y.shape


def test_graphs_without_edges_or_nodes_are_kept_and_counted():
    nothing = graph(1, nodes=0)
    loaded = build(train=[graph(), graph(1, nodes=1), nothing], test=[nothing])
    assert loaded.empty["train"] == {"no_nodes": 1, "no_edges": 2}
    assert loaded.empty["test"] == {"no_nodes": 1, "no_edges": 1}
    assert loaded.train[2].num_nodes == 0


@pytest.mark.parametrize("y", [1, 1.0, torch.tensor([1]), torch.tensor([[1.0]]), torch.tensor(True)])
def test_binary_labels_of_any_shape(y):
    loaded = build(train=[graph(y=y), graph(y=torch.tensor([0.0]))], val=[graph(y=y)], test=[graph(y=y)], task="binary")
    assert loaded.train.graph["y"].tolist() == [[1], [0]] and loaded.metric == "rocauc"
    assert loaded.num_outputs == loaded.num_tasks == 1


def test_several_tasks_with_missing_labels():
    many = [graph(y=torch.tensor([1, float("nan"), 0]))]
    loaded = build([*many, graph(y=torch.tensor([0.0, 1, 1]))], many, many, task="binary", metric="ap")
    assert loaded.num_outputs == 3 and math.isnan(loaded.test.graph["y"][0, 1])
    with pytest.raises(ValueError, match="different numbers of labels"):
        build(many, many, [graph(y=torch.tensor([1.0, 0]))], task="binary")


def test_edge_attributes_are_used_where_all_graphs_have_them():
    with_edges = [graph(y=y, edge_attr=torch.ones(2, 4)) for y in (torch.tensor(0), torch.tensor(1))]
    loaded = build(with_edges, with_edges, with_edges)
    assert loaded.edge_features == 4 and loaded.train[0].edge_attr.shape == (2, 4)


def test_ogb_features():
    x, bonds = torch.zeros(3, 9, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long)
    molecules = [graph(x=x, edge_attr=bonds)]
    loaded = build(molecules, molecules, molecules, features="ogb-mol", num_classes=2)
    assert loaded.encoder(8)(x).shape == (3, 8) and loaded.edge_features == "ogb-mol"
    with pytest.raises(ValueError, match="mine, train graph 0: x has a value in row 1 that is outside its categories"):
        bad = x.clone()
        bad[1, 0] = 119
        build([graph(x=bad, edge_attr=bonds)], molecules, molecules, features="ogb-mol")
    with pytest.raises(TypeError, match="val graph 0: x must be int64"):
        build(molecules, [graph(x=x.float(), edge_attr=bonds)], molecules, features="ogb-mol")


INF, NAN = float("inf"), float("nan")
FAULTS = {
    "out of range": (
        {"edge_index": torch.tensor([[0, 1], [1, 3]])},
        ValueError,
        r"edge_index\[:, 1\] = \[1, 3\] is out",
    ),
    "negative": ({"edge_index": torch.tensor([[0], [-1]])}, ValueError, "out of range for 3 nodes"),
    "edge dtype": (
        {"edge_index": torch.zeros(2, 1)},
        TypeError,
        "edge_index must be int64, got torch.float32",
    ),
    "edge shape": (
        {"edge_index": torch.zeros(3, 2, dtype=torch.long)},
        ValueError,
        r"shape \(3, 2\), expected \(2, E\)",
    ),
    "no edge_index": ({"edge_index": None}, ValueError, "has no edge_index"),
    "NaN": ({"x": torch.tensor([[0.0, 1], [NAN, 0], [0, 0]])}, ValueError, "row 1 that is NaN or infinite"),
    "infinite": (
        {"x": torch.tensor([[0.0, 1], [0, 0], [0, INF]])},
        ValueError,
        "row 2 that is NaN or infinite",
    ),
    "integer x": ({"x": torch.zeros(3, 2, dtype=torch.long)}, TypeError, "x must be float, got torch.int64"),
    "bipartite": (
        {"x": (torch.zeros(3, 2), torch.zeros(3, 2)), "num_nodes": 3},
        TypeError,
        "x must be one tensor, got",
    ),
    "flat x": ({"x": torch.zeros(3)}, ValueError, r"x has shape \(3,\)"),
    "width": (
        {"x": torch.zeros(3, 5)},
        ValueError,
        r"x has shape \(3, 5\), expected \(rows, 2\) as in train graph 0",
    ),
    "no x": ({"x": None}, ValueError, "has no node features x"),
    "rows": ({"num_nodes": 7}, ValueError, "x has 3 rows for 7 nodes"),
    "no y": ({"y": None}, ValueError, "has no label y"),
    "float class": ({"y": torch.tensor(1.0)}, TypeError, "y of a multiclass task must be int64"),
    "negative class": ({"y": torch.tensor(-1)}, ValueError, "y is -1, expected one class number"),
    "two classes": ({"y": torch.tensor([0, 1])}, ValueError, r"y is \[0, 1\], expected one class number"),
    "edge_attr": ({"edge_attr": torch.zeros(2, 1)}, ValueError, "has edge_attr .* unlike train graph 0"),
}


def kinds(*rows, label=0):
    return graph(label, edge_attr=torch.tensor(rows))


def test_integers_of_edges_are_categories_if_it_is_said_how_many():
    train, val = [kinds([0, 1], [2, 0]), kinds([1, 1], [1, 1], label=1)], [kinds([2, 1], [0, 0])]
    loaded = build(train, val, val, edge_features=(3, 2))
    assert loaded.edge_features == [3, 2]
    assert loaded.train[1].edge_attr.dtype == torch.int64
    with pytest.raises(TypeError, match=r"edge_attr must be float.*how many categories its columns have"):
        build(train, val, val)
    atoms = [graph(x=torch.zeros(3, 9, dtype=torch.long), edge_attr=torch.tensor([[1, 1], [0, 0]]))]
    molecules = build(atoms, atoms, atoms, features="ogb-mol", edge_features=[2, 2], num_classes=2)
    assert (molecules.features, molecules.edge_features) == ("ogb-mol", [2, 2])


@pytest.mark.parametrize(
    ("test", "error", "message"),
    [
        (kinds([0, 1], [3, 0]), ValueError, r"mine, test graph 1: edge_attr has a value in row 1 .* 3 in column 0"),
        (kinds([0, 2], [0, 0]), ValueError, r"outside its categories: 2 in column 1, of 2 from 0"),
        (kinds([0, -1], [0, 0]), ValueError, r"outside its categories: -1 in column 1"),
        (kinds([0], [1]), ValueError, r"edge_attr has shape \(2, 1\), expected \(rows, 2\) of \[3, 2\] categories"),
        (kinds([0.0, 1.0], [2.0, 0.0]), TypeError, r"must be int64 for edge_features=\[3, 2\]"),
        (graph(), ValueError, "lacks edge_attr"),
    ],
)
def test_categories_of_edges_that_are_not_known_are_named(test, error, message):
    good = kinds([0, 1], [2, 0])
    with pytest.raises(error, match=message):
        build([good, kinds([0, 1], [2, 0], label=1)], [good], [good, test], edge_features=[3, 2])


@pytest.mark.parametrize("sizes", [[], [3, 0], [True, 2], ["3"]])
def test_numbers_of_categories_are_numbers(sizes):
    with pytest.raises(ValueError, match="edge_features are how many categories"):
        build([kinds([0, 1], [2, 0])], edge_features=sizes)
    with pytest.raises(ValueError, match="edge_attr of shape"):
        build(edge_features=[2])


def atoms(*rows, label=0):
    return graph(label, x=torch.tensor(rows))


def test_integers_of_nodes_are_categories_if_it_is_said_how_many():
    parts = [atoms([0, 1], [2, 0], [1, 1]), atoms([2, 1], [0, 0], [0, 0], label=1)]
    loaded = build(parts, parts, parts, features=(3, 2))
    assert (loaded.features, loaded.num_features, loaded.edge_features) == ([3, 2], 2, None)
    assert loaded.train[0].x.dtype == torch.int64
    assert loaded.encoder(4)(loaded.train[0].x).shape == (3, 4)
    both = [atoms([0], [1], [1]), atoms([1], [0], [1], label=1)]
    for each in both:
        each.edge_attr = torch.tensor([[1], [0]])
    assert build(both, both, both, features=[2], edge_features=[2]).features == [2]


@pytest.mark.parametrize(
    ("test", "options", "error", "message"),
    [
        (atoms([0, 1], [3, 0], [0, 0]), {}, ValueError, r"test graph 0: x has a value in row 1 .* 3 in column 0, of 3"),
        (atoms([0], [1], [1]), {}, ValueError, r"x has shape \(3, 1\), expected \(rows, 2\) of \[3, 2\] categories"),
        (graph(), {}, TypeError, r"x must be int64 for features=\[3, 2\]"),
        (None, {"features": None}, TypeError, r"x must be float.*how many categories its columns have: features=\["),
        (None, {"features": [3, 0]}, ValueError, "features are how many categories each column of x has"),
        (None, {"features": "ogb"}, ValueError, "features are how many categories each column of x has"),
    ],
)
def test_categories_of_nodes_that_are_not_known_are_named(test, options, error, message):
    good = [atoms([0, 1], [2, 0], [1, 1]), atoms([2, 1], [0, 0], [0, 0], label=1)]
    with pytest.raises(error, match=message):
        build(good, good, good if test is None else [test], **{"features": [3, 2]} | options)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_graph_that_does_not_fit_is_named(fault, split):
    changes, kind, message = FAULTS[fault]
    with pytest.raises(kind, match=f"mine, {split} graph 1.*{message}"):
        build(**{split: [graph(), graph(**changes), graph()]})


@pytest.mark.parametrize(
    ("task", "y", "message"),
    [
        ("binary", 2.0, "a binary label must be 0, 1 or NaN"),
        ("regression", INF, "expected finite numbers or NaN"),
        ("regression", torch.empty(0), "expected finite numbers or NaN"),
    ],
)
def test_labels_that_do_not_fit_the_task(task, y, message):
    good = [graph(y=torch.tensor([1.0]))]
    with pytest.raises(ValueError, match=f"mine, test graph 0: .*{message}"):
        build(good, good, [graph(y=torch.as_tensor(y))], task=task)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="the val split has no graphs"):
        build(val=[])
    with pytest.raises(TypeError, match="train graph 0 is a dict"):
        build(train=[{}])
    with pytest.raises(ValueError, match="task must be one of multiclass, binary, regression, sequence, got 'classes'"):
        build(task="classes")
    with pytest.raises(
        ValueError, match="metric of a multiclass task must be accuracy or balanced-accuracy, got 'rocauc'"
    ):
        build(metric="rocauc")
    with pytest.raises(ValueError, match="y is 1, expected one class number from 0 to 0"):
        build(num_classes=1)
    with pytest.raises(ValueError, match="mine, val split: graph 1 has no attribute 'tag'"):
        build(val=[graph(tag=torch.tensor([1])), graph()])


def labelled(*labels):
    return [graph(label) for label in labels]


GAPS = {
    r"no graph of the train split has the class 0, nor has any other split \(1 of 3 classes": ([1, 2], [1], [2]),
    r"has the class 2, test has \(1 of 3 classes are not trained\).*num_classes=3": ([0, 1], [0], [2]),
    r"has the class 7, val and test has \(1 of 8": ([0, 1, 2, 3, 4, 5, 6], [7], [7]),
    r"has the class 2, nor has any other split \(1000000000000 of 1000000000002": ([0, 1], [0], [10**12 + 1]),
}


@pytest.mark.parametrize("message", GAPS)
def test_a_class_that_training_does_not_have_is_said_or_meant(message):
    splits = [labelled(*labels) for labels in GAPS[message]]
    with pytest.raises(ValueError, match=f"mine: .*{message}"):
        build(*splits)
    if max(GAPS[message][2]) < 10:
        assert build(*splits, num_classes=9).num_classes == 9
        assert build(labelled(*range(9)), *splits[1:]).num_classes == 9


def test_a_class_of_nodes_that_training_does_not_have():
    one = graph(y=torch.tensor([0, 1, -100]))
    with pytest.raises(ValueError, match="no node of the train split has the class 2, test has"):
        build([one], [one], [graph(y=torch.tensor([0, 1, 2]))], level="node")
    assert build([one], [one], [graph(y=torch.tensor([0, 1, 2]))], level="node", num_classes=3).num_classes == 3


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("level", ["graph", "node"])
def test_a_task_without_a_label_to_train_on(task, level):
    labels = torch.tensor([[1.0, NAN, 0.0]])
    full = torch.tensor([[1.0, 1.0, 0.0]])
    if level == "node":
        labels, full = labels.expand(3, 3), full.expand(3, 3)
    with pytest.raises(ValueError, match=r"mine, train split: column 1 of y \(from 0\) has no label at all"):
        build([graph(y=labels)], [graph(y=full)], [graph(y=full)], task=task, level=level)
    assert build([graph(y=full)], [graph(y=labels)], [graph(y=labels)], task=task, level=level).num_tasks == 3


GIVEN_A_LIST = {
    "gin": lambda graphs, model: GIN.for_data(graphs),
    "lenet": lambda graphs, model: LeNet5.for_data(graphs),
    "predictor": lambda graphs, model: EdgePredictor.for_data(graphs),
    "dense": lambda graphs, model: next(Dense().rounds(model, graphs, Fit(epochs=1))),
    "no-edges": lambda graphs, model: next(NoEdges().rounds(model, graphs, Fit(epochs=1))),
    "fggp": lambda graphs, model: FGGP(density=0.5, start=0, stop=4, every=2).supports(model, graphs),
    "evaluate": lambda graphs, model: evaluate(model, build(graphs, graphs, graphs).test, graphs),
}


@pytest.mark.parametrize("kind", [list, PackedGraphs.of])
@pytest.mark.parametrize("what", GIVEN_A_LIST)
def test_graphs_in_place_of_a_data_set_are_told_how_to_become_one(what, kind):
    graphs = [graph(), graph(1)]
    model = GIN.for_data(build(graphs, graphs, graphs), hidden=4, layers=1)
    with pytest.raises(TypeError, match=r"data is a \w+, not a data set: .* graphprune.data.from_graphs\(train, val"):
        GIVEN_A_LIST[what](kind(graphs), model)


@pytest.mark.parametrize("wrong", [lambda one: one, lambda one: iter([one]), lambda one: build([one], [one], [one])])
def test_a_split_that_is_no_list_is_named(wrong):
    one = graph(0)
    with pytest.raises(TypeError, match=r"mine: the val split is a .*, expected a list of graphs"):
        build([one], wrong(one), [one])
