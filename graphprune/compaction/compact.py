"""A masked model made physically small."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch_geometric.data.data import BaseData

from graphprune.compaction.check import check_model, difference, run, uncached, varied
from graphprune.compaction.dims import Rows
from graphprune.compaction.kernels import choose_kernels_
from graphprune.compaction.shrink import fold_norms_, keep_factors_, plan_of, shrink_
from graphprune.compaction.tape import Tape, recorded
from graphprune.masks.networks import check_forward

Kernels = Literal["dense", "measured"]


def compact(model: nn.Module, example: Any, *, atol: float = 1e-5, kernels: Kernels = "dense") -> nn.Module:
    """The same function in evaluation, without the units that a mask has emptied.

    The model runs once on the example. Followed are all operations down to PyTorch's own, so that residual sums,
    concatenations, message passing and code without modules need no special care. A unit (a channel, with all tensors
    that share it) goes if no output depends on it, or if it always has the same value, which then moves into the bias
    of the layers that read it. A layer of which nothing is needed keeps one unit. Batch norms directly after a linear
    map or convolution are folded into it. Operations that are not known keep all channels that they read. Sizes that
    modules have written down follow, where the run shows of which dimensions they are.

    Args:
        model: with its masks applied; it is left as it is.
        example: what the model is called with: a tensor, a PyG ``Data`` or ``Batch``, or a tuple of arguments. What
            must be the same for all inputs is read off it, so it should have several samples.
        atol: how far the outputs on the example, and on a variation of it, may be from the model's, as a share of the
            largest.
        kernels: ``"measured"``: linear maps of which most weights are 0 become products with a sparse matrix where
            these are faster by a tenth, on this machine and on the inputs that they get from the example.

    Returns:
        A copy of the model in ``eval()`` mode with smaller parameters and buffers. Convolutions with ``cached=True``
        compute again for every graph in it. Sizes written down that have changed are in its state, as buffers
        ``written_NAME`` of their modules.

    Raises:
        TypeError: no model, a scripted, compiled or wrapped one, one that takes other arguments than the example; an
            example of another kind; or outputs without tensors.
        ValueError: hooks, parametrizations or uninitialised parameters; a model whose copies would use its own weights;
            outputs that are not finite; nothing to remove (the text says why).
        RuntimeError: the small model does not run or its outputs differ; the model does not run on the example (an
            error of torch, with the function and the module that raised it).
    """
    if kernels not in get_args(Kernels):
        raise ValueError(f"kernels must be one of {get_args(Kernels)}, got {kernels!r}")
    check_model(model)
    arguments = example if isinstance(example, tuple) else (example,)
    if not isinstance(example, tuple | Tensor | BaseData):
        raise TypeError(
            f"example must be a tensor, a Data or Batch, or a tuple of arguments, got a {type(example).__name__}: of a "
            "split take data.train.batch(range(64))"
        )
    if isinstance(example, BaseData):
        check_forward(model)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        # First as if the model's code read all sizes off its tensors; if it has some written down, these are kept.
        tries: list[tuple[int, Rows]] = [(0, "cross"), (0, "stay"), (1, "stay"), (2, "stay")]
        for caution, rows in tries:
            try:
                return _compacted(model, arguments, atol, kernels, caution, rows)
            except _Changed as error:
                failure = error
    raise failure


class _Changed(RuntimeError):
    """The small model does not compute the same."""


def _compacted(
    model: nn.Module, arguments: tuple[Any, ...], atol: float, kernels: Kernels, caution: int, rows: Rows
) -> nn.Module:
    whole, small = uncached(model), uncached(model)
    tape, output = recorded(whole, arguments, caution)
    expected = run(whole, arguments)
    if not expected:
        raise TypeError(f"the model returns no tensors but {type(output).__name__}")
    if not all(bool(tensor.isfinite().all()) for tensor in expected):
        raise ValueError("the model's outputs on the example are not finite")
    plan = plan_of(tape, small, rows)
    shrink_(small, plan)
    if tape.sizes.numbers:
        try:
            keep_factors_(small, tape, recorded(small, arguments)[0])
        except Exception as error:
            raise _Changed(f"the compacted model does not run: {error}") from error
    fold_norms_(small, tape)
    chosen = choose_kernels_(small, arguments) if kernels == "measured" else []
    if not (plan.removed or chosen):
        if rows == "cross" and tape.dims.crossings:
            raise _Changed("nothing has changed")
        raise ValueError(_reason(model, tape))
    for parameter in small.parameters():
        parameter.grad = None
    _check(small, arguments, expected, atol)
    other = varied(arguments)
    try:
        expected = run(whole, other)
    except Exception:  # a model need not accept whatever we make up
        return small
    _check(small, other, expected, atol)
    return small


def _check(small: nn.Module, arguments: tuple[Any, ...], expected: list[torch.Tensor], atol: float) -> None:
    try:
        found = run(small, arguments)
    except Exception as error:
        raise _Changed(f"the compacted model does not run: {error}") from error
    apart = difference(expected, found)
    if apart > atol:
        raise _Changed(f"the compacted model's outputs are off by {apart:.2g} of the largest, more than {atol:g}")


def _reason(model: nn.Module, tape: Tape) -> str:
    """Why nothing can be removed."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    total = sum(weight.numel() for weight in weights)
    zero = sum(int((weight == 0).sum()) for weight in weights) / max(total, 1)
    text = f"nothing to remove from {type(model).__name__}: {zero:.1%} of the weights are zero, but no unit is dead. "
    text += "Masks of single weights do not shrink a model unless they empty whole rows or columns: prune channels"
    group = tape.dims.groups(pinned=False)
    ends = [label for read in tape.reads for label in (read.inner, *(led for led, _ in read.sides))]
    units = {number for label in ends if label is not None for number in group[label].tolist()} - {0}
    held = defaultdict[str, set[int]](set)
    for name, label in tape.barriers:
        held[name] |= units & set(group[label].tolist())
    names = ", ".join(f"{name} ({len(kept)})" for name, kept in held.items() if kept)
    return text + (f". Operations that need all of their channels: {names}" if names else "")
