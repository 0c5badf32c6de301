"""`Sparsify`: thin a graph in one line, against loops by hand."""

import copy

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.transforms import ToUndirected

from graphprune import Sparsify
from graphprune.graphs import score_arcs
from graphprune.graphs.sparsifiers import scorer_of
from tests.graphs.samples import RULES, Given, best, random_graph, to_index
from tests.graphs.test_required import components, prunable, required_by_hand, simple, unit_scores

BUDGETS = ["keep", "edges", "mean_degree", "threshold"]


def thinned_by_hand(data, score, budget, value, unit="pair", connected=False, min_degree=0):
    """Arcs that stay, by loops over one graph of networkx; None where ``edges=`` cannot be kept."""
    nodes, found = data.num_nodes, data.edge_index.t().tolist()
    protected = data.edge_protected.tolist() if "edge_protected" in data else [False] * len(found)
    units, fixed = prunable(found, unit, protected)
    unprotected, _ = prunable(found, unit, [False] * len(found))
    beside = len(unprotected) - len(units)  # edges that are protected
    scores = unit_scores(units, score)
    must = required_by_hand(nodes, found, units, fixed, scores, connected, min_degree)
    if budget == "threshold":
        kept = must | {i for i, each in enumerate(scores) if each >= np.float32(value)}
    else:
        ends = 2 if unit == "pair" else 1
        wanted = {"keep": lambda: round(len(units) * value), "edges": lambda: value - beside}.get(
            budget, lambda: round(nodes * value / ends) - beside
        )()
        if budget == "edges" and len(must) > wanted:
            return None
        rest = [i for i in range(len(units)) if i not in must]
        more = best([scores[i] for i in rest], max(0, min(wanted, len(units)) - len(must)))
        kept = must | {rest[i] for i in more}
    return sorted(fixed + [i for number in kept for i in units[number]])


@st.composite
def graphs(draw, nodes=8, arcs=24):
    """Random graphs with self-loops, copies of arcs, arcs without partner, attributes and sometimes marks."""
    size = draw(st.integers(1, nodes))
    node = st.integers(0, size - 1)
    found = draw(st.lists(st.tuples(node, node), max_size=arcs // 2))
    if draw(st.booleans()):
        found = draw(st.permutations(found + [(v, u) for u, v in found]))
    data = Data(edge_index=to_index(found), num_nodes=size)
    data.edge_attr = torch.arange(2.0 * len(found)).view(-1, 2)
    data.edge_weight = torch.arange(1.0, len(found) + 1)
    data.edge_mark = torch.tensor([draw(st.integers(0, 5)) == 0 for _ in found], dtype=torch.bool).reshape(-1)
    return data


def value_of(draw, budget, scores):
    if budget == "keep":
        return draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 1.0]))
    if budget == "edges":
        return draw(st.integers(0, 20))
    if budget == "mean_degree":
        return draw(st.sampled_from([0, 0.5, 1.0, 1.7, 3, 10.0]))
    return draw(st.sampled_from([*scores, 0.0, 0.5]))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", RULES)
@settings(max_examples=15)
@given(drawn=st.data())
def test_what_stays_is_what_a_loop_over_networkx_leaves(name, budget, drawn):
    data, draw = drawn.draw(graphs()), drawn.draw
    unit, connected, degree = draw(st.sampled_from(["pair", "arc"])), draw(st.booleans()), draw(st.integers(0, 3))
    protect = draw(st.booleans())
    marked = copy.copy(data)
    if protect:
        marked.edge_protected = data.edge_mark
    score = score_arcs(scorer_of(name, 3, unit), marked).tolist()
    value = value_of(draw, budget, score)
    options = {"unit": unit, "connected": connected, "min_degree": degree}
    thin = Sparsify(name, **{budget: value}, protect="edge_mark" if protect else None, seed=3, **options)
    expected = thinned_by_hand(marked, score, budget, value, **options)
    before = data.clone()
    if expected is None:
        with pytest.raises(ValueError, match=rf"graph 0 needs \d+ edges \(.*\), more than edges={value}"):
            thin(data)
        return
    less = thin(data)
    for name in ("edge_index", "edge_attr", "edge_weight", "edge_mark"):
        kept = data[name][:, expected] if name == "edge_index" else data[name][expected]
        assert torch.equal(less[name], kept), name
        assert torch.equal(data[name], before[name])
    assert less.num_nodes == data.num_nodes
    assert "edge_protected" not in less


def test_components_of_a_thousand_graphs_stay_as_they_are():
    rng, forests, tight = torch.Generator().manual_seed(0), 0, 0
    for seed in range(1000):
        nodes = int(torch.randint(1, 31, (1,), generator=rng))
        graph = random_graph(
            seed, nodes, int(torch.randint(0, 60, (1,), generator=rng)), loops=nodes == 1 or seed % 5 == 0
        )
        arcs = graph.edge_index.t().tolist()
        full = simple(nodes, arcs)
        forest = nodes - nx.number_connected_components(full)
        edges = len(prunable(arcs, "pair", [False] * len(arcs))[0])
        keep = float(torch.rand((), generator=rng))
        thin = Sparsify(("random", "degree", "jaccard")[seed % 3], keep=keep, connected=True)
        less = thin(graph)
        left = less.edge_index.t().tolist()
        assert components(nodes, left) == components(nodes, arcs)
        kept = len(prunable(left, "pair", [False] * len(left))[0])
        assert kept == max(forest, round(edges * keep))
        counts = thin.counts(graph)
        numbers = [int(getattr(counts, name)) for name in ("edges", "kept", "needed", "budget", "protected")]
        assert numbers == [edges, kept, forest, round(edges * keep), 0]
        assert bool(counts.beyond) == (forest > round(edges * keep))
        forests, tight = forests + forest, tight + bool(counts.beyond)
        if seed % 4 == 0:
            assert int(Sparsify("random", edges=forest, connected=True).counts(graph).kept) == forest
        if seed % 4 == 0 and forest:
            with pytest.raises(
                ValueError, match=f"graph 0 needs {forest} edges .*connected=True.* edges={forest - 1}:"
            ):
                Sparsify("random", edges=forest - 1, connected=True)(graph)
    assert forests > 9000 and 200 < tight < 800


def test_the_forest_is_the_heaviest():
    for seed in range(30):
        data = random_graph(seed, nodes=15, edges=40)
        data.edge_score = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(seed))
        less = Sparsify(Given(), keep=0, connected=True)(data)
        graph = simple(15, data.edge_index.t().tolist())
        for (u, v), other in zip(data.edge_index.t().tolist(), data.edge_score.tolist(), strict=True):
            graph[u][v].setdefault("arcs", []).append(other)
        # Copies of an edge pair up in order; the best pair counts.
        for units in [prunable(data.edge_index.t().tolist(), "pair", [False] * data.num_edges)[0]]:
            for each in units:
                u, v = data.edge_index[:, each[0]].tolist()
                weight = sum(data.edge_score[i].item() for i in each) / len(each)
                graph[u][v]["weight"] = max(weight, graph[u][v].get("weight", 0))
        tree = nx.maximum_spanning_tree(graph)
        assert less.num_edges == 2 * tree.number_of_edges()
        assert float(less.edge_score.sum()) / 2 == pytest.approx(tree.size("weight"), rel=1e-5)


@given(graphs(), st.randoms(use_true_random=False), st.sampled_from(["pair", "arc"]))
def test_names_of_nodes_do_not_matter(data, random, unit):
    names = list(range(data.num_nodes))
    random.shuffle(names)
    renamed = copy.copy(data)
    renamed.edge_index = torch.tensor(names)[data.edge_index]
    data.edge_score = renamed.edge_score = torch.tensor([random.random() for _ in range(data.num_edges)]).reshape(-1)
    thin = Sparsify(Given(), keep=0.3, unit=unit, connected=True, min_degree=2)
    assert torch.equal(thin(data).edge_attr, thin(renamed).edge_attr)


def test_directed_graphs_keep_weak_components_and_single_arcs():
    ring = Data(edge_index=torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]), num_nodes=6)
    for unit in ("pair", "arc"):
        assert Sparsify("random", keep=0, unit=unit, connected=True)(ring).num_edges == 4
        assert Sparsify("random", keep=0, unit=unit, min_degree=2)(ring).num_edges == 5
    both = ToUndirected()(ring)
    assert Sparsify("random", keep=0, connected=True)(both).num_edges == 8
    assert Sparsify("random", keep=0, unit="arc", connected=True)(both).num_edges == 4  # one way is enough
    assert Sparsify("random", mean_degree=1, unit="arc")(both).num_edges == 6
    assert Sparsify("random", mean_degree=1)(both).num_edges == 6


@pytest.mark.parametrize("budget", [{"edges": 10**30}, {"mean_degree": 1e300}, {"keep": 1}, {"threshold": -(10**30)}])
def test_more_than_there_is_is_all(budget):
    data = random_graph(0, nodes=10, edges=20)
    assert torch.equal(Sparsify("random", **budget)(data).edge_index, data.edge_index)


def test_protected_edges_count_where_a_budget_says_how_many_edges_there_are():
    data = random_graph(0, nodes=10, edges=20)
    data.edge_must = torch.zeros(data.num_edges, dtype=torch.bool)
    data.edge_must[0] = True  # its partner stays with it
    edges, _ = prunable(data.edge_index.t().tolist(), "pair", [False] * data.num_edges)
    assert Sparsify("random", edges=7, protect="edge_must")(data).num_edges == 14
    assert Sparsify("random", mean_degree=1.4, protect="edge_must")(data).num_edges == 14
    share = Sparsify("random", keep=0.5, protect="edge_must")
    assert share(data).num_edges == 2 * (1 + round((len(edges) - 1) / 2))
    assert share.counts(data).protected.tolist() == [1]
    with pytest.raises(ValueError, match=r"graph 0 needs 1 edges \(1 are protected\), more than edges=0"):
        Sparsify("random", edges=0, protect="edge_must")(data)
    path = Data(edge_index=torch.tensor([[0, *range(9)], [1, *range(1, 10)]]), num_nodes=10)
    path.edge_must = torch.arange(10) == 0
    with pytest.raises(ValueError, match=r"graph 0 needs 9 edges \(connected=True and .* keep 8, 1 are protected\)"):
        Sparsify("random", edges=8, connected=True, protect="edge_must")(path)
    assert Sparsify("random", edges=9, connected=True, protect="edge_must")(path).num_edges == 9
    marked = data.clone()
    marked.edge_protected = torch.zeros(data.num_edges, dtype=torch.bool)
    marked.edge_protected[-1] = True
    less = Sparsify("random", keep=0, protect="edge_must")(marked)
    assert 2 <= less.num_edges <= 4 and less.edge_protected.any() and less.edge_must.any()
    target = Sparsify("random", mean_degree=0, protect="edge_must").counts(data)
    assert target.budget.tolist() == [-1] and target.beyond.tolist() == [True]
