"""Paths through a masked feed-forward network: which weights lie on one, how many there are, what belongs together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate, pairwise

import networkx as nx
import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from graphprune.masks import MaskSet

# Below it every whole number is a float64, and so is every sum on the way to it.
EXACT = 2**53


@dataclass(frozen=True)
class PathRow:
    """One layer of a chain in numbers. None of them counts biases.

    Attributes:
        name: of the weight.
        total: weights.
        kept: weights that the mask keeps.
        live: kept weights that lie on a path from an input to an output.
        units: the layer's outputs (of a convolution: channels).
        live_units: outputs that lie on such a path. If the layer has biases, these are the ones that count beside the
            live weights, and in the last layer all of them.
        constant_units: outputs that no input reaches although they reach an output: they pass on what their bias makes.
    """

    name: str
    total: int
    kept: int
    live: int
    units: int
    live_units: int
    constant_units: int


@dataclass(frozen=True)
class Pathway:
    """A part of the network that shares no unit with any other part.

    Attributes:
        units: numbers of its units, level by level: inputs, the outputs of each layer, the network's outputs.
        weights: how many connect them.
    """

    units: tuple[tuple[int, ...], ...]
    weights: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """The inputs it reads."""
        return self.units[0]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The outputs it decides."""
        return self.units[-1]


@dataclass(frozen=True, eq=False)
class Chain:
    """Layers that feed each other in a row, as a graph of units whose connections are the kept weights.

    Its units are the inputs of the first layer and the outputs of each layer, so there is one level more than there are
    layers. Units of a convolution are channels: each entry of a kernel is a connection of its own, and positions in the
    image are not told apart. A linear layer after a convolution reads its pixels, channel by channel, likewise.
    Activations, pooling, dropout and norms that treat each channel by itself may stand between the layers.

    A *path* leads from an input to an output over kept weights, and a weight on none of them is a *dead end*. Masks
    cannot tell how layers are wired: `trace` finds and checks that with a forward pass. A graph network whose
    convolutions have one weight each (GCN), or a row of them (GIN without bonds), is a chain as well, as passing
    messages does not mix channels.

    Args:
        masks: of any method.
        layers: names of the weights, of shape ``(outputs, inputs, ...)``, from the input to the output. Other masks are
            left as they are.

    Raises:
        KeyError: a layer that is not masked.
        ValueError: no layer, the same one twice, or shapes that do not follow each other.
    """

    masks: MaskSet
    layers: tuple[str, ...]

    @classmethod
    def of(cls, masks: MaskSet, layers: Sequence[str] | None = None) -> Chain:
        """A chain of these layers; None: of all masked matrices and kernels, in the order of the masks.

        The order of the masks is that in which the model made its layers. Raises as :class:`Chain` does.
        """
        if layers is None:
            layers = [name for name, mask in masks.items() if mask.ndim > 1]
        return cls(masks, tuple(layers))

    def __post_init__(self) -> None:
        if isinstance(self.layers, str) or not self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers must name each weight of the chain once, from input to output, got {self.layers}")
        for name in self.layers:
            if name not in self.masks:
                raise KeyError(f"layers: {name!r} is not masked; the masks are those of {list(self.masks)}")
            if self.masks[name].ndim < 2 or not self.masks[name].numel():
                raise ValueError(f"layers: {name!r} has shape {tuple(self.masks[name].shape)}, which connects nothing")
        for before, name in pairwise(self.layers):
            units, inputs = self.masks[before].shape[0], self.masks[name].shape[1]
            # After a convolution a linear layer reads the pixels of each channel, as many as there may be.
            flattened = self.masks[before].ndim > 2 == self.masks[name].ndim
            if inputs % units if flattened else inputs != units:
                raise ValueError(
                    f"{name!r} reads {inputs} inputs, and {before!r} before it has {units} outputs: the layers are no "
                    "chain in this order; name them with layers=, from the input to the output"
                )

    # ------------------------------------------------------------------ what is connected

    def grouped(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Each layer's tensor as ``(units, units before, connections between two of them)``, on the CPU."""
        before = [self.masks[self.layers[0]].shape[1], *(self.masks[name].shape[0] for name in self.layers)]
        return tuple(
            tensors[name].detach().cpu().reshape(after, units, -1)
            for name, (units, after) in zip(self.layers, pairwise(before), strict=True)
        )

    @cached_property
    def fed(self) -> tuple[Tensor, ...]:
        """For each level, which units some input reaches."""
        inputs = torch.ones(self.masks[self.layers[0]].shape[1], dtype=torch.bool)
        links = (mask.any(2) for mask in self.grouped(self.masks))
        return tuple(accumulate(links, lambda units, link: (link & units).any(1), initial=inputs))

    @cached_property
    def heard(self) -> tuple[Tensor, ...]:
        """For each level, which units reach some output."""
        outputs = torch.ones(self.masks[self.layers[-1]].shape[0], dtype=torch.bool)
        links = (mask.any(2) for mask in reversed(self.grouped(self.masks)))
        return tuple(accumulate(links, lambda units, link: (link & units[:, None]).any(0), initial=outputs))[::-1]

    @cached_property
    def alive(self) -> tuple[Tensor, ...]:
        """For each level, which units lie on a path."""
        return tuple(fed & heard for fed, heard in zip(self.fed, self.heard, strict=True))

    @cached_property
    def live(self) -> MaskSet:
        """The masks without dead ends.

        A unit that no input reaches may still have passed on a constant: applying these masks changes the outputs by
        it. `trim_` moves it into the next layer's bias.
        """
        kept = {
            name: (mask & fed[:, None] & heard[:, None, None]).view(self.masks[name].shape)
            for name, mask, fed, heard in zip(
                self.layers, self.grouped(self.masks), self.fed[:-1], self.heard[1:], strict=True
            )
        }
        return MaskSet.of({name: kept.get(name, mask.cpu()) for name, mask in self.masks.items()})

    @property
    def ledger(self) -> tuple[PathRow, ...]:
        """Each layer in numbers."""
        return tuple(
            PathRow(
                name=name,
                total=self.masks[name].numel(),
                kept=int(self.masks[name].count_nonzero()),
                live=int(self.live[name].count_nonzero()),
                units=len(fed),
                live_units=int((fed & heard).count_nonzero()),
                constant_units=int((~fed & heard).count_nonzero()),
            )
            for name, fed, heard in zip(self.layers, self.fed[1:], self.heard[1:], strict=True)
        )

    def describe(self) -> str:
        """A printable table of the ledger, with the sums of weights; biases are counted apart."""
        rows, inputs = self.ledger, self.alive[0]
        width = max(len(row.name) for row in rows)
        total, kept, live = (sum(getattr(row, column) for row in rows) for column in ("total", "kept", "live"))
        lines = [
            f"{row.name:{width}}  {row.total:>10,} weights  {row.kept:>10,} kept  {row.live:>10,} live  "
            f"{row.live_units:>6,} of {row.units:,} units live, {row.constant_units:,} constant"
            for row in rows
        ]
        whence = f"{int(inputs.sum()):,} of {len(inputs):,} inputs, {kept - live:,} kept ones are dead ends"
        whole = f"{live:,} of {total:,} weights ({live / total:.4%}) lie on paths from {whence}; biases not counted"
        return "\n".join([*lines, whole])

    # ------------------------------------------------------------------ along the paths

    def path_counts(self) -> Tensor:
        """How many paths lead from each input to each output, exactly; shape ``(outputs, inputs)``, int64.

        Summed over the outputs it is the importance of the inputs.

        Raises:
            OverflowError: more than 2**53 paths.
        """
        counts = self._products(mask.double() for mask in self.grouped(self.live))
        if bool((counts >= EXACT).any()):
            raise OverflowError("over 2**53 paths lead from an input to an output: prune more, or ask for strengths")
        return counts.long()

    def path_strengths(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The sum over all paths of the products of their ``|w|``; shape ``(outputs, inputs)``, float64.

        Args:
            weights: the layers' weights by name, such as ``model.state_dict()`` or a ticket's ``trained``.

        Raises:
            KeyError: a weight that is missing.
            ValueError: a weight of another shape than its mask.
        """
        return self._products(weight.abs() for weight in self.live_weights(weights))

    def path_products(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The sum over all paths of the products of their signed weights; shape ``(outputs, inputs)``, float64.

        Row c is the map of class c: what the network does where no activation cuts anything off. Arguments and errors
        are those of :meth:`path_strengths`.
        """
        return self._products(self.live_weights(weights))

    def live_weights(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Each layer's weights, 0 where they are not live, float64, grouped as in :meth:`grouped`."""
        for name in self.layers:
            if name not in weights:
                raise KeyError(f"weights lack {name!r}; they have {list(weights)}")
            if weights[name].shape != self.masks[name].shape:
                raise ValueError(
                    f"the weight {name!r} has shape {tuple(weights[name].shape)}, its mask "
                    f"{tuple(self.masks[name].shape)}"
                )
        pairs = zip(self.grouped(weights), self.grouped(self.live), strict=True)
        return tuple(weight.double().masked_fill(~live, 0) for weight, live in pairs)

    def _products(self, layers: Iterable[Tensor]) -> Tensor:
        """The product of all layers, each summed over its connections; from the output, as it has fewest units."""
        matrices = [layer.sum(2) for layer in reversed(list(layers))]
        return reduce(torch.matmul, matrices, torch.eye(len(matrices[0]), dtype=torch.float64))

    # ------------------------------------------------------------------ what belongs together

    def pathways(self) -> tuple[Pathway, ...]:
        """The connected components of the live network, that of most weights first; dead units are in none."""
        starts = np.cumsum([0, *(len(level) for level in self.alive)])
        links = [mask.sum(2) for mask in self.grouped(self.live)]
        ends = [link.nonzero().numpy() + starts[[level + 1, level]] for level, link in enumerate(links)]
        rows, columns = np.concatenate(ends).T
        size = int(starts[-1])
        adjacency = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
        _, labels = connected_components(adjacency, directed=False)
        weights = np.bincount(labels[rows], weights=np.concatenate([link[link > 0].numpy() for link in links]))
        members = [
            np.where(level.numpy(), labels[start : start + len(level)], -1)
            for start, level in zip(starts[:-1], self.alive, strict=True)
        ]
        order = sorted(np.unique(labels[rows]), key=lambda label: (-weights[label], label))
        return tuple(
            Pathway(
                tuple(tuple(np.flatnonzero(level == label).tolist()) for level in members), weights=int(weights[label])
            )
            for label in order
        )

    def graph(self, weights: Mapping[str, Tensor]) -> nx.DiGraph:
        """The live network for networkx.

        Nodes are pairs ``(level, unit)``; edges lead towards the output and have as ``weight`` the signed weight (of a
        convolution the sum over the kernel). Arguments and errors are those of :meth:`path_strengths`.
        """
        graph = nx.DiGraph()
        for level, units in enumerate(self.alive):
            graph.add_nodes_from((level, unit) for unit in units.nonzero().flatten().tolist())
        for level, (weight, live) in enumerate(zip(self.live_weights(weights), self.grouped(self.live), strict=True)):
            summed = weight.sum(2)
            graph.add_weighted_edges_from(
                ((level, before), (level + 1, unit), float(summed[unit, before]))
                for unit, before in live.any(2).nonzero().tolist()
            )
        return graph


def live(masks: MaskSet, layers: Sequence[str] | None = None) -> MaskSet:
    """The masks without dead ends: only weights on a path from an input to an output stay.

    Arguments and errors are those of :meth:`Chain.of`, and :attr:`Chain.live` says what it does to the outputs.
    """
    return Chain.of(masks, layers).live
