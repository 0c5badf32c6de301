"""Edge scorers of the user's, called in the dtype of their parameters: when they train, and when they prune."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch

import graphprune as gp
from graphprune.graphs import EdgePredictor, EdgeRound, EdgeRule, PackedGraphs, PruneEdges, score_arcs
from graphprune.graphs.scorers import EdgeScorer
from tests.graphs.samples import random_graph
from tests.methods.graphs import narrow_gcn, plain_fit, small_data


class Ends(nn.Module):
    """Makes single-precision numbers itself, whatever the graph has: degrees, a one-hot encoding of them, ones."""

    def __init__(self, columns=3):
        super().__init__()
        self.lin = nn.Linear(columns + 6, 1)
        self.met = []

    def forward(self, graph):
        self.met.append((graph.x.dtype, graph.num_nodes))
        degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).clamp(max=3)
        kinds = nn.functional.one_hot(degree, 4).float()
        vectors = torch.cat([graph.x, kinds, degree[:, None].float(), torch.ones(graph.num_nodes, 1)], 1)
        return self.lin(vectors[graph.edge_index[0]] * vectors[graph.edge_index[1]]).squeeze(1)


class Plain(nn.Module):
    """Numbers of the graph alone, in whatever dtype they come."""

    def __init__(self, columns=3):
        super().__init__()
        self.lin = nn.Linear(columns, 1)
        self.met = []

    def forward(self, graph):
        self.met.append(graph.x.dtype)
        return self.lin(graph.x[graph.edge_index[0]] * graph.x[graph.edge_index[1]]).squeeze(1)


def test_a_scorer_that_makes_single_precision_itself_trains_and_prunes():
    torch.manual_seed(0)
    data, scorer = small_data(), Ends()
    (ticket,) = gp.ICPG(predictor=scorer, rounds=1, edge_rate=0.3, weight_rate=0).rounds(
        narrow_gcn(data), data, plain_fit(2)
    )
    assert float(ticket.score_edges(data.test[5]).std()) > 0
    left = ticket.prune(data.test)
    for number in range(len(data.test)):
        assert torch.equal(ticket.prune_graph(data.test[number]).edge_index, left[number].edge_index)


@settings(max_examples=25)
@given(seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=9), columns=st.integers(1, 40))
def test_batch_mates_have_no_say_in_single_precision(seeds, columns):
    graphs = PackedGraphs.of([random_graph(seed, nodes=2 + seed % 30, columns=columns) for seed in seeds])
    scorer = Ends(columns)
    whole = score_arcs(scorer, graphs.batch(range(len(graphs))))
    assert torch.equal(whole, torch.cat([score_arcs(scorer, graph) for graph in graphs]))
    assert whole.dtype == torch.float64
    keep = PruneEdges((EdgeRound(scorer, 0.4, 0.6),)).mask(graphs)
    for number, graph in enumerate(graphs):
        alone = PruneEdges((EdgeRound(scorer, 0.4, 0.6),))(graph)
        assert torch.equal(alone.edge_index, graph.edge_index[:, keep.graph(number)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("of_graphs", [torch.float32, torch.float64])
def test_the_graphs_real_numbers_come_in_the_dtype_of_the_parameters(dtype, of_graphs):
    torch.manual_seed(0)
    data, scorer = small_data(), Plain().to(dtype)
    parts = {name: part.with_node(x=part.node["x"].to(of_graphs)) for name, part in data.splits.items()}
    wide = data.with_splits(**parts)
    gicp = gp.GICP(predictor=scorer, densities=(0.7, 0.4), stop=2)
    *_, ticket = gicp.rounds(narrow_gcn(data), wide, plain_fit(3))
    used = ticket.edges.rounds[-1].scorer
    assert next(used.parameters()).dtype == dtype and {*used.met} == {dtype}
    assert not torch.equal(used.lin.weight, scorer.lin.weight)  # it has learnt
    ticket.prune_graph(wide.test[4])


class Follows(Plain):
    follows_dtype = True


class Ticketed(Plain, EdgeScorer):
    pass


def test_whole_batches_are_scored_in_double_precision_by_those_that_say_so():
    graphs = PackedGraphs.of([random_graph(seed, columns=3) for seed in range(4)])
    for kind, dtype, calls in (
        *((Plain, dtype, 4) for dtype in (torch.float64, torch.float32, torch.float16)),
        (Ticketed, torch.float64, 1),
        (Ticketed, torch.float32, 4),
    ):
        scorer, met = kind().to(dtype), []
        scorer.forward = lambda graph, met=met: met.append(graph.x.dtype) or graph.x[graph.edge_index[0], 0]
        score_arcs(scorer, graphs.batch(range(4)))
        assert met == [dtype] * calls
    for scorer in (Follows(), Follows().double()):
        scorer.met = met = []
        scorer.forward = lambda graph, met=met: met.append(graph.x.dtype) or graph.x[graph.edge_index[0], 0]
        score_arcs(scorer, graphs.batch(range(4)))
        assert met == [torch.float64]


class Central(nn.Module):
    """Edges near the middle of the graph, or of whatever it is given, stay."""

    def forward(self, data):
        return -(data.x[data.edge_index[0]] - data.x.mean(0)).norm(dim=1)


@pytest.mark.parametrize("kind", [None, torch.float32, torch.float64])
def test_batch_mates_have_no_say_in_what_a_scorer_takes_from_all_nodes(kind):
    graphs = [random_graph(seed, nodes=6, columns=2) for seed in range(5)]
    for number, graph in enumerate(graphs):
        graph.x = graph.x + 5 * number
    scorer = Central()
    if kind is not None:
        scorer.weight = nn.Parameter(torch.ones(1, dtype=kind))
    thin, rounds = gp.Sparsify(scorer, keep=0.5), PruneEdges((EdgeRound(scorer, 0.4, 0.6),))
    keep, packed, pruned = (
        rounds.mask(PackedGraphs.of(graphs)),
        thin.prune(graphs),
        rounds.prune(PackedGraphs.of(graphs)),
    )
    for number, graph in enumerate(graphs):
        assert torch.equal(packed[number].edge_index, thin(graph).edge_index)
        assert torch.equal(rounds(graph).edge_index, graph.edge_index[:, keep.graph(number)])
        assert torch.equal(pruned[number].edge_index, rounds(graph).edge_index)
    authors = PruneEdges(rounds.rounds, EdgeRule(scoring="batch")).mask(PackedGraphs.of(graphs))
    assert torch.equal(authors.keep, keep.keep) == (kind == torch.float32)  # without batch statistics, as ever
    scores = score_arcs(scorer, Batch.from_data_list(graphs))
    assert torch.equal(scores, torch.cat([score_arcs(scorer, graph) for graph in graphs]))


def test_scorers_that_follow_a_dtype_and_those_without_numbers_are_given_double_precision():
    class Bare(nn.Module):
        def forward(self, graph):
            assert graph.x.dtype == torch.float64
            return graph.x[graph.edge_index[0], 0]

    graph, scorer = random_graph(0, columns=3), Follows()
    double = Follows().double()
    double.load_state_dict(scorer.state_dict())
    assert torch.equal(score_arcs(scorer, graph), double(graph.clone().apply(lambda v: v.double(), "x")).detach())
    assert scorer.lin.weight.dtype == torch.float32
    assert EdgePredictor.follows_dtype
    score_arcs(Bare(), graph)
