import copy
import math
import random
from collections.abc import Callable
from dataclasses import fields
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.data import GraphData
from graphprune.graphs import EdgeRound, EdgeRule
from graphprune.graphs.rule import original_units
from graphprune.masks import MaskSet
from graphprune.methods import FitJob, FitResult, TrainingDiverged
from graphprune.methods.core.joint import JointNetwork
from graphprune.methods.core.state import ORIGINAL_UNITS
from graphprune.train import Fit, evaluate
from tests.train.tiny import smooth, tiny


def job_for(data: GraphData, model: nn.Module | None = None, **options: object) -> FitJob:
    model = smooth(data, dropout=0.2) if model is None else model
    return FitJob(model, data, MaskSet.dense(model), **options)


def same(one: FitResult, other: FitResult) -> bool:
    return all(torch.equal(one.last[name], other.last[name]) for name in one.last)


@pytest.mark.parametrize(("task", "better"), [("multiclass", 0.8), ("binary", 0.8), ("regression", 1.0)])
def test_learns(task: str, better: float) -> None:
    data = tiny(task, train=60)
    job = job_for(data, smooth(data))
    before = evaluate(job.model, data.val, data)
    result = Fit(epochs=40, lr=0.02, batch_size=16)(job)
    assert result.val_metric > max(before, better) if data.higher_is_better else result.val_metric < better
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_the_result_is_the_selected_epoch() -> None:
    data = tiny()
    job = job_for(data)
    rows = []
    result = Fit(epochs=12, lr=0.05, on_epoch=lambda given, row: rows.append((given, row)))(job)
    assert rows == [(job, row) for row in result.history]
    assert [row["epoch"] for row in result.history] == list(range(1, 13))
    assert all(row.keys() == {"epoch", "val_metric", "loss", "seconds"} for row in result.history)
    values = [row["val_metric"] for row in result.history]
    assert result.val_metric == max(values)
    assert result.epoch == values.index(max(values)) + 1
    assert all(torch.equal(value, result.best[name]) for name, value in job.model.state_dict().items())
    assert evaluate(job.model, data.val, data) == result.val_metric
    assert evaluate(job.model, data.test, data) == result.test_metric


def test_validation_at_intervals_changes_no_weight_and_selects_among_its_epochs() -> None:
    data = tiny()
    every = Fit(epochs=11, lr=0.05)(job_for(data, smooth(data, dropout=0.2)))
    some = Fit(epochs=11, lr=0.05, validate_every=4)(job_for(data, smooth(data, dropout=0.2)))
    assert same(every, some)
    seen = {row["epoch"]: row["val_metric"] for row in some.history if not math.isnan(row["val_metric"])}
    assert seen == {row["epoch"]: row["val_metric"] for row in every.history if row["epoch"] in (4, 8, 11)}
    assert some.epoch == max(seen, key=lambda epoch: seen[epoch])
    assert len(some.history) == 11


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_stops_behind_the_best_epoch_and_only_then(patience: int) -> None:
    data = tiny()
    whole = Fit(epochs=30, lr=0.05)(job_for(data, smooth(data)))
    result = Fit(epochs=30, lr=0.05, patience=patience)(job_for(data, smooth(data)))
    values = [row["val_metric"] for row in whole.history]
    best, stop = 0, len(values)
    for number, value in enumerate(values):
        best = number if value > values[best] else best
        if number - best >= patience:
            stop = number + 1
            break
    assert stop < len(values), "the test shows nothing"
    assert [row["val_metric"] for row in result.history] == values[:stop]
    assert result.epoch == best + 1


def test_patience_waits_for_the_final_density() -> None:
    data = tiny()
    model = smooth(data)
    steps = 6 * math.ceil(len(data.train) / 16)
    pruner = gp.GMP(density=0.5, stop=steps, every=1)
    result = Fit(epochs=20, lr=0.05, batch_size=16, patience=1)(job_for(data, model, pruner=pruner))
    assert result.masks is not None and result.masks.kept == round(0.5 * result.masks.total)
    densities = [row["density"] for row in result.history]
    assert densities[result.epoch - 1] == 0.5 and result.epoch > 3
    assert len(densities) == 20 or len(densities) == result.epoch + 1


def test_a_search_sees_no_test_graph() -> None:
    assert math.isnan(Fit(epochs=1)(job_for(tiny(), phase="search")).test_metric)


def test_full_batches_are_plain_gradient_steps() -> None:
    data = tiny("binary", dtype=torch.float64)
    model = smooth(data).double()
    mine = copy.deepcopy(model)
    result = Fit(epochs=5, lr=0.01, weight_decay=0.1, optimizer="adamw")(job_for(data, model))

    optimizer = torch.optim.AdamW(mine.parameters(), lr=0.01, weight_decay=0.1)
    batch = data.train.batch(torch.arange(len(data.train)))
    known = ~batch.y.isnan()
    for _ in range(5):
        optimizer.zero_grad()
        out = mine(batch)[known]
        nn.functional.binary_cross_entropy_with_logits(out, batch.y[known].double()).backward()
        optimizer.step()
    torch.testing.assert_close(result.last, dict(mine.state_dict()), rtol=1e-9, atol=1e-12)


def test_the_same_job_gives_the_same_bits_whatever_was_drawn_before() -> None:
    data, fit = tiny(), Fit(epochs=3, batch_size=7)
    first = fit(job_for(data))
    torch.rand(3)
    assert same(first, fit(job_for(data)))
    assert not same(first, Fit(epochs=3, batch_size=7, seed=1)(job_for(data)))
    assert not same(first, fit(job_for(data, round=1)))
    assert not same(first, fit(job_for(data, phase="search")))


@pytest.mark.parametrize("lr", [0.01, 1e30])
def test_random_states_of_the_caller_are_left_alone(lr: float) -> None:
    def states() -> tuple[object, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    class Draws(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + random.random() + np.random.rand() + torch.rand(()))

    data = tiny("regression")
    model = nn.Sequential(smooth(data), Draws())
    before = states()
    try:
        result = Fit(epochs=2, lr=lr)(job_for(data, copy.deepcopy(model)))
    except TrainingDiverged:
        assert lr > 1
    else:
        assert same(result, Fit(epochs=2, lr=lr)(job_for(data, copy.deepcopy(model))))
    assert states() == before


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "nesterov"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_pruned_weights_stay_zero(optimizer: str, precision: str) -> None:
    data = tiny()
    model = smooth(data)
    masks = MaskSet.dense(model)
    masks = masks.tighten({name: model.get_parameter(name).abs() for name in masks}, 0.4)
    start = copy.deepcopy(model.state_dict())
    fit = Fit(epochs=4, lr=0.05, batch_size=8, weight_decay=0.01, optimizer=optimizer, precision=precision)
    result = fit(FitJob(model, data, masks))
    masks.verify(model)
    for state in (result.best, result.last):
        for name, keep in masks.items():
            assert not state[name][~keep].any()
            assert (state[name][keep] != start[name][keep]).all()
        assert all(value.dtype == torch.float32 for value in state.values())


@pytest.mark.parametrize("model", [gp.models.GCN, gp.models.GIN, gp.models.SAGE, gp.models.GAT])
def test_reference_models_train_alike_in_mixed_precision(model: type[gp.models.GraphClassifier]) -> None:
    data = gp.data.load("ogbg-molbace")
    data = data.with_splits(train=data.train.select(range(60)), val=data.val.select(range(0, len(data.val), 3)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = model.for_data(data, hidden=16, layers=2)
    losses = [
        Fit(epochs=2, batch_size=20, precision=precision)(job_for(data, copy.deepcopy(start), phase="search")).history[
            -1
        ]["loss"]
        for precision in ("32-true", "bf16-mixed")
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


class Remembers(nn.Module):
    """Notes which graphs each training step saw; with a batch norm over graphs, which needs two of them."""

    def __init__(self, data: GraphData) -> None:
        super().__init__()
        self.net, self.norm = smooth(data), nn.BatchNorm1d(data.num_outputs)
        self.steps: list[list[int]] = []

    def forward(self, batch: gp.data.GraphData) -> Tensor:
        if self.training:
            self.steps.append(batch.number.tolist())
        return self.norm(self.net(batch))


@pytest.mark.parametrize(("graphs", "sizes"), [(9, [4, 5]), (10, [4, 4, 2]), (8, [4, 4]), (3, [3])])
def test_every_graph_once_an_epoch_and_none_alone(graphs: int, sizes: list[int]) -> None:
    data = tiny(train=graphs)
    data = data.with_splits(train=data.train.with_graph(number=torch.arange(graphs)))
    model = Remembers(data)
    Fit(epochs=3, batch_size=4)(job_for(data, model))
    steps = model.steps
    assert [len(step) for step in steps] == 3 * sizes
    epochs = [list(chain(*steps[i : i + len(sizes)])) for i in range(0, len(steps), len(sizes))]
    assert all(sorted(epoch) == list(range(graphs)) for epoch in epochs)
    assert graphs == 3 or epochs[0] != epochs[1]


def test_batch_size_one_is_taken_at_its_word() -> None:
    data = tiny(train=3)
    data = data.with_splits(train=data.train.with_graph(number=torch.arange(3)))
    model = Remembers(data)
    model.norm = nn.Identity()
    Fit(epochs=1, batch_size=1)(job_for(data, model))
    assert [len(step) for step in model.steps] == [1, 1, 1]


def _poison_data(data: GraphData) -> tuple[GraphData, dict[str, float]]:
    x = data.train.node["x"].clone()
    x[3] = torch.nan
    return data.with_splits(train=data.train.with_node(x=x)), {}


def _unlabelled(data: GraphData) -> tuple[GraphData, dict[str, float]]:
    y = torch.full_like(data.train.graph["y"], torch.nan)
    return data.with_splits(train=data.train.with_graph(y=y)), {}


@pytest.mark.parametrize("broken", [_poison_data, _unlabelled, lambda data: (data, {"lr": 1e30})])
def test_divergence_names_the_epoch_and_detaches(
    broken: Callable[[GraphData], tuple[GraphData, dict[str, float]]],
) -> None:
    data, options = broken(tiny("regression"))
    job = job_for(data)
    with pytest.raises(TrainingDiverged, match=r"epoch \d"):
        Fit(epochs=3, batch_size=8, **options)(job)


def test_a_search_trains_model_and_predictor_under_their_names() -> None:
    data = tiny(train=40)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = gp.models.GIN.for_data(data, hidden=8, layers=2)
        predictor = gp.EdgePredictor.for_data(data, hidden=8)
    data = data.with_splits(
        **{
            name: graphs.with_graph(**{ORIGINAL_UNITS: original_units(graphs, EdgeRule())})
            for name, graphs in data.splits.items()
        }
    )
    start = copy.deepcopy(predictor.state_dict())
    for precision in ("32-true", "bf16-mixed"):
        joint = JointNetwork(
            copy.deepcopy(model),
            copy.deepcopy(predictor),
            EdgeRound(predictor, 0.2, 0.8),
            EdgeRule(),
            data.train,
            predictor_lr=0.01,
        )
        masks = MaskSet.dense(model)
        masks = masks.tighten({name: model.get_parameter(name).abs() for name in masks}, 0.5)
        fit = Fit(epochs=5, batch_size=8, precision=precision)
        result = fit(FitJob(joint, data, masks.prefixed("model."), phase="search"))
        masks.verify(joint.model)
        weight = next(name for name in start if name.startswith("convs") and name.endswith("weight"))
        assert not torch.equal(result.last[f"predictor.{weight}"], start[weight])
        assert result.history[-1]["loss"] < result.history[0]["loss"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"eval_batch_size": 0},
        {"devices": 0},
        {"lr": 0.0},
        {"lr": math.nan},
        {"weight_decay": -1.0},
        {"optimizer": "rmsprop"},
        {"accelerator": "tpu"},
        {"precision": "64-true"},
        {"precision": "16-mixed"},
        {"strategy": "fsdp"},
        {"milestones": (0.5, 1.0)},
        {"milestones": (0.0,)},
        {"milestones": (math.nan,)},
        {"milestones": (0.9,), "epochs": 4},
        {"milestones": (0.1,), "epochs": 3},
        {"milestones": (0.5, 0.75), "epochs": 3},
        {"milestones": (0.75, 0.5)},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fit(**wrong)


@pytest.mark.parametrize("name", [each.name for each in fields(Fit) if each.type in ("int", "float", "float | None")])
@pytest.mark.parametrize("value", ["a", "1", [1], True])
def test_numbers_of_another_kind_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a (whole )?number"):
        Fit(**{name: value})


@pytest.mark.parametrize("name", [each.name for each in fields(Fit) if each.type == "int"])
def test_whole_numbers_may_be_numpys_and_are_no_fractions(name: str) -> None:
    assert getattr(Fit(**{name: np.int64(2)}), name) == 2
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        Fit(**{name: 1.5})


@pytest.mark.parametrize("milestones", [0.5, "0.5", ("half",), [None]])
def test_milestones_are_shares(milestones: Any) -> None:
    with pytest.raises(ValueError, match="milestones must be shares of the epochs"):
        Fit(milestones=milestones)


def test_what_is_called_after_an_epoch_is_a_function() -> None:
    with pytest.raises(ValueError, match="on_epoch must be a function of a job and its row, got 3"):
        Fit(on_epoch=3)  # type: ignore[arg-type]


def test_several_processes_need_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="use torchrun --nproc-per-node 2"):
        Fit(devices=2)(job_for(tiny()))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="but 2 were started"):
        Fit()(job_for(tiny()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named():
    with pytest.raises(ValueError, match="finds no GPU"):
        Fit(epochs=1, accelerator="cuda")(job_for(tiny("multiclass")))
