"""What a method does with a user's network before anything is trained: a copy of its own, whose heads stay."""

from __future__ import annotations

import copy
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import APPNP, GATConv, GCN2Conv, GCNConv, SGConv, global_mean_pool

import graphprune as gp
from graphprune.data import GraphData, from_nodes
from graphprune.masks import prunable
from graphprune.methods import FGGP, IMP, SNIP, UGS, Dense, FitJob, FitResult, NoEdges, RandomPruning, Sparsifier
from graphprune.methods.core import prepare
from graphprune.methods.core.prepare import prepared
from tests.methods.graphs import accuracy, plain_fit, small_data


class Net(nn.Module):
    def __init__(self, hidden: int = 8, **options: Any) -> None:
        super().__init__()
        self.conv = GCNConv(3, hidden, **options)
        self.lin, self.head = nn.Linear(hidden, hidden), nn.Linear(hidden, 2)

    def forward(self, batch: Any) -> Tensor:
        x = self.lin(self.conv(batch.x, batch.edge_index).relu()).relu()
        out: Tensor = self.head(global_mean_pool(x, batch.batch, batch.num_graphs))
        return out


@pytest.fixture(scope="module")
def data() -> GraphData:
    return small_data(graphs=12)


def seeded(make: Any = Net, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return make(**options)  # type: ignore[no-any-return]


def rebound() -> nn.Module:
    """As ``replaced``, by a method: its copy is one of the copy, what it calls is not."""
    net = seeded()
    old = net.forward
    net.forward = types.MethodType(lambda self, batch: old(batch), net)  # type: ignore[method-assign]
    return net


def replaced() -> nn.Module:
    net = seeded()
    old = net.forward
    net.forward = lambda batch: old(batch)  # type: ignore[method-assign]
    return net


@pytest.mark.parametrize(
    "method",
    [
        IMP(rounds=1, weight_rate=0.5),
        Dense(),
        RandomPruning(rounds=1),
        SNIP(density=0.5),
        FGGP(density=0.5, stop=2, every=1),
        UGS(rounds=1),
    ],
    ids=lambda method: method.name,
)
def test_a_forward_that_copies_as_the_originals_is_refused_before_anything_is_trained(
    method: Any, data: GraphData
) -> None:
    with pytest.raises(ValueError, match="forward that was replaced on the instance"):
        next(iter(method.rounds(replaced(), data, plain_fit())))


@pytest.mark.parametrize("method", ["icpg", "imp", "ugs"])
def test_a_method_that_calls_the_old_forward_is_refused_for_the_right_reason(method: str, data: GraphData) -> None:
    made = {
        "icpg": lambda: gp.ICPG(rounds=1, predictor=gp.EdgePredictor.for_data(data, hidden=8)),
        "imp": lambda: IMP(rounds=1),
        "ugs": lambda: UGS(rounds=1),
    }[method]()
    with pytest.raises(ValueError, match=r"of the (original|model)"):
        next(iter(made.rounds(rebound(), data, plain_fit())))


def test_a_ticket_is_not_built_into_such_a_network(data: GraphData) -> None:
    (ticket,) = Dense().rounds(seeded(), data, plain_fit())
    with pytest.raises(ValueError, match="forward that was replaced on the instance"):
        ticket.build(replaced())


class Elsewhere:
    """Holds a network in a way that no search of a module's attributes can follow."""

    __slots__ = ("net",)

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __deepcopy__(self, memo: Any) -> Elsewhere:
        return self

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.net.lin(x)  # type: ignore[operator]
        return out


class Hidden(Net):
    def forward(self, batch: Any) -> Tensor:
        x = self.through(self.conv(batch.x, batch.edge_index).relu()).relu()  # type: ignore[operator]
        out: Tensor = self.head(global_mean_pool(x, batch.batch, batch.num_graphs))
        return out


def test_a_copy_that_computes_with_the_originals_weights_is_found_by_running_it(data: GraphData) -> None:
    net = seeded(Hidden)
    net.through = Elsewhere(net)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"computes with \['lin.weight', 'lin.bias'\] of the original"):
        next(iter(IMP(rounds=1, weight_rate=0.5).rounds(net, data, plain_fit())))


# ---------------------------------------------------------------------- caches


class NodeNet(nn.Module):
    def __init__(self, conv: Any, cached: bool) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.conv, self.head = conv(cached), nn.Linear(4, 3)

    def forward(self, data: Any) -> Tensor:
        x = self.lin(data.x).relu()
        more = (x,) if isinstance(self.conv, GCN2Conv) else ()
        out: Tensor = self.head(self.conv(x, *more, data.edge_index))
        return out


def one_graph() -> GraphData:
    draw = torch.Generator().manual_seed(0)
    pairs = torch.randint(30, (2, 60), generator=draw)
    pairs = pairs[:, pairs[0] != pairs[1]]
    split = torch.arange(30) % 3
    from torch_geometric.data import Data

    return from_nodes(
        Data(
            x=torch.randn(30, 4, generator=draw),
            edge_index=torch.cat([pairs, pairs.flip(0)], 1),
            y=torch.cat([torch.arange(3), torch.randint(3, (27,), generator=draw)]),
            train_mask=split == 0,
            val_mask=split == 1,
            test_mask=split == 2,
        ),
        name="one",
    )


CONVS = {
    "GCNConv": lambda cached: GCNConv(4, 4, cached=cached),
    "SGConv": lambda cached: SGConv(4, 4, K=2, cached=cached),
    "APPNP": lambda cached: APPNP(K=3, alpha=0.1, cached=cached),
    "GCN2Conv": lambda cached: GCN2Conv(4, alpha=0.1, cached=cached),
}
EDGE_RULES = {
    "no-edges": NoEdges(),
    "random": RandomPruning(rounds=2, edge_rate=0.4, weight_rate=0.0),
    "degree": Sparsifier(rounds=2, edge_rate=0.4, weight_rate=0.0, edges="degree"),
}


def node_fit(job: FitJob) -> FitResult:
    optimizer = torch.optim.Adam(job.model.parameters(), lr=0.01)
    with job.attach(optimizer):
        track = job.track()
        for _ in range(3):
            batch = job.data.train.batch([0])
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(job.model(batch), batch.y)
            loss.backward()
            optimizer.step()
            track.epoch(val=gp.train.evaluate(job.model, job.data.val, job.data), loss=float(loss.detach()))
    return track.result(lambda: gp.train.evaluate(job.model, job.data.test, job.data))


@pytest.mark.parametrize("rule", EDGE_RULES)
@pytest.mark.parametrize("conv", CONVS)
def test_convolutions_that_have_cached_the_full_graph_see_the_pruned_one(conv: str, rule: str) -> None:
    data = one_graph()
    runs = []
    for cached in (False, True):
        torch.manual_seed(0)
        net = NodeNet(CONVS[conv], cached)
        net(data.train.batch([0]))  # the full graph
        runs.append(list(EDGE_RULES[rule].rounds(net, data, node_fit)))
        assert getattr(net.conv, "cached", False) is cached  # the user's network is as it was
    for plain, once_cached in zip(*runs, strict=True):
        assert plain.row["test_metric"] == once_cached.row["test_metric"]
        assert [row["loss"] for row in plain.history] == pytest.approx([row["loss"] for row in once_cached.history])


def test_an_evaluation_neither_reads_nor_leaves_a_cache() -> None:
    data = one_graph()
    few = data.test.keep_edges(torch.arange(data.test.num_edges) % 2 == 0)
    net = NodeNet(CONVS["GCNConv"], True).eval()
    plain = copy.deepcopy(net)
    net(data.train.batch([0]))
    cached = net.conv._cached_edge_index
    assert torch.equal(gp.train.predict(net, few), plain(few.batch([0])))
    assert net.conv.cached and net.conv._cached_edge_index is cached


def test_a_network_that_keeps_something_of_its_first_graph_is_refused() -> None:
    class Keeps(NodeNet):
        near: Tensor | None = None

        def forward(self, data: Any) -> Tensor:
            if self.near is None:
                self.near = torch.bincount(data.edge_index[1], minlength=len(data.x)).float()
            return super().forward(data) * self.near[:, None]

    with pytest.raises(ValueError, match="Keeps keeps something of the first graph"):
        next(iter(NoEdges().rounds(Keeps(CONVS["GCNConv"], False), one_graph(), node_fit)))


# ---------------------------------------------------------------------- heads and layers


@pytest.mark.parametrize("unit", ["weight", "channel", "coupled"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_what_leaves_the_model_is_kept_for_every_unit_and_scope(unit: Any, scope: Any, data: GraphData) -> None:
    method = IMP(rounds=3, weight_rate=0.4, unit=unit, scope=scope)
    *_, ticket = method.rounds(seeded(hidden=16), data, plain_fit())
    assert "head.weight" not in ticket.masks and "head.bias" not in ticket.masks
    assert not ticket.masks.collapsed
    assert ticket.masks.density < 0.5


def test_heads_are_pruned_on_request_by_name_and_by_the_papers(data: GraphData) -> None:
    net = seeded()
    for method in (
        IMP(rounds=1, prune_heads=True),
        IMP(rounds=1, select=prunable(include=["head.weight"])),
        IMP(rounds=1, protocol="paper"),
    ):
        (ticket,) = method.rounds(net, data, plain_fit())
        assert "head.weight" in ticket.masks
    assert "head.weight" not in prunable()(prepared(net, data, prune_heads=False)).selected
    assert "head.weight" in prunable()(net).selected  # the user's own is not marked


def test_a_network_of_nothing_but_a_head_is_refused_with_the_reason(data: GraphData) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(3, 2)

        def forward(self, batch: Any) -> Tensor:
            out: Tensor = self.lin(global_mean_pool(batch.x, batch.batch, batch.num_graphs))
            return out

    with pytest.raises(ValueError, match=r"nothing to prune in Flat(.|\n)*head: it gives what leaves the model"):
        next(iter(IMP(rounds=1).rounds(Flat(), data, plain_fit())))


class Attention(nn.Module):
    """Two wide layers and a narrow one, whose channels all have small weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GATConv(3, 8, heads=4), GATConv(32, 16)
        self.lin, self.head = nn.Linear(16, 8), nn.Linear(8, 2)
        with torch.no_grad():
            self.second.lin.weight.mul_(1e-4)

    def forward(self, batch: Any) -> Tensor:
        x = self.first(batch.x, batch.edge_index).relu()
        x = self.lin(self.second(x, batch.edge_index).relu()).relu()
        out: Tensor = self.head(global_mean_pool(x, batch.batch, batch.num_graphs))
        return out


@pytest.mark.parametrize("unit", ["weight", "channel", "coupled"])
@pytest.mark.parametrize("method", ["imp", "random", "fggp", "gmp", "snip", "magnitude-at-init"])
def test_no_layer_is_emptied_by_default(method: str, unit: Any, data: GraphData) -> None:
    kinds: dict[str, Any] = {
        "imp": lambda: IMP(rounds=4, weight_rate=0.4, unit=unit),
        "random": lambda: RandomPruning(rounds=4, edge_rate=0, weight_rate=0.4, unit=unit),
        "fggp": lambda: FGGP(density=0.15, stop=3, every=1, candidate_ratio=0.9, unit=unit),
        "gmp": lambda: gp.GMP(density=0.15, stop=3, every=1, unit=unit),
        "snip": lambda: SNIP(density=0.15),
        "magnitude-at-init": lambda: gp.MagnitudeAtInit(density=0.15),
    }
    if unit != "weight" and method in ("snip", "magnitude-at-init"):
        pytest.skip("prunes single weights only")
    *_, ticket = kinds[method]().rounds(seeded(Attention), data, plain_fit(4, lr=1e-4))
    assert not ticket.masks.collapsed and ticket.row["collapsed"] == []
    for mask in ticket.masks.values():
        assert mask.any()


def test_a_density_that_cannot_keep_every_layer_is_an_error_before_the_training(data: GraphData) -> None:
    with pytest.raises(ValueError, match="layer_floor asks for 3 units in all 3 layers, but density leaves 1"):
        next(iter(gp.GMP(density=0.0015, stop=3, every=1).rounds(seeded(Attention), data, plain_fit(4))))
    (ticket,) = gp.GMP(density=0.0015, stop=3, every=1, layer_floor=0).rounds(seeded(Attention), data, plain_fit(4))
    assert ticket.row["collapsed"]


class Checkpointed(Net):
    def forward(self, batch: Any) -> Tensor:
        x = global_mean_pool(self.conv(batch.x, batch.edge_index).relu(), batch.batch, batch.num_graphs)
        out: Tensor = checkpoint(lambda z: self.head(self.lin(z).relu()), x, use_reentrant=True)  # type: ignore[assignment]
        return out


class OnlyInTraining(Net):
    def forward(self, batch: Any) -> Tensor:
        with torch.set_grad_enabled(self.training):
            return super().forward(batch)


class Integers(Net):
    """Has a parameter that can have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.order = nn.Parameter(torch.arange(8), requires_grad=False)

    def forward(self, batch: Any) -> Tensor:
        batch.x.cpu().numpy()  # which features with gradients would refuse
        x = self.conv(batch.x, batch.edge_index)[:, self.order]
        out: Tensor = self.head(self.lin(global_mean_pool(x, batch.batch, batch.num_graphs)))
        return out


@pytest.mark.parametrize("kind", [Checkpointed, Integers])
def test_heads_are_seen_behind_checkpoints_and_odd_parameters(kind: Any, data: GraphData) -> None:
    found = prunable()(prepared(seeded(kind), data, prune_heads=False))
    assert set(found.selected) == {"conv.lin.weight", "lin.weight"}


def test_a_network_whose_head_cannot_be_seen_is_refused_with_the_way_out(data: GraphData) -> None:
    net = seeded(OnlyInTraining)
    with pytest.raises(ValueError, match=r"no weight of OnlyInTraining is seen .* prune_heads=True"):
        next(iter(IMP(rounds=1).rounds(net, data, plain_fit())))
    (ticket,) = IMP(rounds=1, protect="head.*", prune_heads=True).rounds(net, data, plain_fit())
    assert set(ticket.masks) == {"conv.lin.weight", "lin.weight"}


def test_a_networks_own_counters_are_not_touched_by_the_first_look(data: GraphData) -> None:
    class Counts(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, batch: Any) -> Tensor:
            assert isinstance(self.calls, Tensor)
            self.calls += 1
            return super().forward(batch)

    seen: list[float] = []

    def fit(job: FitJob) -> FitResult:
        seen.append(float(job.model.calls))  # type: ignore[arg-type]
        track = job.track()
        track.epoch(val=accuracy(job))
        return track.result()

    net = seeded(Counts)
    frozen = copy.deepcopy(net.state_dict())
    list(Dense().rounds(net, data, fit))
    assert seen == [0.0]
    assert all(torch.equal(value, frozen[name]) for name, value in net.state_dict().items())


def test_a_search_whose_optimizer_leaves_the_predictor_out_is_refused(data: GraphData) -> None:
    def fit(job: FitJob) -> FitResult:
        own = [value for name, value in job.model.named_parameters() if not name.startswith("predictor.")]
        with job.attach(torch.optim.Adam(own, lr=0.01)):
            raise AssertionError("not reached")

    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    for method in (gp.ICPG(rounds=1, predictor=predictor), gp.GICP(stop=2, predictor=predictor)):
        with pytest.raises(ValueError, match=r"does not own the edge predictor's \[.*give it job.param_groups"):
            next(iter(method.rounds(seeded(), data, fit)))


def test_gated_searches_of_networks_with_caches_run(data: GraphData) -> None:
    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    net = seeded(cached=True)
    plain = seeded()
    for method in (gp.ICPG(rounds=1, predictor=predictor), UGS(rounds=1)):
        rows = [next(iter(method.rounds(each, data, plain_fit(2)))).row["test_metric"] for each in (net, plain)]
        assert rows[0] == rows[1] and net.conv.cached is True


def test_a_row_says_both_seeds(data: GraphData) -> None:
    (ticket,) = Dense(seed=5).rounds(seeded(), data, gp.train.Fit(epochs=1, seed=7))
    assert (ticket.row["seed"], ticket.row["fit_seed"]) == (5, 7)
    (ticket,) = Dense(seed=5).rounds(seeded(), data, plain_fit(1))
    assert "fit_seed" not in ticket.row


@pytest.mark.parametrize("resumed", [False, True])
def test_a_network_is_prepared_once_a_start(resumed: bool, data: GraphData, monkeypatch: pytest.MonkeyPatch) -> None:
    net, method = seeded(), RandomPruning(rounds=2, edge_rate=0.2)
    first, second = method.rounds(net, data, plain_fit(1))
    made: list[nn.Module] = []
    real = prepare.independent_copy
    monkeypatch.setattr(prepare, "independent_copy", lambda model: (made.append(model), real(model))[1])
    ticket = next(method.rounds(net, data, plain_fit(1), after=first if resumed else None))
    assert len(made) == 1 and made[0] is net
    assert ticket.masks == (second if resumed else first).masks
    kept = method.prepared(net, data)
    assert method.prepared(kept, data) is kept and method.replace(prune_heads=True).prepared(kept, data) is not kept
