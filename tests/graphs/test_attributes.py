"""What belongs to the arcs is cut with them, what a user's class says of its attributes holds, the rest is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data, HeteroData, TemporalData
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import RandomLinkSplit
from torch_geometric.utils import to_dense_adj

from graphprune.data import from_graphs
from graphprune.graphs import EdgeMask, EdgeRound, PackedGraphs, PrunedDataset, PruneEdges, RandomEdges, drop_arcs
from tests.graphs.samples import random_graph, to_index

PATH = [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (3, 4), (4, 3), (4, 5), (5, 4), (5, 6), (6, 5)]
HALF = PruneEdges([EdgeRound(RandomEdges(), 0.5, 0.5)])


def bonds(**attributes):
    """Seven nodes in a row: 12 arcs."""
    return Data(x=torch.randn(7, 3), edge_index=to_index(PATH), **attributes)


def same(ours, theirs):
    assert set(ours.keys()) == set(theirs.keys())
    for name, value in theirs:
        if isinstance(value, torch.Tensor):
            assert ours[name].dtype == value.dtype and torch.equal(ours[name], value), name
        else:
            assert repr(ours[name]) == repr(value), name


# ---------------------------------------------------------------------- names and numbers

KINDS = {
    "edge_bond": torch.arange(12),
    "edge_attr": torch.randn(12, 2),
    "edge_names": [f"bond {number}" for number in range(12)],
    "edge_kinds": tuple(range(12)),
    "edge_vectors": torch.randn(12, 3, 2),
    "e_id": torch.arange(12),
}


@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_pyg_takes_for_attributes_of_edges_is_cut(keep):
    keep = torch.tensor(keep)
    whole = bonds(y=torch.tensor([1]), tags=list("abc"), note="twelve chars", **KINDS)
    theirs = whole.edge_subgraph(keep)
    theirs.edge_kinds = tuple(theirs.edge_kinds)
    same(drop_arcs(whole, keep), theirs)
    same(PrunedDataset([whole], EdgeMask(keep, torch.tensor([0, 12])))[0], theirs)
    assert len(whole.edge_names) == len(whole.edge_bond) == 12


@pytest.mark.parametrize(
    "prune", [HALF, lambda graph: PrunedDataset([graph], HALF.mask(PackedGraphs.of([bonds()])))[0]]
)
def test_all_entries_go_with_their_arcs(prune):
    numbers = torch.arange(12)
    array = np.arange(24).reshape(12, 2)
    less = prune(bonds(edge_bond=numbers, edge_array=array, edge_names=numbers.tolist()))
    left = less.edge_bond.tolist()
    assert less.edge_index.tolist() == to_index([PATH[number] for number in left]).tolist()
    assert len(left) == 6
    assert less.edge_names == left
    assert less.edge_array.tolist() == array[left].tolist()


def test_names_decide_where_numbers_do_not():
    ring = Data(edge_index=to_index([(0, 1), (1, 2), (2, 0)]), x=torch.ones(3, 1), keep=[1, 2, 3], edge_keep=[1, 2, 3])
    less = drop_arcs(ring, torch.tensor([True, False, False]))
    assert (less.keep, less.edge_keep, less.x.shape) == ([1, 2, 3], [1], (3, 1))
    one = Data(
        edge_index=to_index([(0, 1)]), x=torch.ones(2, 1), y=torch.tensor([1]), sizes=[5], edge_attr=torch.ones(1)
    )
    less = drop_arcs(one, torch.tensor([False]))
    assert (less.y.tolist(), less.sizes, less.edge_attr.tolist()) == ([1], [5], [])
    none = Data(edge_index=to_index([]), x=torch.ones(2, 1), y=torch.empty(0), edge_attr=torch.ones(0, 3))
    assert drop_arcs(none, torch.empty(0, dtype=torch.bool)).edge_attr.shape == (0, 3)


@pytest.mark.parametrize("value", [torch.arange(12), torch.ones(12, 2), np.arange(12), list(range(12))])
def test_as_many_entries_as_arcs_under_another_name_are_refused(value):
    for prune in (HALF, lambda graph: drop_arcs(Batch.from_data_list([graph, graph]), torch.arange(24) % 2 == 0)):
        with pytest.raises(ValueError, match=r"'bond' has as many entries as there are arcs .*shape \(1, ...\)"):
            prune(bonds(bond=value))
    assert HALF(bonds(bond=torch.zeros(1, 12))).bond.shape == (1, 12)


def test_labels_are_the_graphs_whatever_their_number():
    for shape in ((12,), (1, 12), (7,)):
        assert HALF(bonds(y=torch.zeros(shape))).y.shape == shape


def test_a_second_set_of_arcs_is_left_alone_or_refused():
    graph = bonds(edge_index2=to_index(PATH[::-1]))
    assert HALF(graph).edge_index2.shape == (2, 12)
    with pytest.raises(ValueError, match="edge_index2"):
        PackedGraphs.of([graph, graph])


def test_a_count_of_arcs_is_kept_up():
    assert HALF(bonds(num_edges=12)).num_edges == 6


@pytest.mark.parametrize("name", ["edge_parts", "parts"])
def test_containers_of_entries_are_refused(name):
    for value in ({"a": torch.ones(12)}, [torch.ones(2), torch.ones(12, 2)], {"a": {"b": torch.ones(12)}}):
        with pytest.raises(ValueError, match=f"'{name}' is a container of tensors with an entry an arc"):
            HALF(bonds(**{name: value}))
    assert HALF(bonds(**{name: {"a": torch.ones(3)}}))[name]["a"].shape == (3,)


@pytest.mark.parametrize("name", ["bond", "edge_names"])
def test_a_packed_set_refuses_what_it_would_not_cut(name):
    for make in (lambda count: list(range(count)), lambda count: tuple(range(count)), np.arange):
        graphs = [bonds(**{name: make(12)}), random_graph(0)]
        graphs[1] = Data(x=graphs[1].x[:, :3], edge_index=graphs[1].edge_index)
        graphs[1][name] = make(graphs[1].num_edges)
        what = type(make(1)).__name__
        with pytest.raises(ValueError, match=f"attribute '{name}' is a {what} with an entry an arc"):
            PackedGraphs.of(graphs)
    tags = PackedGraphs.of([bonds(tags=["a"] * 12), bonds(tags=["b"] * 12)])  # all the same: not the arcs' by number
    assert tags[1].tags == ["b"] * 12
    with pytest.raises(ValueError, match=r"attribute 'bond' has neither .* needs 'edge' in its name"):
        PackedGraphs.of([bonds(bond=torch.arange(12))])


def test_batches_that_torch_geometric_made():
    graphs = [random_graph(number, nodes=4 + number, edges=3 + 2 * number) for number in range(4)]
    for number, graph in enumerate(graphs):
        graph.edge_bond = torch.arange(graph.num_edges) + 100 * number
        graph.edge_names = graph.edge_bond.tolist()
        graph.edge_array = graph.edge_bond.numpy().copy()
    batch = next(iter(DataLoader(graphs, batch_size=4, follow_batch=["edge_attr", "x"])))
    keep = torch.arange(batch.num_edges) % 3 == 1
    less, parts = drop_arcs(batch, keep), keep.split([graph.num_edges for graph in graphs])
    for ours, graph, stay in zip(less.to_data_list(), graphs, parts, strict=True):
        same(ours, drop_arcs(graph, stay))
    assert less.edge_attr_batch.tolist() == batch.edge_attr_batch[keep].tolist()
    assert less.edge_attr_ptr.tolist() == [0, *torch.stack([part.sum() for part in parts]).cumsum(0).tolist()]
    assert torch.equal(less.x_batch, batch.x_batch)


# ---------------------------------------------------------------------- indices of their own


@pytest.mark.parametrize("options", [{}, {"add_negative_train_samples": False}, {"split_labels": True}])
def test_links_to_predict_are_not_the_arcs(options):
    torch.manual_seed(0)
    graph = Data(x=torch.randn(30, 2), edge_index=random_graph(3, nodes=30, edges=60).edge_index)
    for part in RandomLinkSplit(is_undirected=True, **options)(graph):
        less = HALF(part)
        assert less.num_edges == part.num_edges // 2
        labels = [name for name in part.keys() if "label" in name]  # noqa: SIM118
        assert labels
        for name in labels:
            assert torch.equal(less[name], part[name])
        mask = EdgeMask.full(torch.tensor([0, part.num_edges]))
        mask.keep[0] = False
        assert all(torch.equal(PrunedDataset([part], mask)[0][name], part[name]) for name in labels)


def test_as_many_labels_as_arcs_with_an_index_of_their_own():
    torch.manual_seed(0)
    part, _, _ = RandomLinkSplit(is_undirected=True, num_val=0, num_test=0)(bonds())
    part.edge_label = torch.arange(12)
    part.edge_label_index = to_index(PATH)
    part.edge_label_weight = torch.ones(12)
    less = HALF(part)
    assert (less.num_edges, less.edge_label.shape, less.edge_label_index.shape) == (6, (12,), (2, 12))
    assert less.edge_label_weight.shape == (12,)
    with pytest.raises(ValueError, match="attribute 'edge_label"):
        PackedGraphs.of([part])
    batch = Batch.from_data_list([part, part])
    assert drop_arcs(batch, torch.arange(24) < 5).edge_label.shape == (24,)


def test_an_index_with_another_number_of_entries_claims_nothing():
    graph = bonds(edge_attr=torch.ones(12, 1), edge_attr_index=torch.zeros(2, 5, dtype=torch.int64))
    assert HALF(graph).edge_attr.shape == (6, 1)


# ---------------------------------------------------------------------- a class of the user's own


class Ego(Data):
    """A graph around a root, with attributes along other dimensions."""

    def __inc__(self, key, value, *args, **kwargs):
        if key in ("root", "roots", "partner"):
            return self.num_nodes
        if key == "colour":
            return 3
        return super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key, value, *args, **kwargs):
        return {"wide": 1, "edge_wide": -1, "whole": None, "number": None}.get(
            key, super().__cat_dim__(key, value, *args, **kwargs)
        )


class Plain(Data):
    """A class without rules of its own."""


def egos(kind=Ego):
    graphs = []
    torch.manual_seed(0)
    for number in range(4):
        graph = random_graph(number, nodes=3 + number, edges=4 + number)
        nodes, arcs = graph.num_nodes, graph.num_edges
        graphs.append(
            kind(
                **graph.to_dict(),
                num_nodes=nodes,
                root=number,
                roots=torch.tensor([number, 0]).view(1, 2),
                partner=torch.arange(nodes).flip(0),
                colour=torch.tensor([number]),
                wide=torch.randn(5, nodes),
                edge_wide=torch.randn(2, arcs),
                whole=torch.randn(2, 3),
                number=torch.tensor(float(number)),
                root_index=torch.tensor([number]),
                node_index=torch.arange(nodes),
                near_index=torch.zeros(2, nodes, dtype=torch.int64),
                name=str(number),
            )
        )
    return graphs


def matching(kind):
    """Without what only the rules of ``Ego`` let pack."""
    graphs = egos(kind)
    if kind is not Ego:
        for graph in graphs:
            for name in ("wide", "edge_wide", "whole"):
                del graph[name]
    return graphs


@pytest.mark.parametrize("kind", [Ego, Plain, Data])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_batches_are_those_of_the_class(kind, size):
    graphs = matching(kind)
    packed = PackedGraphs.of(graphs)
    for ours, theirs in zip(packed.loader(size), DataLoader(graphs, batch_size=size), strict=True):
        assert isinstance(ours, kind)
        assert type(ours) is type(theirs)
        same(ours, theirs)
        for mine, other in zip(ours.to_data_list(), theirs.to_data_list(), strict=True):
            assert type(mine) is kind
            same(mine, other)


@pytest.mark.parametrize("kind", [Ego, Plain, Data])
def test_single_graphs_are_those_of_the_class(kind):
    graphs = matching(kind)
    for mine, graph in zip(PackedGraphs.of(graphs), graphs, strict=True):
        assert type(mine) is kind
        same(mine, Batch.from_data_list([graph]).to_data_list()[0])
    again = PackedGraphs.of(list(PackedGraphs.of(graphs)))
    same(again.batch(range(4)), PackedGraphs.of(graphs).batch(range(4)))


def test_roots_and_columns_by_hand():
    graphs = [Ego(x=torch.ones(6, 1), edge_index=to_index(PATH[:10]), root=0, wide=torch.ones(5, 6)) for _ in range(3)]
    batch = PackedGraphs.of(graphs).batch([0, 1, 2])
    assert batch.root.tolist() == [0, 6, 12]
    assert batch.wide.shape == (5, 18)


@given(st.integers(0, 99))
def test_the_arcs_of_a_users_class(seed):
    graphs = egos()
    packed = PackedGraphs.of(graphs)
    keep = torch.rand(packed.num_edges, generator=torch.Generator().manual_seed(seed)) < 0.5
    parts, digest = keep.split(packed.edge_count.tolist()), packed.digest()
    less = [drop_arcs(graph, stay) for graph, stay in zip(graphs, parts, strict=True)]
    for graph, stay, own in zip(less, parts, graphs, strict=True):
        assert torch.equal(graph.edge_wide, own.edge_wide[:, stay])
        assert graph.wide.shape == own.wide.shape
    pruned = packed.keep_edges(keep)
    theirs = Batch.from_data_list(less)
    same(pruned.batch(range(4)), theirs)
    same(drop_arcs(packed.batch(range(4)), keep), theirs)
    same(pruned.select([2, 0]).batch([1, 0]), Batch.from_data_list([less[0], less[2]]))
    assert packed.digest() == digest
    same(PackedGraphs.of(PrunedDataset(graphs, EdgeMask(keep, packed.edge_ptr))).batch(range(4)), theirs)


def test_the_class_comes_through_a_data_set():
    data = from_graphs(egos(), egos(), egos(), name="own", task="multiclass")
    same(data.test.batch([1, 3]), next(iter(DataLoader([data.test[1], data.test[3]], batch_size=2))))
    assert data.train.batch([0, 1]).root.tolist() == [0, 4]


def test_the_digest_knows_how_graphs_are_joined():
    one, other = PackedGraphs.of(egos()), PackedGraphs.of(egos())
    assert one.digest() == other.digest()
    other.joining.shifts["colour"][0] = 4
    assert one.digest() != other.digest()


class Counts(Data):
    """Its ``twin`` is the number of each arc's reverse arc."""

    def __inc__(self, key, value, *args, **kwargs):
        return self.num_edges if key in ("twin", "edge_twin") else super().__inc__(key, value, *args, **kwargs)


@pytest.mark.parametrize("name", ["twin", "edge_twin"])
def test_numbers_of_arcs_are_refused(name):
    graph = Counts(x=torch.ones(7, 1), edge_index=to_index(PATH), **{name: torch.arange(12) ^ 1})
    with pytest.raises(ValueError, match=f"'{name}' (numbers arcs|has as many entries as there are arcs)"):
        HALF(graph)
    with pytest.raises(ValueError, match=f"graph 1: '{name}' numbers arcs"):
        PackedGraphs.of([Counts(x=torch.ones(1, 1), edge_index=to_index([]), **{name: torch.empty(0)}), graph])


class Bipartite(Data):
    def __inc__(self, key, value, *args, **kwargs):
        if key == "edge_index":
            return torch.tensor([[self.num_nodes], [9]])
        return super().__inc__(key, value, *args, **kwargs)


class Two(Data):
    def __inc__(self, key, value, *args, **kwargs):
        return torch.tensor([[1], [2]]) if key == "ends" else super().__inc__(key, value, *args, **kwargs)


class Needs(Data):
    def __init__(self, owner, **attributes):
        super().__init__(**attributes)


def test_classes_that_cannot_be_packed():
    base = {"x": torch.ones(7, 1), "edge_index": to_index(PATH)}
    with pytest.raises(ValueError, match="graph 0: edge_index is not shifted by the number of nodes, 7"):
        PackedGraphs.of([Bipartite(**base)])
    with pytest.raises(ValueError, match="attribute 'ends' is shifted by several numbers at once"):
        PackedGraphs.of([Two(**base, ends=torch.zeros(2, 1))])
    with pytest.raises(ValueError, match="Needs, which cannot be made without arguments"):
        PackedGraphs.of([Needs("me", **base)])
    with pytest.raises(ValueError, match="graph 1 is a Plain, graph 0 a Data"):
        PackedGraphs.of([Data(**base), Plain(**base)])
    with pytest.raises(ValueError, match="graph 0 is a batch"):
        PackedGraphs.of([Batch.from_data_list([Data(**base)])])


@pytest.mark.parametrize("other", [HeteroData(), TemporalData(), torch.ones(2), None])
def test_other_kinds_of_graphs(other):
    name = type(other).__name__
    with pytest.raises(TypeError, match=f"got a {name}, expected a torch_geometric.data.Data"):
        HALF(other)
    with pytest.raises(TypeError, match=f"graph 0 is a {name}"):
        PackedGraphs.of([other])
    with pytest.raises(TypeError, match=f"graph 0 is a {name}"):
        PrunedDataset([other], EdgeMask.full(torch.tensor([0, 0])))[0]


# ---------------------------------------------------------------------- the arcs a second time


def matrices():
    index = to_index(PATH)
    dense = to_dense_adj(index)[0]
    weighted = dense * torch.rand(7, 7).add(0.1)
    return {
        "adj": dense,
        "adj_t": dense.to_sparse(),
        "batched": dense[None],
        "laplacian": dense.sum(0).diag() - dense,
        "looped": weighted + torch.eye(7),
        "channels": torch.stack([dense, weighted], 2),
        "bools": dense.bool(),
    }


@pytest.mark.parametrize("name", matrices())
@pytest.mark.parametrize("way", ["transform", "packed", "pruned data set", "from_graphs"])
def test_a_second_copy_of_the_arcs_is_refused(name, way):
    graph = bonds(**{name: matrices()[name]}, y=torch.tensor([0]))
    mask = EdgeMask.full(torch.tensor([0, 12]))
    ways = {
        "transform": lambda: HALF(graph),
        "packed": lambda: PackedGraphs.of([graph]),
        "pruned data set": lambda: PrunedDataset([graph], mask)[0],
        "from_graphs": lambda: from_graphs([graph], [graph], [graph], name="own", task="binary"),
    }
    with pytest.raises(ValueError, match=f"'{name}' holds the arcs a second time"):
        ways[way]()


def test_the_reverse_of_directed_arcs_is_a_second_copy_too():
    index = to_index([(0, 1), (1, 2), (0, 2)])
    graph = Data(x=torch.ones(3, 1), edge_index=index, adj_t=to_dense_adj(index)[0].t())
    with pytest.raises(ValueError, match="'adj_t' holds the arcs a second time"):
        HALF(graph)


def test_other_square_matrices_are_welcome():
    encodings = torch.randn(7, 7)
    less = HALF(bonds(encodings=encodings, unit=torch.eye(7), pos=to_dense_adj(to_index(PATH))[0]))
    assert torch.equal(less.encodings, encodings)
    assert HALF(Data(x=torch.eye(7), edge_index=to_index(PATH))).num_edges == 6
