"""A trained network behind gates, and the training of what opens and closes them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from graphprune.data.labelled import Samples
from graphprune.masks import recompute
from graphprune.masks.networks import TrainingDiverged
from graphprune.methods.clad.attention import Distillation
from graphprune.methods.clad.channels import Channels
from graphprune.methods.clad.criteria import Criterion
from graphprune.methods.clad.target import floors
from graphprune.methods.core.loss import Loss
from graphprune.methods.core.prepare import inputs

# What a closed gate lets through. With 0 itself a ReLU behind it would pass no gradient, and it would never open again.
LEAK = 1e-6


class Gated(nn.Module):
    """A network with frozen weights whose channels are multiplied with gates where they end, behind their norms.

    Norms are in ``train()`` mode: running statistics are those of the network with all its channels, and say nothing of
    a network without some. All else is in ``eval()`` mode.

    Attributes:
        network: a copy of the model, with its trained weights.
        names: of the parameters that are multiplied.
    """

    def __init__(self, model: nn.Module, channels: Channels, example: Any) -> None:
        super().__init__()
        self.network = copy.deepcopy(model).eval().requires_grad_(False)
        self.channels, self.gates = channels, torch.ones(channels.count)
        self.names = _ends(self.network, channels, example)
        for module in self.network.modules():
            module.training = hasattr(module, "running_mean")

    def forward(self, given: Any) -> Tensor:
        """The network's outputs."""
        return _through(self.network, self.channels, dict.fromkeys(self.names, self.gates), given)


def _through(model: nn.Module, channels: Channels, gates: Mapping[str, Tensor], given: Any) -> Tensor:
    """The outputs with parameters multiplied, each with gates of shape ``(count,)``."""
    gated = {}
    for name, values in gates.items():
        weight = model.get_parameter(name)
        gated[name] = weight * channels.entries[name].broadcast(torch.cat([values, values.new_ones(1)]), weight)
    with recompute.once(model, recompute.owners(model, gates)):
        out: Tensor = functional_call(model, gated, (given,))
    return out


@torch.no_grad()
def _ends(model: nn.Module, channels: Channels, example: Any) -> tuple[str, ...]:
    """The parameters that have to be multiplied, so that just the channels are: a norm's, but not those before it.

    Weights before a norm must not be: in training it would take the factor out again, and a closed gate would get no
    gradient, as there would be nothing left behind it. Which these are is found by trying: without them the outputs are
    the same, whatever they have in closed channels. So these entries are multiplied with random factors of both signs,
    as one alone could be hidden by a ReLU, and each channel is closed in one of two patterns.
    """
    generator = torch.Generator().manual_seed(0)
    some = (torch.rand(channels.count, generator=generator) < 0.5).float()
    factor = 0.5 + torch.rand(channels.count, generator=generator)
    norms = {name for name, module in model.named_modules() if "Norm" in type(module).__name__}
    sure = [name for name in channels.entries if name.rpartition(".")[0] in norms]
    unsure = [name for name in channels.entries if name not in sure]
    trials = []  # gates, what else is in closed channels, and outputs with nothing in them
    for gates in (some, 1 - some):
        wanted = _through(model, channels, dict.fromkeys([*sure, *unsure], gates), example)
        if not bool(wanted.isfinite().all()):
            raise TrainingDiverged("the trained network's outputs are not finite")
        trials += [(gates, gates + (1 - gates) * sign * factor, wanted) for sign in (1, -1)]

    def same(needed: Sequence[str]) -> bool:
        for gates, other, wanted in trials:
            multiplied = dict.fromkeys(unsure, other) | dict.fromkeys([*sure, *needed], gates)
            out = _through(model, channels, multiplied, example)
            if not torch.allclose(out, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max())):
                return False
        return True

    def spare(names: Sequence[str], needed: Sequence[str]) -> list[str]:
        """Those of the names that have to stay, beside some that do."""
        if same(needed):
            return []
        if len(names) == 1:
            return list(names)
        first, second = names[: len(names) // 2], names[len(names) // 2 :]
        mine = spare(first, [*needed, *second])
        return [*mine, *spare(second, [*needed, *mine])]

    return (*sure, *(spare(unsure, []) if unsure else []))


def open_gates(channels: Channels, scores: Tensor, floor: float) -> Tensor:
    """Hard gates of 0 and 1, ``1[sigmoid(score) > 1/2]``, with the gradient of the sigmoid; ``(count,)``."""
    soft = scores.sigmoid()
    hard = ((scores > 0) | floors(channels, scores.detach(), floor)).to(soft.dtype)
    return hard + soft - soft.detach()


def learn(
    criterion: Criterion,
    gated: Gated,
    train: Samples,
    loss: Loss,
    distillation: Distillation | None,
    generator: torch.Generator,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    target: float,
    macs_weight: float,
    floor: float,
    device: str,
) -> list[Mapping[str, Any]]:
    """Train a criterion on the loss of the gated network; a row for each epoch.

    The loss has also the distance to the target, by its weight; see :class:`graphprune.CLAD`.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    channels = gated.channels
    for module in (gated, criterion):
        module.to(device)
    optimizer, rows = Adam(criterion.parameters(), lr=lr), list[Mapping[str, Any]]()
    for epoch in range(1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        steps = _steps(len(train), batch_size, generator)
        for step in steps:
            batch = train.batch(step).to(device)
            gates = open_gates(channels, criterion(), floor)
            macs = channels.macs(gates)
            given = None if distillation is None else inputs(batch).clone()  # a network may work in place
            gated.gates = gates * (1 - LEAK) + LEAK
            cost = loss(gated, batch) + macs_weight * (macs - target).abs()
            if distillation is not None:
                cost = cost + distillation.loss(given)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            total += float(cost.detach()) / len(steps)
        if not math.isfinite(total):
            raise TrainingDiverged(f"criterion, epoch {epoch}: loss is {total}; lower criterion_lr={lr}")
        seconds = time.perf_counter() - started
        rows.append(
            {"phase": "criterion", "epoch": epoch, "loss": total, "macs": float(macs.detach()), "seconds": seconds}
        )
    criterion.cpu()
    return rows


def _steps(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """The examples of each step, in random order. A single one left over, which no norm can take, joins the last."""
    order = torch.randperm(count, generator=generator)
    ends = [end for end in range(size, count, size) if size == 1 or count - end > 1]
    return list(order.tensor_split(ends))
