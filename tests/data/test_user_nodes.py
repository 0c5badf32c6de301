"""A user's own graphs with labels at the nodes."""

from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphprune.data import from_graphs, from_nodes
from graphprune.data.labelled import IGNORE_INDEX


def graph() -> Data:
    nodes = torch.arange(9)
    return Data(
        x=torch.randn(9, 2),
        edge_index=torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]),
        y=nodes % 3,
        train_mask=nodes < 3,
        val_mask=(nodes >= 3) & (nodes < 5),
        test_mask=nodes >= 6,
    )


def test_each_split_sees_its_own_labels_of_the_one_graph() -> None:
    data = from_nodes(graph(), name="own")
    assert (data.level, data.transductive, data.num_classes, data.num_outputs) == ("node", True, 3, 3)
    assert data.labels(data.train).tolist() == [0, 1, 2] + [IGNORE_INDEX] * 6
    assert data.labels(data.val).tolist() == [IGNORE_INDEX] * 3 + [0, 1] + [IGNORE_INDEX] * 4
    logits = torch.nn.functional.one_hot(torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 2]), 3).float()
    assert data.evaluate(data.labels(data.train), logits) == pytest.approx(2 / 3)
    assert data.evaluate(data.labels(data.val), logits) == 1.0


def test_weights_of_edges_are_kept() -> None:
    own = graph()
    own.edge_weight = torch.tensor([0.5, 0.5, 2.0, 2.0])
    data = from_nodes(own, name="own")
    assert all(graphs[0].edge_weight.tolist() == [0.5, 0.5, 2.0, 2.0] for graphs in data.splits.values())


def test_several_labels_a_node_are_scored_over_those_that_are_seen() -> None:
    own = graph()
    own.y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, float("nan")]] * 3)
    data = from_nodes(own, name="own", task="binary", metric="f1")
    seen = data.labels(data.test)
    assert seen[:6].isnan().all() and seen[6:].isnan().sum() == 1
    logits = torch.tensor([[1.0, -1.0]] * 9)
    # Of the test nodes' 5 labels 3 are positive; 3 are called positive, 2 of them rightly.
    assert data.evaluate(seen, logits) == pytest.approx(2 * 2 / (3 + 3))


def test_several_graphs_with_labels_at_the_nodes() -> None:
    graphs = [Data(x=torch.randn(n, 2), edge_index=torch.empty(2, 0, dtype=torch.long), y=torch.ones(n).long())
              for n in (2, 3, 4)]  # fmt: skip
    data = from_graphs(graphs[:1], graphs[1:2], graphs[2:], name="own", task="multiclass", level="node", num_classes=2)
    assert not data.transductive and data.labels(data.test).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train_mask": None}, "train_mask"),
        ({"val_mask": torch.zeros(9, dtype=torch.bool)}, "val_mask"),
        ({"test_mask": torch.ones(9, dtype=torch.bool)}, "overlap"),
        ({"y": torch.zeros(4, dtype=torch.long)}, "row for each of 9"),
        ({"y": torch.full((9,), -3)}, "class numbers from -3"),
        ({"edge_index": torch.tensor([[0], [9]])}, "out of range"),
        ({"y": None}, "no labels y"),
        ({"y": torch.full((9,), IGNORE_INDEX)}, "train split: no node has a label"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], named: str) -> None:
    own = graph()
    for name, value in change.items():
        own[name] = value
    with pytest.raises(ValueError, match=named):
        from_nodes(own, name="own")
    with pytest.raises(TypeError, match="int64"):
        own = graph()
        own.y = own.y.float()
        from_nodes(own, name="own")


def test_a_graph_without_nodes_has_no_rows_of_labels() -> None:
    graphs = [Data(x=torch.randn(n, 2), edge_index=torch.empty(2, 0, dtype=torch.long), y=torch.ones(n, 3))
              for n in (0, 4)]  # fmt: skip
    data = from_graphs(graphs, graphs, graphs, name="own", task="regression", level="node")
    assert data.labels(data.train).shape == (4, 3) and data.empty["val"]["no_nodes"] == 1


@pytest.mark.parametrize(
    ("task", "y", "named"),
    [
        ("regression", torch.tensor(1.0), "row for each of 4"),
        ("regression", torch.tensor([0.0, 1.0, float("inf"), 2.0]), "finite"),
        ("binary", torch.full((4,), float("nan")), "train split: no node has a label"),
        ("multiclass", torch.full((4,), IGNORE_INDEX), "train split: no node has a label"),
    ],
)
def test_labels_that_are_none_are_named(task: Any, y: torch.Tensor, named: str) -> None:
    graphs = [Data(x=torch.randn(4, 2), edge_index=torch.empty(2, 0, dtype=torch.long), y=y)]
    with pytest.raises(ValueError, match=named):
        from_graphs(graphs, graphs, graphs, name="own", task=task, level="node")


def test_something_that_is_no_graph_is_named() -> None:
    with pytest.raises(TypeError, match="own is a dict"):
        from_nodes({}, name="own")  # type: ignore[arg-type]
