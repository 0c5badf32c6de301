"""Making a model physically smaller by a plan."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.compaction.layers import add_bias, fold_norm, folds, like, owner, put, replace, takes_bias, write_sizes
from graphprune.compaction.liveness import Bools, Fold, Plan, live_units
from graphprune.compaction.tape import Tape, named_tensors


def plan_of(tape: Tape, model: nn.Module) -> Plan:
    """What can go, by a finished run of the model."""

    def takes(weight: str) -> bool:
        return weight.rpartition(".")[2] == "weight" and tape.own[weight].uses == 1 and takes_bias(owner(model, weight))

    return live_units(tape.dims.groups(), tape.own, tape.reads, takes)


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
        if weight is None or weight.rpartition(".")[2] != "weight":
            continue
        layer, norm = owner(model, weight), owner(model, found.mean)
        once = found.given.uses == tape.own[weight].uses == tape.own[found.mean].uses == 1
        if once and folds(layer, norm):
            fold_norm(layer, norm)
            replace(model, norm, nn.Identity())
