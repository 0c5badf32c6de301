"""UGS against an independent dense loop, its policies for unseen graphs, one graph's nodes, and the published code."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune import UGS, RandomPruning, Ticket
from graphprune.data import GraphData
from graphprune.data.labelled import IGNORE_INDEX
from graphprune.graphs import PackedGraphs, PruneEdges, number_units
from graphprune.methods import UGS_PAPER, FitJob, FitResult
from graphprune.methods.core.fit import derive_seed
from graphprune.methods.ugs.masks import soft_start
from graphprune.models import GCN, GIN, UGSGAT, UGSGCN, UGSGIN, NodeGAT, NodeGCN, NodeGIN
from graphprune.train import Fit
from tests.methods.graphs import plain_fit, random_graph, small_data
from tests.methods.test_reference import classify, matrix

EPOCHS, LR = 6, 0.05
P_EDGE, P_WEIGHT, EDGE_L1, WEIGHT_L1, NOISE = 0.2, 0.3, 0.02, 0.03, 1e-2


def by_hand(model: nn.Module, data: GraphData, rounds: int, seed: int) -> Any:
    """UGS with an N x N matrix of edge masks for each graph, each with an Adam of its own, and weight masks beside."""
    graphs = list(data.train)
    y = torch.cat([graph.y for graph in graphs])
    matrices = (name for name, p in model.named_parameters() if p.dim() == 2 and name != "head.weight")
    names = sorted(matrices, key=list(model.state_dict()).index)
    kept = [torch.ones_like(model.get_parameter(name), dtype=torch.bool) for name in names]
    pairs = [[(u, v) for u, v in graph.edge_index.T.tolist() if u < v] for graph in graphs]
    order = [
        sorted(own, key=lambda pair, g=graph: g.edge_index.T.tolist().index(list(pair)))
        for own, graph in zip(pairs, graphs, strict=True)
    ]
    alive = [[True] * len(own) for own in order]
    out = []
    for number in range(1, rounds + 1):
        f = copy.deepcopy(model).train()
        weight_masks = [nn.Parameter(m) for m in soft_start(kept, NOISE, derive_seed(seed, number, "weights"))]
        flat = torch.tensor([a for own in alive for a in own], dtype=torch.bool)
        (start,) = soft_start([flat], NOISE, derive_seed(seed, number, "edges"))
        edge_masks, place = [], 0
        for graph, own in zip(graphs, order, strict=True):
            m = torch.zeros(graph.num_nodes, graph.num_nodes)
            for u, v in own:
                m[u, v] = start[place]
                place += 1
            edge_masks.append(nn.Parameter(m))
        parameters = dict(f.named_parameters())
        with torch.no_grad():
            for name, mask in zip(names, kept, strict=True):
                parameters[name][~mask] = 0
        optimizers = [torch.optim.Adam([*f.parameters(), *weight_masks], lr=LR)]
        optimizers += [torch.optim.Adam([m], lr=LR) for m in edge_masks]
        for _ in range(EPOCHS):
            arcs = [
                torch.stack([m.abs()[min(u, v), max(u, v)] for u, v in graph.edge_index.T.tolist()]).double()
                if graph.num_edges
                else torch.zeros(0, dtype=torch.float64)
                for graph, m in zip(graphs, edge_masks, strict=True)
            ]
            soft = {name: parameters[name] * mask for name, mask in zip(names, weight_masks, strict=True)}
            out_y = torch.func.functional_call(Wrapped(f), {f"f.{n}": w for n, w in soft.items()}, (graphs, arcs))
            loss = functional.cross_entropy(out_y, y)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                for mask in weight_masks:
                    mask.grad += WEIGHT_L1 * mask.sign()
                for m in edge_masks:
                    if m.grad is not None:
                        m.grad += EDGE_L1 * m.sign()
            for optimizer in optimizers:
                optimizer.step()
            with torch.no_grad():
                for name, mask in zip(names, kept, strict=True):
                    parameters[name][~mask] = 0
        entries = [
            (float(weight_masks[k].detach().flatten()[i].abs()), -k, -i)
            for k, mask in enumerate(kept)
            for i in mask.flatten().nonzero().flatten().tolist()
        ]
        total = sum(mask.numel() for mask in kept)
        for _, k, i in sorted(entries)[: len(entries) - round(total * (1 - P_WEIGHT) ** number)]:
            kept[-k].view(-1)[-i] = False
        for own, mine, m in zip(order, alive, edge_masks, strict=True):
            left = [(float(m.detach()[u, v].abs()), -place) for place, (u, v) in enumerate(own) if mine[place]]
            for _, place in sorted(left)[: len(left) - round(len(own) * (1 - P_EDGE) ** number)]:
                mine[-place] = False
        graphs = [
            Data(
                x=graph.x,
                y=graph.y,
                edge_index=graph.edge_index[
                    :,
                    torch.tensor(
                        [mine[own.index((min(u, v), max(u, v)))] for u, v in graph.edge_index.T.tolist()],
                        dtype=torch.bool,
                    ),
                ],
            )
            for graph, own, mine in zip(graphs, order, alive, strict=True)
        ]
        out.append((copy.deepcopy(kept), [graph.edge_index for graph in graphs]))
    return names, out


class Wrapped(nn.Module):
    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.f = f

    def forward(self, graphs: list[Data], arcs: list[Tensor]) -> Tensor:
        return classify(self.f, graphs, matrix(graphs, arcs))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_flat_store_gives_the_masks_of_a_dense_implementation(seed: int) -> None:
    torch.manual_seed(seed)
    data = small_data(seed, graphs=7)
    model = GCN.for_data(data, hidden=8, layers=2).double()
    ugs = UGS(
        rounds=3,
        edge_rate=P_EDGE,
        weight_rate=P_WEIGHT,
        edge_l1=EDGE_L1,
        weight_l1=WEIGHT_L1,
        noise=NOISE,
        seed=seed,
    )
    names, expected = by_hand(model, data, 3, seed)
    for ticket, (kept, edges) in zip(ugs.rounds(model, data, plain_fit(EPOCHS, LR)), expected, strict=True):
        assert list(ticket.masks) == names
        for name, mask in zip(names, kept, strict=True):
            assert torch.equal(ticket.masks[name], mask), (ticket.round, name)
        pruned = ticket.prune(number_units(data.train, "pair"))
        for number, edge_index in enumerate(edges):
            assert torch.equal(pruned[number].edge_index, edge_index), (ticket.round, number)
        assert torch.equal(ticket.prune(data.train).edge_index, pruned.edge_index)
        assert torch.equal(ticket.prune(data.test).edge_index, data.test.edge_index)


def model_of(data: GraphData, kind: Any = GIN) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = kind.for_data(data, hidden=8)
    return made


@pytest.mark.parametrize(
    ("unseen", "test_sparsity", "train_sparsity", "word"),
    [("dense", 0.0, 0.36, "dense"), ("random", 0.36, 0.36, "random"), ("weights-only", 0.0, 0.0, "none")],
)
def test_each_policy_for_unseen_graphs(unseen: Any, test_sparsity: float, train_sparsity: float, word: str) -> None:
    data = small_data(graphs=40)
    *_, ticket = UGS(rounds=2, edge_rate=0.2, weight_rate=0.3, unseen=unseen).rounds(model_of(data), data, plain_fit())
    assert ticket.row["edge_sparsity_train"] == pytest.approx(train_sparsity, abs=0.03)
    for split in ("val", "test"):
        assert ticket.row[f"edge_sparsity_{split}"] == pytest.approx(test_sparsity, abs=0.03)
    assert (ticket.row["unseen"], ticket.row["predictor_passes"]) == (word, 0)
    assert ticket.row["epochs_search"] == 3 and ticket.row["epochs_trained"] == 6
    assert ticket.masks.kept == round(ticket.masks.total * 0.49)
    if unseen == "random":
        graph = data.test[5]
        assert ticket.prune_graph(graph).num_edges == 2 * round(graph.num_edges // 2 * 0.64)
    else:
        with pytest.raises(ValueError, match="no unseen graphs"):
            ticket.score_edges(data.test[0])


def test_a_global_budget_is_met_over_all_training_graphs_and_unseen_ones_lose_as_large_a_share() -> None:
    from graphprune.graphs import EdgeRule
    from graphprune.methods import Protocol

    data = small_data(graphs=60)
    ugs = UGS(rounds=2, edge_rate=0.2, unseen="random", protocol=Protocol(rule=EdgeRule(budget="global")))
    *_, ticket = ugs.rounds(model_of(data), data, plain_fit())
    pairs = data.train.num_edges // 2
    assert ticket.prune(number_units(data.train, "pair")).num_edges == 2 * round(pairs * 0.64)
    assert ticket.row["edge_sparsity_test"] == pytest.approx(0.36, abs=0.06)


def test_a_search_that_trains_no_edge_mask_is_an_error() -> None:
    def fit(job: FitJob) -> FitResult:
        track = job.track()
        track.epoch(val=0.0)
        return track.result()

    data = small_data()
    with pytest.raises(ValueError, match="attach"):
        next(UGS(rounds=1).rounds(model_of(data), data, fit))


def test_numbers_of_other_graphs_are_not_believed() -> None:
    data, others = small_data(), small_data(seed=1, graphs=30)
    (ticket,) = UGS(rounds=1).rounds(model_of(data), data, plain_fit())
    for graphs in (data.val, others.train):  # of fewer and of more edges
        assert ticket.prune(number_units(graphs, "pair")).num_edges == graphs.num_edges
    assert (
        ticket.prune(number_units(data.train, "pair").select([5, 2])).num_edges == data.train.select([5, 2]).num_edges
    )


def test_tickets_that_do_not_tell_their_graphs_go_by_numbers() -> None:
    data = small_data()
    (ticket,) = UGS(rounds=1).rounds(model_of(data), data, plain_fit())
    stages = [replace(stage, graphs="") for stage in ticket.edges.rounds]
    old, pruned = PruneEdges(stages, ticket.edges.rule), ticket.prune(data.train)
    numbered = number_units(data.train, "pair")
    assert torch.equal(old.prune(numbered).edge_index, pruned.edge_index)
    assert torch.equal(old(numbered[7]).edge_index, pruned[7].edge_index)
    with pytest.raises(ValueError, match="more edges"):
        old.prune(number_units(small_data(graphs=30).train, "pair"))


# ---------------------------------------------------------------------- nodes of one graph


def nodes_data() -> GraphData:
    """One graph of two communities; the splits see labels of different nodes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    index = torch.randint(0, 60, (2, 400), generator=generator)
    same = labels[index[0]] == labels[index[1]]
    index = index[:, (index[0] < index[1]) & (same | (torch.rand(400, generator=generator) < 0.2))].unique(dim=1)
    x = torch.randn(60, 5, generator=generator) + labels[:, None] * 0.5
    graph = Data(x=x, edge_index=torch.cat([index, index.flip(0)], 1), y=labels)
    splits = {}
    for number, split in enumerate(("train", "val", "test")):
        seen = torch.where(torch.arange(60) % 3 == number, labels, IGNORE_INDEX)
        splits[split] = PackedGraphs.of([graph]).with_node(y=seen)
    return GraphData(
        name="communities",
        **splits,
        task="multiclass",
        metric="accuracy",
        features=5,
        num_classes=2,
        level="node",
        transductive=True,
    )


def edges_of(ticket: Ticket, data: GraphData) -> list[Tensor]:
    return [ticket.prune(number_units(graphs, ticket.edges.rule.unit)).edge_index for graphs in data.splits.values()]


@pytest.mark.parametrize("kind", [NodeGCN, NodeGIN, NodeGAT, GCN])
def test_the_nodes_of_one_graph(kind: Any, tmp_path: Any) -> None:
    data = nodes_data()
    ugs = UGS(rounds=2, edge_rate=0.2, weight_rate=0.3)
    *_, ticket = ugs.rounds(model_of(data, kind), data, Fit(epochs=30, lr=0.01))
    assert ticket.row["edge_sparsity_test"] == ticket.row["edge_sparsity_train"] == pytest.approx(0.36, abs=0.005)
    one, two, three = edges_of(ticket, data)
    assert torch.equal(one, two) and torch.equal(one, three)
    assert ticket.row["test_metric"] >= 0.5
    ticket.save(tmp_path / "ticket")
    again = Ticket.load(tmp_path / "ticket")
    assert torch.equal(edges_of(again, data)[0], one)
    # The graph is recognised without its numbers, and left without a trace of them.
    assert torch.equal(again.prune_graph(data.test[0]).edge_index, one) and "edge_unit" not in again.prune_graph(
        data.test[0]
    )
    assert torch.equal(again.prune(data.val).edge_index, one)
    other = data.test.keep_edges(torch.arange(data.test.num_edges) > 1)
    assert again.prune(other).num_edges == other.num_edges


def test_a_set_of_one_graph_in_three_versions_is_refused() -> None:
    data = nodes_data()
    keep = torch.ones(data.test.num_edges, dtype=torch.bool)
    keep[0] = False
    with pytest.raises(ValueError, match="same graphs"):
        data.with_splits(test=data.test.keep_edges(keep))


# ---------------------------------------------------------------------- what the authors' code does


def star() -> tuple[Data, Tensor]:
    """Three sources of one target, and gates of which the last is shut."""
    graph = Data(x=torch.eye(4), edge_index=torch.tensor([[1, 2, 3], [0, 0, 0]]))
    return graph, torch.tensor([1.0, 1.0, 0.0])


@pytest.mark.parametrize(("kind", "removes"), [(NodeGAT, True), (UGSGAT, False), (NodeGIN, True), (UGSGIN, False)])
def test_a_gate_of_zero_removes_but_not_in_the_published_networks(kind: Any, removes: bool) -> None:
    torch.manual_seed(0)
    model = kind(4, 3, hidden=2).eval()
    graph, gate = star()
    without = Data(x=graph.x, edge_index=graph.edge_index[:, :2])
    assert torch.allclose(model(graph, gate), model(without), atol=1e-6) == removes


def by_matrices(model: NodeGCN, graph: Data, kept: Tensor) -> Tensor:
    """Predictions of UGS's GCN by dense matrices: degrees of the arcs that are left, summed over their sources."""
    matrix = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    source, target = graph.edge_index[:, kept]
    matrix[target, source] = 1
    matrix += torch.eye(graph.num_nodes, dtype=torch.float64)
    degree = matrix.sum(0)  # a column holds what a node sends
    matrix = degree.rsqrt()[:, None] * matrix * degree.rsqrt()
    return matrix @ (matrix @ (graph.x.double() @ model.first.weight.t())).relu() @ model.second.weight.t()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("gated", [True, False])
def test_the_published_gcn_sums_degrees_over_sources(share: float, gated: bool) -> None:
    torch.manual_seed(0)
    theirs, ours = UGSGCN(5, 2, hidden=8).double().eval(), NodeGCN(5, 2, hidden=8).double().eval()
    ours.load_state_dict(theirs.state_dict())
    graph = nodes_data().test[0]
    graph.x = graph.x.double()
    kept = torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(1)) >= share
    pruned = Data(x=graph.x, edge_index=graph.edge_index[:, kept])
    there = [theirs(graph, kept.double()), ours(graph, kept.double())] if gated else [theirs(pruned), ours(pruned)]
    assert torch.allclose(there[0], by_matrices(theirs, graph, kept), rtol=0, atol=5e-9)
    # The two are one network on graphs whose arcs go both ways.
    assert torch.allclose(there[0], there[1], rtol=0, atol=5e-9) == (share in (0.0, 1.0))


def test_a_ticket_of_the_published_gcn_predicts_by_degrees_over_sources() -> None:
    data = nodes_data()
    ugs = UGS(rounds=3, edge_rate=0.2, weight_rate=0.3, protocol="paper")
    *_, ticket = ugs.rounds(model_of(data, UGSGCN), data, Fit(epochs=5, lr=0.01))
    graph = number_units(data.test, "arc")[0]
    known = ticket.edges.rounds[-1].known
    assert known is not None
    kept = known[graph.edge_unit]
    assert 1 - ticket.row["edge_sparsity_test"] == pytest.approx(float(kept.double().mean()))
    assert not set(map(tuple, graph.edge_index[:, kept].T.tolist())) >= set(
        map(tuple, graph.edge_index[:, kept].flip(0).T.tolist())
    )
    network = ticket.build(model_of(data, UGSGCN)).double().eval()
    graph.x, graph.edge_gate = graph.x.double(), kept.double()
    assert torch.allclose(network(graph), by_matrices(network, graph, kept), rtol=0, atol=5e-9)
    right = (by_matrices(network, graph, kept).argmax(1) == graph.y)[graph.y != IGNORE_INDEX].double().mean()
    assert ticket.row["test_metric"] == pytest.approx(float(right))


def test_attention_with_scaled_logits_is_the_published_softmax() -> None:
    """Logits -1, -0.5, -0.8 with the third edge pruned: shares .19, .31, .51 of what is not the node's own loop."""
    from graphprune.graphs.adjacency import Adjacency

    graph, gate = star()
    logits = torch.tensor([0.0, -1.0, -0.5, -0.8])
    at_source = (logits / 0.2)[:, None]  # the leaky ReLU takes a fifth of negative logits
    out = Adjacency(graph.edge_index, 4, gate).attend_scaled(
        torch.eye(4)[:, None], at_source, torch.zeros(4, 1), 0.2, 0.0
    )
    shares = out[0, 0, 1:] / out[0, 0, 1:].sum()
    expected = torch.tensor([-1.0, -0.5, 0.0]).softmax(0)
    assert torch.allclose(shares, expected, atol=1e-6)
    assert [round(float(share), 2) for share in shares] == [0.19, 0.31, 0.51]


def test_the_published_protocol_keeps_pruned_edges_in_the_graph() -> None:
    data, seen = nodes_data(), []

    def fit(job: FitJob) -> FitResult:
        seen.append((job.phase, job.data.train.num_edges, job.data.train.edge.get("edge_gate")))
        return Fit(epochs=2, lr=0.01)(job)

    ugs = UGS(rounds=2, edge_rate=0.2, protocol="paper")
    tickets = list(ugs.rounds(model_of(data, UGSGAT), data, fit))
    arcs = data.train.num_edges
    left = arcs - int(arcs * 0.2)
    assert [count for _, count, _ in seen] == [arcs] * 4
    assert seen[0][2] is None and int(seen[1][2].sum()) == left
    assert int(seen[3][2].sum()) == left - int(left * 0.2)
    assert tickets[0].row["protocol"] == "paper (edges gated)"
    assert tickets[1].row["edge_sparsity_train"] == 1 - (left - int(left * 0.2)) / arcs
    assert "first.att_src" in tickets[0].masks


def test_unseen_graphs_lose_random_edges_under_the_published_protocol_too() -> None:
    data, seen = small_data(graphs=40), []

    def fit(job: FitJob) -> FitResult:
        seen.append({split: graphs.num_edges for split, graphs in job.data.splits.items()})
        return plain_fit(1)(job)

    ugs = UGS(rounds=2, edge_rate=0.2, protocol="paper", unseen="random")
    *_, ticket = ugs.rounds(model_of(data), data, fit)
    assert [sizes["train"] for sizes in seen] == [data.train.num_edges] * 4  # a gate of 0, where they are known
    for split in ("val", "test"):
        left = seen[-1][split] / getattr(data, split).num_edges
        assert left < 0.75 and ticket.row[f"edge_sparsity_{split}"] == pytest.approx(1 - left)


def test_the_published_protocol_needs_a_network_that_reads_gates() -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(5, 2)

        def forward(self, data: Data, edge_gate: Tensor | None = None) -> Tensor:
            return self.lin(data.x)

    with pytest.raises(ValueError, match="edge_gate"):
        next(UGS(rounds=1, protocol="paper").rounds(Blind(), nodes_data(), plain_fit()))


def test_no_other_method_passes_for_one_that_gates() -> None:
    data = nodes_data()
    with pytest.raises(ValueError, match=r"removes the edges.*UGS"):
        next(RandomPruning(rounds=1, protocol=UGS_PAPER).rounds(model_of(data, NodeGCN), data, plain_fit()))


@pytest.mark.parametrize("bad", [{"edge_l1": -1.0}, {"unseen": "drop"}, {"noise": float("inf")}])
def test_bad_arguments_are_named(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        UGS(**bad)


def test_random_graphs_go_through_with_sage_like_means() -> None:
    """Soft gates stay finite where all of a node's edges shrink."""
    generator = torch.Generator().manual_seed(1)
    assert random_graph(generator, 4, 3).num_nodes == 4
    data = small_data(graphs=20)
    *_, ticket = UGS(rounds=3, edge_rate=0.3, edge_l1=1.0).rounds(model_of(data, GCN), data, plain_fit(10, 0.2))
    assert ticket.row["edge_sparsity_train"] == pytest.approx(1 - 0.7**3, abs=0.05)
