"""From scores and a density, or counts, to masks: the arithmetic behind `MaskSet.tighten` and `MaskSet.keep`."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from operator import index
from typing import Literal

import torch
from torch import Tensor

from graphprune.masks.select import keep_top
from graphprune.masks.units import Group, Layout, Unit

Scope = Literal["global", "layer"]


@dataclass(frozen=True)
class _Layer:
    """The units of masked tensors that have them in common: which may be kept (flat bool), and the scores of these."""

    group: Group
    open: Tensor
    scores: Tensor

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def units(self) -> int:
        return len(self.open)

    @property
    def candidates(self) -> int:
        return len(self.scores)


def tightened(
    masks: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    density: float,
    *,
    scope: Scope,
    unit: Unit,
    regrow: bool,
    layer_floor: float,
) -> dict[str, Tensor]:
    """New masks; see `MaskSet.tighten` for the meaning of the arguments and the errors."""
    _check_share("density", density)
    _check_share("layer_floor", layer_floor)
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got {scope!r}")
    _check_scores(masks, scores)
    if not masks:
        return {}
    layers = [_layer(group, masks, scores, regrow) for group in unit.groups(masks)]
    groups = [layers] if scope == "global" else [[layer] for layer in layers]
    budgets = [_budget(group, density) for group in groups]
    return _masks(masks, layers, _choose(layers, _floors(layers, layer_floor), groups, budgets), regrow)


def counted(
    masks: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    counts: int | Mapping[str, int],
    *,
    unit: Unit,
    regrow: bool,
    layer_floor: float,
) -> dict[str, Tensor]:
    """New masks of exact counts; see `MaskSet.keep` for the meaning of the arguments and the errors."""
    counts = _whole(counts)
    _check_share("layer_floor", layer_floor)
    _check_scores(masks, scores)
    leaders = {group.name for group in unit.groups(masks)}
    if not isinstance(counts, int) and leaders != counts.keys():
        raise ValueError(f"counts must name the masked parameters, these differ: {sorted(leaders ^ counts.keys())}")
    if not masks:
        return {}
    layers = [_layer(group, masks, scores, regrow) for group in unit.groups(masks)]
    groups = [layers] if isinstance(counts, int) else [[layer] for layer in layers]
    budgets = [counts] if isinstance(counts, int) else [counts[layer.name] for layer in layers]
    for group, budget in zip(groups, budgets, strict=True):
        most = sum(layer.candidates for layer in group)
        if not 0 <= budget <= most:
            raise ValueError(f"{budget} units cannot be kept in {_name(group)}: between 0 and {most} may be")
    return _masks(masks, layers, _choose(layers, _floors(layers, layer_floor), groups, budgets), regrow)


def _whole(counts: int | Mapping[str, int]) -> int | dict[str, int]:
    """The same counts as Python's own numbers: NumPy's and torch's whole ones are taken too."""
    try:
        return {name: index(each) for name, each in counts.items()} if isinstance(counts, Mapping) else index(counts)
    except TypeError:
        raise TypeError(f"counts must be whole numbers, got {counts!r}") from None


def _masks(masks: Mapping[str, Tensor], layers: list[_Layer], chosen: Tensor, regrow: bool) -> dict[str, Tensor]:
    """Masks from the choice among all layers' candidates."""
    result = {}
    for layer, part in zip(layers, chosen.split([layer.candidates for layer in layers]), strict=True):
        keep = torch.zeros_like(layer.open).masked_scatter_(layer.open, part.to(layer.open.device))
        for name in layer.group.members.keys() & masks.keys():
            mask = masks[name]
            expanded = layer.group.members[name].expand(keep.to(mask.device), mask)
            result[name] = expanded if regrow else expanded & mask
    return {name: result.get(name, mask) for name, mask in masks.items()}


def _choose(layers: list[_Layer], floors: list[int], groups: list[list[_Layer]], budgets: list[int]) -> Tensor:
    """Which of the layers' candidates, one after the other, are kept."""
    device = layers[0].scores.device
    flat = torch.cat([layer.scores.to(device) for layer in layers])
    sizes, first, budget = (torch.tensor(x) for x in ([layer.candidates for layer in layers], floors, budgets))
    members = [len(group) for group in groups]
    if not any(floors):
        return keep_top(flat, _offsets(_sums(sizes, members)), budget)
    remaining = budget - _sums(first, members)
    if bool((remaining < 0).any()):
        group = int((remaining < 0).nonzero()[0])
        raise ValueError(
            f"layer_floor asks for {budgets[group] - int(remaining[group])} units in {_name(groups[group])}, "
            f"but density leaves {budgets[group]}: raise the density, or lower layer_floor (0: layers may lose all)"
        )
    # The floors are chosen first and the rest without them, so that both counts are exact.
    kept = keep_top(flat, _offsets(sizes), first)
    rest = ~kept
    kept[rest] = keep_top(flat[rest], _offsets(_sums(sizes - first, members)), remaining)
    return kept


def _layer(group: Group, masks: Mapping[str, Tensor], scores: Mapping[str, Tensor], regrow: bool) -> _Layer:
    names = tuple(group.weights)
    parts = [_units(name, masks[name], scores[name], how, regrow) for name, how in group.weights.items()]
    alive, reduced = parts[0]
    if len(names) > 1:
        alive, reduced = _common(names, parts, [masks[name].numel() for name in names])
    may_stay = torch.ones_like(alive) if regrow else alive
    candidates = reduced[may_stay]
    if bool(candidates.isnan().any()):
        raise ValueError(f"the scores of {' and '.join(map(repr, names))} contain NaN: it cannot be ranked")
    return _Layer(group, may_stay, candidates)


def _common(names: tuple[str, ...], parts: list[tuple[Tensor, Tensor]], entries: list[int]) -> tuple[Tensor, Tensor]:
    """Units that several tensors have in common: there if in any of them, with the mean score of all entries."""
    alive, reduced = (torch.zeros_like(part) for part in parts[0])
    for name, (there, mean), size in zip(names, parts, entries, strict=True):
        if len(there) != len(alive):
            raise ValueError(f"{names[0]!r} and {name!r} are coupled, but have {len(alive)} and {len(there)} channels")
        alive |= there.to(alive.device)
        reduced += mean.to(reduced.device) * (size / sum(entries))
    return alive, reduced


def _units(name: str, mask: Tensor, scores: Tensor, how: Layout, regrow: bool) -> tuple[Tensor, Tensor]:
    """Which units of one tensor are there, and their scores."""
    scores = scores.detach().to(mask.device)
    try:
        alive = how.alive(mask)
        if not regrow:
            # What is pruned already has no say, not even as a NaN, in the score of the unit it belongs to.
            scores = scores.masked_fill(~mask, 0)
        reduced = how.reduce(scores)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return alive, reduced


def _budget(group: list[_Layer], density: float) -> int:
    """How many units a group keeps."""
    units, candidates = sum(layer.units for layer in group), sum(layer.candidates for layer in group)
    budget = round(density * units)
    if budget > candidates:
        raise ValueError(
            f"density {density} asks for {budget} of the {units} units in {_name(group)}, but only "
            f"{candidates} are still kept: lower the density, or allow regrow=True"
        )
    return budget


def _name(group: list[_Layer]) -> str:
    return repr(group[0].name) if len(group) == 1 else f"all {len(group)} layers"


def _floors(layers: list[_Layer], share: float) -> list[int]:
    """Units that each layer keeps whatever its scores."""
    return [min(_ceil(share * layer.units), layer.candidates) for layer in layers]


def _check_share(name: str, share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{name} must be in [0, 1], got {share}")


def _check_scores(masks: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> None:
    if masks.keys() != scores.keys():
        raise ValueError(
            f"scores must name the masked parameters: missing {sorted(masks.keys() - scores.keys())}, "
            f"unknown {sorted(scores.keys() - masks.keys())}"
        )
    for name, mask in masks.items():
        if scores[name].shape != mask.shape:
            raise ValueError(
                f"the scores of {name!r} have shape {tuple(scores[name].shape)}, its mask {tuple(mask.shape)}"
            )
        if not scores[name].is_floating_point():
            raise TypeError(f"the scores of {name!r} must be floating point, got {scores[name].dtype}")


def _ceil(value: float) -> int:
    """Round up what is really above a whole number: 0.07 * 100 is 7.000000000000001 in floats."""
    return ceil(round(value, 9))


def _offsets(sizes: Tensor) -> Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _sums(values: Tensor, members: list[int]) -> Tensor:
    """Sums over consecutive groups."""
    return torch.stack([part.sum() for part in values.split(members)])
