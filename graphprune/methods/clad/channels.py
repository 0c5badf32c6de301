"""The channels of a network that can be removed, what they consist of, and what the network costs without some."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from graphprune.compaction.check import check_model
from graphprune.compaction.dims import Ints, Label
from graphprune.compaction.record import RULES, followed
from graphprune.compaction.tape import Tape
from graphprune.masks import MaskSet, Selector
from graphprune.measure import ops


@dataclass(frozen=True, eq=False)
class Entries:
    """A parameter that channels have entries in.

    Attributes:
        dim: which of its dimensions counts channels.
        of: the number of each entry's channel, shape ``(size,)``; ``Channels.count`` for those that always stay.
        made: whether it is a weight that gives these channels; else it follows them (biases, norms, embeddings).
    """

    dim: int
    of: Tensor
    made: bool

    def broadcast(self, values: Tensor, like: Tensor) -> Tensor:
        """Values of the channels, ``(count + 1,)``, in a shape that broadcasts to the parameter's."""
        shape = [1] * like.ndim
        shape[self.dim] = -1
        return values[self.of.to(values.device)].view(shape)


@dataclass(frozen=True, eq=False)
class Cost:
    """One product or sum: its multiply-accumulates, times the shares of the channels in each factor that are left."""

    macs: int
    factors: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Channels:
    """All that can be removed from a network, numbered; a channel that several layers add up is one.

    Attributes:
        count: how many there are.
        entries: where they lie, by parameter.
        costs: what is multiplied, or summed by an index, in one forward pass.
    """

    count: int
    entries: Mapping[str, Entries]
    costs: tuple[Cost, ...]

    @classmethod
    def of(cls, model: nn.Module, example: Any, select: Selector) -> Channels:
        """Run the model once and see.

        A channel counts if all that gives it may be pruned, and if it can be removed physically: nothing needs all
        channels, and the model does not return them.

        Args:
            model: any module, left as it is.
            example: what it is called with.
            select: which weights may go.

        Raises:
            TypeError, ValueError: as :func:`graphprune.compact`, of the model.
            ValueError: there is no such channel.
        """
        check_model(model)
        whole = copy.deepcopy(model).eval()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            tape = _Costs(whole)
            followed(tape, whole, (example,))
        numbers, entries = _numbered(tape, whole, select)
        count = int(numbers.max(initial=-1)) + 1
        if not count:
            raise ValueError(
                f"no channel of {type(model).__name__} can be removed: what a network takes and what it returns stays, "
                "and so does what protected weights give; CLAD needs a layer between two others"
            )
        numbers = np.where(numbers < 0, count, numbers)
        costs = tuple(
            Cost(macs, tuple(torch.from_numpy(numbers[label]) for label in labels)) for macs, labels in tape.costs
        )
        found = {
            name: Entries(dim, torch.from_numpy(numbers[label]), made) for name, (dim, label, made) in entries.items()
        }
        return cls(count, found, costs)

    def makers(self) -> Iterator[tuple[str, Entries]]:
        """The weights that give the channels."""
        return ((name, entries) for name, entries in self.entries.items() if entries.made)

    def macs(self, gates: Tensor) -> Tensor:
        """Multiply-accumulates as a share of the whole network's; differentiable in the gates, shape ``(count,)``."""
        left = torch.cat([gates, gates.new_ones(1)])
        total = gates.new_zeros(())
        for cost in self.costs:
            share = gates.new_ones(())
            for factor in cost.factors:
                share = share * left[factor.to(gates.device)].mean()
            total = total + cost.macs * share
        return total / sum(cost.macs for cost in self.costs)

    def masks(self, model: nn.Module, keep: Tensor) -> MaskSet:
        """Masks of all that a model's channels consist of, of which some stay: bool, shape ``(count,)``."""
        left = torch.cat([keep, keep.new_ones(1)])
        own = dict(model.named_parameters(remove_duplicate=False))
        return MaskSet.of(
            {name: entries.broadcast(left, own[name]).expand(own[name].shape) for name, entries in self.entries.items()}
        )

    def kept(self, masks: Mapping[str, Tensor]) -> Tensor:
        """Which channels some masks keep at least in part; bool, shape ``(count,)``."""
        keep = torch.zeros(self.count + 1, dtype=torch.bool)
        for name, entries in self.makers():
            rows = masks[name].movedim(entries.dim, 0).flatten(1).any(1).cpu()
            keep[entries.of[rows]] = True
        return keep[:-1]


class _Costs(Tape):
    """A tape that also notes what each operation costs: multiply-accumulates, and the channels that these grow by."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, RULES)
        self.costs: list[tuple[int, tuple[Ints, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = len(self.reads)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        rule = ops.RULES.get(func._schema.name.removeprefix("aten::").removesuffix("_"))
        if rule is not None:
            out = next(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
            work = rule(args, kwargs or {}, out, _Anywhere())
            if work is not None:
                inner: list[Label] = [read.inner for read in self.reads[reads:]]
                factors = (label for label in (*self._info(out).labels, *inner) if label is not None)
                self.costs.append((work.macs, tuple(factors)))
        return result


class _Anywhere:
    """Where tensors come from does not matter for how many multiply-accumulates there are."""

    def weight(self, tensor: Tensor) -> bool:
        return False

    def arcs(self, tensor: Tensor) -> bool:
        return False


def _numbered(tape: Tape, model: nn.Module, select: Selector) -> tuple[Ints, dict[str, tuple[int, Ints, bool]]]:
    """The channel of each variable, -1 for those that stay, and where in the parameters channels have entries."""
    group = tape.wires.groups()  # 0: cannot be removed
    targets = select(model)
    selected, products = set(targets.selected), {read.weight for read in tape.reads if read.weight is not None}
    made, following, fixed = dict[str, Ints](), dict[str, tuple[int, Ints]](), [0]
    for name in targets.shapes:
        for dim, label in enumerate(tape.own[name].labels):
            if label is None or (dim and name in selected | products):  # these read channels
                continue
            if name in selected:
                made[name] = label
            elif name in products | targets.named:
                fixed += group[label].tolist()
            elif group[label].any():
                following[name] = dim, label
    chosen = np.setdiff1d(np.concatenate([[], *(group[label] for label in made.values())]), fixed)
    number = np.full(int(group.max()) + 1, -1)
    number[chosen.astype(np.int64)] = np.arange(len(chosen))
    numbers: Ints = number[group]
    entries = {name: (0, label, True) for name, label in made.items() if (numbers[label] >= 0).any()}
    followers = {name: (dim, label, False) for name, (dim, label) in following.items() if (numbers[label] >= 0).any()}
    return numbers, entries | followers
