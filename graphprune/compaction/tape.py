"""Running a model once and noting, operation by operation, which positions belong together and what never changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphprune.compaction.calls import located
from graphprune.compaction.constants import Info, Norm, Read, nowhere, touched_by, unknown, zeros
from graphprune.compaction.dims import Dims, Ints, Label
from graphprune.compaction.layers import named_tensors
from graphprune.compaction.sizes import Sizes
from graphprune.graphs.kinds import each_node_itself
from graphprune.measure.modes import as_it_was


@dataclass(eq=False)
class Op:
    """One call of an operation.

    Attributes:
        func: the operation.
        name: its name without the mark of operations in place.
        given: its arguments by name, with defaults.
        tensors: those among the arguments.
        infos: what is known of them.
        out: its first result.
        before: of an operation in place, where its first argument was 0 for every input.
    """

    func: Any
    name: str
    given: dict[str, Any]
    tensors: list[Tensor]
    infos: list[Info]
    out: Tensor
    before: Tensor | None = None

    def again(self, first: Tensor) -> Any:
        """The same operation on another first argument."""
        return self.func(**(self.given | {next(iter(self.given)): first}))


# What is linear in its first argument, or only arranges it.
LINEAR = """
    view _unsafe_view unsqueeze squeeze t permute transpose expand select slice index_select index clone detach alias
    neg mul div sum mean mm bmm
"""

OpHandler = Callable[["Tape", Op], Info | list[Info]]
HANDLERS: dict[str, OpHandler] = {}


def handles(names: str) -> Callable[[OpHandler], OpHandler]:
    """Let a function handle these operations, named without the mark of those in place; any other is a barrier."""

    def register(handler: OpHandler) -> OpHandler:
        HANDLERS.update(dict.fromkeys(names.split(), handler))
        return handler

    return register


class Tape(TorchDispatchMode):
    """Watches the operations of one forward pass in ``eval()`` mode without gradients.

    Args:
        model: each index of each dimension of its parameters and buffers gets a variable.
        caution: which sizes the model's code may have written down: 0 none, 1 those by which it splits and pads
            dimensions, 2 those of all reshaped, repeated and new dimensions as well, and whatever is seen to be written
            down. They stay what they are.

    Attributes:
        dims: variables and their equations.
        own: what is known of each parameter and buffer.
        reads: all sums over channels.
        norms: all batch norms.
        barriers: operations that need all of a dimension, with its variables.
        makes: products with what comes from parameters: their names, its outer dimension and the one summed over.
        factors: numbers that tensors are multiplied with or divided by: the operation, the number, and the tensor.
        sizes: which sizes the model's code has written down.
    """

    def __init__(self, model: nn.Module, *, caution: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.caution, self.dims = caution, Dims()
        self.own: dict[str, Info] = {}
        self.reads: list[Read] = []
        self.norms: list[Norm] = []
        self.barriers: list[tuple[str, Ints]] = []
        self.makes: list[tuple[frozenset[str], Ints, Ints]] = []
        self.factors: list[tuple[str, float, Info]] = []
        self._infos: dict[int, Info] = {}
        self._alive: list[Tensor] = []  # so that no id is given twice
        self._stored: dict[int, list[tuple[Tensor, Info]]] = {}
        self.sizes = Sizes(lambda tensor: info.labels if (info := self._infos.get(id(tensor))) else None)
        for name, tensor in named_tensors(model):
            if id(tensor) not in self._infos:
                labels: list[Label] = [self.dims.fresh(size) for size in tensor.shape]
                self._enter(tensor, Info(labels, _all(tensor), static=True, parameter=name, sources=frozenset([name])))
            self.own[name] = self._infos[id(tensor)]

    def follow(self, model: nn.Module, example: Any) -> Any:
        """The output of the model on a copy of an example, an argument or a tuple of them; the tape is finished then.

        The model, and torch's state of randomness, are left as they are.
        """
        arguments = copy.deepcopy(example if isinstance(example, tuple) else (example,))
        kept = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
        with (
            kept,
            self.sizes.written(model),
            as_it_was(model),
            torch.no_grad(),
            each_node_itself(),
            located(model, self.sizes),
            self,
        ):
            output = model(*arguments)
        self._finish(output)
        return output

    def _finish(self, output: Any) -> None:
        """Keep what leaves the model, and the parameters that it does not use."""
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                info = self._info(tensor)
                info.uses += 1
                self.dims.pin(*info.labels)
        for info in self.own.values():
            if not info.uses:
                self.dims.pin(*info.labels)
        if self.caution > 1:
            written = list(self.sizes.dims(self.own))
            self.barriers += written
            self.dims.pin(*(label for _, label in written))

    def aligned(self, op: Op, tensors: Sequence[tuple[Tensor, Info]]) -> list[Label]:
        """Labels of what broadcasts these tensors to the shape of the result."""
        labels: list[Label] = []
        for dim in range(-op.out.ndim, 0):
            along: list[Label] = []
            for tensor, info in tensors:
                if tensor.ndim >= -dim:
                    if tensor.shape[dim] == op.out.shape[dim]:
                        along.append(info.labels[dim])
                    else:
                        self.dims.pin(info.labels[dim])
            labels.append(self.dims.same(along))
        return labels

    def size(self, size: int) -> Label:
        """A dimension that code has made, as large as its readers need."""
        return None if self.caution > 1 else self.dims.fresh(size)

    def keep(self, op: Op, *labels: Label) -> None:
        """An operation reads all of these."""
        self.barriers += [(op.name, label) for label in labels if label is not None]
        self.dims.pin(*labels)

    def barrier(self, op: Op) -> Info:
        """Nothing is known of the operation: it reads all of its arguments."""
        self.keep(op, *(label for info in op.infos for label in info.labels))
        return unknown(op.out)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(_arguments(func, args, kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        infos = [self._info(tensor) for tensor in tensors]
        in_place = func._schema.is_mutable and tensors
        before = zeros(tensors[0], infos[0]).clone() if in_place else None
        result = func(*args, **(kwargs or {}))
        if not _name(func).startswith("new_"):  # which ask for the kind of tensor alone
            for info in infos:
                info.uses += 1
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)] or [torch.empty(0)]
        self._note(Op(func, _name(func), given, tensors, infos, outputs[0], before), outputs)
        return result

    def _note(self, op: Op, outputs: list[Tensor]) -> None:
        strided = all(tensor.layout == torch.strided for tensor in outputs)
        handler = HANDLERS.get(op.name) if op.func.namespace == "aten" and strided else None
        try:
            made = (handler or Tape.barrier)(self, op)
        except Exception:  # arguments that the handler does not expect
            made = self.barrier(op)
        infos = made if isinstance(made, list) else [made, *(_beside(made, op.out, tensor) for tensor in outputs[1:])]
        static = handler is not None and bool(op.infos) and all(info.static for info in op.infos)
        self._linear(op, infos[0])
        if op.func._schema.is_mutable:
            for tensor, info in zip(outputs, infos, strict=True):
                self._written(tensor, info)
        for tensor, info in zip(outputs, infos, strict=True):
            if static:
                info.static, info.fixed, info.shares = True, _all(tensor), None
            if static or (op.name in LINEAR.split() and op.infos):
                info.sources = frozenset[str]().union(*(each.sources for each in op.infos))
            self._enter(tensor, info)

    def _linear(self, op: Op, made: Info) -> None:
        """Note which layer's result something is linear in, and the numbers that it is multiplied with."""
        if op.name not in LINEAR.split() or op.func._schema.is_mutable:
            return
        number = op.given.get("other")
        if isinstance(number, int | float):
            self.factors.append((op.name, float(number), op.infos[0]))
        first = op.infos if op.name == "mul" else op.infos[:1]
        source = next((info for info in first if info.product is not None), None)
        if source is not None:
            made.product, made.through = source.product, (source, *source.through)

    def _written(self, tensor: Tensor, info: Info) -> None:
        """Memory has new values: whatever else looks at it has too, and keeps its labels."""
        before = self._info(tensor).labels
        lengths = [
            {len(label) for label in pair if label is not None} for pair in zip(before, info.labels, strict=False)
        ]
        if len(before) == tensor.ndim and all(len(known) < 2 for known in lengths):
            info.labels = [self.dims.same(pair) for pair in zip(before, info.labels, strict=True)]
        else:  # it had another shape
            self.dims.pin(*before, *info.labels)
        for view, other in self._stored.get(_storage(tensor), []):
            touched = touched_by(tensor, view)  # of another shape now, if an operation in place has turned it
            other.fixed = other.fixed & ~touched if touched.shape == other.fixed.shape else nowhere(other.fixed)
            if touched.any():
                other.shares, other.static, other.sources = None, False, frozenset()

    def _info(self, tensor: Tensor) -> Info:
        if id(tensor) not in self._infos:
            # An input, a number, or another tensor object on the memory of one that is known.
            for _, info in self._stored.get(_storage(tensor), []):
                self.dims.pin(*info.labels)
            self._enter(tensor, unknown(tensor))
        return self._infos[id(tensor)]

    def _enter(self, tensor: Tensor, info: Info) -> None:
        self._infos[id(tensor)] = info
        self._alive.append(tensor)
        if place := _storage(tensor):
            self._stored.setdefault(place, []).append((tensor, info))


def recorded(model: nn.Module, example: Any, caution: int = 0) -> tuple[Tape, Any]:
    """Run a model in ``eval()`` mode on a copy of an example; the finished tape and the output.

    Args:
        model: in ``eval()`` mode.
        example: an argument of its forward pass, or a tuple of them.
        caution: see :class:`Tape`.
    """
    tape = Tape(model, caution=caution)
    return tape, tape.follow(model, example)


def _beside(info: Info, out: Tensor, other: Tensor) -> Info:
    """A further result, such as the places of maxima."""
    return Info(list(info.labels), nowhere(other)) if other.shape == out.shape else unknown(other)


def _all(tensor: Tensor) -> Tensor:
    return torch.ones((), dtype=torch.bool, device=tensor.device).expand(tensor.shape)


def _arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, argument in enumerate(func._schema.arguments):
        default = args[place] if place < len(args) else argument.default_value
        yield argument.name, kwargs.get(argument.name, default)


def _name(func: Any) -> str:
    name: str = func._schema.name.rpartition("::")[2]
    return name.removesuffix("_") if func._schema.is_mutable else name


def _storage(tensor: Tensor) -> int:
    """Where the tensor's memory begins; 0 if it has none."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0
