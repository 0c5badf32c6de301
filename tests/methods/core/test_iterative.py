"""What every iterative method promises: exact counts, nested sets, bitwise rewinding, resuming, refusals."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, HypergraphConv, global_mean_pool

from graphprune import ICPG, IMP, UGS, Dense, EdgePredictor, NoEdges, RandomPruning, SmallDense, Sparsifier, Ticket
from graphprune.compaction import compact
from graphprune.data import GraphData, load
from graphprune.graphs import EdgeRule
from graphprune.masks import prunable
from graphprune.methods import METHODS, FitJob, FitResult, IterativeMethod, Protocol, TrainingDiverged
from graphprune.models import GAT, GCN, GIN, SAGE, PaperGCN
from tests.methods.graphs import plain_fit, small_data

RATES = {"edge_rate": 0.1, "weight_rate": 0.3}


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data()


def network(data: GraphData, kind: Any = GCN, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = kind.for_data(data, hidden=8, layers=2)
    return model


def predictor(data: GraphData, **options: Any) -> EdgePredictor:
    torch.manual_seed(1)
    return EdgePredictor.for_data(data, hidden=8, layers=2, **options)


def methods(data: GraphData, rounds: int = 3) -> dict[str, IterativeMethod]:
    return {
        "icpg": ICPG(rounds=rounds, predictor=predictor(data), **RATES),
        "paper": ICPG(rounds=rounds, predictor=predictor(data), protocol="paper", **RATES),
        "global": ICPG(
            rounds=rounds, predictor=predictor(data), protocol=Protocol(rule=EdgeRule(budget="global")), **RATES
        ),
        "edges only": ICPG(rounds=rounds, predictor=predictor(data), edge_rate=0.1, weight_rate=0),
        "weights only": ICPG(rounds=rounds, edge_rate=0, weight_rate=0.3),
        "random edges": ICPG(rounds=rounds, edge_scores="random", **RATES),
        "random weights": ICPG(rounds=rounds, predictor=predictor(data), weight_scores="random", **RATES),
        "fresh predictor": ICPG(rounds=rounds, predictor=predictor(data), predictor_start="fresh", **RATES),
        "ugs": UGS(rounds=rounds, **RATES),
        "ugs random": UGS(rounds=rounds, unseen="random", **RATES),
        "ugs weights": UGS(rounds=rounds, unseen="weights-only", **RATES),
        "ugs paper": UGS(rounds=rounds, unseen="random", protocol="paper", **RATES),
        "imp": IMP(rounds=rounds, weight_rate=0.3),
        "sparsifier": Sparsifier(rounds=rounds, edges="spanning-forest", **RATES),
        "random": RandomPruning(rounds=rounds, **RATES),
        "dense": Dense(),
        "no-edges": NoEdges(),
        "small-dense": SmallDense(params=60),
        "small-dense by density": SmallDense(density=0.3),
    }


ALL = list(methods(small_data()))
PRUNE_BOTH = [
    "icpg",
    "paper",
    "global",
    "random edges",
    "random weights",
    "fresh predictor",
    "ugs random",
    "random",
    "sparsifier",
]


def pairs(graph: Data) -> set[tuple[int, int]]:
    return {(u, v) for u, v in graph.edge_index.T.tolist() if u < v}


def same(left: Ticket, right: Ticket) -> None:
    """All tensors and all numbers but the clock's are equal."""
    assert left.masks == right.masks
    for name in ("rewind", "trained", "last"):
        ours, others = getattr(left, name), getattr(right, name)
        assert ours.keys() == others.keys()
        assert all(torch.equal(ours[key], others[key]) for key in ours), name
    for mine, other in zip(left.edges.rounds, right.edges.rounds, strict=True):
        assert type(mine.scorer) is type(other.scorer)
        if mine.scorer is not None and other.scorer is not None:
            ours, others = mine.scorer.state_dict(), other.scorer.state_dict()
            assert all(torch.equal(ours[key], others[key]) for key in ours)
        assert (mine.known is None) == (other.known is None)
        assert mine.known is None or torch.equal(mine.known, other.known)
        assert (mine.rate, mine.density, mine.threshold) == (other.rate, other.density, other.threshold)
    clock = {"seconds": 0.0, "cpu_seconds": 0.0}
    assert left.row | clock == right.row | clock


@pytest.mark.parametrize("name", ALL)
def test_a_method_leaves_the_model_as_it_was_and_repeats_itself(name: str, data: GraphData) -> None:
    model = network(data)
    before = copy.deepcopy(model.state_dict())
    first = list(methods(data)[name].rounds(model, data, plain_fit()))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    again = methods(data)[name]
    torch.rand(7)  # what was drawn before does not matter
    for left, right in zip(first, again.rounds(model, data, plain_fit()), strict=True):
        same(left, right)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stop", [1, 2])
def test_going_on_behind_a_saved_round_gives_the_same_tickets(
    name: str, stop: int, data: GraphData, tmp_path: Any
) -> None:
    model, method = network(data), methods(data)[name]
    whole = list(method.rounds(model, data, plain_fit()))
    if len(whole) <= stop:
        pytest.skip("the method has one round")
    whole[stop - 1].save(tmp_path / "ticket")
    # Another initialisation must not matter: the rewind weights are the ticket's.
    rest = method.rounds(network(data, seed=9), data, plain_fit(), after=Ticket.load(tmp_path / "ticket"))
    for left, right in zip(whole[stop:], rest, strict=True):
        same(left, right)


@pytest.mark.parametrize("name", PRUNE_BOTH)
def test_counts_are_exact_and_sets_nested(name: str, data: GraphData) -> None:
    method = methods(data, rounds=6)[name]
    rule = method.protocol.rule
    model = network(data)
    before: Ticket | None = None
    graphs = {split: list(getattr(data, split)) for split in ("train", "val", "test")}
    left = {split: [graph.num_edges for graph in part] for split, part in graphs.items()}
    for ticket in method.rounds(model, data, plain_fit(1)):
        number = ticket.round
        assert ticket.masks.kept == round(ticket.masks.total * 0.7**number)
        assert ticket.row["weight_sparsity"] == 1 - ticket.masks.kept / ticket.masks.total
        for split, part in graphs.items():
            pruned = list(ticket.prune(getattr(data, split)))
            for index, (full, sparse) in enumerate(zip(part, pruned, strict=True)):
                if rule.unit == "arc":
                    left[split][index] -= math.floor(left[split][index] * 0.1)
                    assert sparse.num_edges == left[split][index]
                elif rule.budget == "graph":
                    assert sparse.num_edges == 2 * round(full.num_edges // 2 * 0.9**number)
                    assert sparse.is_undirected() or sparse.num_edges == 0
            kept, total = sum(g.num_edges for g in pruned), sum(g.num_edges for g in part)
            assert ticket.row[f"edge_sparsity_{split}"] == 1 - kept / total
            if rule.budget == "global" and split == "train":
                assert kept == 2 * round(total // 2 * 0.9**number)
            if before is not None:
                for small, large in zip(pruned, before.prune(getattr(data, split)), strict=True):
                    assert pairs(small) <= pairs(large)
        if before is not None:
            assert all(bool((ticket.masks[key] <= before.masks[key]).all()) for key in ticket.masks)
        before = ticket


@pytest.mark.parametrize("name", ["icpg", "imp", "random", "ugs"])
def test_every_training_starts_from_the_bitwise_initial_weights(name: str, data: GraphData) -> None:
    model = network(data)
    initial = copy.deepcopy(model.state_dict())
    method = methods(data)[name]
    starts: list[tuple[FitJob, dict[str, Tensor]]] = []

    def fit(job: FitJob) -> FitResult:
        starts.append((job, copy.deepcopy(job.model.state_dict())))
        return plain_fit(1)(job)

    list(method.rounds(model, data, fit))
    for job, start in starts:
        prefix = "model." if "model.head.weight" in start else ""
        for key, value in initial.items():
            mask = job.masks.get(prefix + key)
            expected = value if mask is None else value.masked_fill(~mask, 0)
            assert torch.equal(start[prefix + key], expected), key
        for key, value in predictor(data).state_dict().items():
            if "predictor." + key in start:
                assert torch.equal(start["predictor." + key], value), key


def test_a_ticket_prunes_a_graph_nobody_has_seen_as_it_prunes_the_test_set(data: GraphData) -> None:
    for name in ("icpg", "global", "random"):
        *_, ticket = methods(data)[name].rounds(network(data), data, plain_fit())
        for graph, pruned in zip(data.test, ticket.prune(data.test), strict=True):
            assert torch.equal(ticket.prune_graph(graph).edge_index, pruned.edge_index)


@pytest.mark.parametrize("kind", [GCN, GIN, SAGE, GAT, PaperGCN])
@pytest.mark.parametrize("encoder", ["gcn", "gin", "gat", "mlp"])
def test_every_reference_model_and_predictor_goes_through(kind: Any, encoder: Any, data: GraphData) -> None:
    method = ICPG(rounds=1, predictor=predictor(data, encoder=encoder, score="inner_product"), **RATES)
    (ticket,) = method.rounds(network(data, kind), data, plain_fit(1))
    model = ticket.build(network(data, kind, seed=5)).eval()
    batch = Batch.from_data_list([ticket.prune_graph(graph) for graph in data.test])
    assert model(batch).shape == (len(data.test), 2)


class Own(nn.Module):
    """A user's network from PyG's layers."""

    def __init__(self, conv: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.first, self.second, self.out = conv(3, 8), conv(8, 8), nn.Linear(8, 2)

    def forward(self, batch: Data) -> Tensor:
        x = self.first(batch.x, batch.edge_index).relu()
        return self.out(global_mean_pool(self.second(x, batch.edge_index), batch.batch))


def test_a_users_model_of_pyg_layers(data: GraphData) -> None:
    method = ICPG(rounds=2, predictor=predictor(data), **RATES)
    *_, ticket = method.rounds(Own(GCNConv), data, plain_fit())
    assert "first.lin.weight" in ticket.masks
    ticket.masks.verify(ticket.build(Own(GCNConv)))


def test_a_convolution_without_soft_edges_is_refused_by_name(data: GraphData) -> None:
    model = Own(HypergraphConv)
    with pytest.raises(TypeError, match=r"first \(HypergraphConv\): HypergraphConv takes"):
        list(ICPG(rounds=1, predictor=predictor(data), **RATES).rounds(model, data, plain_fit()))


@pytest.mark.parametrize("bad", [{"edge_rate": 1.0}, {"weight_rate": -0.1}, {"rounds": 0}, {"protocol": "papers"}])
def test_bad_arguments_are_named(bad: dict[str, Any], data: GraphData) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        ICPG(predictor=predictor(data), **bad)


def test_a_predictor_is_needed_only_where_edges_are_learned() -> None:
    with pytest.raises(ValueError, match="predictor"):
        ICPG()
    assert ICPG(edge_rate=0).predictor is None
    with pytest.raises(TypeError, match="edge_rate"):
        IMP(edge_rate=0.1)  # type: ignore[call-arg]


def test_graphs_without_edges_and_nothing_to_prune(data: GraphData) -> None:
    bare = data.with_splits(train=data.train.keep_edges(torch.zeros(data.train.num_edges, dtype=torch.bool)))
    with pytest.raises(ValueError, match="no edges"):
        list(RandomPruning(rounds=1).rounds(network(data), bare, plain_fit()))

    class Nothing(nn.Module):
        def forward(self, batch: Data) -> Tensor:
            return batch.x

    with pytest.raises(ValueError, match="nothing"):
        list(IMP(rounds=1).rounds(Nothing(), data, plain_fit()))


def test_divergence_keeps_the_rounds_before(data: GraphData) -> None:
    def fit(job: FitJob) -> FitResult:
        track = job.track()
        track.epoch(val=math.nan if job.round == 2 else 1.0)
        return track.result()

    tickets = []
    with pytest.raises(TrainingDiverged, match="epoch 1: val"):
        for ticket in RandomPruning(rounds=3, **RATES).rounds(network(data), data, fit):
            tickets.append(ticket)
    assert [ticket.round for ticket in tickets] == [1]


def test_an_edge_predictor_that_blows_up_is_a_divergence(data: GraphData) -> None:
    method = ICPG(rounds=1, predictor=predictor(data), predictor_lr=1e30, **RATES)
    with pytest.raises(TrainingDiverged, match="predictor"):
        list(method.rounds(network(data), data, plain_fit(5)))


def test_a_fit_that_returns_nothing_is_named(data: GraphData) -> None:
    with pytest.raises(TypeError, match="FitResult"):
        list(Dense().rounds(network(data), data, lambda job: None))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"edge_index": torch.tensor([[0], [99]])}, "99|nodes"),
        ({"edge_index": torch.tensor([[0.0], [1.0]])}, "int64"),
        ({"x": torch.ones(6, 8)}, "shape"),
        ({"x": None}, "x"),
    ],
)
def test_a_ticket_refuses_broken_graphs(change: dict[str, Any], named: str, data: GraphData) -> None:
    (ticket,) = methods(data, 1)["icpg"].rounds(network(data), data, plain_fit(1))
    graph = copy.copy(data.test[3])
    for name, value in change.items():
        graph[name] = value
    with pytest.raises(ValueError, match=named):
        ticket.prune_graph(graph)


def test_resuming_with_other_settings_data_or_model_is_refused(data: GraphData) -> None:
    method = RandomPruning(rounds=2, **RATES)
    ticket = next(iter(method.rounds(network(data), data, plain_fit(1))))
    for other in (method.replace(edge_rate=0.2), method.replace(seed=3), IMP(rounds=2)):
        with pytest.raises(ValueError, match=r"edge_rate|seed|method"):
            next(other.rounds(network(data), data, plain_fit(1), after=ticket))
    with pytest.raises(ValueError, match="data"):
        next(method.rounds(network(data), small_data(seed=5), plain_fit(1), after=ticket))
    with pytest.raises(ValueError, match="convs"):
        next(method.rounds(network(data, GIN), data, plain_fit(1), after=ticket))
    longer = list(method.replace(rounds=3).rounds(network(data), data, plain_fit(1), after=ticket))
    assert [ticket.round for ticket in longer] == [2, 3]


def test_layer_collapse_is_reported_and_a_floor_prevents_it(data: GraphData) -> None:
    model = network(data)
    with torch.no_grad():
        model.get_parameter("convs.0.lin.weight").mul_(1e-6)

    def fit(job: FitJob) -> FitResult:  # no training: magnitudes stay as they are
        track = job.track()
        track.epoch(val=0.0)
        return track.result()

    (ticket,) = IMP(rounds=1, weight_rate=0.6, layer_floor=0).rounds(model, data, fit)
    assert ticket.row["collapsed"] == ["convs.0.lin.weight"]
    assert "convs.0.lin.weight" in ticket.summary()
    for floor, left in ((0.1, math.ceil(0.1 * 64)), (None, math.ceil(0.1 * 0.4 * 64))):
        (kept,) = IMP(rounds=1, weight_rate=0.6, layer_floor=floor).rounds(model, data, fit)
        assert kept.row["collapsed"] == []
        assert int(kept.masks["convs.0.lin.weight"].sum()) == left
        assert kept.masks.kept == ticket.masks.kept


def test_the_paper_protocol_selects_on_test_and_says_so(data: GraphData) -> None:
    seen: list[bool] = []

    def fit(job: FitJob) -> FitResult:
        seen.append(torch.equal(job.data.val.edge_index, job.data.test.edge_index))
        return plain_fit(1)(job)

    (ticket,) = methods(data, 1)["paper"].rounds(network(data, PaperGCN), data, fit)
    assert seen == [True, True]
    assert "paper" in ticket.row["protocol"] and "test" in ticket.row["protocol"]
    assert "paper" in ticket.summary()
    assert math.isnan(ticket.row["val_metric"]) and "val" not in ticket.summary()
    (clean,) = methods(data, 1)["icpg"].rounds(network(data), data, plain_fit(1))
    assert clean.row["protocol"] == "clean"
    assert Protocol(rule=EdgeRule(unit="arc")).label == "unit=arc"


def test_controls_are_what_they_say(data: GraphData) -> None:
    (none,) = NoEdges().rounds(network(data), data, plain_fit(1))
    assert all(none.row[f"edge_sparsity_{split}"] == 1.0 for split in ("train", "val", "test"))
    assert none.prune_graph(data.test[3]).num_edges == 0
    assert none.row["weight_sparsity"] == 0.0
    (dense,) = Dense().rounds(network(data), data, plain_fit(1))
    assert dense.row["edge_sparsity_test"] == dense.row["weight_sparsity"] == 0.0
    total = dense.row["params_total"]
    for budget in (60, 120, total):
        (small,) = SmallDense(params=budget).rounds(network(data), data, plain_fit(1))
        wider = sum(p.numel() for p in network(data).resized(_width(small) + 1).parameters())  # type: ignore[operator]
        assert small.row["params_total"] <= budget < wider
    with pytest.raises(ValueError, match="model's own"):
        list(SmallDense(params=total + 1).rounds(network(data), data, plain_fit(1)))
    assert SmallDense(params=total // 2).small(network(data, GAT)).config()["hidden"] == 4  # type: ignore[operator]
    with pytest.raises(ValueError, match="resized"):
        list(SmallDense(params=60).rounds(Own(GCNConv), data, plain_fit(1)))


def test_a_small_network_is_told_the_size_of_the_ticket_or_its_density(data: GraphData) -> None:
    *_, ticket = IMP(rounds=2, weight_rate=0.3).rounds(network(data), data, plain_fit(1))
    small = SmallDense(params=ticket.row["params_kept"])
    by_params = small.small(network(data))
    by_density = SmallDense(density=0.7**2).small(small.prepared(network(data), data))  # whose head stays
    assert by_density.config() == by_params.config()  # type: ignore[operator]
    assert SmallDense(density=1).small(network(data)).config() == network(data).config()  # type: ignore[operator]
    # With fewer prunable weights the same density leaves more.
    head_only = SmallDense(density=0.1, select=prunable(exclude=("convs.*", "node_encoder.*")))
    assert head_only.small(network(data)).config()["hidden"] >= 7  # type: ignore[operator]
    for both in ({}, {"params": 60, "density": 0.5}):
        with pytest.raises(ValueError, match="either params or density"):
            SmallDense(**both)  # type: ignore[arg-type]
    for density in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="density must lie in"):
            SmallDense(density=density)


def _width(ticket: Ticket) -> int:
    return int(ticket.provenance["model"]["config"]["hidden"])


def test_recomputed_degrees_reach_the_tickets_network_only() -> None:
    mutag = load("MUTAG")
    part = mutag.with_splits(**{split: graphs.select(range(10)) for split, graphs in mutag.splits.items()})
    assert part.degrees is not None
    jobs: list[FitJob] = []

    def fit(job: FitJob) -> FitResult:
        jobs.append(job)
        return plain_fit(1)(job)

    method = ICPG(rounds=1, edge_rate=0.5, predictor=predictor(part), degree_features="recomputed")
    (ticket,) = method.rounds(network(part), part, fit)
    search, final = jobs
    full, pruned = search.data.train, final.data.train
    assert torch.equal(full.node["x"], part.train.node["x"])
    degree = torch.zeros(pruned.num_nodes).index_add(
        0,
        torch.repeat_interleave(pruned.node_ptr[:-1], pruned.edge_count) + pruned.edge_index[0],
        torch.ones(pruned.num_edges),
    )
    assert torch.equal(pruned.node["x"][:, 7], degree)
    assert "degrees recomputed" in ticket.row["protocol"]
    plain = replace(part, degrees=None)
    with pytest.raises(ValueError, match="degree"):
        next(method.rounds(network(part), plain, fit))


def test_the_registry_knows_every_method_by_its_name() -> None:
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}
    assert set(METHODS) >= {"icpg", "ugs", "imp", "random", "dense", "no-edges", "small-dense"}


def test_plug_ins_are_found_by_their_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("mine", f"{__name__}:Mine", "graphprune.methods"),
        EntryPoint("dense", f"{__name__}:Mine", "graphprune.methods"),
        EntryPoint("broken", f"{__name__}:pairs", "graphprune.methods"),
    ]

    def find(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if group == "graphprune.methods" and name in (None, point.name)]

    monkeypatch.setattr("graphprune.registry.entry_points", find)
    monkeypatch.setattr(EntryPoint, "load", lambda point: globals()[point.value.partition(":")[2]])
    assert METHODS["mine"] is Mine and METHODS["dense"] is Dense
    assert list(METHODS)[-2:] == ["broken", "mine"]
    with pytest.raises(TypeError, match="not a Method"):
        METHODS["broken"]
    with pytest.raises(KeyError):
        METHODS["theirs"]


class Mine(Dense):
    """A plug-in."""

    name = "mine"


def test_heads_and_encoders_can_be_protected(data: GraphData) -> None:
    model = network(data)
    (ticket,) = RandomPruning(rounds=1, protect=("head.*", "node_encoder.*"), **RATES).rounds(model, data, plain_fit(1))
    assert set(ticket.masks) == {"convs.0.lin.weight", "convs.1.lin.weight"}
    assert RandomPruning(protect="head.*").protect == ("head.*",)
    with pytest.raises(ValueError, match="matches no parameter"):
        next(RandomPruning(rounds=1, protect=["tail.*"], **RATES).rounds(model, data, plain_fit(1)))
    with pytest.raises(ValueError, match="protect every weight"):
        next(RandomPruning(rounds=1, protect="*", **RATES).rounds(model, data, plain_fit(1)))


@pytest.mark.parametrize("name", ["icpg", "global", "random edges", "ugs random", "random"])
def test_rounds_without_a_ticket_change_no_other(name: str, data: GraphData, tmp_path: Any) -> None:
    model, phases = network(data), list[tuple[int, str]]()

    def noted(job: FitJob) -> FitResult:
        phases.append((job.round, job.phase))
        return plain_fit()(job)

    every = list(methods(data, rounds=5)[name].rounds(model, data, plain_fit()))
    sparse = methods(data, rounds=5)[name].replace(ticket_every=2)
    few = list(sparse.rounds(model, data, noted))
    assert [ticket.round for ticket in few] == [2, 4, 5]
    assert [number for number, phase in phases if phase == "ticket"] == [2, 4, 5]
    searched = [number for number, phase in phases if phase == "search"]
    assert searched == ([] if name == "random" else [1, 2, 3, 4, 5])
    costs = ("seconds", "cpu_seconds", "epochs_trained", "epochs_search")
    for ticket in few:
        twin = every[ticket.round - 1]
        assert ticket.row["epochs_search"] == sum(twin.row["epochs_search"] for _ in range(2 - (ticket.round == 5)))
        row = ticket.row | {cost: twin.row[cost] for cost in costs}
        same(replace(ticket, row=row), twin)
    few[0].save(tmp_path / "ticket")
    behind = sparse.replace(ticket_every=1).rounds(model, data, plain_fit(), after=Ticket.load(tmp_path / "ticket"))
    for left, right in zip(every[2:], behind, strict=True):
        same(left, right)


def test_methods_that_prune_by_tickets_train_them_all(data: GraphData) -> None:
    for method in (IMP(rounds=4, ticket_every=2), Sparsifier(rounds=4, edges="degree", ticket_every=2)):
        with pytest.raises(ValueError, match="ticket_every=1"):
            next(method.rounds(network(data), data, plain_fit()))
    edges = Sparsifier(rounds=4, edges="degree", ticket_every=2, weight_rate=0)
    assert [ticket.round for ticket in edges.rounds(network(data), data, plain_fit(1))] == [2, 4]


@pytest.mark.parametrize("name", ["icpg", "ugs", "imp", "random"])
def test_channels_go_as_a_whole_and_by_the_exact_count(name: str, data: GraphData) -> None:
    method = methods(data)[name].replace(unit="channel", protect=("head.*", "node_encoder.*"))
    units = 2 * 8
    for ticket in method.rounds(network(data), data, plain_fit()):
        weights = {name: mask for name, mask in ticket.masks.items() if name.endswith("lin.weight")}
        assert all(torch.equal(mask.all(1), mask.any(1)) for mask in weights.values())
        assert sum(int(mask.any(1).sum()) for mask in weights.values()) == round(0.7**ticket.round * units)
        for name, mask in weights.items():  # what would stay behind of a channel goes with it
            conv = name.removesuffix(".lin.weight")
            for vector in (f"{conv}.bias", *(f"{conv.replace('convs', 'norms')}.{own}" for own in ("weight", "bias"))):
                assert torch.equal(ticket.masks[vector], mask.any(1))


def test_coupled_layers_lose_the_same_channels(data: GraphData) -> None:
    model = network(data, SAGE)
    method = methods(data)["icpg"].replace(unit="coupled", protect=("head.*", "node_encoder.*"))
    for ticket in method.rounds(model, data, plain_fit()):
        kept = [[ticket.masks[f"convs.{i}.lin_{side}.weight"].any(1) for side in "lr"] for i in range(2)]
        assert all(torch.equal(left, right) for left, right in kept)
        assert sum(int(left.sum()) for left, _ in kept) == round(0.7**ticket.round * 16)
    small = compact(ticket.build(model), data.train.batch(range(8)))
    assert small.norms[0].num_features < 8 or small.norms[1].num_features < 8
