"""Whether a network takes a gate of 0 for a removed edge, and forgets one graph before it sees the next."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData
from torch_geometric.nn import MessagePassing

from graphprune.graphs.attributes import check_graph, in_dtype
from graphprune.graphs.edges import drop_arcs
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import arcs_of, graph_units
from graphprune.graphs.soft.registry import OWN_LAYER, edge_modules, gates_itself, on_trial
from graphprune.graphs.soft.soft import SoftEdges, supports
from graphprune.masks.copies import independent_copy, uncached_
from graphprune.masks.recompute import once

_GRAPHS = 4  # of a data set
_SEED = 0
# Of the outputs' size: more than rounding makes, in single and in double precision.
_ROUNDING = {torch.float64: 1e-6}
_SINGLE = 1e-4
_NOISE = 0.1  # for parameters that start at zero, behind which nothing could be seen

_WAYS_OUT = (
    f"{OWN_LAYER}; or write an adapter (register_soft_edges), or prune edges by a method without gates (Sparsifier, "
    "RandomPruning)"
)


def check_removal(model: nn.Module, data: Any) -> None:
    """Make sure that a gate of 0 equals the graph without the edge, and that gates get gradients.

    Half of the edges of a few graphs are gated off by :class:`~graphprune.SoftEdges`, and physically removed; a copy of
    the network has to give the same in ``eval()`` mode, in double precision where it runs in that. Every gated search
    (ICPG, GICP, UGS, GSAT, PGExplainer) begins with this. Own message passing that passes is gated from then on.

    Args:
        model: called as ``model(batch)``; it is left as it is.
        data: a graph, a batch, any sequence of graphs, or a whole data set, of which a few training graphs are taken.

    Raises:
        TypeError: the network has convolutions that cannot be gated, or none, or is not called so.
        ValueError: outputs differ, or the gates get no gradient; names the module where the difference starts, and the
            ways out.
        RuntimeError: a convolution's gates get gradients that are not finite.
    """
    few = _few(data)
    with on_trial(model) as seen:
        supports(model)  # what cannot be gated is told before anything runs
        seen |= _check_removal(model, few)


def _check_removal(model: nn.Module, batch: Data, precise: bool = True) -> set[str]:
    """The names of the convolutions whose gates were compared with removal."""
    trial, removed = _Trial.begun(batch, model, precise)
    if bool(trial.keep.all()):  # no edges, or none that can go
        return set()
    gate, seen = trial.gate.requires_grad_(), set[str]()
    try:
        gated = trial.gated(trial.model, gate, seen)
    except RuntimeError:  # such as of numbers in single precision that it makes for its gates
        if gate.dtype == torch.float32:
            raise
        return _check_removal(model, batch, precise=False)
    error, gradient = _distance(removed, gated, trial.keep), _gradient(gated, gate)
    if error <= _rounding(removed) and gradient is not None and bool(gradient.any()):
        return seen
    trial, removed = _Trial.begun(batch, model, precise)  # one that has not seen a graph
    effect = _distance(removed, trial.full(copy.deepcopy(trial.model)), trial.keep)
    if not error <= _rounding(removed):
        raise ValueError(
            f"a gate of 0 is no removed edge in {type(model).__name__}: its outputs are off by {error:.3g}, of the "
            f"{effect:.3g} by which removing these edges changes them. The difference starts in {trial.place()}. "
            f"{_WAYS_OUT}"
        )
    if gradient is None or effect > _rounding(removed):  # where edges matter they are not all zero
        raise ValueError(
            f"the gates of the edges get no gradient from {type(model).__name__}, so that nothing can learn from them: "
            "let its outputs depend on edge_gate by operations that have derivatives (nothing detached or rounded)"
        )
    return set()


def check_forgets(model: nn.Module, batch: Data) -> None:
    """Make sure that what a network makes of a graph does not depend on the one it saw before.

    Args:
        model: left as it is.
        batch: a small one.

    Raises:
        ValueError: it keeps something of the first graph, such as a cached adjacency.
    """
    trial, expected = _Trial.begun(batch, model)
    used = trial.model
    trial.full(used)
    told, cause = "", None
    try:
        error = _distance(expected, trial.removed(used), None)
    except (RuntimeError, ValueError, IndexError) as raised:  # such as indices of nodes that are not there
        told, cause, error = f"it then fails ({raised})", raised, inf
    if not error <= _rounding(expected):
        raise ValueError(
            f"{type(model).__name__} keeps something of the first graph that it saw: on graphs with fewer edges "
            f"{told or f'its outputs are then off by {error:.3g}'}. Compute what depends on the edges again in every "
            "forward pass"
        ) from cause


class _Event(NamedTuple):
    """A module's first argument, or what it returns, in one of its calls."""

    module: str
    call: int
    what: Literal["input", "output"]


class _Trial(NamedTuple):
    """A network, a batch, and half of its edges."""

    model: nn.Module
    batch: Data
    keep: Tensor
    gate: Tensor

    @classmethod
    def begun(cls, batch: Data, model: nn.Module, precise: bool = True) -> tuple[_Trial, list[Tensor]]:
        """One that has not seen a graph, and the outputs of its copy on the graphs without half of their edges.

        In double precision, if the network can: norms over nodes that are alike make much of rounding.
        """
        single = cls._of(batch, _seen(model))
        if precise:
            double = cls(
                single.model.double(), in_dtype(single.batch, torch.float64), single.keep, single.gate.double()
            )
            try:
                return double, double.removed(copy.deepcopy(double.model))
            except (RuntimeError, TypeError):  # of what it makes itself, in single precision
                single = cls._of(batch, _seen(model))
        return single, single.removed(copy.deepcopy(single.model))

    @classmethod
    def _of(cls, batch: Data, model: nn.Module) -> _Trial:
        batch = batch.clone().to(next((parameter.device for parameter in model.parameters()), arcs_of(batch).device))
        units = graph_units(batch, "pair")
        draws = torch.rand(units.first.numel(), generator=torch.Generator().manual_seed(_SEED))
        stay = torch.ones_like(draws, dtype=torch.bool)
        stay[draws.argsort()[: (draws.numel() + 1) // 2]] = False
        keep = units.at_arcs(stay.to(units.unit.device), True)
        return cls(model, batch, keep, keep.float())

    def full(self, model: nn.Module) -> list[Tensor]:
        """Outputs on the whole graphs."""
        return _outputs(model, lambda: model(self.batch.clone()))

    def removed(self, model: nn.Module) -> list[Tensor]:
        """Outputs on the graphs without half of their edges."""
        return _outputs(model, lambda: model(drop_arcs(self.batch.clone(), self.keep)))

    def gated(self, model: nn.Module, gate: Tensor, seen: set[str] | None = None) -> list[Tensor]:
        """Outputs on the whole graphs with that half gated off; ``seen`` gets the names of what read its gates."""
        with SoftEdges(model) as soft, torch.enable_grad():
            outputs = _outputs(model, lambda: soft(gate, self.batch.clone()), grad=True)
        if seen is not None:
            seen |= soft.gated
        return outputs

    def place(self) -> str:
        """The first module whose output under gates is not that on the smaller graphs."""
        notes, model = [], self.model
        for run in (self.removed, lambda net: self.gated(net, self.gate.detach())):
            net = copy.deepcopy(model)
            with _noting(net) as noted:
                run(net)
            notes.append(noted)
        for event, expected in notes[0].items():
            found = notes[1].get(event)
            if found is None or not event.module or _distance([expected], [found], self.keep) <= _rounding([expected]):
                continue
            parent = _caller(model, event.module)
            if event.what == "input":
                return f"the forward of {parent} itself, before it calls {event.module!r}"
            return f"the module {event.module!r} ({type(model.get_submodule(event.module)).__name__})"
        return f"the forward of {type(model).__name__} itself, behind all modules that it calls"


def _caller(model: nn.Module, name: str) -> str:
    """The class of the module around another one that has a forward: containers have none."""
    while name:
        name = name.rpartition(".")[0]
        parent = model.get_submodule(name)
        if not isinstance(parent, nn.ModuleList | nn.ModuleDict):
            break
    return type(parent).__name__


def _few(data: Any) -> Data:
    if isinstance(data, Data):
        return data
    if isinstance(data, BaseData):  # of several types of nodes
        check_graph(data)
    graphs = getattr(data, "train", data)
    if not (hasattr(graphs, "__getitem__") and hasattr(graphs, "__len__")):
        raise TypeError(
            f"data must be a graph, a batch, a sequence of graphs or a data set with a train split, got "
            f"{type(data).__name__}"
        )
    packed = PackedGraphs.of(graphs)
    return packed.batch(packed.edge_count.nonzero().flatten()[:_GRAPHS])


def _seen(model: nn.Module) -> nn.Module:
    """A copy without caches, and with noise for zeros: behind a head or a scale of zeros nothing could be seen."""
    made, draw = independent_copy(model).eval(), torch.Generator().manual_seed(_SEED)
    uncached_(made)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.is_floating_point() and not parameter.any():
                noise = _NOISE * torch.randn(parameter.shape, generator=draw)
                parameter.copy_(noise.to(parameter.device))
    return made


def _outputs(model: nn.Module, run: Callable[[], Any], grad: bool = False) -> list[Tensor]:
    """All floating tensors that a run returns; what it draws is drawn alike in every run, and nothing is recomputed."""
    forked = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
    with forked, torch.set_grad_enabled(grad), once(model, ()):
        torch.manual_seed(_SEED)
        found = [leaf for leaf in tree_leaves(run()) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return found


def _distance(expected: list[Tensor], found: list[Tensor], keep: Tensor | None) -> float:
    """The largest difference; values of arcs are compared where they are kept. Infinite where the second is not."""
    most = 0.0
    for one, other in zip(expected, found, strict=True):
        if keep is not None and one.shape != other.shape and len(other) == keep.numel():
            other = other[keep]
        if one.shape != other.shape:
            return float("inf")
        if one.numel():
            gap = (one.detach().double() - other.detach().double()).abs()
            gap = gap.masked_fill(~one.isfinite(), 0.0)  # of a network that breaks down there is nothing to compare
            most = max(most, float(gap.nan_to_num(nan=float("inf")).max()))
    return most


def _rounding(outputs: list[Tensor]) -> float:
    sizes = (
        _ROUNDING.get(out.dtype, _SINGLE) * float(out.detach().double().nan_to_num().abs().max())
        for out in outputs
        if out.numel()
    )
    return max(sizes, default=0.0)


def _gradient(outputs: list[Tensor], gate: Tensor) -> Tensor | None:
    """Of the gates: a predictor learns from nothing else."""
    with torch.enable_grad():
        terms = [out.sum() for out in outputs if out.requires_grad]
        return torch.autograd.grad(terms, [gate], allow_unused=True)[0] if terms else None


@contextmanager
def _noting(model: nn.Module) -> Iterator[dict[_Event, Tensor]]:
    """What modules are given and return, in the order of these events; not those inside of convolutions."""
    outer = [part for _, part, _ in edge_modules(model) if not gates_itself(part)]
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
