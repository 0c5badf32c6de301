"""A network whose weights and edges carry trained soft masks: what UGS searches with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer
from torch_geometric.data import Data

from graphprune.graphs import SoftEdges
from graphprune.graphs.pairs import EDGE_UNIT
from graphprune.masks import recompute
from graphprune.methods.core.share import step_share
from graphprune.methods.ugs.store import EdgeStore


class SoftMasked(nn.Module):
    """``f(m_g * A, m_w * W)`` of UGS, where masks and weights are trained together under L1 penalties of the masks.

    Weights stay parameters of ``model``; the masks multiply them in each forward pass, in evaluation too. Batches whose
    arcs carry no unit number (unseen graphs) run with all their edges.

    Args:
        model: the network.
        weight_masks: initial masks by name of the parameter; entries that are gone are 0, and stay so.
        weight_l1: weight of the L1 penalty of the weight masks.
        edges: the edge masks; None: edges are not masked.
    """

    def __init__(
        self, model: nn.Module, weight_masks: Mapping[str, Tensor], weight_l1: float, edges: EdgeStore | None
    ) -> None:
        super().__init__()
        self.model, self.edges = model, edges
        self._names = tuple(weight_masks)
        self.weight_masks = nn.ParameterList(mask.clone() for mask in weight_masks.values())
        for mask in self.weight_masks:
            _penalise(mask, weight_l1)
        self._gated = (_Gated(model),)  # in a tuple: its parameters are registered once

    def follow(self, optimizer: Optimizer) -> None:
        """Train the edge masks with each step of this optimiser, at its learning rate and weight decay."""
        if self.edges is None:
            return
        store = self.edges

        def step(stepped: Optimizer, *_: Any) -> None:
            group = stepped.param_groups[0]
            store.step(float(group["lr"]), float(group.get("weight_decay", 0.0)))

        getattr(optimizer, "optimizer", optimizer).register_step_post_hook(step)

    def forward(self, batch: Data) -> Tensor:
        """The network's logits."""
        numbers = None if self.edges is None else batch.get(EDGE_UNIT)
        gate = None if self.edges is None or numbers is None else self.edges(numbers)
        masked = {
            f"model.{name}": self.model.get_parameter(name) * mask
            for name, mask in zip(self._names, self.weight_masks, strict=True)
        }
        with recompute.once(self.model, recompute.owners(self.model, self._names)):
            out: Tensor = functional_call(self._gated[0], masked, (batch, gate))
        return out

    def weight_scores(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``|m_w|`` by name of the parameter, from a state of this module."""
        return {name: state[f"weight_masks.{number}"].abs() for number, name in enumerate(self._names)}


class _Gated(nn.Module):
    """A model with gated edges as one module, so that its parameters can be replaced for a call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Data, gate: Tensor | None) -> Tensor:
        if gate is None:
            out: Tensor = self.model(batch)
        else:
            with SoftEdges(self.model) as soft:
                out = soft(gate, batch)
        return out


def _penalise(mask: nn.Parameter, l1: float) -> None:
    """Add the subgradient of ``l1 * |mask|`` to every gradient of the mask."""
    # On the gradient and not in the loss, as the authors do: so it holds in any training loop, with any loss.
    mask.register_hook(lambda grad: grad + l1 * step_share() * mask.detach().sign())


def soft_start(kept: Sequence[Tensor], noise: float, seed: int) -> list[Tensor]:
    """Masks that start at 1, give or take ``noise`` to break ties, and at 0 where ``kept`` is False."""
    generator = torch.Generator().manual_seed(seed)
    return [(1 + noise * (2 * torch.rand(mask.shape, generator=generator) - 1)) * mask.cpu() for mask in kept]
