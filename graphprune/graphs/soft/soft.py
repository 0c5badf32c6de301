"""Runs a model with a differentiable gate per edge, where a gate of zero equals the graph without it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_geometric import EdgeIndex

from graphprune.graphs.soft.adapters import Handle, arguments, is_readout
from graphprune.graphs.soft.registry import OWN_LAYER, doubt, edge_modules
from graphprune.graphs.soft.running import RUNNING, Gate, check_same
from graphprune.masks import recompute
from graphprune.masks.networks import check_forward


class SoftEdges:
    """Runs a model with one gate per edge, 0 or more, and is differentiable in the gates.

    A gate means removal: with gates of zero and one the output is that of the graph without the gated-off
    edges (degrees, means and softmaxes are normalised again). What it means in between follows from how messages
    are aggregated: docs/convolutions.md has the formulas and the convolutions of torch_geometric for which this is
    proven, under both flows. So gates are relative where a convolution normalises: all gates of a node at 0.5 are
    the same as all at 1 in a mean or in a softmax without loops.

    Message passing of one's own is gated likewise, once `check_removal` has found no fault in it. A module whose
    ``forward`` has a parameter ``edge_gate`` gates itself: it is handed the gates, and nothing inside it is touched.
    What is neither is taught by `register_soft_edges`.

        with SoftEdges(model) as soft:
            out = soft(gate, data)

    Inside the block the model runs only through ``soft``. Leaving it, by an exception too, removes every
    hook; the ``state_dict`` is never touched. Activation checkpointing inside of the model saves no memory while
    ``soft`` runs: what it would compute again in the backward pass would have no gates.

    Args:
        model: called as ``model(data)``. Each of its convolutions must be given ``data.edge_index`` as it is,
            or with its rows swapped.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hooks: ExitStack | None = None
        self._convs: list[tuple[str, nn.Module]] = []
        self._blame: dict[str, _Gradients] = {}  # of the call that is running, by convolution
        self._run: tuple[Tensor, Tensor] | None = None  # gate and edge_index of the call that is running
        self.gated: set[str] = set()  # the convolutions that read their gates in the last call
        self._reads = 0
        self._sorted: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # edges of the call that is running

    def __enter__(self) -> Self:
        """Hook the model.

        Raises:
            TypeError: the model has convolutions that cannot be gated (each is named), or none at all.
            RuntimeError: the block is entered already.
        """
        if self._hooks is not None:
            raise RuntimeError("this SoftEdges is entered already; make another one")
        found = list(edge_modules(self._model))
        if not found:
            raise TypeError(
                f"soft edges found no convolution in {type(self._model).__name__}. {OWN_LAYER}; or write an adapter "
                "for it (register_soft_edges)"
            )
        refused: list[str] = []
        with ExitStack() as hooks:
            for name, module, adapter in found:
                doubts = doubt(module, adapter)
                try:
                    gate = Gate(partial(self._gate, name), self._edges, self._sorted)
                    for handle in (*adapter(module, gate), *self._guard(name, module)):
                        hooks.callback(handle.remove)
                    if doubts:  # after what the adapter has to say
                        raise TypeError(doubts)
                except TypeError as reason:
                    refused.append(f"\n  {name} ({type(module).__name__}): {reason}")
            if refused:
                raise TypeError("soft edges cannot gate these modules:" + "".join(refused))
            self._hooks = hooks.pop_all()
        self._convs = [(name, module) for name, module, _ in found]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove every hook."""
        if self._hooks is not None:
            hooks, self._hooks = self._hooks, None
            hooks.close()

    def __call__(self, gate: Tensor, data: Any) -> Any:
        """Run ``model(data)`` with gated edges.

        Args:
            gate: floating point, (num_edges,), in the order of ``data.edge_index``: 0 is a removed edge, 1 an edge
                as it is.
            data: what the model takes; has ``edge_index``, (2, num_edges).

        Returns:
            What the model returns.

        Raises:
            TypeError: ``gate`` is not a floating-point tensor; ``data.edge_index`` or that of a convolution
                is not a plain tensor (SparseTensor, torch.sparse, EdgeIndex); a convolution gets node
                features in a tuple (bipartite).
            ValueError: ``gate`` has the wrong shape, device or range; a convolution gets other edges than
                ``data.edge_index``.
            RuntimeError: outside the block; under torch.compile; a convolution ran without reading the gate, or
                without gradients that the call has, or none ran; (in the backward pass) a convolution's gradient is not
                finite where that of its output is.
        """
        if torch.compiler.is_compiling():
            raise RuntimeError("torch.compile skips message hooks; call soft edges from uncompiled code")
        if self._hooks is None:
            raise RuntimeError("use it inside its block: with SoftEdges(model) as soft: soft(gate, data)")
        edge_index = _plain(getattr(data, "edge_index", None), "data")
        _check_gate(gate, edge_index)
        self._run, self._reads, self.gated = (gate, edge_index), 0, set()
        version, token = _version(edge_index), RUNNING.set(None)
        # A gradient scaler for float16 counts on gradients that are not finite, and skips their steps.
        half = torch.is_autocast_enabled(gate.device.type) and torch.get_autocast_dtype(gate.device.type) == torch.half
        if gate.requires_grad and torch.is_grad_enabled() and not half:
            self._blame = {name: _Gradients(f"{name} ({type(module).__name__})") for name, module in self._convs}
        try:
            with recompute.once(self._model, self._convs):
                out = self._model(data)
        finally:
            self._run, self._blame = None, {}
            self._sorted.clear()
            RUNNING.reset(token)
        if _version(edge_index) != version:
            raise ValueError(f"{type(self._model).__name__} changed data.edge_index in place: let it make a new one")
        if self._reads == 0 and gate.numel() > 0:
            raise RuntimeError(f"{type(self._model).__name__} ran no convolution, so no edge was gated")
        return out

    def _edges(self) -> Tensor:
        return self._running()[1]

    def _gate(self, name: str) -> Tensor:
        self._reads += 1
        self.gated.add(name)
        gate = self._running()[0]
        return self._blame[name].watched(gate) if name in self._blame else gate

    def _running(self) -> tuple[Tensor, Tensor]:
        if self._run is None:
            raise RuntimeError("inside `with SoftEdges(model) as soft` the model runs only as soft(gate, data)")
        return self._run

    def _guard(self, name: str, module: nn.Module) -> tuple[Handle, Handle]:
        """Hooks around the adapter's, for edges to which the gates do not belong and gates without effect."""
        reads = 0

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal reads
            _, expected = self._running()
            given = arguments(module, args, kwargs)
            readout = is_readout(given, expected)
            if readout:
                self._reads += 1
            elif isinstance(given.get("x"), tuple | list):
                raise TypeError(
                    f"{name}: soft edges do not gate bipartite message passing (x is a tuple); where both are the same "
                    "nodes, pass x once"
                )
            elif "edge_index" in given:
                check_same(_plain(given["edge_index"], name), expected, name)
            reads = self._reads - readout  # which gates no edge

        def after(_module: nn.Module, _args: tuple[Any, ...], out: Any) -> None:
            if name in self._blame:
                self._blame[name].begin(out)
            if self._reads == reads and self._running()[0].numel() > 0:
                raise RuntimeError(
                    f"{name} ({type(module).__name__}) has run without reading the gates, so no edge was gated. "
                    f"{OWN_LAYER}; an adapter reads them in its hooks"
                )

        return (
            module.register_forward_pre_hook(before, with_kwargs=True, prepend=True),
            module.register_forward_hook(after),
        )


class _Gradients:
    """Finds out whether it is in a convolution that a gradient ceases to be finite."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._given: list[Tensor] = []  # sums of the gradients of its outputs

    def begin(self, out: Any) -> None:
        """Look at the gradients of the convolution's outputs."""
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf:  # a parameter would keep the hook
                leaf.register_hook(self._note)

    def watched(self, gate: Tensor) -> Tensor:
        """The gate, whose gradient out of this convolution is looked at."""
        part = gate.view_as(gate)
        part.register_hook(self._check)
        return part

    def _note(self, grad: Tensor | None) -> None:
        if grad is not None:  # as gradients may be that nothing has reached
            self._given.append(grad.sum())

    def _check(self, grad: Tensor | None) -> None:
        if grad is None or bool(grad.sum().isfinite()) or not all(bool(given.isfinite()) for given in self._given):
            return
        raise RuntimeError(
            f"{self._name}: the gradient of its gates is not finite, though that of its output is. Where all edges of "
            "a node are gated off, dividing by the sum of their weights or taking a root of it has no gradient: in its "
            "adapter (or where it uses edge_gate), put a constant in the place of such sums or weights, by "
            "masked_fill, before the convolution sees them"
        )


def supports(model: nn.Module) -> None:
    """Check that `SoftEdges` can gate every convolution of the model.

    Raises:
        TypeError: it cannot; names each convolution, the reason, and how to teach it. Or the model is none, or is not
            called with one batch.
    """
    check_forward(model)
    with SoftEdges(model):
        pass


def _version(edge_index: Tensor) -> int:
    """How often it was changed in place."""
    return 0 if edge_index.is_inference() else edge_index._version


def _plain(edge_index: Any, name: str) -> Tensor:
    """``edge_index`` if it is an ordinary (2, num_edges) tensor."""
    if (
        isinstance(edge_index, Tensor)
        and not isinstance(edge_index, EdgeIndex)
        and edge_index.layout is torch.strided
        and edge_index.dim() == 2
        and edge_index.size(0) == 2
    ):
        return edge_index
    found = type(edge_index).__name__
    if isinstance(edge_index, Tensor) and not isinstance(edge_index, EdgeIndex):
        found = f"a {edge_index.layout} tensor of shape {tuple(edge_index.shape)}"
    raise TypeError(
        f"{name}: soft edges need edge_index as a plain tensor of shape (2, num_edges), not {found}: pass the graph's "
        "edge_index as it is, with no SparseTensor, torch.sparse tensor or EdgeIndex made of it"
    )


def _check_gate(gate: Tensor, edge_index: Tensor) -> None:
    if not (isinstance(gate, Tensor) and gate.is_floating_point()):
        found = gate.dtype if isinstance(gate, Tensor) else type(gate).__name__
        raise TypeError(f"gate must be a floating-point tensor, not {found}")
    if gate.shape != edge_index.shape[1:]:
        raise ValueError(f"gate has shape {tuple(gate.shape)}; data.edge_index needs ({edge_index.size(1)},)")
    if gate.device != edge_index.device:
        raise ValueError(f"gate is on {gate.device} and data.edge_index on {edge_index.device}")
    if not bool(((gate >= 0) & gate.isfinite()).all()):
        raise ValueError("gate has negative values, NaN or infinity")
