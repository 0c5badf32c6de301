import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch, Data

from graphprune import data as sets
from graphprune.graphs import EdgePredictor, EdgeRound, EdgeRule, PackedGraphs, PruneEdges, RandomEdges, prune
from graphprune.graphs import rule as counting
from graphprune.measure import peak_bytes
from tests.graphs.samples import (
    Given,
    arcs,
    best,
    molecule,
    prune_by_hand,
    random_graph,
    shake,
    to_index,
    units_by_hand,
)

ENCODERS = ["gcn", "gin", "gat", "mlp"]


def stages(scorer, rates, thresholds=None):
    density, made = 1.0, []
    for number, rate in enumerate(rates):
        density *= 1 - rate
        made.append(EdgeRound(scorer, rate, density, thresholds[number] if thresholds else None))
    return tuple(made)


@st.composite
def scored_graphs(draw, levels=3):
    """(found, score) of several graphs; few distinct scores, so nearly all edges tie."""
    graphs = draw(st.lists(arcs(max_arcs=20), min_size=1, max_size=4))
    return [(nodes, found, [float(draw(st.integers(0, levels - 1))) for _ in found]) for nodes, found in graphs]


def pack(scored):
    return PackedGraphs.of(
        [
            Data(edge_index=to_index(found), num_nodes=nodes, edge_score=torch.tensor(score).reshape(-1))
            for nodes, found, score in scored
        ]
    )


def kept_arcs(graphs, mask):
    return [mask.graph(i).nonzero().flatten().tolist() for i in range(len(graphs))]


RATES = st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.9]), min_size=1, max_size=4)


@pytest.mark.parametrize("count", ["cumulative", "floor"])
@pytest.mark.parametrize("unit", ["pair", "arc"])
@given(scored=scored_graphs(), rates=RATES)
def test_masks_are_those_of_a_plain_loop(unit, count, scored, rates):
    graphs, rule = pack(scored), EdgeRule(unit=unit, count=count)
    for rounds in range(1, len(rates) + 1):
        mask = PruneEdges(stages(Given(), rates[:rounds]), rule).mask(graphs)
        by_hand = [prune_by_hand(found, score, rates[:rounds], unit, count)[-1] for _, found, score in scored]
        assert kept_arcs(scored, mask) == by_hand


@pytest.mark.parametrize("unit", ["pair", "arc"])
@pytest.mark.parametrize("edges", [0, 1, 2, 3, 19, 20, 37])
def test_targets_are_met_exactly_although_all_edges_tie(unit, edges):
    rate, arcs_a_unit = 0.05, 2 if unit == "pair" else 1
    path = [(i, i + 1) for i in range(edges)]
    found = path + [(v, u) for u, v in path] if unit == "pair" else path
    graphs = pack([(edges + 1, found, [0.0] * len(found))] * 3)
    before = None
    for rounds in (1, 2, 3, 5, 11, 20):
        # The density of a round as its method computes it.
        made = tuple(EdgeRound(Given(), rate, (1 - rate) ** r) for r in range(1, rounds + 1))
        mask = PruneEdges(made, EdgeRule(unit=unit)).mask(graphs)
        expected = round(edges * (1 - rate) ** rounds)
        assert [int(mask.graph(i).sum()) for i in range(3)] == [expected * arcs_a_unit] * 3
        assert before is None or not bool((mask.keep & ~before).any())
        before = mask.keep
    # Of equal scores the earliest positions are left.
    assert mask.graph(0)[: len(path)].tolist() == [i < expected for i in range(edges)]


def test_the_authors_floor_never_prunes_small_graphs():
    sizes = [1, 19, 20, 39, 40]
    graphs = pack([(size + 1, [(i, i + 1) for i in range(size)], [0.0] * size) for size in sizes])
    rule = EdgeRule(unit="arc", count="floor")
    mask = PruneEdges(stages(Given(), [0.05]), rule).mask(graphs)
    assert [int(mask.graph(i).sum()) for i in range(5)] == [1, 19, 19, 38, 38]


@given(scored_graphs(), RATES)
def test_edge_sets_are_nested_even_when_every_round_scores_anew(scored, rates):
    graphs, rule = pack(scored), EdgeRule()
    scorers = [RandomEdges(seed) for seed in range(len(rates))]
    made = [
        EdgeRound(scorer, edge_round.rate, edge_round.density)
        for scorer, edge_round in zip(scorers, stages(Given(), rates), strict=True)
    ]
    before = torch.ones(graphs.num_edges, dtype=torch.bool)
    for rounds in range(len(made) + 1):
        mask = PruneEdges(made[:rounds], rule).mask(graphs).keep
        assert not bool((mask & ~before).any())
        before = mask


@given(scored_graphs())
def test_self_loops_stay_and_are_not_counted(scored):
    graphs = pack(scored)
    mask = PruneEdges(stages(Given(), [0.9, 0.9]), EdgeRule()).mask(graphs)
    for (_, found, _), kept in zip(scored, kept_arcs(scored, mask), strict=True):
        loops = [i for i, (u, v) in enumerate(found) if u == v]
        assert set(loops) <= set(kept)
        units = len(units_by_hand(found, "pair"))
        assert len(units_by_hand([found[i] for i in kept], "pair")) == min(
            round(units * 0.1), round(units * 0.1 * 0.1 + 1e-12)
        )


def test_a_pair_has_one_score_and_falls_together():
    # Arc by arc 0->1 scores lowest; the pair 1-2 has the lowest mean.
    scored = [(3, [(0, 1), (1, 0), (1, 2), (2, 1)], [0.0, 9.0, 2.0, 1.0])]
    pairs = PruneEdges((EdgeRound(Given(), 0.5, 0.5),), EdgeRule()).mask(pack(scored))
    single = PruneEdges((EdgeRound(Given(), 0.25, 0.75),), EdgeRule(unit="arc")).mask(pack(scored))
    assert pairs.keep.tolist() == [True, True, False, False]
    assert single.keep.tolist() == [False, True, True, True]


# ------------------------------------------------------------------ one graph alone


def learned(encoder="gcn", score="concat_mlp", features=4):
    return shake(EdgePredictor(features, 8, score, encoder))


def three_rounds(scorer, rule):
    return PruneEdges(stages(scorer, [0.2, 0.3, 0.3]), rule)


@pytest.fixture(scope="module")
def symmetric():
    """Real molecules, rings, paths and stars: full of edges that are each other's mirror image."""
    molecules = list(sets.load("MUTAG").train.select(range(40)))
    columns = molecules[0].x.size(1)
    shapes = []
    for size in range(2, 12):
        ring = [(i, (i + 1) % size) for i in range(size)] if size > 2 else []
        path = [(i, i + 1) for i in range(size - 1)]
        star = [(0, i) for i in range(1, size)]
        for found in (ring, path, star):
            both = to_index(found + [(v, u) for u, v in found])
            shapes.append(Data(x=torch.ones(size, columns), edge_index=both))
    molecules = [Data(x=graph.x, edge_index=graph.edge_index) for graph in molecules]
    return PackedGraphs.of(molecules + shapes)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("score", ["concat_mlp", "inner_product"])
@pytest.mark.parametrize("unit", ["pair", "arc"])
def test_neither_batch_mates_nor_order_change_a_mask(symmetric, monkeypatch, encoder, score, unit):
    pruned = three_rounds(learned(encoder, score, symmetric.node["x"].size(1)), EdgeRule(unit=unit))
    expected = pruned.mask(symmetric)
    order = torch.randperm(len(symmetric), generator=torch.Generator().manual_seed(1))
    shuffled = pruned.mask(symmetric.select(order))
    monkeypatch.setattr(counting, "CHUNK", 90)
    small = pruned.mask(symmetric)
    assert torch.equal(small.keep, expected.keep)
    for place, number in enumerate(order.tolist()):
        assert torch.equal(shuffled.graph(place), expected.graph(number))
    for number in range(0, len(symmetric), 7):
        alone = pruned(symmetric[number])
        assert torch.equal(alone.edge_index, symmetric[number].edge_index[:, expected.graph(number)])


@given(scored=scored_graphs(), chunk=st.sampled_from([1, 5, 12]))
def test_chunks_change_nothing(scored, chunk):
    graphs = pack(scored)
    pruner = three_rounds(RandomEdges(3), EdgeRule())
    whole = pruner.mask(graphs).keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "CHUNK", chunk)
        assert torch.equal(pruner.mask(graphs).keep, whole)
        total = sum(len(batch) for batch in counting.in_chunks(graphs, EdgeRule()))
        assert total == len(graphs)
        for batch in counting.in_chunks(graphs, EdgeRule()):
            assert len(batch) == 1 or batch.num_nodes + batch.num_edges <= chunk


@pytest.mark.parametrize("unit", ["pair", "arc"])
def test_one_graph_loses_what_the_data_set_loses(unit):
    graphs = PackedGraphs.of([molecule(seed, nodes=2 + seed) for seed in range(12)])
    pruner = three_rounds(learned(features="ogb-mol"), EdgeRule(unit=unit))
    whole = pruner.prune(graphs)
    for number, graph in enumerate(graphs):
        before = graph.clone()
        less = pruner(graph)
        assert torch.equal(less.edge_index, whole[number].edge_index)
        assert torch.equal(less.edge_attr, whole[number].edge_attr)
        assert torch.equal(less.x, graph.x)
        assert torch.equal(graph.edge_index, before.edge_index)


def test_edge_attributes_and_weights_are_sliced_along():
    graph = random_graph(0, loops=True)
    graph.edge_weight = torch.arange(graph.num_edges).float()
    graph.edge_label_index = torch.zeros(2, 5, dtype=torch.int64)
    less = three_rounds(RandomEdges(0), EdgeRule())(graph)
    kept = less.edge_weight.long()
    assert 0 < kept.numel() < graph.num_edges
    assert torch.equal(less.edge_index, graph.edge_index[:, kept])
    assert torch.equal(less.edge_attr, graph.edge_attr[kept])
    assert less.edge_label_index.shape == (2, 5)
    assert less.y is graph.y


def test_graphs_without_edges_or_nodes_stay_as_they_are():
    graphs = PackedGraphs.of(
        [Data(x=torch.ones(n, 4), edge_index=to_index(found)) for n, found in [(0, []), (3, []), (2, [(1, 1)])]]
    )
    pruner = three_rounds(learned(), EdgeRule())
    assert pruner.prune(graphs).digest() == graphs.digest()
    for graph in graphs:
        assert torch.equal(pruner(graph).edge_index, graph.edge_index)
    assert pruner.mask(graphs.select([])).total == 0


def test_no_stages_prune_nothing():
    graphs = PackedGraphs.of([random_graph(0)])
    assert PruneEdges().prune(graphs).digest() == graphs.digest()


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="before they are collated"):
        three_rounds(RandomEdges(), EdgeRule())(Batch.from_data_list([random_graph(0)]))


def test_a_graph_without_edge_index_is_refused():
    with pytest.raises(ValueError, match="no edge_index"):
        three_rounds(RandomEdges(), EdgeRule())(Data(x=torch.ones(2, 1)))


@pytest.mark.parametrize("rule", [EdgeRule(), EdgeRule(unit="arc")])
def test_scores_that_are_no_numbers_name_the_graph(rule):
    graphs = pack([(2, [(0, 1)], [1.0]), (1, [], []), (3, [(0, 1), (1, 2)], [1.0, math.nan])])
    for threshold in (None, 0.5):
        with pytest.raises(ValueError, match="graph 2: Given scores an edge NaN"):
            PruneEdges((EdgeRound(Given(), 0.5, 0.5, threshold),), rule).mask(graphs)


@pytest.mark.parametrize("budget", ["graph", "global"])
def test_the_graph_is_named_in_whichever_batch_it_is(monkeypatch, budget):
    monkeypatch.setattr(counting, "CHUNK", 1)
    graphs = pack([(2, [(0, 1)], [1.0]), (1, [], []), (2, [(0, 1)], [math.nan])])
    rule, edge_round = EdgeRule(budget=budget), EdgeRound(Given(), 0.5, 0.5)
    original = counting.original_units(graphs, rule)
    with pytest.raises(ValueError, match="graph 2: Given scores an edge NaN"):
        prune.keep_arcs(counting.in_chunks(graphs, rule), edge_round, rule, original)


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_of_graphs_that_were_scored_only_what_stays_takes_memory(monkeypatch, threshold):
    monkeypatch.setattr(counting, "CHUNK", 1)  # each graph is a batch
    rule, edge_round, graph = (
        EdgeRule(),
        EdgeRound(RandomEdges(), 0.5, 0.5, threshold),
        random_graph(0, nodes=300, edges=2000),
    )

    def peak(count):
        graphs = PackedGraphs.of([graph] * count)
        known = [graphs.edge_index, graphs.node["x"], graphs.edge["edge_attr"]]
        original = counting.original_units(graphs, rule)
        return peak_bytes(lambda: prune.keep_arcs(counting.in_chunks(graphs, rule), edge_round, rule, original), known)

    assert peak(21) - peak(1) <= 20 * 3 * graph.num_edges  # a byte an arc, and again where all are put together


def test_one_score_an_arc():
    class Whole(nn.Module):
        def forward(self, data):
            return torch.zeros(1)

    with pytest.raises(ValueError, match="Whole gives scores of shape"):
        PruneEdges((EdgeRound(Whole(), 0.5, 0.5),)).mask(PackedGraphs.of([random_graph(0)]))


@pytest.mark.parametrize("word", ["unit", "count", "budget", "scoring"])
def test_unknown_words_are_refused(word):
    with pytest.raises(ValueError, match=f"{word} must be one of"):
        EdgeRule(**{word: "both"})


# ------------------------------------------------------------------ a budget over all graphs


@pytest.mark.parametrize("unit", ["pair", "arc"])
@given(scored=scored_graphs(), unseen=scored_graphs(), rate=st.sampled_from([0.05, 0.3, 0.7]))
def test_a_global_budget_is_exact_on_train_and_a_threshold_elsewhere(unit, scored, unseen, rate):
    graphs, rule = pack(scored), EdgeRule(unit=unit, budget="global")
    units = [(number, each) for number, (_, found, _) in enumerate(scored) for each in units_by_hand(found, unit)]
    means = [sum(scored[number][2][i] for i in each) / len(each) for number, each in units]
    target = round(len(units) * (1 - rate))
    edge_round = EdgeRound(Given(), rate, 1 - rate)
    original = counting.original_units(graphs, rule)
    result = prune.keep_arcs(counting.in_chunks(graphs, rule), edge_round, rule, original)
    keep, threshold = result.arcs, result.threshold
    kept = best(means, target)
    gone = {(units[i][0], position) for i in set(range(len(units))) - set(kept) for position in units[i][1]}
    places = [(number, position) for number, (_, found, _) in enumerate(scored) for position in range(len(found))]
    assert keep.tolist() == [place not in gone for place in places]
    assert threshold == (min(means[i] for i in kept) if kept else math.inf)
    mask = PruneEdges((EdgeRound(Given(), rate, 1 - rate, threshold),), rule).mask(pack(unseen))
    for (_, found, score), left in zip(unseen, kept_arcs(unseen, mask), strict=True):
        low = [each for each in units_by_hand(found, unit) if sum(score[i] for i in each) / len(each) < threshold]
        assert left == [i for i in range(len(found)) if not any(i in each for each in low)]


def test_a_global_budget_needs_its_thresholds():
    with pytest.raises(ValueError, match="round 2 has no threshold"):
        PruneEdges((EdgeRound(Given(), 0.1, 0.9, 0.5), EdgeRound(Given(), 0.1, 0.81)), EdgeRule(budget="global"))


# ------------------------------------------------------------------ the authors' batch statistics


def test_batch_statistics_are_those_of_128_graphs_and_change_nothing():
    graphs = PackedGraphs.of([random_graph(seed, nodes=3 + seed % 6) for seed in range(140)])
    model = learned()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rule = EdgeRule(unit="arc", count="floor", scoring="batch")
    mask = PruneEdges((EdgeRound(model, 0.3, 0.7),), rule).mask(graphs).keep
    expected = []
    for part in (range(128), range(128, 140)):
        twin = EdgePredictor(**model.config()).double()
        twin.load_state_dict(state)
        batch = graphs.batch(part)
        scores = twin.train()(batch).detach().float().tolist()  # equal but for rounding counts as equal
        start = 0
        for graph in batch.to_data_list():
            own = [(tuple(arc), scores[start + i]) for i, arc in enumerate(graph.edge_index.t().tolist())]
            left = prune_by_hand([arc for arc, _ in own], [score for _, score in own], [0.3], "arc", "floor")[-1]
            expected += [i in left for i in range(len(own))]
            start += len(own)
    assert mask.tolist() == expected
    assert not model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_batch_statistics_leave_nothing_to_chance():
    graphs = PackedGraphs.of([random_graph(seed) for seed in range(20)])
    pruner = PruneEdges((EdgeRound(learned("gat"), 0.3, 0.7),), EdgeRule(scoring="batch"))  # has attention dropout
    assert torch.equal(pruner.mask(graphs).keep, pruner.mask(graphs).keep)


def test_a_batch_vector_alone_tells_graphs_apart():
    graphs = [random_graph(seed) for seed in range(3)]
    whole = Batch.from_data_list(graphs)
    bare = Data(edge_index=whole.edge_index, batch=whole.batch, num_nodes=whole.num_nodes)
    assert counting.unit_counts(bare, "pair").tolist() == counting.unit_counts(whole, "pair").tolist()


def test_a_pruner_can_be_copied_and_sent_to_other_processes():
    graph, pruner = random_graph(0), three_rounds(learned(), EdgeRule())
    expected = pruner(graph).edge_index
    for again in (copy.deepcopy(pruner), pickle.loads(pickle.dumps(pruner))):
        assert torch.equal(again(graph).edge_index, expected)


def test_another_pruning_has_another_repr():
    torch.manual_seed(0)
    first, second = EdgePredictor(4, hidden=8), EdgePredictor(4, hidden=8)
    half, known = EdgeRound(first, 0.5, 0.5), torch.tensor([True, False])
    all_rounds = [
        (),
        (half,),
        (half, half),
        (EdgeRound(second, 0.5, 0.5),),
        (EdgeRound(first, 0.5, 0.25),),
        (EdgeRound(None, 0.5, 0.5, known=known),),
        (EdgeRound(None, 0.5, 0.5, known=~known),),
    ]
    made = [PruneEdges(rounds) for rounds in all_rounds] + [PruneEdges((half,), EdgeRule(unit="arc"))]
    assert len({repr(prune) for prune in made}) == len(made)
    assert repr(PruneEdges((EdgeRound(copy.deepcopy(first).eval(), 0.5, 0.5),))) == repr(made[1])


class Counting(EdgePredictor):
    """How often it was folded."""

    times = 0

    def folded(self):
        Counting.times += 1
        return super().folded()


def test_a_predictor_is_folded_once_for_all_graphs_until_its_weights_change():
    torch.manual_seed(0)
    scorer, graphs = Counting(4, hidden=8), [random_graph(seed) for seed in range(6)]
    prune_edges, Counting.times = PruneEdges(stages(scorer, (0.3, 0.3))), 0

    def once():
        """The same as by a pruner that is new for each graph."""
        left = [prune_edges(graph).edge_index for graph in graphs]
        packed = prune_edges.prune(PackedGraphs.of(graphs))
        assert all(torch.equal(index, packed[number].edge_index) for number, index in enumerate(left))
        found, Counting.times = Counting.times, 0
        assert [index.tolist() for index in left] == [
            PruneEdges(stages(scorer, (0.3, 0.3)))(graph).edge_index.tolist() for graph in graphs
        ]
        Counting.times = 0
        return left, found

    first, folded = once()
    assert folded == 1
    assert once()[1] == 0
    with torch.no_grad():
        for value in scorer.parameters():
            value.neg_()
    second, folded = once()
    assert folded == 1
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    scorer.load_state_dict({name: value + 0.1 for name, value in scorer.state_dict().items()})
    assert once()[1] == 1
    scorer.head = nn.Linear(16, 1)
    assert once()[1] == 1
    scorer.start = nn.Tanh()
    assert once()[1] == 1
    scorer.head.weight.data.neg_()  # unseen by torch's versions
    assert once()[1] == 1


def test_norms_of_batches_know_nothing_of_batches_before():
    torch.manual_seed(0)
    scorer, graph = EdgePredictor(4, hidden=8), random_graph(3)
    prune_edges = PruneEdges(stages(scorer, (0.5,)), EdgeRule(scoring="batch"))
    (held,) = [prune_edges._preparing(scorer, prune_edges.rule).state_dict()]
    for seed in range(5):
        prune_edges(random_graph(seed))
    again = prune_edges._preparing(scorer, prune_edges.rule).state_dict()
    assert all(torch.equal(held[name], again[name]) for name in held)
    fresh = PruneEdges(stages(scorer, (0.5,)), EdgeRule(scoring="batch"))(graph)
    assert torch.equal(prune_edges(graph).edge_index, fresh.edge_index)


def test_predictors_made_without_gradients_prune():
    with torch.inference_mode():
        prune_edges = PruneEdges(stages(EdgePredictor(4, hidden=8), (0.5,)))
        one, other = (prune_edges(random_graph(3)).edge_index for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(prune_edges(random_graph(3)).edge_index, one)


def test_copies_of_a_pruner_hold_no_folded_predictor():
    scorer, graph = EdgePredictor(4, hidden=8), random_graph(3)
    prune_edges = PruneEdges(stages(scorer, (0.5,)))
    before = len(pickle.dumps(prune_edges))
    left = prune_edges(graph).edge_index
    assert len(pickle.dumps(prune_edges)) == before
    assert repr(pickle.loads(pickle.dumps(prune_edges))) == repr(prune_edges)
    assert torch.equal(copy.deepcopy(prune_edges)(graph).edge_index, left)


class Drawing(nn.Module):
    """Random scores from a generator of its own, which each call moves on."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, data):
        return torch.rand(data.edge_index.size(1), generator=self.generator)


def test_what_a_call_changes_in_a_scorer_has_no_say_in_the_next_call():
    prune_edges, graph = PruneEdges(stages(Drawing(), (0.5,))), random_graph(3)
    assert torch.equal(prune_edges(graph).edge_index, prune_edges(graph).edge_index)
