from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from graphprune.graphs import PackedGraphs
from tests.graphs.samples import arcs, random_graph, to_index


@st.composite
def data_lists(draw, min_graphs=1):
    """Graphs with attributes of every level and kind; some without nodes, edges or both."""
    graphs = []
    for number, (nodes, found) in enumerate(draw(st.lists(arcs(), min_size=min_graphs, max_size=5))):
        rng = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        graphs.append(
            Data(
                edge_index=to_index(found),
                num_nodes=nodes,
                x=torch.randn(nodes, 3, generator=rng),
                keep=torch.randint(9, (nodes,), generator=rng),
                edge_attr=torch.randn(len(found), 2, generator=rng),
                edge_weight=torch.rand(len(found), generator=rng).double(),
                y=torch.randn(1, 2, generator=rng),
                descriptor=torch.randn(1, 4, 2, generator=rng),
                weight=torch.tensor(0.5 * number),
                count=number,
                rare=number > 1,
                smiles="C" * number,
                tags=["a", number],
            )
        )
    return graphs


def assert_same(ours, theirs):
    assert set(ours.keys()) == set(theirs.keys())
    for name, value in theirs:
        if isinstance(value, torch.Tensor):
            assert ours[name].dtype == value.dtype, name
            assert torch.equal(ours[name], value), name
        else:
            assert ours[name] == value, name


@given(data_lists())
def test_a_batch_is_what_pyg_collates(graphs):
    packed = PackedGraphs.of(graphs)
    ours, theirs = packed.batch(torch.arange(len(graphs))), Batch.from_data_list(graphs)
    assert_same(ours, theirs)
    assert ours.num_graphs == theirs.num_graphs
    assert ours.num_nodes == theirs.num_nodes
    for mine, other in zip(ours.to_data_list(), theirs.to_data_list(), strict=True):
        assert_same(mine, other)
    assert_same(ours.get_example(0), theirs.get_example(0))


@given(data_lists(), st.data())
def test_a_batch_of_any_graphs_in_any_order(graphs, data):
    packed = PackedGraphs.of(graphs)
    index = data.draw(st.lists(st.integers(0, len(graphs) - 1), min_size=1, max_size=6))
    theirs = Batch.from_data_list([graphs[i] for i in index])
    assert_same(packed.batch(torch.tensor(index)), theirs)
    assert_same(packed.select(index).batch(range(len(index))), theirs)


@given(data_lists())
def test_reading_a_graph_gives_it_back(graphs):
    packed = PackedGraphs.of(graphs)
    assert len(packed) == len(graphs)
    # A 0-dimensional tensor and a number come back as PyG collates them: with one row.
    for ours, theirs in zip(packed, graphs, strict=True):
        assert_same(ours, Batch.from_data_list([theirs]).to_data_list()[0])
    assert PackedGraphs.of(packed) is packed
    for ours, again in zip(packed, PackedGraphs.of(list(packed)), strict=True):
        assert_same(ours, again)


def test_as_many_arcs_as_nodes_are_told_apart_by_name():
    index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    ring = Data(edge_index=index, num_nodes=3, keep=torch.arange(3), edge_keep=torch.arange(3) * 10)
    packed = PackedGraphs.of([ring, ring]).keep_edges(torch.tensor([True, False, True, False, True, False]))
    assert packed[0].edge_keep.tolist() == [0, 20]
    assert packed[1].edge_keep.tolist() == [10]
    assert packed[0].keep.tolist() == packed[1].keep.tolist() == [0, 1, 2]


def test_nodes_without_features_survive_a_batch():
    graphs = [Data(edge_index=torch.tensor([[0], [1]]), num_nodes=5), Data(edge_index=to_index([]), num_nodes=2)]
    batch = PackedGraphs.of(graphs).batch([0, 1])
    assert batch.num_nodes == 7
    assert [graph.num_nodes for graph in batch.to_data_list()] == [5, 2]


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_loaders_of_torch_geometric_read_it(size):
    packed = PackedGraphs.of([random_graph(seed, nodes=2 + seed) for seed in range(10)])
    theirs = list(DataLoader(packed, batch_size=size))
    ours = packed.loader(size)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert_same(mine, other)


def seen(loader):
    return [batch.y.tolist() for batch in loader]


def numbered(count):
    return PackedGraphs.of([Data(edge_index=to_index([]), num_nodes=1, y=torch.tensor([i])) for i in range(count)])


@given(count=st.integers(1, 20), size=st.integers(1, 8), shuffle=st.booleans())
def test_a_pass_has_every_graph_once(count, size, shuffle):
    batches = seen(numbered(count).loader(size, shuffle=shuffle))
    assert sorted(chain.from_iterable(batches)) == list(range(count))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)


def test_a_shuffled_loader_draws_a_new_order_every_pass():
    loader = numbered(30).loader(7, shuffle=True, generator=torch.Generator().manual_seed(0))
    first, second = seen(loader), seen(loader)
    assert first != second
    assert sorted(chain.from_iterable(first)) == sorted(chain.from_iterable(second)) == list(range(30))


def test_no_graphs_no_batches():
    none = numbered(3).select([])
    assert len(none) == len(none.loader(2)) == 0
    assert list(none.loader(2)) == []


def test_a_loader_refuses_nonsense():
    with pytest.raises(ValueError, match="batch_size"):
        numbered(2).loader(0)


@pytest.mark.parametrize("index", [[3], [-1], [-2], [0, 99]])
def test_graph_numbers_outside_are_refused(index):
    with pytest.raises(IndexError, match="outside"):
        numbered(3).select(index)
    with pytest.raises(IndexError, match="outside"):
        numbered(3).batch(torch.tensor(index))


def test_a_mask_is_no_list_of_numbers():
    with pytest.raises(TypeError, match="bool"):
        numbered(3).select(torch.tensor([True, False, True]))


def test_indexing_like_a_list():
    packed = numbered(3)
    assert packed[-1].y.tolist() == [2]
    with pytest.raises(IndexError, match="3 of 3"):
        packed[3]


@given(data_lists(), st.data())
def test_keep_edges_drops_arcs_and_nothing_else(graphs, data):
    packed = PackedGraphs.of(graphs)
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=packed.num_edges, max_size=packed.num_edges)))
    keep = keep.bool()
    pruned = packed.keep_edges(keep)
    for graph, own, less in zip(graphs, keep.split(packed.edge_count.tolist()), pruned, strict=True):
        assert torch.equal(less.edge_index, graph.edge_index[:, own])
        assert torch.equal(less.edge_attr, graph.edge_attr[own])
        assert torch.equal(less.edge_weight, graph.edge_weight[own])
        assert torch.equal(less.x, graph.x)
        assert less.num_nodes == graph.num_nodes
        assert less.smiles == graph.smiles


@pytest.mark.parametrize("keep", [torch.ones(3, dtype=torch.bool), torch.ones(4), torch.ones(2, 2, dtype=torch.bool)])
def test_keep_edges_wants_one_bool_an_arc(keep):
    packed = PackedGraphs.of([Data(edge_index=torch.tensor([[0, 1, 0, 1], [1, 0, 0, 1]]), num_nodes=2)])
    with pytest.raises(ValueError, match="keep must be bool"):
        packed.keep_edges(keep)


def good(**changes):
    return Data(**({"edge_index": torch.tensor([[0, 1], [1, 0]]), "x": torch.ones(2, 3)} | changes))


BAD = {
    "graph 1: edge_index .* points outside its 2 nodes": good(edge_index=torch.tensor([[0, 2], [1, 0]])),
    r"graph 1: edge_index \[-1, 0\] points outside": good(edge_index=torch.tensor([[-1], [0]])),
    "graph 1: edge_index must be int64": good(edge_index=torch.tensor([[0], [1]], dtype=torch.int32)),
    r"graph 1: edge_index must be int64 of shape \(2, E\), got torch.float32": good(edge_index=torch.ones(2, 1)),
    r"graph 1: edge_index .* \(3, 1\)": good(edge_index=torch.zeros(3, 1, dtype=torch.int64)),
    "graph 1 has no edge_index": Data(x=torch.ones(2, 3)),
    "graph 1 has no attribute 'x'": Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2),
    "graph 0 has no attribute 'extra'": good(extra=torch.ones(1)),
    "attribute 'x' is not a dense tensor with the same columns": good(x=torch.ones(2, 4)),
    "'x' has neither one row a node nor one row a graph": good(x=torch.ones(5, 3), num_nodes=2),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_packed_is_named(message):
    with pytest.raises(ValueError, match=message):
        PackedGraphs.of([good(), BAD[message]])


@pytest.mark.parametrize(
    "attribute",
    [
        {"pair_index": torch.zeros(2, 3, dtype=torch.int64)},
        {"assign_batch": torch.tensor([0, 0])},
        {"face": torch.zeros(3, 5, dtype=torch.int64)},
        {"nested": {"a": torch.ones(1)}},
        {"nested": [torch.ones(1)]},
        {"x": torch.eye(2, 3).to_sparse()},
    ],
)
def test_what_pyg_would_shift_or_take_apart_is_refused(attribute):
    with pytest.raises(ValueError, match=f"attribute '{next(iter(attribute))}'"):
        PackedGraphs.of([good(**attribute)])


def test_no_graphs_cannot_be_packed():
    with pytest.raises(ValueError, match="empty"):
        PackedGraphs.of([])


@pytest.mark.parametrize(
    ("stores", "message"),
    [
        ({"node": {"x": torch.ones(4, 1)}}, "node attribute 'x' has 4 rows, expected 3"),
        ({"edge": {"edge_attr": torch.ones(3, 1)}}, "edge attribute 'edge_attr' has 3 rows, expected 2"),
        ({"edge": {"bond": torch.ones(2, 1)}}, "'bond' needs 'edge' in its name"),
        ({"graph": {"y": torch.ones(1)}}, "graph attribute 'y' has 1 rows, expected 2"),
        ({"objects": {"smiles": ["C"]}}, "graph attribute 'smiles' has 1 rows, expected 2"),
        ({"num_edges": torch.tensor([2])}, "graph attribute 'num_edges' has 1 rows, expected 2"),
        ({"num_edges": torch.tensor([2, 1])}, "edge attribute 'edge_index' has 2 rows, expected 3"),
    ],
)
def test_flat_arrays_that_contradict_each_other(stores, message):
    arguments = {
        "num_nodes": torch.tensor([2, 1]),
        "num_edges": torch.tensor([2, 0]),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
    }
    with pytest.raises(ValueError, match=message):
        PackedGraphs(**(arguments | stores))


def test_the_digest_knows_every_bit():
    graphs = [random_graph(seed, loops=True) for seed in range(3)]
    packed = PackedGraphs.of(graphs)
    digests = {packed.digest()}
    for values in (*packed.node.values(), *packed.edge.values(), *packed.graph.values(), packed.edge_index):
        for place in (0, values.numel() - 1):
            before = values.view(-1)[place].clone()
            other = torch.nextafter(before, before + 1) if values.is_floating_point() else 1 - before
            values.view(-1)[place] = other
            digests.add(packed.digest())
            values.view(-1)[place] = before
    assert len(digests) == 1 + 2 * 4
    digests.add(packed.select([0, 2, 1]).digest())
    digests.add(packed.select([0, 1]).digest())
    digests.add(packed.with_node(x=packed.node["x"].double()).digest())
    digests.add(packed.with_graph(more=packed.graph["y"]).digest())
    digests.add(packed.keep_edges(torch.arange(packed.num_edges) != 4).digest())
    assert len(digests) == 1 + 2 * 4 + 5
    assert PackedGraphs.of([random_graph(seed, loops=True) for seed in range(3)]).digest() == packed.digest()


def test_the_digest_knows_levels_but_not_the_order_of_attributes():
    nodes, edges, index = torch.ones(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), to_index([])
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([0.0, -0.0]).bfloat16()
    digest = PackedGraphs(nodes, edges, index, node={"a": a, "b": b}).digest()
    assert PackedGraphs(nodes, edges, index, node={"b": b, "a": a}).digest() == digest
    assert PackedGraphs(nodes, edges, index, node={"a": a}, graph={"b": b}).digest() != digest
    assert PackedGraphs(nodes, edges, index, node={"a": a, "b": -b}).digest() != digest


def test_copies_share_nothing_that_changes():
    packed = PackedGraphs.of([random_graph(0), random_graph(1)])
    more = packed.with_node(extra=torch.zeros(packed.num_nodes)).with_graph(y=torch.tensor([5, 6]))
    assert more[1].y.tolist() == [6]
    assert more[0].extra.shape == (7,)
    assert "extra" not in packed[0]
    assert packed[1].y.tolist() == [1]
    assert packed.to("cpu").digest() == packed.digest()
