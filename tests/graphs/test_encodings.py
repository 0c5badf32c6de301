"""Encodings of single graphs: what they are, and that pruning counts them once and keeps them."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

import graphprune as gp
from graphprune.graphs import EdgeRound, PackedGraphs, PruneEdges, RandomEdges
from graphprune.graphs.encodings import Encodings
from graphprune.graphs.walks import walks_of
from tests.graphs.samples import Given, arcs, braid, random_graph, to_index


def by_powers(graph: Data, steps: int) -> torch.Tensor:
    """Degrees, and diagonals of powers of a dense matrix."""
    nodes = int(graph.num_nodes or 0)
    adjacency = np.zeros((nodes, nodes))
    source, target = graph.edge_index.numpy()
    adjacency[source, target] = adjacency[target, source] = 1
    np.fill_diagonal(adjacency, 0)
    once = adjacency / np.maximum(adjacency.sum(1), 1)[:, None]
    diagonals = [np.diag(np.linalg.matrix_power(once, step)) for step in range(2, steps + 1)]
    return torch.from_numpy(np.stack([np.log1p(adjacency.sum(1)), *diagonals], 1)).float()


@settings(max_examples=60)
@given(graph=arcs(), steps=st.integers(2, 12))
def test_they_are_degrees_and_diagonals_of_powers(graph: Any, steps: int) -> None:
    nodes, found = graph
    data = Data(x=torch.ones(nodes, 1), edge_index=to_index(found))
    encoded = gp.AddEncodings(walks=steps)(data)
    assert encoded.encodings.dtype == torch.float32
    torch.testing.assert_close(encoded.encodings, by_powers(data, steps), rtol=1e-6, atol=1e-7)
    assert "encodings" not in data and encoded.x is data.x


def test_a_graph_of_one_node_and_one_of_none_and_one_without_edges_have_zeros() -> None:
    for nodes in (0, 1, 5):
        bare = Data(x=torch.ones(nodes, 1), edge_index=torch.empty(2, 0, dtype=torch.long))
        assert torch.equal(gp.AddEncodings(walks=4)(bare).encodings, torch.zeros(nodes, 4))


def test_they_are_counted_on_the_edges_that_there_are_in_place_of_others() -> None:
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    once = gp.AddEncodings(walks=4)(graph)
    once.edge_index = once.edge_index[:, :0]
    again = gp.AddEncodings(walks=4)(once)
    assert once.encodings.any() and not again.encodings.any()


def test_a_huge_graph_is_refused_by_its_size() -> None:
    huge = braid(100_000)
    with pytest.raises(ValueError, match=r"the limit above 8,192 nodes: take fewer steps, or no encodings$"):
        gp.AddEncodings(walks=16)(huge)
    with pytest.raises(ValueError, match=r"100,000 nodes .*: take fewer steps, or none \(walks=0\)$"):
        walks_of(huge, 16)


@pytest.mark.parametrize("walks", [0, 1, 129, True, 4.0, "4", None])
def test_walks_out_of_range_are_refused(walks: Any) -> None:
    for make in (gp.Encodings, lambda walks: gp.AddEncodings(walks=walks)):
        with pytest.raises(ValueError, match="walks must be from 2, when a walk can be back, to 128 steps"):
            make(walks)


@pytest.mark.parametrize("given", [{"steps": 3}, {}, 5, "walks", {"walks": 3, "rings": 1}])
def test_other_words_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"encodings are gp\.Encodings or a mapping such as \{walks: 16\}, got"):
        Encodings.of(given)


def test_a_spec_is_plain_data_and_back() -> None:
    spec = gp.Encodings(walks=5)
    assert Encodings.of(spec) is spec and Encodings.of(spec.config()) == spec and spec.columns == 5
    assert (str(spec), repr(gp.AddEncodings(walks=5))) == ("walks=5", "AddEncodings(walks=5)")


def test_what_is_no_single_graph_is_refused() -> None:
    add = gp.AddEncodings(walks=4)
    with pytest.raises(ValueError, match="apply it before graphs are collated"):
        add(Batch.from_data_list([random_graph(0)]))
    with pytest.raises(TypeError, match="Data"):
        add("graph")
    with pytest.raises(ValueError, match="edge_index"):
        add(Data(x=torch.ones(3, 1)))


# ---------------------------------------------------------------------- pruning


class Reads(Given):
    """Scores each arc by its first end's last encoding, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def __deepcopy__(self, memo: Any) -> "Reads":
        return self

    def forward(self, data: Data) -> torch.Tensor:
        self.seen.append(data.encodings.float())
        return data.encodings[data.edge_index[0], -1]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many nodes each counting looked at."""
    found: list[int] = []
    count = Encodings.count

    def counting(self: Encodings, data: Data) -> torch.Tensor:
        found.append(int(data.num_nodes or 0))
        return count(self, data)

    monkeypatch.setattr(Encodings, "count", counting)
    return found


def rounds(scorer: torch.nn.Module) -> tuple[EdgeRound, ...]:
    return tuple(EdgeRound(scorer, 0.3, 0.7**number) for number in (1, 2, 3))


def test_an_unseen_graph_is_counted_once_and_all_rounds_read_the_same(counts: list[int]) -> None:
    scorer, graph = Reads(), random_graph(0, nodes=9, edges=16)
    pruned = PruneEdges(rounds(scorer), encodings=gp.Encodings(walks=5))(graph)
    whole = by_powers(graph, 5)
    assert counts == [9] and len(scorer.seen) == 3 and pruned.num_edges < graph.num_edges
    for seen in (*scorer.seen, pruned.encodings):
        torch.testing.assert_close(seen, whole, rtol=1e-6, atol=1e-7)
    assert "encodings" not in graph


def test_encodings_that_a_graph_brings_along_are_believed(counts: list[int]) -> None:
    graph = random_graph(0)
    more = graph.clone()
    more.edge_index = torch.cat([more.edge_index, torch.tensor([[0, 6], [6, 0]])], 1)
    graph.encodings = by_powers(more, 5)
    pruned = PruneEdges(rounds(Reads()), encodings=gp.Encodings(walks=5))(graph)
    assert not counts and torch.equal(pruned.encodings, graph.encodings)
    with pytest.raises(ValueError, match=r"reads encodings \(walks=6\) of shape \(7, 6\)"):
        PruneEdges(rounds(Reads()), encodings=gp.Encodings(walks=6))(graph)


IMPOSSIBLE = {
    "noise": lambda found: torch.randn_like(found) * 100,
    "shares": torch.rand_like,
    "all ones": torch.ones_like,
    "zeros": torch.zeros_like,  # of a graph without these edges
    "a mean degree": lambda found: found.clone().index_fill_(1, torch.tensor([0]), float(np.log1p(2.5))),
    "chances above one": lambda found: torch.cat([found[:, :1], found[:, 1:] + 1], 1),
    "chances below none": lambda found: torch.cat([found[:, :1], found[:, 1:] - 0.5], 1),
    "not finite": lambda found: torch.cat([found[:, :4], found[:, 4:] * torch.nan], 1),
    "endless": lambda found: torch.cat([found[:, :1] + torch.inf, found[:, 1:]], 1),
    "degrees below none": lambda found: -found,
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_encodings_that_cannot_be_are_refused(name: str) -> None:
    prune, graph = PruneEdges(rounds(Reads()), encodings=gp.Encodings(walks=5)), random_graph(0)
    graph.encodings = IMPOSSIBLE[name](by_powers(graph, 5))
    with pytest.raises(ValueError, match=r"'encodings' that is not what gp.AddEncodings\(walks=5\) counts"):
        prune(graph)
    if name != "zeros":
        with pytest.raises(ValueError, match=r"'encodings' that is not what gp\.AddEncodings"):
            prune.prune(PackedGraphs.of([graph]))
        with pytest.raises(ValueError, match="AddEncodings: the graphs have an attribute 'encodings' that is not"):
            gp.AddEncodings(walks=5)(graph)


@pytest.mark.parametrize("own", ["text", torch.arange(7), torch.rand(7), torch.ones(3, 5), torch.ones(7, 1), [1, 2]])
def test_an_attribute_of_that_name_that_is_another_thing_is_not_overwritten(own: Any) -> None:
    graph = random_graph(0)
    graph.encodings = own
    with pytest.raises(ValueError, match="rename it if it is another thing"):
        gp.AddEncodings(walks=5)(graph)


def test_as_many_encodings_as_nodes_are_no_second_copy_of_the_arcs() -> None:
    pairs = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    graph = Data(x=torch.ones(4, 1), edge_index=torch.cat([pairs, pairs.flip(0)], 1))
    graph.encodings = by_powers(graph, 4)
    whole = Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]))
    whole.encodings = by_powers(whole, 3)  # zero nowhere beside the diagonal, as there is an arc everywhere
    for each in (graph, whole):
        pruned = PruneEdges(rounds(RandomEdges()), encodings=gp.Encodings(walks=len(each.x)))(each)
        assert torch.equal(pruned.encodings, each.encodings)


def test_edges_that_are_added_by_hand_are_told() -> None:
    graph = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[0, 1], [1, 0]]))
    graph = gp.AddEncodings(walks=5)(graph)
    graph.edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    with pytest.raises(ValueError, match="delete it if arcs were added since"):
        PruneEdges(rounds(Reads()), encodings=gp.Encodings(walks=5))(graph)


@settings(max_examples=60)
@given(graph=arcs(), steps=st.integers(2, 12), dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_whatever_is_counted_is_believed_also_after_pruning(graph: Any, steps: int, dtype: torch.dtype) -> None:
    nodes, found = graph
    data = Data(x=torch.ones(nodes, 1), edge_index=to_index(found))
    spec = gp.Encodings(walks=steps)
    data.encodings = by_powers(data, steps).to(dtype)
    prune = PruneEdges(rounds(RandomEdges()), encodings=spec)
    again = prune(prune(data))
    assert torch.equal(again.encodings, data.encodings)
    assert gp.AddEncodings(walks=steps + 1)(again).encodings.shape == (nodes, steps + 1)


@settings(max_examples=20)
@given(st.integers(0, 2**20), st.booleans())
def test_a_set_is_pruned_as_its_graphs_one_by_one(seed: int, recounted: bool) -> None:
    graphs = [random_graph(seed + number, nodes=3 + number, edges=5 + 2 * number) for number in range(4)]
    prune = PruneEdges(rounds(RandomEdges(seed)), encodings=gp.Encodings(walks=4), recounted=recounted)
    packed = PackedGraphs.of(graphs)
    for pruned, graph in zip(prune.prune(packed), graphs, strict=True):
        alone = prune(graph)
        assert torch.equal(pruned.edge_index, alone.edge_index) and torch.equal(pruned.encodings, alone.encodings)
        torch.testing.assert_close(alone.encodings, by_powers(alone if recounted else graph, 4), rtol=1e-6, atol=1e-7)
    assert torch.equal(prune.mask(packed).keep, prune.mask(gp.Encodings(walks=4).counted(packed)).keep)
    with pytest.raises(ValueError, match="the set has encodings"):
        prune.prune(gp.Encodings(walks=5).counted(packed))


def test_no_graphs_at_all_have_the_attribute_too() -> None:
    none = PackedGraphs.of([random_graph(0)]).select([])
    assert gp.Encodings(walks=4).counted(none).node["encodings"].shape == (0, 4)


def test_transforms_with_and_without_are_told_apart() -> None:
    scorer = RandomEdges()
    made = [PruneEdges(rounds(scorer)), PruneEdges(rounds(scorer), encodings=gp.Encodings(walks=4))]
    made += [PruneEdges(rounds(scorer), encodings=gp.Encodings(walks=4), recounted=True)]
    assert len(set(map(repr, made))) == 3 and "walks" not in repr(made[0])
