"""Condensing: one small scorer in place of all rounds of a ticket."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

import graphprune as gp
from graphprune.graphs import EdgeMask, PackedGraphs
from graphprune.methods.condense import Condense, agreement
from graphprune.train import Fit


@pytest.fixture(scope="module")
def data() -> gp.data.GraphData:
    return gp.data.load("MUTAG")


def network(data: gp.data.GraphData) -> nn.Module:
    torch.manual_seed(0)
    return gp.models.GCN.for_data(data, hidden=8, layers=2)  # type: ignore[no-any-return]


def small(data: gp.data.GraphData, **options: Any) -> nn.Module:
    torch.manual_seed(2)
    return gp.EdgePredictor.for_data(data, **{"hidden": 8, "layers": 1, "score": "bilinear"} | options)


def fit(epochs: int = 2) -> Fit:
    return Fit(epochs=epochs, batch_size=64, lr=0.01, seed=0)


@pytest.fixture(scope="module")
def large(data: gp.data.GraphData) -> gp.Ticket:
    torch.manual_seed(1)
    predictor = gp.EdgePredictor.for_data(data, hidden=16, layers=2)
    method = gp.ICPG(rounds=3, edge_rate=0.2, weight_rate=0.3, predictor=predictor)
    return list(method.rounds(network(data), data, fit()))[-1]


def test_one_scorer_leaves_as_many_edges_with_the_tickets_masks(data: gp.data.GraphData, large: gp.Ticket) -> None:
    method = Condense(ticket=large, predictor=small(data), imitation_epochs=30)
    (ticket,) = method.rounds(network(data), data, fit())
    assert len(large.edges.rounds) == 3
    assert len(ticket.edges.rounds) == 1
    assert ticket.masks == large.masks
    for number in range(len(data.test)):
        one, other = (each.prune_graph(data.test[number]).num_edges for each in (ticket, large))
        assert one == other
    assert ticket.row["edge_density"] == pytest.approx(0.8**3)
    for split in ("val", "test"):
        found = [each.edge_mask(data.splits[split]) for each in (large, ticket)]
        assert ticket.row[f"agreement_{split}"] == agreement(*found, data.splits[split])
    # By chance it would be half of them.
    assert ticket.row["agreement_val"] > 0.75
    assert all(torch.equal(value, large.rewind[name]) for name, value in ticket.rewind.items())
    built = ticket.build(network(data)).eval()
    with torch.no_grad():
        outputs = built(ticket.prune(data.test).batch(range(len(data.test))))
    assert data.evaluate(data.labels(data.test), outputs, split="test") == pytest.approx(ticket.row["test_metric"])


def test_the_network_goes_on_from_the_tickets_weights(data: gp.data.GraphData, large: gp.Ticket) -> None:
    """With a rate of nothing all that changes are norms."""
    method = Condense(ticket=large, predictor=small(data), imitation_epochs=1)
    (ticket,) = method.rounds(network(data), data, Fit(epochs=1, batch_size=64, lr=1e-12, seed=0))
    for name, value in large.trained.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(ticket.trained[name], value)


def test_the_same_seeds_give_the_same_ticket_and_others_are_left_alone(
    data: gp.data.GraphData, large: gp.Ticket
) -> None:
    method = Condense(ticket=large, predictor=small(data, encoder="gat"), imitation_epochs=2, seed=3)
    scorer, state = small(data), torch.get_rng_state()
    method._imitate(scorer, data)
    assert torch.equal(torch.get_rng_state(), state)
    first, second = (next(method.rounds(network(data), data, fit())) for _ in range(2))
    assert all(torch.equal(value, second.trained[name]) for name, value in first.trained.items())
    assert repr(first.edges) == repr(second.edges)
    assert first.provenance["settings"]["ticket"].startswith("icpg round 3: PruneEdges(3 rounds[")


def test_tickets_of_condensed_edges_are_saved_and_deployed(
    data: gp.data.GraphData, large: gp.Ticket, tmp_path: Any
) -> None:
    (ticket,) = Condense(ticket=large, predictor=small(data), imitation_epochs=1).rounds(network(data), data, fit())
    ticket.save(tmp_path / "ticket")
    again = gp.Ticket.load(tmp_path / "ticket")
    assert torch.equal(again.edge_mask(data.test).keep, ticket.edge_mask(data.test).keep)
    deployed = gp.deploy(again, network(data), data, edges=True)
    assert deployed(data.test).shape == (len(data.test), 2)


def test_what_cannot_be_condensed_is_named(data: gp.data.GraphData, large: gp.Ticket) -> None:
    with pytest.raises(TypeError, match="ticket must be a Ticket"):
        Condense(ticket="runs/icpg", predictor=small(data))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Condense needs a predictor"):
        Condense(ticket=large)
    (weights,) = gp.IMP(rounds=1, weight_rate=0.5).rounds(network(data), data, fit(1))
    with pytest.raises(ValueError, match="ticket of imp prunes no unseen graphs"):
        Condense(ticket=weights, predictor=small(data))
    method = Condense(ticket=large, predictor=small(data))
    other = gp.data.load("MUTAG", fold=1)
    with pytest.raises(ValueError, match="trained on other data"):
        next(method.rounds(network(other), other, fit()))
    with pytest.raises(ValueError, match="architecture"):
        next(method.rounds(gp.models.GCN.for_data(data, hidden=9, layers=2), data, fit()))
    with pytest.raises(ValueError, match="the predictor reads features=3"):
        next(Condense(ticket=large, predictor=gp.EdgePredictor(3)).rounds(network(data), data, fit()))


def test_agreement_counts_what_can_be_pruned() -> None:
    graph = Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0, 1, 1, 2, 0], [1, 0, 2, 1, 0]]))
    graphs = PackedGraphs.of([graph])

    def mask(*keep: int) -> EdgeMask:
        return EdgeMask(torch.tensor(keep, dtype=torch.bool), graphs.edge_ptr)

    assert agreement(mask(1, 1, 0, 0, 1), mask(0, 0, 1, 1, 1), graphs) == 0.0
    assert agreement(mask(1, 1, 1, 1, 1), mask(0, 0, 1, 1, 1), graphs) == 0.5
    assert agreement(mask(0, 0, 0, 0, 1), mask(1, 1, 0, 0, 0), graphs) == 1.0


def test_scorers_of_users_learn_too(data: gp.data.GraphData, large: gp.Ticket) -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(data.num_features, 1)

        def forward(self, graph: Data) -> Tensor:
            worth = self.lin(graph.x).squeeze(1)
            source, target = graph.edge_index
            out: Tensor = worth[source] + worth[target]
            return out

    (ticket,) = Condense(ticket=large, predictor=Ends(), imitation_epochs=5).rounds(network(data), data, fit(1))
    assert 0.5 < ticket.row["agreement_val"] <= 1
