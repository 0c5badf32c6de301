"""Running a model once and noting, operation by operation, which positions belong together and what never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphprune.compaction.dims import Ints, Label, Wires


@dataclass(eq=False)
class Info:
    """What is known of one tensor.

    Attributes:
        labels: for each dimension the variables of its indices.
        fixed: which elements have the value that they have for every input; bool, the tensor's shape.
        shares: of a matrix, what each column is of a vector that these columns share, float64 (NaN: not known); None:
            no column is known.
        static: computed from parameters and buffers alone, so that all of it is fixed.
        parameter: the parameter or buffer that it is, or of which it is a transposed view.
        product: the parameter that is the weight of the linear map or convolution whose result it is.
        uses: operations that read it.
    """

    labels: list[Label]
    fixed: Tensor
    shares: Tensor | None = None
    static: bool = False
    parameter: str | None = None
    product: str | None = None
    uses: int = 0


@dataclass(frozen=True, eq=False)
class Read:
    """A sum over channels: ``out[i, j] = sum over k of left[i, k] * right[k, j]``, or a convolution.

    Attributes:
        inner: variables of the channels k.
        sides: for each factor the variables that it leads to (of i or j), and a bool matrix of shape ``(those, k)``:
            may it differ from 0 anywhere?
        constant: the value of channel k of the left factor where it is the same for every input and at every position,
            or its share where it is a multiple of a vector that such channels share, NaN elsewhere; float64, ``(k,)``.
        weight: the parameter that is the right factor, if it is one.
        shared: no bias can stand for such channels, but one of them for the others: they are multiples of a vector that
            depends on the input, or positions at the border of a padding see something else.
    """

    inner: Label
    sides: tuple[tuple[Ints, Tensor], ...]
    constant: Tensor
    weight: str | None
    shared: bool = False


@dataclass(frozen=True, eq=False)
class Norm:
    """A batch norm: what it has read, and the name of its running mean."""

    given: Info
    mean: str


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
    """

    func: Any
    name: str
    given: dict[str, Any]
    tensors: list[Tensor]
    infos: list[Info]
    out: Tensor

    def again(self, first: Tensor) -> Any:
        """The same operation on another first argument."""
        return self.func(**(self.given | {next(iter(self.given)): first}))


Rule = Callable[["Tape", Op], Info | list[Info]]


class Tape(TorchDispatchMode):
    """Watches the operations of one forward pass in ``eval()`` mode without gradients.

    Args:
        model: each index of each dimension of its parameters and buffers gets a variable.
        rules: by name of the operation; any other is a barrier.
        caution: which sizes the model's code may have written down: 0 none, 1 those by which it splits and pads
            dimensions, 2 those of all reshaped, repeated and new dimensions as well. They stay what they are.

    Attributes:
        wires: variables and their equations.
        own: what is known of each parameter and buffer.
        reads: all sums over channels.
        norms: all batch norms.
        barriers: operations that need all of a dimension, with its variables.
    """

    def __init__(self, model: nn.Module, rules: dict[str, Rule], *, caution: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rules, self.caution, self.wires = rules, caution, Wires()
        self.own: dict[str, Info] = {}
        self.reads: list[Read] = []
        self.norms: list[Norm] = []
        self.barriers: list[tuple[str, Ints]] = []
        self._infos: dict[int, Info] = {}
        self._alive: list[Tensor] = []  # so that no id is given twice
        self._stored: dict[int, list[Info]] = {}
        for name, tensor in named_tensors(model):
            if id(tensor) not in self._infos:
                labels: list[Label] = [self.wires.fresh(size) for size in tensor.shape]
                self._enter(tensor, Info(labels, _all(tensor), static=True, parameter=name))
            self.own[name] = self._infos[id(tensor)]

    def finish(self, output: Any) -> None:
        """Keep what leaves the model, and the parameters that it does not use."""
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                info = self._info(tensor)
                info.uses += 1
                self.wires.pin(*info.labels)
        for info in self.own.values():
            if not info.uses:
                self.wires.pin(*info.labels)

    def size(self, size: int) -> Label:
        """A dimension that code has made, as large as its readers need."""
        return None if self.caution > 1 else self.wires.fresh(size)

    def keep(self, op: Op, *labels: Label) -> None:
        """An operation reads all of these."""
        self.barriers += [(op.name, label) for label in labels if label is not None]
        self.wires.pin(*labels)

    def barrier(self, op: Op) -> Info:
        """Nothing is known of the operation: it reads all of its arguments."""
        self.keep(op, *(label for info in op.infos for label in info.labels))
        return unknown(op.out)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(_arguments(func, args, kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        infos = [self._info(tensor) for tensor in tensors]
        result = func(*args, **(kwargs or {}))
        for info in infos:
            info.uses += 1
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)] or [torch.empty(0)]
        self._note(Op(func, _name(func), given, tensors, infos, outputs[0]), outputs)
        return result

    def _note(self, op: Op, outputs: list[Tensor]) -> None:
        strided = all(tensor.layout == torch.strided for tensor in outputs)
        rule = self.rules.get(op.name) if op.func.namespace == "aten" and strided else None
        try:
            made = (rule or Tape.barrier)(self, op)
        except (IndexError, RuntimeError, ValueError):  # arguments that the rule does not expect
            made = self.barrier(op)
        infos = made if isinstance(made, list) else [made, *(_beside(made, op.out, tensor) for tensor in outputs[1:])]
        static = rule is not None and bool(op.infos) and all(info.static for info in op.infos)
        if op.func._schema.is_mutable:
            for tensor, info in zip(outputs, infos, strict=True):
                self._written(tensor, info)
        for tensor, info in zip(outputs, infos, strict=True):
            if static:
                info.static, info.fixed, info.shares = True, _all(tensor), None
            self._enter(tensor, info)

    def _written(self, tensor: Tensor, info: Info) -> None:
        """Memory has new values: whatever else looks at it has too, and keeps its labels."""
        before = self._info(tensor).labels
        lengths = [
            {len(label) for label in pair if label is not None} for pair in zip(before, info.labels, strict=False)
        ]
        if len(before) == tensor.ndim and all(len(known) < 2 for known in lengths):
            info.labels = [self.wires.same(pair) for pair in zip(before, info.labels, strict=True)]
        else:  # it had another shape
            self.wires.pin(*before, *info.labels)
        for other in self._stored.get(_storage(tensor), []):
            other.fixed, other.shares, other.static = _none(other.fixed), None, False

    def _info(self, tensor: Tensor) -> Info:
        if id(tensor) not in self._infos:
            # An input, a number, or another tensor object on the memory of one that is known.
            for info in self._stored.get(_storage(tensor), []):
                self.wires.pin(*info.labels)
            self._enter(tensor, unknown(tensor))
        return self._infos[id(tensor)]

    def _enter(self, tensor: Tensor, info: Info) -> None:
        self._infos[id(tensor)] = info
        self._alive.append(tensor)
        if place := _storage(tensor):
            self._stored.setdefault(place, []).append(info)


def unknown(tensor: Tensor) -> Info:
    """A tensor of which nothing may be removed and nothing is known."""
    return Info([None] * tensor.ndim, _none(tensor))


def _beside(info: Info, out: Tensor, other: Tensor) -> Info:
    """A further result, such as the places of maxima."""
    return Info(list(info.labels), _none(other)) if other.shape == out.shape else unknown(other)


def ruled(rule: Rule, names: str) -> dict[str, Rule]:
    """The same rule for all these operations."""
    return dict.fromkeys(names.split(), rule)


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers of a model; shared ones under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _none(tensor: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.bool, device=tensor.device).expand(tensor.shape)


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
