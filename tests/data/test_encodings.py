"""Encodings of data sets: counted once, kept by all that a set can do, and refused where they cannot be."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import from_graphs, from_nodes, load, open_stored, store
from graphprune.data.base import GraphData
from graphprune.data.labelled import SPLITS
from graphprune.graphs.encodings import Encodings
from graphprune.graphs.packed import PackedGraphs
from tests.data.test_user_nodes import graph as node_graph
from tests.graphs.samples import braid
from tests.resealed import reseal


@pytest.fixture(scope="module")
def mutag() -> GraphData:
    found = load("MUTAG")
    assert isinstance(found, GraphData)
    return found


@pytest.fixture(scope="module")
def encoded(mutag: GraphData) -> GraphData:
    return mutag.with_encodings(walks=6)


def test_every_graph_of_every_split_has_those_of_the_transform(mutag: GraphData, encoded: GraphData) -> None:
    assert encoded.encodings == gp.Encodings(walks=6) and mutag.encodings is None
    add = gp.AddEncodings(walks=6)
    for split in SPLITS:
        graphs = encoded.splits[split]
        assert graphs.node["encodings"].dtype == torch.float32
        for graph, bare in zip(graphs, mutag.splits[split], strict=True):
            assert torch.equal(graph.encodings, add(bare).encodings) and torch.equal(graph.x, bare.x)
    assert "encodings" not in mutag.train.node


def test_provenance_and_digest_tell_them(mutag: GraphData, encoded: GraphData) -> None:
    assert encoded.provenance["encodings"].endswith("(walks=6)")
    assert {**encoded.provenance, "encodings": ""} == {**mutag.provenance, "encodings": ""}
    digests = {each.digest() for each in (mutag, encoded, mutag.with_encodings(walks=7))}
    assert len(digests) == 3 and encoded.digest() == load("MUTAG", encodings={"walks": 6}).digest()


def test_the_digest_does_not_hear_last_bits_but_other_numbers(encoded: GraphData) -> None:
    def moved(by: float) -> str:
        found = encoded.train.node["encodings"]
        return encoded.with_splits(train=encoded.train.with_node(encodings=found * (1 + by))).digest()

    assert moved(2e-7) == moved(-2e-7) == encoded.digest() != moved(0.02)


def test_a_set_keeps_them_whatever_is_done_with_its_graphs(encoded: GraphData) -> None:
    part = encoded.with_splits(train=encoded.train.select([3, 1]))
    assert part.encodings == encoded.encodings
    assert torch.equal(part.train[1].encodings, encoded.train[1].encodings)
    whole = encoded.without_val()
    assert whole.encodings == encoded.encodings and len(whole.train) == len(encoded.train) + len(encoded.val)
    assert whole.train.node["encodings"].shape == (whole.train.num_nodes, 6)
    batch = next(iter(encoded.train.loader(4)))
    assert batch.encodings.shape == (batch.num_nodes, 6)


def test_without_the_attribute_no_graphs_can_stand_in_its_splits(mutag: GraphData, encoded: GraphData) -> None:
    with pytest.raises(ValueError, match="MUTAG, val split: the set has encodings"):
        encoded.with_splits(val=mutag.val)
    with pytest.raises(ValueError, match="MUTAG, train split: the set has encodings"):
        replace(mutag, encodings=gp.Encodings(walks=6))


def test_asked_for_again_they_are_replaced(mutag: GraphData, encoded: GraphData) -> None:
    again = encoded.with_encodings(walks=3)
    assert again.encodings == gp.Encodings(walks=3) and again.digest() == mutag.with_encodings(walks=3).digest()
    assert again.provenance["encodings"].endswith("(walks=3)")


def test_they_are_counted_again_with_the_degrees(encoded: GraphData) -> None:
    bare = encoded.train.keep_edges(torch.zeros(encoded.train.num_edges, dtype=torch.bool))
    assert torch.equal(bare.node["encodings"], encoded.train.node["encodings"])
    again = encoded.recompute_degrees(bare)
    assert not again.node["encodings"].any() and torch.equal(again.node["x"][:, 8], torch.ones(bare.num_nodes))
    plain = replace(encoded, degrees=None).recompute_degrees(bare)
    assert not plain.node["encodings"].any() and torch.equal(plain.node["x"], bare.node["x"])


@pytest.mark.parametrize("verify", [True, False])
def test_a_stored_set_has_them(encoded: GraphData, verify: bool, tmp_path: Any) -> None:
    store(encoded, tmp_path / "set")
    opened = open_stored(tmp_path / "set", verify=verify)
    assert opened.encodings == encoded.encodings and opened.digest() == encoded.digest()
    assert load("MUTAG", root=tmp_path / "set").encodings == encoded.encodings
    other = load("MUTAG", root=tmp_path / "set", encodings=Encodings(walks=3))
    assert other.digest() == encoded.with_encodings(walks=3).digest()
    document = tmp_path / "set" / "stored.json"
    document.write_text(document.read_text().replace('"walks": 6', '"walks": 1'))
    reseal(document)
    with pytest.raises(ValueError, match="walks must be from 2"):
        open_stored(tmp_path / "set", verify=verify)


def test_a_stored_set_without_does_not_say_so(mutag: GraphData, tmp_path: Any) -> None:
    store(mutag, tmp_path / "set")
    assert '"encodings"' not in (tmp_path / "set" / "stored.json").read_text()
    assert open_stored(tmp_path / "set").with_encodings(walks=4).digest() == mutag.with_encodings(walks=4).digest()


def test_the_one_graph_of_a_transductive_set_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    count = Encodings.count
    monkeypatch.setattr(Encodings, "count", lambda self, data: counted.append(data) or count(self, data))
    data = from_nodes(node_graph(), name="own").with_encodings(walks=4)
    assert len(counted) == 1 and data.transductive
    assert data.train.node["encodings"] is data.test.node["encodings"]


def test_graphs_without_nodes_or_edges_are_encoded_too() -> None:
    bare = [
        Data(x=torch.ones(n, 1), edge_index=torch.empty(2, 0, dtype=torch.long), y=torch.tensor([n % 2]))
        for n in (0, 1, 3)
    ]
    data = from_graphs(bare, bare, bare, name="bare", task="multiclass").with_encodings(walks=4)
    assert not data.train.node["encodings"].any() and [len(graph.encodings) for graph in data.train] == [0, 1, 3]


def test_an_attribute_of_the_users_own_is_not_replaced(mutag: GraphData) -> None:
    graphs = [gp.AddEncodings(walks=4)(graph) for graph in list(mutag.val)]
    mine = from_graphs(graphs, graphs, graphs, name="mine", task="multiclass")
    assert mine.with_encodings(walks=4).encodings == gp.Encodings(walks=4)  # what a pipeline has counted already
    for walks in (5, 4):
        with pytest.raises(ValueError, match=r"mine, train split: .*'encodings' that is not what"):
            mine.with_encodings(walks=5)
        for graph in graphs:
            graph.encodings = torch.rand(graph.num_nodes, walks)
        mine = from_graphs(graphs, graphs, graphs, name="mine", task="multiclass")


def test_images_and_bad_options_are_refused(mutag: GraphData) -> None:
    with pytest.raises(ValueError, match="digits has images, no graphs: leave out encodings"):
        load("digits", encodings={"walks": 4})
    for bad in ({"walks": 1}, {"walks": 200}):
        with pytest.raises(ValueError, match="walks must be from 2"):
            load("MUTAG", encodings=bad)
        with pytest.raises(ValueError, match="walks must be from 2"):
            mutag.with_encodings(**bad)
    with pytest.raises(ValueError, match="a mapping such as"):
        mutag.with_encodings(rings=3)


def test_a_graph_that_would_take_too_long_is_named() -> None:
    huge = Data(x=torch.ones(100_000, 1), edge_index=braid(100_000).edge_index, y=torch.tensor([0]))
    small = Data(x=torch.ones(1, 1), edge_index=torch.empty(2, 0, dtype=torch.long), y=torch.tensor([1]))
    data = from_graphs([small, huge], [small], [small], name="huge", task="multiclass", num_classes=2)
    with pytest.raises(ValueError, match="100,000 nodes"):
        data.with_encodings(walks=16)


def test_what_a_transform_adds_is_not_silently_left_aside(mutag: GraphData) -> None:
    graphs = [gp.AddEncodings(walks=4)(graph) for graph in list(mutag.val)]
    mine = from_graphs(graphs, graphs, graphs, name="mine", task="multiclass")
    for make in (gp.models.GIN.for_data, gp.models.PaperGCN.for_data, gp.EdgePredictor.for_data):
        with pytest.raises(ValueError, match=r"of mine have .*with_encodings\(walks=4\).*encodings=None"):
            make(mine)
        assert make(mine.with_encodings(walks=4)).encoding_encoder is not None  # type: ignore[attr-defined]
    assert gp.models.GIN.for_data(mine, encodings=None).encoding_encoder is None


def test_a_whole_data_set_in_place_of_a_split_is_told(mutag: GraphData) -> None:
    """The error names what to give."""
    with pytest.raises(TypeError, match=r"GraphData has three splits: give one of them, such as data\.test"):
        PackedGraphs.of(mutag)  # type: ignore[arg-type]
