"""A network and a training loop with nothing from graphprune.models or graphprune.train, driven by ICPG."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, GINConv, global_mean_pool

import graphprune as gp
from graphprune.data import GraphData
from tests.masks.writers import SAM, Average, ScheduleFree
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


def one_epoch(job: gp.FitJob, optimizer: torch.optim.Optimizer) -> None:
    for batch in DataLoader(job.data.train, batch_size=8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(job.model(batch), batch.y).backward()
        optimizer.step()


def never_attached(job: gp.FitJob) -> gp.FitResult:
    track = job.track()
    one_epoch(job, torch.optim.SGD(job.model.parameters(), lr=0.1))
    track.epoch(accuracy(job.model, job.data.val))
    return track.result()


def on_behind_the_block(job: gp.FitJob) -> gp.FitResult:
    optimizer, track = torch.optim.SGD(job.model.parameters(), lr=0.1), job.track()
    with job.attach(optimizer):
        one_epoch(job, optimizer)
        track.epoch(accuracy(job.model, job.data.val))
    one_epoch(job, optimizer)
    return track.result()


def averaged(job: gp.FitJob) -> gp.FitResult:
    average = Average(job.model.parameters())
    optimizer, track = torch.optim.SGD(job.model.parameters(), lr=0.1), job.track()
    average.mean = [mean + 1 for mean in average.mean]  # as of weights from before they were pruned
    with job.attach(optimizer):
        one_epoch(job, optimizer)
        average.update()
        track.epoch(accuracy(job.model, job.data.val))
    result = track.result()
    names = [name for name, _ in job.model.named_parameters()]
    return replace(result, best=result.best | dict(zip(names, average.mean, strict=True)))


@pytest.mark.parametrize(
    ("fit", "state"), [(never_attached, "best"), (on_behind_the_block, "last"), (averaged, "best")]
)
def test_a_training_that_gives_back_pruned_weights_is_named(
    fit: Callable[[gp.FitJob], gp.FitResult], state: str
) -> None:
    data = tiny(train=30)
    method = gp.RandomPruning(rounds=1, edge_rate=0, weight_rate=0.5)
    text = rf"in the {state} state .* not zero, .* of \d+ in 'gcn\.lin\.weight'.*masks were lost.*job\.attach"
    with pytest.raises(RuntimeError, match=text):
        list(method.rounds(Net(data.num_features, data.num_outputs), data, fit=fit))


def with_sam(job: gp.FitJob) -> gp.FitResult:
    optimizer, track = SAM(job.model.parameters(), partial(torch.optim.SGD, lr=0.1)), job.track()
    with job.attach(optimizer):
        for batch in DataLoader(job.data.train, batch_size=8):
            for half in (optimizer.first_step, optimizer.second_step):
                nn.functional.cross_entropy(job.model(batch), batch.y).backward()
                half()
        track.epoch(0.5)
    return track.result()


def schedule_free(job: gp.FitJob) -> gp.FitResult:
    optimizer, track = ScheduleFree(job.model.parameters()), job.track()
    with job.attach(optimizer):
        for _ in range(2):
            optimizer.train()
            one_epoch(job, optimizer)
            optimizer.eval()
            track.epoch(0.5)  # the state is read with no pass before
    return track.result()


@pytest.mark.parametrize("fit", [with_sam, schedule_free])
def test_states_are_pruned_whatever_wrote_last(fit: Callable[[gp.FitJob], gp.FitResult], tmp_path: Path) -> None:
    data = tiny(train=30)
    method = gp.RandomPruning(rounds=2, edge_rate=0, weight_rate=0.5)
    for ticket in method.rounds(Net(data.num_features, data.num_outputs), data, fit=fit):
        assert ticket.masks.sparsity == pytest.approx(1 - 0.5**ticket.round, abs=0.01)
        for name, keep in ticket.masks.items():
            assert not ticket.trained[name][~keep].any() and not ticket.last[name][~keep].any()
    ticket.save(tmp_path / "good")
    wrong = replace(ticket, trained={name: value + 1 for name, value in ticket.trained.items()})
    with pytest.raises(ValueError, match=r"trained weights are not zero where they are pruned, .*'gcn\.lin\.weight'"):
        wrong.save(tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
