"""Making a model physically smaller by a plan."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.compaction.dims import Rows
from graphprune.compaction.layers import (
    add_bias,
    fold_norm,
    folds,
    like,
    named_tensors,
    owner,
    put,
    replace,
    takes_bias,
    write_size,
    write_sizes,
)
from graphprune.compaction.liveness import Bools, Fold, Plan, live_units
from graphprune.compaction.tape import Tape


def plan_of(tape: Tape, model: nn.Module, rows: Rows) -> Plan:
    """What can go, by a finished run of the model; ``rows``: see :meth:`~graphprune.compaction.dims.Dims.groups`."""

    def takes(weight: str) -> bool:
        return weight.rpartition(".")[2] == "weight" and tape.own[weight].uses == 1 and takes_bias(owner(model, weight))

    dims = tape.dims
    return live_units(dims.groups(rows=rows), tape.own, tape.reads, takes, dims.crossings, tape.sizes.ties)


@torch.no_grad()
def shrink_(model: nn.Module, plan: Plan) -> None:
    """Remove what the plan does not keep; layers take over what was constant."""
    kept = dict(plan.kept)
    for name, fold in plan.folds.items():
        if fold.values.any():
            _take_over(owner(model, name), fold)
            kept[name.removesuffix("weight") + "bias"] = kept[name][:1]  # which it may not have had
    made: dict[int, Tensor] = {}  # parameters may have several names
    for name, tensor in list(named_tensors(model)):
        put(model, name, made.setdefault(id(tensor), _sliced(tensor, kept[name])))
    write_sizes(model)
    for size, value in plan.sizes.items():
        write_size(model.get_submodule(size.module), size.name, value)


@torch.no_grad()
def keep_factors_(model: nn.Module, tape: Tape, now: Tape) -> None:
    """Where code has made a number of a size, as attention divides by its square root, let a layer make up for it.

    Args:
        model: smaller than it was; a linear map before the number gets other weights.
        tape: of the run before.
        now: of its own run.
    """
    for (name, before, info), (_, after, _) in zip(tape.factors, now.factors, strict=False):
        weight = info.product
        once = all(each.uses == 1 for each in (info, *info.through))
        if before != after and once and weight is not None and weight.rpartition(".")[2] == "weight":
            layer = owner(model, weight)
            made = [tensor for tensor in (layer.weight, layer.bias) if isinstance(tensor, nn.Parameter)]
            if takes_bias(layer) and tape.own[weight].uses == 1 and before and after:
                for parameter in made:
                    parameter.mul_(after / before if name == "div" else before / after)


def _take_over(layer: nn.Module, fold: Fold) -> None:
    """Let a layer's bias, or the weights of one constant input, stand for constant inputs that go."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    values = torch.from_numpy(fold.values).to(weight.device)
    total = torch.tensordot(weight.double(), values, ([1], [0]))
    if fold.carrier is None:
        add_bias(layer, total.reshape(len(total), -1).sum(1))
    else:
        place, value = fold.carrier
        weight[:, place] += (total / value).to(weight.dtype)


def _sliced(tensor: Tensor, kept: tuple[Bools, ...]) -> Tensor:
    small = tensor.detach().clone()
    for dim, stays in enumerate(kept):
        if not stays.all():
            small = small.index_select(dim, torch.from_numpy(stays.nonzero()[0]).to(tensor.device))
    return like(tensor, small)


def fold_norms_(model: nn.Module, tape: Tape) -> None:
    """Let linear maps and convolutions do the work of the batch norm that alone reads them."""
    for found in tape.norms:
        weight = found.given.product
        if weight is None or found.given.through or weight.rpartition(".")[2] != "weight":
            continue
        layer, norm = owner(model, weight), owner(model, found.mean)
        once = found.given.uses == tape.own[weight].uses == tape.own[found.mean].uses == 1
        if once and folds(layer, norm):
            fold_norm(layer, norm)
            replace(model, norm, nn.Identity())
