"""`MaskSet`: which weights of a model are kept; immutable, plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graphprune.masks.attach import Handle
from graphprune.masks.parameters import LedgerRow, came_back, digest, in_words, masked_parameters, zero_
from graphprune.masks.targets import BY_ROLE, Selector, refuse_factors
from graphprune.masks.tighten import Scope, counted, tightened
from graphprune.masks.units import SINGLE_WEIGHTS, Unit


class MaskSet(Mapping[str, Tensor]):
    """Parameter name -> bool tensor of the parameter's shape, ``True`` = keep.

    A MaskSet never changes: every operation gives a new one. (Do not write into its tensors.) It holds no
    reference to a model, so it can be pickled, copied, compared by content and applied to any model that has
    parameters of these names and shapes. Densities count single entries of the masked parameters only.
    """

    __slots__ = ("_masks",)
    _masks: dict[str, Tensor]

    @classmethod
    def of(cls, masks: Mapping[str, Tensor]) -> MaskSet:
        """Take copies of given masks.

        Raises:
            TypeError: a mask that is not a bool tensor.
        """
        for name, mask in masks.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                raise TypeError(f"the mask of {name!r} must be a bool tensor, got {getattr(mask, 'dtype', type(mask))}")
        return cls._wrap({name: mask.detach().clone() for name, mask in masks.items()})

    @classmethod
    def dense(cls, model: nn.Module, select: Selector = BY_ROLE, *, unit: Unit = SINGLE_WEIGHTS) -> MaskSet:
        """Keep everything that ``select`` finds in the model; where every method starts.

        Args:
            model: any module.
            select: which weights may go.
            unit: what will fall together; parameters that follow its channels get masks too, unless ``select``
                protects them by name.

        Raises:
            ValueError: what ``select`` raises, or a selected parameter is but a factor of a weight.
            TypeError: no network, or no unit.
        """
        if not isinstance(unit, Unit):
            raise TypeError(f"unit must be a unit such as Channel() or what coupled_channels returns, got {unit!r}")
        targets = refuse_factors(model, select(model))
        members = {name for group in unit.groups(targets.selected) for name in group.members}
        names = {*targets.selected, *members} - targets.named
        own = {name: p for name, p in model.named_parameters(remove_duplicate=False) if name in names}
        return cls._wrap({name: torch.ones_like(p, dtype=torch.bool) for name, p in own.items()})

    @classmethod
    def from_zeros(cls, model: nn.Module, select: Selector = BY_ROLE) -> MaskSet:
        """Read the masks of an already sparse model off its zeros; raises as `dense` does."""
        names = refuse_factors(model, select(model)).selected
        own = dict(model.named_parameters(remove_duplicate=False))
        return cls._wrap({name: own[name].detach() != 0 for name in names})

    @classmethod
    def _wrap(cls, masks: dict[str, Tensor]) -> MaskSet:
        made = cls.__new__(cls)
        made._masks = masks
        return made

    def __init__(self) -> None:
        raise TypeError("use MaskSet.dense, MaskSet.from_zeros or MaskSet.of")

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskSet):
            return NotImplemented
        return self.keys() == other.keys() and all(
            torch.equal(mask, other[name].to(mask.device)) for name, mask in self.items()
        )

    def __repr__(self) -> str:
        kept = f"{self.kept:,} of {self.total:,} kept"
        return f"MaskSet({len(self)} parameters, {kept}, density {self.density:.4f})"

    def tighten(
        self,
        scores: Mapping[str, Tensor],
        density: float,
        *,
        scope: Scope = "global",
        unit: Unit = SINGLE_WEIGHTS,
        regrow: bool = False,
        layer_floor: float = 0.0,
    ) -> MaskSet:
        """Keep the highest scores, to the exact count; among equal scores the earlier entry is kept.

        Args:
            scores: a floating tensor of the parameter's shape for each masked parameter. Without ``regrow``
                the scores of pruned entries are ignored and may be anything.
            density: share of all units (not: of those still kept) that stays, in [0, 1].
            scope: ``"global"`` keeps ``round(density * units)`` over all parameters together, ``"layer"``
                keeps ``round(density * units)`` of each.
            unit: what falls together; with `Channel` the densities count channels. A kept channel keeps the
                entries that it had (all of them under ``regrow``).
            regrow: let pruned units compete again.
            layer_floor: share of each parameter's units, in [0, 1] and rounded up, that is kept before the
                rest is chosen, as far as so many may be kept; against layers that lose all their weights.

        Raises:
            TypeError: scores that are not floating point.
            ValueError: a share outside [0, 1], scores of other names or shapes, NaN scores (the text names
                the parameter), a density above the present one without ``regrow``, floors beyond the
                density, or a channel dimension that a parameter does not have.
        """
        return self._wrap(
            tightened(self, scores, density, scope=scope, unit=unit, regrow=regrow, layer_floor=layer_floor)
        )

    def keep(
        self,
        scores: Mapping[str, Tensor],
        counts: int | Mapping[str, int],
        *,
        unit: Unit = SINGLE_WEIGHTS,
        regrow: bool = False,
        layer_floor: float = 0.0,
    ) -> MaskSet:
        """Keep exactly so many units, those of the highest scores; ties and floors as in `tighten`.

        Args:
            scores: as for `tighten`.
            counts: units to keep in all parameters together, or in each by its name.
            unit: what falls together.
            regrow: let pruned units compete again.
            layer_floor: as for `tighten`.

        Raises:
            TypeError: scores that are not floating point, or counts that are no whole numbers.
            ValueError: scores or counts of other names, scores of other shapes or with NaN, a count below 0 or above
                what may be kept, or below the floors (the text names the parameter).
        """
        return self._wrap(counted(self, scores, counts, unit=unit, regrow=regrow, layer_floor=layer_floor))

    def refill(
        self,
        first: Mapping[str, Tensor],
        sure: int | Mapping[str, int],
        second: Mapping[str, Tensor],
        counts: int | Mapping[str, int],
        *,
        unit: Unit = SINGLE_WEIGHTS,
        regrow: bool = False,
        layer_floor: float = 0.0,
    ) -> MaskSet:
        """Keep in two stages: the best by one score for sure, then up to the count the best of the others by another.

        Gradient-first pruning, drop and grow, and restoring of what was just dropped are all of this form.

        Args:
            first: finite or infinite scores that decide what is kept for sure; only kept units compete.
            sure: how many these are, as the counts of `keep`; not above ``counts``.
            second: scores below infinity that decide among all others.
            counts: how many units are kept in the end.
            unit: what falls together.
            regrow: let pruned units compete in the second stage.
            layer_floor: as for `tighten`, of the units that are kept in the end.

        Raises:
            TypeError, ValueError: as `keep`, and for an infinite ``second`` score.
        """
        safe = self.keep(first, sure, unit=unit)
        for name, score in second.items():
            if bool(score.isinf().any()):
                raise ValueError(f"the second scores of {name!r} contain inf: it cannot be ranked behind what is sure")
        rest = {name: score.masked_fill(safe[name].to(score.device), torch.inf) for name, score in second.items()}
        return self.keep(rest, counts, unit=unit, regrow=regrow, layer_floor=layer_floor)

    def __and__(self, other: MaskSet) -> MaskSet:
        """Keep what both keep. Raises ValueError unless both mask the same parameters and shapes."""
        if self.shapes != other.shapes:
            raise ValueError("only masks of the same parameters and shapes can be combined")
        return self._wrap({name: mask & other[name].to(mask.device) for name, mask in self.items()})

    def prefixed(self, prefix: str) -> MaskSet:
        """The same masks under names with ``prefix`` before them (for a wrapper such as ``"module."``)."""
        return self._wrap({prefix + name: mask for name, mask in self.items()})

    def to(self, device: torch.device | str) -> MaskSet:
        """The same masks on another device."""
        return self._wrap({name: mask.to(device) for name, mask in self.items()})

    def apply_(self, model: nn.Module) -> None:
        """Zero the pruned entries now, even where they are NaN or inf.

        Raises:
            ValueError: a masked parameter that the model lacks or has in another shape; nothing is changed then.
        """
        zero_(model, self)

    def attach(self, model: nn.Module, optimizer: Optimizer) -> Handle[MaskSet]:
        """Apply the masks, and again after every step of the optimiser until the handle is detached.

        Raises:
            ValueError: masks that do not fit the model, a masked parameter that the optimiser does not own, or an
                optimiser that holds masks already.
            TypeError: no network, no optimiser, or one without torch's step hooks.
            RuntimeError: in a distributed run, ranks with different masks.
        """
        return Handle(self, model, optimizer)

    def verify(self, model: nn.Module) -> None:
        """Make sure that the model respects the masks.

        Raises:
            RuntimeError: pruned entries that are not zero (the text names the parameters).
            ValueError: masks that do not fit the model.
        """
        if back := came_back(self, masked_parameters(model, self)):
            raise RuntimeError(
                f"pruned weights are not zero, {in_words(back)}: the masks were lost; apply_ or attach them"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each masked parameter."""
        return {name: tuple(mask.shape) for name, mask in self.items()}

    @property
    def kept(self) -> int:
        """Entries kept."""
        return sum(int(mask.count_nonzero()) for mask in self.values())

    @property
    def total(self) -> int:
        """Entries masked."""
        return sum(mask.numel() for mask in self.values())

    def units(self, unit: Unit) -> dict[str, tuple[int, int]]:
        """How many units of each parameter (or group of them) are kept, at least in part, and how many there are."""
        found = {}
        for group in unit.groups(self):
            first, *others = (how.alive(self[name]) for name, how in group.weights.items())
            alive = sum((each.to(first.device) for each in others), first)
            found[group.name] = int(alive.count_nonzero()), len(alive)
        return found

    def sizes(self, unit: Unit) -> dict[str, int]:
        """How many units each parameter (or group of them) has; no mask is read."""
        return {group.name: group.weights[group.name].size(self[group.name].shape) for group in unit.groups(self)}

    @property
    def density(self) -> float:
        """``kept / total`` (1 if nothing is masked)."""
        return self.kept / self.total if self.total else 1.0

    @property
    def sparsity(self) -> float:
        """``1 - density``."""
        return 1.0 - self.density

    @property
    def ledger(self) -> tuple[LedgerRow, ...]:
        """Each masked parameter in numbers."""
        return tuple(
            LedgerRow(name, tuple(mask.shape), int(mask.count_nonzero()), prod(mask.shape))
            for name, mask in self.items()
        )

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Parameters of which nothing is left: the layer passes no signal any more."""
        return tuple(row.name for row in self.ledger if row.total and not row.kept)

    def digest(self) -> str:
        """SHA-256 over names, shapes and bits; neither the order of the names nor the device matters."""
        return digest(self)
