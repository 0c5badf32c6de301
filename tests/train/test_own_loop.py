"""A network and a training loop with nothing from graphprune.models or graphprune.train, driven by ICPG."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, GINConv, global_mean_pool

import graphprune as gp
from graphprune.data import GraphData
from tests.train.tiny import ring, tiny


class Net(nn.Module):
    """Plain PyG: two convolutions, mean pooling, a linear head."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.gcn = GCNConv(features, 16)
        self.gin = GINConv(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)))
        self.head = nn.Linear(16, outputs)

    def forward(self, data: Data) -> Tensor:
        x = self.gcn(data.x, data.edge_index).relu()
        x = self.gin(x, data.edge_index).relu()
        return self.head(global_mean_pool(x, data.batch))


@torch.no_grad()
def accuracy(model: nn.Module, graphs: gp.graphs.PackedGraphs) -> float:
    model.eval()
    right = sum(int((model(batch).argmax(1) == batch.y).sum()) for batch in DataLoader(graphs, 8))
    return right / len(graphs)


def own_fit(job: gp.FitJob) -> gp.FitResult:
    """What a researcher's loop looks like."""
    torch.manual_seed(job.round)
    loader = DataLoader(job.data.train, batch_size=8, shuffle=True)
    optimizer = torch.optim.AdamW(job.param_groups(lr=0.01), weight_decay=0.01)
    track = job.track()
    with job.attach(optimizer):
        for _ in range(4):
            job.model.train()
            losses = []
            for batch in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(job.model(batch), batch.y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            track.epoch(accuracy(job.model, job.data.val), loss=sum(losses) / len(losses))
    return track.result(test=lambda: accuracy(job.model, job.data.test))


def own_graphs() -> GraphData:
    generator = torch.Generator().manual_seed(3)
    lists = [[ring(generator, "multiclass") for _ in range(size)] for size in (26, 10, 10)]
    return gp.data.from_graphs(*lists, name="mine", task="multiclass")


@pytest.mark.parametrize("make", [lambda: gp.data.load("MUTAG"), own_graphs], ids=["MUTAG", "own"])
def test_icpg_with_an_own_model_and_loop(make: Callable[[], GraphData], tmp_path: Path) -> None:
    data = make()
    torch.manual_seed(0)
    model = Net(data.num_features, data.num_outputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    icpg = gp.ICPG(rounds=2, edge_rate=0.2, weight_rate=0.5, predictor=predictor)
    tickets = list(icpg.rounds(model, data, fit=own_fit))

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [ticket.masks.sparsity for ticket in tickets] == pytest.approx([0.5, 0.75], abs=0.01)
    for ticket in tickets:
        assert ticket.row["test_metric"] == accuracy(ticket.build(model), ticket.prune(data.test))
        for name, keep in ticket.masks.items():
            assert torch.equal(ticket.rewound(model).get_parameter(name), before[name].masked_fill(~keep, 0))

    unseen = ring(torch.Generator().manual_seed(99), "multiclass")
    unseen.x = data.test[0].x[:1].expand(unseen.num_nodes, -1) * torch.rand(unseen.num_nodes, 1)
    pairs = unseen.edge_index.size(1) // 2
    sizes = [ticket.prune_graph(unseen).edge_index.size(1) // 2 for ticket in tickets]
    assert sizes == [round(pairs * 0.8), round(pairs * 0.8**2)]
    assert tickets[-1].score_edges(unseen).shape == (2 * pairs,)
    tickets[-1].save(tmp_path / "round-2")
    again = gp.Ticket.load(tmp_path / "round-2").prune_graph(unseen)
    assert torch.equal(again.edge_index, tickets[-1].prune_graph(unseen).edge_index)


def test_own_loop_and_reference_loop_serve_the_same_job() -> None:
    data = tiny(train=30)
    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    icpg = gp.ICPG(rounds=1, edge_rate=0.2, weight_rate=0.5, predictor=predictor)
    model = Net(data.num_features, data.num_outputs)
    for fit in (own_fit, gp.train.Fit(epochs=2, batch_size=8)):
        [ticket] = icpg.rounds(model, data, fit=fit)
        ticket.masks.verify(ticket.build(model))
