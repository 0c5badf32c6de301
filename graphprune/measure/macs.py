"""Counting multiply-accumulates while a network runs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary
from torch_geometric import EdgeIndex
from torch_geometric.data.data import BaseData

from graphprune.graphs import PackedGraphs
from graphprune.graphs.kinds import each_node_itself
from graphprune.measure.modes import evaluating
from graphprune.measure.ops import FORMULAS, Work, is_sparse, left_out, parts, takes_apart


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates: of products, and of sums by an index. One of either is one, whatever its precision.

    Attributes:
        transformation: dense products (those with a dense adjacency matrix too), convolutions, and sparse products with
            weights, such as the sum of a bag of rows of an embedding table.
        aggregation: sums over arcs, arcs (with the self-loops that a convolution adds) times width. A degree, a
            maximum or a softmax's denominator is such a sum too. As executed: this package's GIN with bonds makes each
            message by a sum of two rows, which counts 2 an arc beside the 1 of the sum of messages; PyG's GINEConv adds
            elementwise, which counts nothing.
        readout: sums by any other index, such as those of a graph's nodes.
        nonzero: of ``transformation`` those whose weights are not zero. That is what a mask leaves; a dense product
            executes the others too.
        uncounted: operators on real numbers without a formula, and how often each was called. What they cost
            is missing above.
    """

    transformation: int = 0
    aggregation: int = 0
    readout: int = 0
    nonzero: int = 0
    uncounted: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All that is executed."""
        return self.transformation + self.aggregation + self.readout


def count_macs(model: nn.Module, *inputs: Any) -> Macs:
    """Count the multiply-accumulates of one forward pass, in ``eval()`` mode and without gradients.

    Counted are products and sums by an index, as the kernels that run are asked for them. Elementwise operators,
    norms, softmax, pooling over windows, reductions of whole dimensions, copies and indexing are left out on purpose;
    so the multiplication of a message with its arc's weight is not counted beside the sum of the messages. Every other
    operator on real numbers is named. Compiled parts run uncompiled.

    The weights are the model's parameters and buffers and what is computed of them alone; the arcs what is computed of
    the inputs' ``edge_index`` (of arguments that are tensors: integers of shape ``(2, E)``).

    Args:
        model: is left as it is.
        inputs: of its forward pass, which runs on copies.
    """
    given = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor | BaseData) else leaf, inputs)
    with evaluating(model), torch.no_grad():
        return counted(lambda: model(*given), tensors_of(model), arcs_in(given))


def counted(call: Callable[[], object], weights: Iterable[Tensor], arcs: Iterable[Tensor]) -> Macs:
    """The multiply-accumulates of a call.

    Args:
        call: runs the network.
        weights: whose zeros are told apart.
        arcs: integers that say which nodes are joined.
    """
    counter = _Counter(weights, arcs)
    with _uncompiled(), each_node_itself(), counter:
        call()
    return counter.found


def tensors_of(*modules: nn.Module) -> Iterator[Tensor]:
    """All parameters and buffers."""
    for module in modules:
        yield from module.parameters()
        yield from module.buffers()


def arcs_in(inputs: Iterable[Any]) -> Iterator[Tensor]:
    """The integer tensors of a network's inputs that say which nodes are joined."""
    for given in inputs:
        if isinstance(given, PackedGraphs):
            yield from (given.edge_index, given.edge_count, given.edge_ptr, *given.edge.values())
        elif isinstance(given, BaseData):
            stores = (store.items() for store in given.stores)
            named = (value for store in stores for name, value in store if "edge" in name or "adj" in name)
            yield from (value for value in named if isinstance(value, Tensor))
        elif isinstance(given, Tensor) and (is_sparse(given) or given.dim() == 2 == given.size(0)):
            yield given


def _uncompiled() -> AbstractContextManager[Any]:
    # What has not been imported has compiled nothing.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class _Counter(TorchDispatchMode):
    """Sees every operator below autograd."""

    def __init__(self, weights: Iterable[Tensor], arcs: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._origin = WeakIdKeyDictionary()  # storage -> "weight" or "arcs"
        self._work: Counter[str] = Counter()
        self._uncounted: Counter[str] = Counter()
        for origin, tensors in (("arcs", arcs), ("weight", weights)):
            for tensor in tensors:
                self._mark([tensor.as_tensor() if isinstance(tensor, EdgeIndex) else tensor], origin)

    @property
    def found(self) -> Macs:
        return Macs(**self._work, uncounted=dict(sorted(self._uncounted.items())))

    def weight(self, tensor: Tensor) -> bool:
        return bool(self._origin.get(storage(tensor)) == "weight")

    def arcs(self, tensor: Tensor) -> bool:
        return bool(self._origin.get(storage(tensor)) == "arcs")

    def _mark(self, tensors: Iterable[Tensor], origin: str | None) -> None:
        for tensor in tensors:
            if origin is None:
                self._origin.pop(storage(tensor), None)
            else:
                self._origin[storage(tensor)] = origin

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if takes_apart(types):
            return NotImplemented
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        op = name if name.startswith("__") else name.removesuffix("_")
        if op not in FORMULAS:
            with self:  # under inference_mode() operators arrive that are made of others
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        out = func(*args, **kwargs)
        given, results = _tensors((args, kwargs)), _tensors(out)
        work = FORMULAS[op](args, kwargs, results[0], self) if op in FORMULAS else None
        if work is not None:
            self._add(work)
        elif any(map(_real, given)) and not left_out(func, op):
            self._uncounted[func._schema.name.replace("::", ".")] += 1
        self._follow(given, results)
        return out

    def _add(self, work: Work) -> None:
        self._work[work.kind] += work.macs
        if work.kind == "transformation":
            self._work["nonzero"] += work.nonzero

    def _follow(self, given: list[Tensor], results: list[Tensor]) -> None:
        """What is made of weights alone is a weight; what is made of arcs and holds no real numbers names arcs."""
        if given and all(map(self.weight, given)):
            self._mark(results, "weight")
            return
        by_arcs = any(self.arcs(each) for each in given)
        for each in results:
            self._mark([each], "arcs" if by_arcs and not _real(each) else None)


def storage(tensor: Tensor) -> torch.UntypedStorage:
    """Where a tensor's entries lie; views share it."""
    return parts(tensor)[-1].untyped_storage()


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _real(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized
