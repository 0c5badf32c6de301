"""Methods on data sets with encodings: who reads them, what pruning does with them, and what does not fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import from_nodes
from graphprune.data.base import GraphData
from graphprune.data.labelled import SPLITS
from graphprune.graphs.encodings import Encodings
from graphprune.methods import FitJob, FitResult, Method
from tests.methods.graphs import digest, plain_fit, small_data
from tests.resealed import reseal

WALKS = 5


def encoded() -> GraphData:
    return small_data().with_encodings(walks=WALKS)


def network(data: GraphData, kind: Any = gp.models.GIN) -> Any:
    torch.manual_seed(0)
    return kind.for_data(data, hidden=8, **({"layers": 2} if data.level == "graph" else {}))


def predictor(data: GraphData, **options: Any) -> gp.EdgePredictor:
    torch.manual_seed(1)
    return gp.EdgePredictor.for_data(data, hidden=8, layers=1, **options)


METHODS: dict[str, Callable[[GraphData], Method]] = {
    "icpg": lambda data: gp.ICPG(rounds=2, edge_rate=0.3, predictor=predictor(data)),
    "icpg with walks too": lambda data: gp.ICPG(rounds=2, edge_rate=0.3, predictor=predictor(data, walks=3)),
    "gicp": lambda data: gp.GICP(predictor=predictor(data), densities=(1.0, 0.5), stop=2, every=1),
    "random": lambda data: gp.RandomPruning(rounds=2, edge_rate=0.3),
    "sparsifier": lambda data: gp.Sparsifier(edges="degree", rounds=2, edge_rate=0.3),
    "ugs": lambda data: gp.UGS(rounds=2, edge_rate=0.3, unseen="random"),
    "no-edges": lambda data: gp.NoEdges(),
    "hamp": lambda data: gp.HAMP(
        edge_score="degree", budget=6, population=3, members=2, repeats=2, batches=1, cost_batch=2, surrogate=False
    ),
}


def unseen() -> list[Data]:
    return list(small_data(seed=5).test)


@pytest.mark.parametrize("kind", METHODS)
def test_a_ticket_prunes_unseen_graphs_that_have_none_as_those_that_have(kind: str, tmp_path: Path) -> None:
    data = encoded()
    *_, ticket = METHODS[kind](data).rounds(network(data), data, plain_fit(2))
    ticket.save(tmp_path / "ticket")
    loaded = gp.Ticket.load(tmp_path / "ticket")
    assert loaded.edges.encodings == data.encodings and not loaded.edges.recounted
    add, model = gp.AddEncodings(walks=WALKS), loaded.build(network(data)).eval()
    for graph in unseen():
        bare, known = loaded.prune_graph(graph), ticket.prune_graph(add(graph))
        assert torch.equal(bare.edge_index, known.edge_index)
        assert torch.equal(bare.encodings, add(graph).encodings)  # of the full graph
        assert torch.equal(model(bare), model(known))
    if ticket.edges.rounds:
        pruned = loaded.prune(unseen())
        assert torch.equal(
            pruned.edge_index, torch.cat([loaded.prune_graph(graph).edge_index for graph in unseen()], 1)
        )
    if "icpg" in kind:
        graph = unseen()[3]
        assert torch.equal(loaded.score_edges(graph), loaded.score_edges(add(graph)))


def test_tickets_of_sets_without_say_nothing_of_them(tmp_path: Path) -> None:
    data = small_data()
    *_, ticket = METHODS["icpg"](data).rounds(network(data), data, plain_fit(1))
    ticket.save(tmp_path / "ticket")
    assert "encodings" not in (tmp_path / "ticket" / "ticket.json").read_text()
    assert gp.Ticket.load(tmp_path / "ticket").edges.encodings is None


@pytest.mark.parametrize(
    "words", ['{"walks": 1, "recounted": false}', '{"walks": 5}', '{"recounted": true}', '"walks"']
)
def test_a_file_that_says_something_else_is_refused(words: str, tmp_path: Path) -> None:
    data = encoded()
    (ticket,) = gp.RandomPruning(rounds=1).rounds(network(data), data, plain_fit(1))
    ticket.save(tmp_path / "ticket")
    file = tmp_path / "ticket" / "ticket.json"
    text = file.read_text()
    own = '"encodings": {\n   "walks": 5,\n   "recounted": false\n  }'
    assert own in text
    file.write_text(text.replace(own, f'"encodings": {words}'))
    reseal(file)
    with pytest.raises(ValueError, match=r"ticket\.encodings"):
        gp.Ticket.load(tmp_path / "ticket")


@pytest.mark.parametrize("kind", ["icpg", "gicp"])
def test_a_run_goes_on_after_a_ticket_with_the_same_bits(kind: str) -> None:
    data = encoded()
    method = METHODS[kind](data)
    first, second = method.rounds(network(data), data, plain_fit(2))
    (again,) = method.rounds(network(data), data, plain_fit(2), after=first)
    assert digest(again) == digest(second)
    twice = data.with_splits(train=data.train.with_node(encodings=2 * data.train.node["encodings"]))
    with pytest.raises(ValueError, match="data digest"):
        next(method.rounds(network(data), twice, plain_fit(1), after=first))


def test_they_are_kept_in_training_or_counted_again_for_the_tickets_network() -> None:
    data, jobs = encoded(), list[FitJob]()

    def fit(job: FitJob) -> FitResult:
        jobs.append(job)
        return plain_fit(1)(job)

    def options(how: Any) -> dict[str, Any]:
        return {"rounds": 2, "edge_rate": 0.4, "predictor": predictor(data), "degree_features": how}

    for how in ("full", "recomputed"):
        jobs.clear()
        *_, ticket = gp.ICPG(**options(how)).rounds(network(data), data, fit)
        add = gp.AddEncodings(walks=WALKS)
        for job in jobs:
            for split in SPLITS:
                for seen, whole in zip(job.data.splits[split], data.splits[split], strict=True):
                    again = how == "recomputed" and job.phase == "ticket"
                    assert torch.equal(seen.encodings, add(seen).encodings if again else whole.encodings)
        for graph in unseen():
            pruned = ticket.prune_graph(graph)
            assert torch.equal(pruned.encodings, add(pruned if how == "recomputed" else graph).encodings)
        assert ("recomputed" in ticket.row["protocol"]) is (how == "recomputed")
    with pytest.raises(ValueError, match="no degree features and no encodings to recompute"):
        bare = small_data()
        next(gp.RandomPruning(degree_features="recomputed").rounds(network(bare), bare, plain_fit(1)))


def test_nothing_is_counted_while_networks_train(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded()
    monkeypatch.setattr(Encodings, "count", lambda *_: pytest.fail("counted again"))
    for kind in METHODS:
        assert list(METHODS[kind](data).rounds(network(data), data, plain_fit(2)))


@pytest.mark.parametrize("kind", ["icpg", "gicp", "random"])
def test_a_network_made_for_encodings_needs_a_set_with_the_same(kind: str) -> None:
    data, bare = encoded(), small_data()
    for other, has in ((bare, "none"), (small_data().with_encodings(walks=4), "walks=4")):
        text = rf"GIN reads the encodings walks=5, small has {has}: give it data\.with_"
        with pytest.raises(ValueError, match=text):
            next(METHODS[kind](other).rounds(network(data), other, plain_fit(1)))
        with pytest.raises(ValueError, match=text):
            METHODS[kind](other).supports(network(data), other)
    method = METHODS["icpg"](data)
    with pytest.raises(ValueError, match="EdgePredictor reads the encodings walks=5, small has none"):
        method.supports(network(bare), bare)


def test_a_predictor_or_network_made_without_them_leaves_them_alone() -> None:
    data, bare = encoded(), small_data()
    blind = gp.ICPG(rounds=1, edge_rate=0.3, predictor=predictor(bare))
    (ticket,) = blind.rounds(network(data), data, plain_fit(1))
    assert torch.equal(ticket.prune_graph(unseen()[4]).encodings, gp.AddEncodings(walks=WALKS)(unseen()[4]).encodings)
    plain = gp.models.GIN.for_data(data, hidden=8, encodings=None)
    assert "encodings" not in plain.config() and plain.encoding_encoder is None
    assert list(METHODS["icpg"](data).rounds(plain, data, plain_fit(1)))


class Own(torch.nn.Module):
    """A network of a user's own that reads the attribute itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.head = torch.nn.Linear(3 + WALKS, 8), gp.models.GIN(8, 2, hidden=8, layers=1), None

    def forward(self, data: Data) -> torch.Tensor:
        inner = data.clone()
        inner.x = self.first(torch.cat([data.x, data.encodings], 1)).relu()
        return self.conv(inner)


def test_a_network_of_ones_own_reads_the_attribute() -> None:
    data = encoded()
    (ticket,) = gp.ICPG(rounds=1, edge_rate=0.3, predictor=predictor(data)).rounds(Own(), data, plain_fit(1))
    assert ticket.build(Own()).eval()(ticket.prune_graph(unseen()[0])).shape == (1, 2)


@pytest.mark.parametrize("kind", ["NodeGCN", "NodeGIN", "NodeGAT", "GCN"])
def test_nodes_of_one_graph(kind: str) -> None:
    torch.manual_seed(0)
    nodes = torch.arange(30)
    ring = torch.stack([nodes, nodes.roll(1)])
    graph = Data(x=torch.rand(30, 4), edge_index=torch.cat([ring, ring.flip(0)], 1), y=nodes % 3)
    graph.train_mask, graph.val_mask, graph.test_mask = nodes < 10, (nodes >= 10) & (nodes < 20), nodes >= 20
    data = from_nodes(graph, name="own").with_encodings(walks=WALKS)
    model = network(data, getattr(gp.models, kind))
    fit = gp.train.Fit(epochs=1)
    (ticket,) = gp.UGS(rounds=1, edge_rate=0.3, unseen="random").rounds(model, data, fit)
    assert ticket.build(model).eval()(ticket.prune_graph(data.test[0])).shape == (30, 3)


def test_small_networks_compute_the_same_and_costs_are_counted() -> None:
    data = encoded()
    model = network(data)
    (ticket,) = gp.IMP(rounds=1, weight_rate=0.6, unit="channel").rounds(model, data, plain_fit(1))
    small = gp.compact(ticket.build(model), example=data.train[0])
    batch = data.test.batch(range(len(data.test)))
    torch.testing.assert_close(small(batch), ticket.build(model).eval()(batch), rtol=1e-5, atol=1e-5)
    bare = network(small_data())
    costs = [
        gp.measure.report(each, given.test).macs.transformation for each, given in ((model, data), (bare, small_data()))
    ]
    assert costs[0] - costs[1] == data.test.num_nodes * WALKS * 8  # the map of the encodings, nothing else
