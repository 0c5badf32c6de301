"""Attention distillation: where a network looks, by the strength of its activations, is to stay where its teacher does.

Zagoruyko & Komodakis, "Paying More Attention to Attention" (ICLR 2017): the activations A of a layer give the map
``Q = sum over channels of |A_c|^2``, which has a place for each pixel whatever the number of channels. The loss is the
mean square of what the maps of two networks differ by, each of norm 1 in every image; the mean is over images and
pixels, as in the authors' code. In graphs the places are nodes, and the maps have norm 1 in every graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune.graphs.segments import graph_of_nodes
from graphprune.measure.modes import evaluating
from graphprune.methods.core.share import step_share

GRAPH_STAGES = ("convs.*",)  # the convolutions of this package's networks over graphs


def attention_map(activations: Tensor, given: Any) -> Tensor:
    """Where a layer looks.

    Args:
        activations: ``(B, C, ...)`` of images, ``(N, C)`` of graphs.
        given: what the network was called with; graphs are told by it.

    Returns:
        ``(B, places)`` with norm 1 in each image, ``(N,)`` with norm 1 in each graph (0 where nothing is active).
    """
    squares = activations.float().square().sum(1)
    if not isinstance(given, Data):
        return functional.normalize(squares.flatten(1))
    graph, ptr = graph_of_nodes(given, len(squares), squares.device)
    norms = squares.new_zeros(len(ptr) - 1).index_add(0, graph, squares.square())
    return squares * norms.clamp(min=torch.finfo(norms.dtype).tiny).rsqrt()[graph]


def attention_stages(model: nn.Module, given: Any, patterns: Sequence[str] = ()) -> tuple[str, ...]:
    """The modules whose outputs are compared.

    Args:
        model: runs once in ``eval()`` mode.
        given: what it is called with: images or a batch of graphs.
        patterns: of names, one fnmatch pattern for each level, such as ``stages.*``. Without any: of networks over
            images the last module before each change of height and width, and the last one of all; of networks over
            graphs ``convs.*``.

    Raises:
        ValueError: a pattern that matches no module, or a module whose output has no map over pixels or nodes.
    """
    graphs = isinstance(given, Data)
    patterns = patterns or (GRAPH_STAGES if graphs else ())
    names = [name for name, _ in model.named_modules() if name]
    with Taps(model, names) as taps, evaluating(model), torch.no_grad():
        model(given)
    if not patterns:
        ends = {tuple(out.shape[2:]): name for name, out in taps.seen.items() if _has_map(out, given)}
        if not ends:
            raise ValueError(f"no module of {_called(model)} gives maps over pixels: {_ADVICE}")
        return tuple(ends.values())
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matched = [name for name in names if _matches(name, pattern)]
        if not matched:
            raise ValueError(f"stages: {pattern!r} matches no module of {_called(model)}: {_ADVICE}")
        chosen |= dict.fromkeys(matched)
    if flat := [name for name in chosen if name not in taps.seen or not _has_map(taps.seen[name], given)]:
        raise ValueError(f"stages: no maps over {'nodes' if graphs else 'pixels'} come out of {flat}: {_ADVICE}")
    return tuple(chosen)


_ADVICE = "name other stages, or set distillation=0"


class Taps:
    """Keeps what modules returned in the last forward pass (a context manager; the order is that of the calls)."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self.seen: dict[str, Any] = {}
        self._names = {model.get_submodule(name): name for name in names}
        self._hooks = [module.register_forward_hook(self._keep) for module in self._names]

    def taken(self) -> Mapping[str, Any]:
        """What was seen, which is then forgotten."""
        seen, self.seen = self.seen, {}
        return seen

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, module: nn.Module, _args: Any, out: Any) -> None:
        name = self._names[module]
        self.seen.pop(name, None)
        self.seen[name] = out


class Distillation:
    """The attention loss of a network beside its teacher's, which is held in ``eval()`` mode, on its device."""

    def __init__(self, student: nn.Module, teacher: nn.Module, stages: Sequence[str], weight: float) -> None:
        self._teacher, self.weight = teacher.eval().requires_grad_(False), weight
        self._given: Any = None
        self._mine, self._theirs = Taps(student, stages), Taps(teacher, stages)

    def loss(self, given: Any) -> Tensor:
        """The weighed loss after a forward pass of the student; ``given`` is what it had: it may work in place."""
        mine = self._mine.taken()
        device = next(iter(mine.values())).device
        with torch.no_grad():
            self._teacher.to(device)(given.clone())
        theirs = self._theirs.taken()
        terms = [
            functional.mse_loss(attention_map(mine[name], given), attention_map(theirs[name], given)) for name in mine
        ]
        return self.weight * torch.stack(terms).sum()

    def follow(self, student: nn.Module) -> None:
        """Add the loss to whatever a training loop makes of the student's outputs, in each step."""
        student.register_forward_pre_hook(self._before)
        student.register_forward_hook(self._behind)

    def _before(self, student: nn.Module, args: tuple[Any, ...]) -> None:
        self._given = args[0].clone() if student.training and torch.is_grad_enabled() else None

    def _behind(self, student: nn.Module, _args: tuple[Any, ...], out: Tensor) -> Tensor:
        given, self._given = self._given, None
        if not (student.training and out.requires_grad):
            self._mine.taken()
            return out
        kind = out.device.type
        if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16:
            raise RuntimeError("distillation cannot follow a scaled loss, as float16 needs it: use bfloat16")
        return _Added.apply(out, self.loss(given))  # type: ignore[no-any-return, no-untyped-call]


class _Added(torch.autograd.Function):
    """Outputs as they are, whose gradient is that of the loop's loss and of another one.

    So it works in any training loop, with any loss that is a mean.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, loss: Tensor) -> Tensor:
        """The outputs."""
        ctx.weight = torch.full_like(loss, step_share())
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """The loop's gradient, and 1 for the other loss; of a batch that is part of a step, its share."""
        return grads[0], ctx.weight


def _has_map(out: Any, given: Any) -> bool:
    if not isinstance(out, Tensor):
        return False
    if isinstance(given, Data):
        return out.dim() == 2 and len(out) == given.num_nodes
    return out.dim() > 2 and out[0, 0].numel() > 1


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _called(model: nn.Module) -> str:
    return type(model).__name__
