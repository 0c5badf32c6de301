"""Clipped gradients and accumulated batches, against what they are by hand."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer
from torch_geometric.data import Data
from torch_geometric.nn import global_add_pool

import graphprune as gp
from graphprune.data import GraphData
from graphprune.masks import MaskSet
from graphprune.methods import FitJob, TrainingDiverged
from graphprune.methods.core.edge_gates import with_loss
from graphprune.train import Fit
from tests.train.tiny import Smooth, job_for, smooth, thinned, tiny


def loss_of(model: nn.Module, data: GraphData, rows: Tensor) -> Tensor:
    batch = data.train.batch(rows)
    return nn.functional.cross_entropy(model(batch), batch.y)


# ---------------------------------------------------------------------- clipped


@pytest.mark.parametrize("clip", [0.01, 0.1, 1e6])
def test_clipped_is_as_if_pruned_weights_were_not_there(clip: float) -> None:
    data = tiny(dtype=torch.float64)
    model = smooth(data).double()
    masks = thinned(model)
    mine = copy.deepcopy(model)
    masks.apply_(mine)
    result = Fit(epochs=3, optimizer="sgd", lr=0.5, clip=clip)(job_for(data, model, masks=masks))
    momentum = {name: torch.zeros_like(value) for name, value in mine.named_parameters()}
    for _ in range(3):
        grads = torch.autograd.grad(loss_of(mine, data, torch.arange(len(data.train))), list(mine.parameters()))
        named = {name: grad for (name, _), grad in zip(mine.named_parameters(), grads, strict=True)}
        left = {name: grad[masks[name]] if name in masks else grad for name, grad in named.items()}
        norm = torch.cat([grad.flatten() for grad in left.values()]).norm()
        with torch.no_grad():
            for name, weight in mine.named_parameters():
                momentum[name] = 0.9 * momentum[name] + named[name] * min(clip / (norm + 1e-6), 1.0)
                weight -= 0.5 * momentum[name]
        masks.apply_(mine)
    torch.testing.assert_close(result.last, dict(mine.state_dict()), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("clip", [0.0, 0, -1.0, float("nan"), float("inf")])
def test_a_norm_is_above_zero(clip: float) -> None:
    with pytest.raises(ValueError, match="clip must be a norm above 0 and finite, or None"):
        Fit(clip=clip)


# ---------------------------------------------------------------------- accumulated


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize(("accumulate", "batch_size"), [(2, 6), (3, 4), (4, 6), (5, 4)])
def test_accumulated_batches_are_one_large_batch(task: str, accumulate: int, batch_size: int) -> None:
    """Of 24 graphs, with missing labels; the last step of an epoch takes what is left."""
    data = tiny(task, dtype=torch.float64)
    options = {
        "epochs": 4,
        "optimizer": "sgd",
        "lr": 0.05,
        "clip": 0.3,
        "schedule": "cosine",
        "warmup": 0.2,
        "ema": 0.5,
    }
    if task == "multiclass":
        options["class_weights"] = [0.3, 2.0]
    results = []
    for parts in ({"batch_size": batch_size, "accumulate": accumulate}, {"batch_size": batch_size * accumulate}):
        results.append(Fit(**options, **parts)(job_for(data, smooth(data).double())))
    for name in ("last", "best"):
        torch.testing.assert_close(getattr(results[0], name), getattr(results[1], name), rtol=1e-6, atol=1e-9)
    losses = [[row["loss"] for row in result.history] for result in results]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_pruner_is_told_the_steps_and_sees_whole_gradients() -> None:
    data, told, taken = tiny(dtype=torch.float64), [], []

    class Counting(FitJob):
        def attach(self, optimizer: Optimizer, *, steps: int | None = None):
            told.append(steps)
            optimizer.register_step_post_hook(lambda *_: taken.append(1))
            return super().attach(optimizer, steps=steps)

    masks = []
    for parts in ({"batch_size": 4, "accumulate": 4}, {"batch_size": 16}):
        told.clear(), taken.clear()
        model = smooth(data).double()
        job = Counting(model, data, MaskSet.dense(model), pruner=gp.FGGP(density=0.4, stop=6, every=2))
        masks.append(Fit(epochs=4, lr=0.05, **parts)(job).masks)
        assert told == [8] == [len(taken)]
    assert masks[0].digest() == masks[1].digest()


def test_more_batches_a_step_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="accumulate=4 batches a step, but an epoch of 24 has only 3 of batch_size=8"):
        Fit(epochs=1, batch_size=8, accumulate=4)(job_for(tiny()))
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="accumulate must be a whole number"):
            Fit(accumulate=wrong)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_loss_of_a_methods_own_counts_once_a_step(accumulate: int) -> None:
    class Pulled(nn.Module):
        """Whose own loss pulls the first bias with a gradient of 1."""

        def __init__(self) -> None:
            super().__init__()
            self.net, self.bias = smooth(data), nn.Parameter(torch.zeros(()))

        def forward(self, batch: Any) -> Tensor:
            return with_loss(self.net(batch), self.bias.sum()) if self.training else self.net(batch)

    data = tiny()
    model = Pulled()
    Fit(epochs=1, optimizer="sgd", lr=1.0, batch_size=4, accumulate=accumulate)(
        FitJob(model, data, MaskSet.dense(model), phase="search")
    )
    steps, moved, speed = 6 // accumulate, 0.0, 0.0
    for _ in range(steps):
        speed = 0.9 * speed + 1.0
        moved += speed
    assert float(model.bias.detach()) == pytest.approx(-moved, rel=1e-5)


def test_penalties_of_ugs_do_not_depend_on_how_a_step_is_split() -> None:
    data = tiny(dtype=torch.float64)
    found = []
    for parts in ({"batch_size": 4, "accumulate": 2}, {"batch_size": 8}):
        method = gp.UGS(rounds=1, edge_rate=0.3, weight_rate=0.4, edge_l1=0.05, weight_l1=0.05, noise=0.01)
        (ticket,) = method.rounds(smooth(data).double(), data, Fit(epochs=3, lr=0.02, **parts))
        found.append((ticket.masks.digest(), ticket.prune(data.test).digest(), ticket.history[2]["loss"]))
    assert found[0][:2] == found[1][:2] and found[0][2] == pytest.approx(found[1][2], rel=1e-9)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_scaled_gradients_are_clipped_as_they_are(accumulate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient scaler on a CPU, where float32 products make its results those without one."""

    class Scaled(MixedPrecision):
        def forward_context(self) -> Any:
            return nullcontext()

    def scaled(*_: object, **__: object) -> Fabric:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
        return Fabric(accelerator="cpu", devices=1, plugins=[Scaled("16-mixed", "cpu", scaler)])

    data = tiny()
    fit = Fit(epochs=3, batch_size=6, accumulate=accumulate, lr=0.05, clip=0.05, schedule="cosine", ema=0.5)
    plain = fit(job_for(data))
    monkeypatch.setattr("graphprune.train.loop.launched", scaled)
    torch.testing.assert_close(fit(job_for(data)).last, plain.last, rtol=1e-4, atol=1e-6)


class Normed(nn.Module):
    """Batch norm over nodes, or over graphs."""

    def __init__(self, over: str = "nodes") -> None:
        super().__init__()
        self.lin, self.norm, self.head, self.over = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2), over

    def forward(self, data: Any) -> torch.Tensor:
        x = self.lin(data.x)
        x = self.norm(x) if self.over == "nodes" else x
        x = global_add_pool(x, data.batch, data.num_graphs)
        return self.head(x if self.over == "nodes" else self.norm(x))


def sized(*sizes: int) -> gp.data.GraphData:
    """Training graphs without edges, of so many nodes."""
    none = torch.empty(2, 0, dtype=torch.long)
    graphs = [Data(x=torch.randn(n, 4), edge_index=none, y=torch.tensor([k % 2])) for k, n in enumerate((*sizes, 5, 5))]
    return gp.data.from_graphs(graphs[:-2], graphs[-2:-1], graphs[-1:], name="sized", task="multiclass", num_classes=2)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "over"),
    [
        ((1, 2, 0, 1, 5), 2, "nodes"),
        ((1, 5, 5), 1, "nodes"),
        ((1, 0, 0, 0, 0), 2, "nodes"),
        ((5, 5, 5), 1, "graphs"),
    ],
)
def test_a_batch_of_a_single_row_is_named(sizes: tuple[int, ...], batch_size: int, over: str) -> None:
    fit = gp.train.Fit(epochs=30, batch_size=batch_size)
    with pytest.raises(
        ValueError, match=r"batch norm cannot train on a single row.*that of \[[\d, ]+\] of the training"
    ):
        next(gp.Dense().rounds(Normed(over), sized(*sizes), fit))


@pytest.mark.parametrize(
    ("sizes", "batch_size", "over"), [((5, 5, 1), 2, "nodes"), ((1, 1, 1), 3, "nodes"), ((5, 0, 5), 2, "graphs")]
)
def test_a_rest_of_a_single_graph_is_joined_to_the_batch_before(
    sizes: tuple[int, ...], batch_size: int, over: str
) -> None:
    (ticket,) = gp.Dense().rounds(Normed(over), sized(*sizes), gp.train.Fit(epochs=3, batch_size=batch_size))
    assert len(ticket.history) == 3


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "nesterov"])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_with_sparse_gradients_are_named(optimizer: Any, kind: Any) -> None:
    class Embedded(Smooth):
        def __init__(self, sparse: bool = True) -> None:
            super().__init__(2)
            self.table = kind(7, 4, sparse=sparse)

        def forward(self, data: Any) -> torch.Tensor:
            numbers = torch.arange(len(data.x)) % 7
            more = self.table(numbers) if kind is nn.Embedding else self.table(numbers[:, None])
            made = data.clone()
            made.x = data.x + more
            return super().forward(made)

    data, fit = tiny(), gp.train.Fit(epochs=1, optimizer=optimizer)
    with pytest.raises(ValueError, match=rf"optimizer='{optimizer}' takes no sparse gradients, as \['table.weight'\]"):
        next(gp.Dense().rounds(Embedded(), data, fit))
    next(gp.Dense().rounds(Embedded(sparse=False), data, fit))
    frozen = Embedded()
    frozen.table.requires_grad_(False)
    next(gp.Dense().rounds(frozen, data, fit))
    net = Embedded()
    steps = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"gradients of \['table.weight'\] are sparse.*protect=\['table.weight'\]"):
        gp.FGGP(density=0.5, stop=2, every=1, select=gp.prunable(include=["table.*"])).attach(net, steps)


class Broken(nn.Module):
    """Breaks down at a step: its weights or its loss's gradients are no numbers from there on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, data: Any) -> torch.Tensor:
        return self.second(self.first(global_add_pool(data.x, data.batch)).relu())


@pytest.mark.parametrize("lr", [1e20, 1e30, 1e38])
@pytest.mark.parametrize(
    "method",
    [
        gp.FGGP(density=0.5, stop=4, every=2),
        gp.GMP(density=0.5, stop=4, every=2),
        gp.GraNet(density=0.5, stop=4, every=2),
        gp.RigL(density=0.5, stop=4, every=2),
        gp.SET(density=0.5, stop=4, every=2),
        gp.Gumbel(density=0.5, stop=4),
        gp.IMP(rounds=1),
        gp.Dense(),
    ],
    ids=lambda method: method.name,
)
def test_a_training_that_breaks_down_says_so_under_every_method(method: Any, lr: float) -> None:
    fit = gp.train.Fit(epochs=4, batch_size=8, lr=lr, optimizer="sgd")
    with pytest.raises(TrainingDiverged, match=r"lower (the learning rate|lr=)"):
        list(method.rounds(Broken(), tiny(), fit))
