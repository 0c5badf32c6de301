"""What a network or a loop does to a batch in place does not reach the data set that it came from."""

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from graphprune.data import from_graphs, from_nodes
from graphprune.data.images import Images
from graphprune.graphs import EdgeMask, EdgeRound, EdgeRule, PackedGraphs, PruneEdges, score_arcs
from tests.graphs.samples import to_index

INDEX = to_index([(0, 1), (1, 0), (1, 2), (2, 1)])


def graph(number):
    return Data(
        x=torch.full((3, 2), 1.0 + number),
        edge_index=INDEX.clone(),
        edge_attr=torch.full((4, 1), 10.0 + number),
        edge_weight=torch.full((4,), 1.0 + number),
        y=torch.tensor([number]),
        shape=torch.full((1, 2), float(number)),
        names=["a", number],
        table=np.full(5, number),
    )


def spoil(sample):
    """Change all that a sample holds in place."""
    for _, value in sample:
        if isinstance(value, torch.Tensor):
            value.zero_()
        elif isinstance(value, np.ndarray):
            value[:] = 0
        elif isinstance(value, list):
            for entry in value:
                spoil([("", entry)])
            value.clear()


READ = {
    "a batch of all": lambda graphs: [graphs.batch(range(len(graphs)))],
    "a batch of some": lambda graphs: [graphs.batch([1, 0])],
    "a batch of one": lambda graphs: [graphs.batch([0])],
    "the loader": lambda graphs: list(graphs.loader(len(graphs))),
    "small batches": lambda graphs: list(graphs.loader(1)),
    "single graphs": list,
    "a selection of all": lambda graphs: [graphs.select(range(len(graphs))).batch(range(len(graphs)))],
    "the same device": lambda graphs: [graphs.to("cpu").batch(range(len(graphs)))],
    "another attribute": lambda graphs: [graphs.with_graph(more=torch.ones(len(graphs))).batch(range(len(graphs)))],
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("read", READ)
def test_what_is_read_is_a_copy(read, count):
    if count == 1 and read == "a batch of some":
        pytest.skip("one graph")
    own = [graph(number) for number in range(count)]
    packed = PackedGraphs.of(own)
    digest, objects = packed.digest(), repr(packed.objects)
    for sample in READ[read](packed):
        spoil(sample)
    assert packed.digest() == digest
    assert repr(packed.objects) == objects
    for number, ours in enumerate(own):  # nor do the user's graphs change
        for name, value in graph(number):
            assert repr(ours[name]) == repr(value)


def test_labels_are_a_copy():
    splits = [[graph(number % 2) for number in range(3)] for _ in range(3)]
    data = from_graphs(*splits, name="own", task="multiclass")
    digest = data.digest()
    data.labels(data.train).zero_()
    assert data.digest() == digest


def test_the_one_graph_of_a_transductive_set_is_a_copy():
    masks = {f"{split}_mask": torch.arange(3) == place for place, split in enumerate(("train", "val", "test"))}
    own = Data(x=torch.ones(3, 2), edge_index=INDEX, y=torch.tensor([0, 0, 0]), **masks)
    data = from_nodes(own, name="own", num_classes=2)
    digest = data.digest()
    spoil(data.train.batch([0]))
    spoil(data.val[0])
    assert data.digest() == digest
    assert torch.equal(own.x, torch.ones(3, 2))


def test_images_are_copies():
    images = Images(torch.full((4, 1, 2, 2), 255, dtype=torch.uint8), torch.arange(4), mean=[0.0], std=[1.0])
    digest = images.digest()
    for batch in (images.batch(range(4)), *images.loader(1)):
        batch.x.zero_()
        batch.y.zero_()
    assert images.digest() == digest


class InPlace(nn.Module):
    """Scores by features that it halves where they lie."""

    def forward(self, data):
        data.x /= 2
        return data.x[data.edge_index[0], 0]


def test_scorers_that_change_their_input():
    own = graph(2)
    own.x += torch.arange(3.0)[:, None]
    assert score_arcs(InPlace(), own).tolist() == [1.5, 2.0, 2.0, 2.5]
    assert own.x[:, 0].tolist() == [3, 4, 5]
    prune = PruneEdges([EdgeRound(InPlace(), 0.5, 0.5)], EdgeRule(unit="arc"))
    assert prune(own).edge_index.tolist() == [[1, 2], [0, 1]]
    assert own.x[:, 0].tolist() == [3, 4, 5]
    packed = PackedGraphs.of([own])
    digest = packed.digest()
    mask = prune.mask(packed)
    assert isinstance(mask, EdgeMask)
    assert mask.keep.tolist() == [False, True, False, True]
    assert packed.digest() == digest


class Single(nn.Module):
    """A scorer in single precision, written without a thought of double."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(2, 1)

    def forward(self, data):
        return self.map(data.x)[data.edge_index[0], 0]


def test_a_scorer_need_not_know_that_scores_are_computed_in_double_precision():
    own, scorer = graph(0), Single()
    scores = score_arcs(scorer, own)
    assert scores.dtype == torch.float64
    torch.testing.assert_close(scores.float(), scorer(own))
