"""What a search over sizes decides: how many channels each group of layers keeps, and what share of the edges."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.compaction import compact, coupled_channels
from graphprune.compaction.tape import recorded
from graphprune.graphs import EdgeRound, EdgeRule, PruneEdges
from graphprune.masks import Coupled, MaskSet, Selector, magnitude, sparing
from graphprune.search import Space

EDGES = "edges"
TINY = 1e-30


@dataclass(frozen=True)
class Gene:
    """One number of a point.

    Attributes:
        name: the first of the weights that make the channels, or ``"edges"``.
        size: channels that there are; 0: shares of the edges.
        levels: its largest value, which keeps everything; the smallest is 1.
        step: channels a level; 0: equal shares.
    """

    name: str
    size: int
    levels: int
    step: int = 0

    @classmethod
    def of(cls, name: str, size: int, step: float) -> Gene:
        """A gene of ``size`` channels, by the ``step`` of :class:`graphprune.HAMP`."""
        if step >= 1:
            return cls(name, size, math.ceil(size / step), int(step))
        return cls(name, size, min(size, round(1 / step)))

    def kept(self, level: int) -> int:
        """How many channels a level keeps."""
        return min(self.size, level * self.step) if self.step else round(self.size * level / self.levels)


@dataclass(frozen=True, eq=False)
class Genes:
    """The genes of a model, and what a point of theirs means.

    Attributes:
        genes: the numbers of a point, in order.
        unit: channels, with all that falls with them.
        dense: masks of everything that can fall.
        links: of each weight, which channel every row gives; rows of one number meet somewhere in the network.
    """

    genes: tuple[Gene, ...]
    unit: Coupled
    dense: MaskSet
    links: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module, example: Any, select: Selector, step: float, *, edges: bool = False) -> Genes:
        """Find the groups of channels that a compacted model can do without.

        Half of the channels of all groups are masked, and the model is compacted: groups that have lost none, such as
        the outputs, have no gene.

        Args:
            model: with any weights.
            example: what it is called with, several samples.
            select: which weights may go.
            step: channels, or share of the channels, that a level is worth.
            edges: whether there is a gene for the edges too.

        Raises:
            ValueError: the model cannot be compacted, or there are fewer than two genes.
        """
        unit, name = coupled_channels(model, example, select), type(model).__name__
        made = cls((), unit, MaskSet.dense(model, select, unit=unit), _links(model, example, select))
        every = [Gene.of(leader, size, step) for leader, size in made.dense.sizes(unit).items()]
        half = {gene.name: gene.kept(math.ceil(gene.levels / 2)) for gene in every}
        trial = copy.deepcopy(model)
        made._keep(model, half).apply_(trial)
        own = dict(_small(trial, example, name).named_parameters())
        removed = [gene for gene in every if gene.levels > 1 and len(own[gene.name]) < gene.size]
        if len(removed) + edges < 2:
            found = ", ".join(gene.name for gene in removed) or "no layer"
            whole = sum(gene.levels == 1 < gene.size for gene in every)
            coarse = f", and step={step:g} is all that {whole} of {len(every)} groups have" * bool(whole)
            raise ValueError(
                f"a search needs two numbers to choose or more; in {name} compaction removes channels of {found}"
                + " alone" * bool(removed)
                + f"{coarse}: take a smaller step, a deeper network, or a method that is told its density"
            )
        free = {gene.name for gene in removed}
        held = [name for group in unit.groups(made.dense) if group.name not in free for name in group.weights]
        dense = MaskSet.dense(model, sparing(select, held) if held else select, unit=unit)
        genes = (*removed, *([Gene(EDGES, 0, 10 if step >= 1 else round(1 / step))] if edges else []))
        return replace(made, genes=genes, dense=dense)

    @cached_property
    def space(self) -> Space:
        """All points."""
        names = tuple(gene.name.removesuffix(".weight") for gene in self.genes)
        return Space(names, (1,) * len(self.genes), tuple(gene.levels for gene in self.genes))

    @property
    def full(self) -> tuple[int, ...]:
        """The point that keeps everything."""
        return self.space.upper

    def channels(self, point: Sequence[int]) -> dict[str, int]:
        """Channels that a point keeps, by the first of the weights that make them."""
        return {gene.name: gene.kept(int(level)) for gene, level in zip(self.genes, point, strict=True) if gene.size}

    def density(self, point: Sequence[int]) -> float:
        """Share of the edges that a point keeps."""
        last = self.genes[-1]
        return int(point[-1]) / last.levels if last.name == EDGES else 1.0

    def masks(self, model: nn.Module, point: Sequence[int]) -> MaskSet:
        """Masks that keep the channels of the largest mean absolute weight.

        Of a channel that several layers give it is the mean over these, each in units of its layer's own mean; so
        layers whose channels meet in part only, as behind shortcuts that add channels of 0, agree on those.
        """
        return self._keep(model, self.channels(point))

    def _keep(self, model: nn.Module, counts: Mapping[str, int]) -> MaskSet:
        weights: Mapping[str, Tensor] = dict(model.named_parameters())
        channels = {name: rows for name, rows in self.links.items() if name in self.dense}
        total, layers = torch.zeros(2, 1 + max(int(rows.max()) for rows in channels.values()), dtype=torch.float64)
        for name, rows in channels.items():
            size = weights[name].detach().double().cpu().abs().flatten(1).mean(1)
            total.index_add_(0, rows, size / size.mean().clamp(min=TINY))
            layers.index_add_(0, rows, torch.ones_like(size))
        scores = dict(magnitude(weights, {}, self.dense))
        for name, rows in channels.items():
            weight = weights[name]
            like = (total / layers)[rows].view(-1, *[1] * (weight.ndim - 1))
            scores[name] = like.expand(weight.shape).to(weight.device)
        return self.dense.keep(scores, counts, unit=self.unit)

    def edges(self, point: Sequence[int], scorer: nn.Module | None, rule: EdgeRule) -> PruneEdges:
        """How a point prunes graphs."""
        density = self.density(point)
        if scorer is None or density == 1:
            return PruneEdges((), rule)
        return PruneEdges((EdgeRound(scorer, 1 - density, density),), rule)


def _links(model: nn.Module, example: Any, select: Selector) -> dict[str, Tensor]:
    """The channel that each row of each weight gives: one number where compaction removes rows together."""
    found: dict[str, Tensor] = {}
    tape, _ = recorded(copy.deepcopy(model).eval(), example)
    group = tape.dims.groups(pinned=False)
    fresh = int(group.max()) + 1
    for name in select(model).selected:
        label, size = tape.own[name].labels[0], model.get_parameter(name).size(0)
        own = torch.arange(fresh, fresh + size)
        # Number 0 is of all that can never be removed, which has nothing in common.
        numbers = own if label is None else torch.from_numpy(group[label])
        found[name], fresh = torch.where(numbers == 0, own, numbers), fresh + size
    return found


def _small(model: nn.Module, example: Any, name: str) -> nn.Module:
    try:
        return compact(model, example)
    except (TypeError, ValueError, RuntimeError) as error:
        if "nothing to remove" in str(error):
            return model
        raise ValueError(f"a search removes channels by compaction, and {name} cannot be compacted: {error}") from error
