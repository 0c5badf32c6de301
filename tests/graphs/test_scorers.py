import pytest
import torch
from torch_geometric.data import Batch, Data

from graphprune.graphs import RandomEdges
from tests.graphs.samples import random_graph, to_index


def complete(nodes):
    return to_index([(u, v) for u in range(nodes) for v in range(nodes) if u != v])


@pytest.mark.parametrize("seed", [0, 1, 2, 17, -1, 2**31, 2**63, 123456789])
def test_any_seed_will_do_and_each_differs(seed):
    data = Data(edge_index=complete(5), num_nodes=5)
    scores = RandomEdges(seed, "arc")(data)
    assert scores.unique().numel() == 20
    assert bool(((scores >= 0) & (scores < 1)).all())
    assert not torch.equal(scores, RandomEdges(seed + 1, "arc")(data))
    assert torch.equal(scores, RandomEdges(**RandomEdges(seed, "arc").config())(data))


def test_random_scores_depend_on_the_graph_alone():
    graphs = [random_graph(seed, nodes=3 + seed) for seed in range(6)]
    alone = [RandomEdges(4)(graph) for graph in graphs]
    for order in ([0, 1, 2, 3, 4, 5], [5, 2, 4], [3, 3, 0]):
        scores = RandomEdges(4)(Batch.from_data_list([graphs[i] for i in order]))
        assert torch.equal(scores, torch.cat([alone[i] for i in order]))
    turned = graphs[0].edge_index[:, torch.arange(graphs[0].num_edges).flip(0)]
    again = RandomEdges(4)(Data(edge_index=turned, num_nodes=3))
    assert torch.equal(again.flip(0), alone[0])


def test_random_scores_are_uniform_and_know_no_position():
    many = torch.stack([RandomEdges(seed, "arc")(Data(edge_index=complete(8), num_nodes=8)) for seed in range(2000)])
    assert abs(float(many.mean()) - 0.5) < 0.005
    histogram = torch.histc(many.float(), 10, 0, 1) / many.numel()
    assert float((histogram - 0.1).abs().max()) < 0.005
    # Standard error of a mean of 2,000: 0.0065.
    assert float((many.mean(0) - 0.5).abs().max()) < 0.03
    # Pruned by half, each pair falls about as often as any other.
    pairs = many[:, (complete(8)[0] < complete(8)[1])]
    falls = (pairs.argsort(1).argsort(1) < 14).float().mean(0)
    assert float((falls - 0.5).abs().max()) < 0.05
    correlation = torch.corrcoef(many.t()) - torch.eye(56)
    assert float(correlation.abs().max()) < 0.12


def test_a_pair_draws_once():
    graph = Data(edge_index=complete(8), num_nodes=8)
    back = Data(edge_index=complete(8).flip(0), num_nodes=8)
    assert torch.equal(RandomEdges(3)(graph), RandomEdges(3)(back))
    assert not torch.equal(RandomEdges(3, "arc")(graph), RandomEdges(3, "arc")(back))


def test_graphs_of_different_structure_draw_different_scores():
    scores = []
    for size in range(3, 40):
        ring = to_index([(i, (i + 1) % size) for i in range(size)])
        scores.append(float(RandomEdges(0)(Data(edge_index=ring, num_nodes=size))[0]))
    assert len(set(scores)) == len(scores)
    assert 0.2 < sum(scores) / len(scores) < 0.8


def test_a_seed_means_the_same_edges_for_ever():
    """Tickets hold nothing but the seed."""
    data = Data(edge_index=to_index([(0, 1), (1, 0), (1, 2), (2, 1), (2, 2)]), num_nodes=3)
    pairs = [0.3323083128776575, 0.3323083128776575, 0.379590254817167, 0.379590254817167, 0.9679886413676955]
    assert RandomEdges(7)(data).tolist() == pairs
    arcs = [0.7373909845893782, 0.7950544760624121, 0.8534563246470506, 0.6067399937105017, 0.9509948944322685]
    assert RandomEdges(7, "arc")(data).tolist() == arcs


def test_random_edges_want_edges():
    with pytest.raises(ValueError, match="no edge_index"):
        RandomEdges()(Data(num_nodes=2))


def test_a_batch_vector_alone_tells_graphs_apart():
    whole = Batch.from_data_list([random_graph(seed) for seed in range(3)])
    bare = Data(edge_index=whole.edge_index, batch=whole.batch, num_nodes=whole.num_nodes)
    assert torch.equal(RandomEdges(1)(bare), RandomEdges(1)(whole))
