"""What a method asks of a training: a function of a job, a state of tensors, and masks where it pruned."""

from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, global_mean_pool

import graphprune as gp
from graphprune.methods import FitJob, FitResult
from graphprune.methods.core.fit import snapshot
from tests.train.tiny import tiny

DATA = tiny()
FIT = gp.train.Fit(epochs=2, batch_size=8)
PREDICTOR = gp.EdgePredictor.for_data(DATA, hidden=4)


class Net(nn.Module):
    def __init__(self, features: int = 4) -> None:
        super().__init__()
        self.conv, self.head = GCNConv(features, 8), nn.Linear(8, 2)

    def forward(self, data: Any) -> torch.Tensor:
        return self.head(global_mean_pool(self.conv(data.x, data.edge_index).relu(), data.batch))


METHODS = {
    "dense": gp.Dense(),
    "imp": gp.IMP(rounds=1),
    "fggp": gp.FGGP(density=0.5, stop=4, every=2),
    "gicp": gp.GICP(predictor=PREDICTOR, densities=0.5, weight_density=0.5, stop=4, every=2),
    "gumbel": gp.Gumbel(density=0.5, stop=4),
    "icpg": gp.ICPG(rounds=1, predictor=PREDICTOR),
}
ONE_TRAINING = ["fggp", "gicp", "gumbel"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("fit", "told"),
    [
        (gp.train.Fit, "got the class Fit itself"),
        (None, "got None"),
        ("adam", "got an object of str"),
        (FIT.epochs, "got an object of int"),
        (lambda: None, "it cannot be called with a job alone"),
        (lambda job, epochs: None, "it cannot be called with a job alone: missing .*'epochs'"),
    ],
)
def test_what_is_no_training_is_named(method: str, fit: Any, told: str) -> None:
    with pytest.raises(TypeError, match=rf"fit must be a function of a FitJob, such as graphprune.train.Fit.*{told}"):
        next(METHODS[method].rounds(Net(), DATA, fit))


@pytest.mark.parametrize(
    "loader", [DataLoader(list(DATA.train), 4), list(DATA.train), DATA.train, None, type(DATA), FIT]
)
@pytest.mark.parametrize("method", ["dense", "fggp", "icpg"])
def test_what_is_no_data_set_is_told_how_to_become_one(method: str, loader: Any) -> None:
    with pytest.raises(
        TypeError, match=r"data is .*, not a data set: .* graphprune.data.from_graphs\(train, val, test"
    ):
        next(METHODS[method].rounds(Net(), loader, FIT))
    with pytest.raises(TypeError, match="not a data set"):
        gp.EdgePredictor.for_data(loader)


def test_network_and_data_in_the_wrong_order_are_named() -> None:
    with pytest.raises(TypeError, match="data is a Net, not a data set"):
        next(gp.Dense().rounds(DATA, Net(), FIT))  # type: ignore[arg-type]


@pytest.mark.parametrize("after", ["runs/icpg", 1, gp.Ticket])
def test_a_run_goes_on_after_a_ticket(after: Any) -> None:
    with pytest.raises(TypeError, match=r"after must be a Ticket, such as Ticket.load\(path\); got"):
        next(gp.IMP(rounds=2).rounds(Net(), DATA, FIT, after=after))


@pytest.mark.parametrize("select", ["conv.*", None, ["conv"]])
def test_a_selector_is_a_function(select: Any) -> None:
    with pytest.raises(ValueError, match=r"select must be a function of a model, such as prunable\(\), got"):
        gp.IMP(select=select)


@pytest.mark.parametrize("predictor", [gp.EdgePredictor, "degree", {}, 3])
def test_a_predictor_is_a_module(predictor: Any) -> None:
    with pytest.raises(ValueError, match=r"predictor must be a module, such as EdgePredictor.for_data\(data\), got"):
        next(gp.ICPG(rounds=1, predictor=predictor).rounds(Net(), DATA, FIT))


# ---------------------------------------------------------------------- states


class Extra(Net):
    """A module of the user's with more to say than tensors."""

    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


class Counted(Net):
    def __init__(self, metric: torchmetrics.Metric) -> None:
        super().__init__()
        self.metric = metric
        metric.persistent(True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("extra", [{"steps": 3}, 3, "words", None])
def test_a_state_that_is_no_tensor_is_named_before_the_training(method: str, extra: Any) -> None:
    with pytest.raises(
        TypeError, match=r"state of Extra holds '_extra_state', a .*: get_extra_state\(\) puts it there"
    ):
        next(METHODS[method].rounds(Extra(extra), DATA, FIT))


def test_a_state_within_is_named_by_its_path() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Extra([1])))
    with pytest.raises(TypeError, match=r"state of Extra holds '1.0._extra_state', a list"):
        snapshot(net)


def test_a_metric_that_keeps_a_list_is_named() -> None:
    with pytest.raises(TypeError, match=r"state of CatMetric holds 'metric.value', a list.*persistent\(False\)"):
        next(METHODS["imp"].rounds(Counted(torchmetrics.CatMetric()), DATA, FIT))


@pytest.mark.parametrize(
    "net", [Extra(torch.arange(3)), Counted(torchmetrics.Accuracy(task="multiclass", num_classes=2))]
)
@pytest.mark.parametrize("method", ["imp", "fggp"])
def test_states_of_tensors_are_kept(method: str, net: nn.Module) -> None:
    (ticket,) = METHODS[method].rounds(net, DATA, FIT)
    assert ticket.trained.keys() == net.state_dict().keys()
    assert ticket.build(net).state_dict().keys() == net.state_dict().keys()


def test_a_ticket_for_a_network_with_another_state_is_told() -> None:
    (ticket,) = METHODS["imp"].rounds(Net(), DATA, FIT)
    with pytest.raises(ValueError, match="'_extra_state' is unexpected"):
        ticket.build(Extra({"a": 1}))


# ---------------------------------------------------------------------- averages


def averaged(job: FitJob, masks: bool) -> FitResult:
    """A loop whose result is an average of the weights, which is another module than the job's."""
    optimizer, track = torch.optim.SGD(job.param_groups(lr=0.05), lr=0.05), job.track()
    average = torch.optim.swa_utils.AveragedModel(job.model)
    with job.attach(optimizer, steps=6) as pruning:
        for _ in range(2):
            for batch in job.data.train.loader(8):
                job.model.train()
                optimizer.zero_grad()
                nn.functional.cross_entropy(job.model(batch), batch.y).backward()
                optimizer.step()
                average.update_parameters(job.model)
            track.epoch(val=0.5)
    kept = pruning.masks
    if masks:
        kept.apply_(average.module)
    state = snapshot(average.module)
    return FitResult(state, state, 2, 0.5, 0.5, masks=kept if masks else None)


@pytest.mark.parametrize("method", ONE_TRAINING)
def test_an_average_comes_with_its_masks(method: str) -> None:
    (ticket,) = METHODS[method].rounds(Net(), DATA, lambda job: averaged(job, True))
    assert ticket.masks.density == pytest.approx(0.5, abs=0.03)
    ticket.masks.verify(ticket.build(Net()))
    with pytest.raises(
        RuntimeError, match=r"returned no masks: .*pruning.masks.apply_\(average\).*FitResult\(\.\.\., masks="
    ):
        next(METHODS[method].rounds(Net(), DATA, lambda job: averaged(job, False)))
