"""Norms with running statistics, of a network that other graphs or images go through than it was trained with."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from graphprune.data.labelled import Samples
from graphprune.graphs.norms import RowNorm
from graphprune.masks.copies import forget_caches_


def strided_parts(samples: Samples, most: int) -> list[Tensor]:
    """Numbers of all samples in as few parts of at most ``most`` as will do.

    Each part is spread over the whole, whatever its order, and they differ by one sample at most: as means over parts
    are taken, they are to be alike.
    """
    parts = math.ceil(len(samples) / most)
    return [torch.arange(part, len(samples), parts) for part in range(parts)]


def kept_norms(before: Mapping[str, Tensor], model: nn.Module) -> frozenset[str]:
    """Names of the norms that a training has left alone: their statistics are still those of a state before it."""

    def kept(name: str, value: Tensor) -> bool:
        return name in before and torch.equal(before[name].to(value), value)

    found = ((name, _statistics(module)) for name, module in model.named_modules())
    return frozenset(
        name for name, own in found if own and all(kept(f"{name}.{key}".lstrip("."), own[key]) for key in own)
    )


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Iterable[Any], frozen: Collection[str] = ()) -> None:
    """Count the statistics of all norms again, as the mean over these batches; all else is in ``eval()`` mode.

    Norms are those of torch and torch_geometric, and modules of the user's own whose ``momentum`` makes of a statistic
    ``(1 - momentum) * statistic + momentum * batch``. Left as they are: norms that do not run, those with a
    ``momentum`` of 0, and those that the model's own ``train()`` leaves in ``eval()`` mode.

    Args:
        model: with its trained weights.
        batches: as the model takes them.
        frozen: names of norms that are left as they are, too.

    Raises:
        ValueError: there is no batch, or a module has statistics that follow a training by another rule.
    """
    rest = iter(batches)
    norms = {name: module for name, module in model.named_modules() if name not in frozen and _counts(module)}
    if own := [name for name, module in norms.items() if not _known(module)]:
        examples = list(islice(rest, 1))
        for name in _fixed(model, own, *examples):
            del norms[name]
        rest = chain(examples, rest)
    modes = [(module, module.training) for module in model.modules()]
    momenta = {norm: getattr(norm, "momentum", None) for norm in norms.values()}
    calls, ran = dict.fromkeys(momenta, 0), False

    def running(norm: nn.Module, _args: Any) -> None:
        if not calls[norm] and isinstance(norm, _NormBase):
            norm.reset_running_stats()
        calls[norm] += 1
        norm.momentum = 1.0 / calls[norm]  # type: ignore[assignment]  # a cumulative mean

    model.train()
    handles = [norm.register_forward_pre_hook(running) for norm in momenta if norm.training]
    awake = [norm for norm in momenta if norm.training]
    model.eval()
    try:
        for norm in awake:
            norm.training = True
        for batch in rest if awake else ():
            forget_caches_(model)
            model(batch)
            ran = True
    finally:
        forget_caches_(model)
        for handle in handles:
            handle.remove()
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    if awake and not ran:
        raise ValueError("norms cannot be counted again without a batch")


def _statistics(module: nn.Module) -> dict[str, Tensor]:
    """What may be running statistics of a module's own: its buffers of real numbers, whatever they are called."""
    if type(module).__module__.startswith("torch.nn.utils."):  # spectral norm's vectors are no statistics of data
        return {}
    return {name: value for name, value in module.named_buffers(recurse=False) if value.is_floating_point()}


def _counts(module: nn.Module) -> bool:
    """Whether a module has statistics that a training could move."""
    momentum = getattr(module, "momentum", None)
    if isinstance(module, _InstanceNorm) and momentum is None:  # torch never moves them then
        return False
    return bool(_statistics(module)) and not (isinstance(momentum, int | float) and momentum == 0)


def _known(module: nn.Module) -> bool:
    """Whether it is a norm of torch's, torch_geometric's or of rows, and no class made from one."""
    own = type(module).__module__.startswith(("torch.", "torch_geometric.")) or type(module) is RowNorm
    return isinstance(module, _NormBase) and own


def _fixed(model: nn.Module, own: Collection[str], *examples: Any) -> list[str]:
    """Which modules have statistics that do not move in training.

    All others have to follow the rule of :func:`recalibrate_`, which two trials with other beginnings tell.

    Raises:
        ValueError: one does not follow it.
    """
    momentum, shift = 0.25, 1.0
    for example in examples:
        once = _trial(model, own, example, 1.0, 0.0)
        other = _trial(model, own, example, momentum, shift)
        fixed, wrong = [], []
        for name in own:
            module = model.get_submodule(name)
            before, (first, second) = _statistics(module), (once[name], other[name])
            if _alike(first, before) and _alike(second, {key: value + shift for key, value in before.items()}):
                fixed.append(name)
                continue
            wanted = {key: (1 - momentum) * (value + shift) + momentum * first[key] for key, value in before.items()}
            if not (hasattr(module, "momentum") and _alike(second, wanted)):
                wrong.append(f"{name or 'the model'} ({type(module).__name__})")
        if wrong:
            raise ValueError(
                f"the running statistics of {', '.join(wrong)} cannot be counted again for pruned graphs: give the "
                "module an attribute momentum that makes them (1 - momentum) * statistic + momentum * batch, or take a "
                "norm of torch's"
            )
        return fixed
    return []


def _trial(
    model: nn.Module, own: Collection[str], example: Any, momentum: float, shift: float
) -> dict[str, dict[str, Tensor]]:
    """The statistics of some modules after a batch in training, from statistics that are shifted."""
    trial = copy.deepcopy(model).eval()
    modules = {name: trial.get_submodule(name) for name in own}
    for module in modules.values():
        module.training = True
        if hasattr(module, "momentum"):
            module.momentum = momentum  # type: ignore[assignment]
        for value in _statistics(module).values():
            value += shift
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)
        trial(copy.deepcopy(example))
    return {name: _statistics(module) for name, module in modules.items()}


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.allclose(value, other[name], rtol=1e-4, atol=1e-6) for name, value in one.items())
