"""Whether a network takes a gate of 0 for a removed edge, and forgets one graph before it sees the next."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from graphprune.graphs.edges import drop_arcs
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import arcs_of, edge_units
from graphprune.graphs.registry import gates_itself, parts
from graphprune.graphs.soft import SoftEdges
from graphprune.masks.copies import independent_copy
from graphprune.masks.recompute import once

_GRAPHS = 8  # of a data set
_SEED = 0
# Rounding makes more than this of the outputs' size only where it is no rounding: 1e-4 in single precision.
_ROUNDING = 0.3
_OF_EFFECT = 1e-3

_WAYS_OUT = (
    "Give its forward a parameter edge_gate and apply it wherever edges are used, teach a convolution with "
    "register_soft_edges, or prune edges by a method without gates (Sparsifier, RandomPruning)"
)


def check_removal(model: nn.Module, data: Any) -> None:
    """Make sure that a gate of 0 equals the graph without the edge, and that gates get gradients.

    Half of the edges of a few graphs are gated off by :class:`~graphprune.SoftEdges`, and physically removed; a copy of
    the network has to give the same in ``eval()`` mode. Every gated search (ICPG, GICP, UGS) begins with this.

    Args:
        model: called as ``model(batch)``; it is left as it is.
        data: a graph, a batch, packed graphs or a whole data set, of which the first training graphs are taken.

    Raises:
        TypeError: the network has convolutions that cannot be gated, or none (as :class:`~graphprune.SoftEdges`).
        ValueError: outputs differ, or the gates get no gradient; names the module where the difference starts, and the
            ways out.
        RuntimeError: a convolution's gates get gradients that are not finite.
    """
    trial = _Trial.of(_few(data), model)
    if not trial.gate.numel():
        return
    fresh, used = independent_copy(model).eval(), independent_copy(model).eval()
    removed, full = trial.removed(fresh), trial.full(used)
    effect = _distance(removed, full, None)
    gate = trial.gate.requires_grad_()
    gated = trial.gated(used, gate)
    error, limit = _distance(removed, gated, trial.keep), _rounding(removed) + _OF_EFFECT * effect
    if not error <= limit:
        raise ValueError(
            f"a gate of 0 is no removed edge in {type(model).__name__}: its outputs are off by {error:.3g}, of the "
            f"{effect:.3g} by which removing these edges changes them. The difference starts in {trial.place(model)}. "
            f"{_WAYS_OUT}"
        )
    _check_gradient(model, gated, gate)


def check_forgets(model: nn.Module, batch: Data) -> None:
    """Make sure that what a network makes of a graph does not depend on the one it saw before.

    Args:
        model: in ``eval()`` mode, as it was made; it is run, and should be a copy.
        batch: a small one.

    Raises:
        ValueError: it keeps something of the first graph, such as a cached adjacency.
    """
    trial = _Trial.of(batch, model)
    other = copy.deepcopy(model)
    expected = trial.removed(other)
    trial.full(model)
    error = _distance(expected, trial.removed(model), None)
    if not error <= _rounding(expected):
        raise ValueError(
            f"{type(model).__name__} keeps something of the first graph that it saw: on graphs with fewer edges its "
            f"outputs are then off by {error:.3g}. Compute what depends on the edges anew in every forward pass"
        )


class _Event(NamedTuple):
    """A module's first argument, or what it returns, in one of its calls."""

    module: str
    call: int
    what: Literal["input", "output"]


class _Trial(NamedTuple):
    """A batch, and half of its edges."""

    batch: Data
    keep: Tensor
    gate: Tensor

    @classmethod
    def of(cls, batch: Data, model: nn.Module) -> _Trial:
        batch = batch.to(next((parameter.device for parameter in model.parameters()), arcs_of(batch).device))
        arcs = arcs_of(batch)
        units = edge_units(arcs, int(batch.num_nodes or 0))
        draws = torch.rand(units.first.numel(), generator=torch.Generator().manual_seed(_SEED))
        stay = torch.ones_like(draws, dtype=torch.bool)
        stay[draws.argsort()[: (draws.numel() + 1) // 2]] = False
        keep = units.spread(stay.to(arcs.device), True)
        return cls(batch, keep, keep.float())

    def full(self, model: nn.Module) -> list[Tensor]:
        """Outputs on the whole graphs."""
        return _outputs(model, lambda: model(self.batch.clone()))

    def removed(self, model: nn.Module) -> list[Tensor]:
        """Outputs on the graphs without half of their edges."""
        return _outputs(model, lambda: model(drop_arcs(self.batch.clone(), self.keep)))

    def gated(self, model: nn.Module, gate: Tensor) -> list[Tensor]:
        """Outputs on the whole graphs with that half gated off."""
        with SoftEdges(model) as soft, torch.enable_grad():
            return _outputs(model, lambda: soft(gate, self.batch.clone()), grad=True)

    def place(self, model: nn.Module) -> str:
        """The first module whose output under gates is not that on the smaller graphs."""
        notes = []
        for run in (self.removed, lambda net: self.gated(net, self.gate.detach())):
            net = independent_copy(model).eval()
            with _noting(net) as noted:
                run(net)
            notes.append(noted)
        for event, expected in notes[0].items():
            found = notes[1].get(event)
            if found is None or not event.module or _distance([expected], [found], self.keep) <= _rounding([expected]):
                continue
            parent = type(model.get_submodule(event.module.rpartition(".")[0])).__name__
            if event.what == "input":
                return f"the forward of {parent} itself, before it calls {event.module!r}"
            return f"the module {event.module!r} ({type(model.get_submodule(event.module)).__name__})"
        return f"the forward of {type(model).__name__} itself, behind all modules that it calls"


def _few(data: Any) -> Data:
    if not isinstance(data, Data | PackedGraphs):
        data = getattr(data, "train", data)
    if isinstance(data, PackedGraphs):
        with_edges = data.edge_count.nonzero().flatten()
        return data.batch(with_edges[:_GRAPHS])
    if not isinstance(data, Data):
        raise TypeError(
            f"data must be a graph, a batch, packed graphs or a data set with a train split, got {type(data).__name__}"
        )
    return data


def _outputs(model: nn.Module, run: Callable[[], Any], grad: bool = False) -> list[Tensor]:
    """All floating tensors that a run returns; what it draws is drawn alike in every run, and nothing is recomputed."""
    forked = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with forked, torch.set_grad_enabled(grad), once(model, ()):
        torch.manual_seed(_SEED)
        found = [leaf for leaf in tree_leaves(run()) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return found


def _distance(expected: list[Tensor], found: list[Tensor], keep: Tensor | None) -> float:
    """The largest difference; values of arcs are compared where they are kept. Infinite where NaN is in one alone."""
    most = 0.0
    for one, other in zip(expected, found, strict=True):
        if keep is not None and one.shape != other.shape and len(other) == keep.numel():
            other = other[keep]
        if one.shape != other.shape:
            return float("inf")
        if one.numel():
            gap = (one.detach().double() - other.detach().double()).abs()
            gap = gap.masked_fill((one == other) | (one.isnan() & other.isnan()), 0.0)
            most = max(most, float(gap.nan_to_num(nan=float("inf")).max()))
    return most


def _rounding(outputs: list[Tensor]) -> float:
    sizes = [
        torch.finfo(out.dtype).eps ** 0.5 * float(out.detach().double().nan_to_num().abs().max())
        for out in outputs
        if out.numel()
    ]
    return _ROUNDING * max(sizes, default=0.0)


def _check_gradient(model: nn.Module, outputs: list[Tensor], gate: Tensor) -> None:
    """The gates of all edges together: a predictor learns from nothing else."""
    with torch.enable_grad():
        terms = [out.sum() for out in outputs if out.requires_grad]
        found = torch.autograd.grad(terms, [gate], allow_unused=True)[0] if terms else None
    if found is None:
        raise ValueError(
            f"the gates of the edges get no gradient from {type(model).__name__}, so that nothing can learn from them: "
            "let its outputs depend on edge_gate by operations that have derivatives (nothing detached or rounded)"
        )


@contextmanager
def _noting(model: nn.Module) -> Iterator[dict[_Event, Tensor]]:
    """What modules are given and return, in the order of these events; not those inside of convolutions."""
    outer = [part for _, part, _ in parts(model) if not gates_itself(part)]
    outer += [module for module in model.modules() if isinstance(module, MessagePassing)]
    inside = {inner for part in outer for inner in part.modules() if inner is not part}
    noted: dict[_Event, Tensor] = {}
    calls: Counter[str] = Counter()

    def note(name: str, what: Literal["input", "output"], value: Any) -> None:
        calls[name] += what == "input"
        if isinstance(value, Tensor) and value.is_floating_point():
            noted[_Event(name, calls[name], what)] = value.detach().clone()

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if module not in inside:
                for hook in (
                    module.register_forward_pre_hook(
                        lambda _, args, name=name: note(name, "input", next(iter(args), 0))
                    ),
                    module.register_forward_hook(lambda _, args, out, name=name: note(name, "output", out)),
                ):
                    hooks.callback(hook.remove)
        yield noted
