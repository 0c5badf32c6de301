"""Which weights give what leaves a network: its heads, of which nothing is to be pruned by default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

HEADS = "_graphprune_heads"
"""Attribute of a module: the own names of its parameters that are heads."""

_SCALING = ("Mul", "Div")  # by numbers, perhaps: their inputs may be a weight and a constant


def heads_of(model: nn.Module, output: Any) -> tuple[str, ...]:
    """The dotted names of a model's heads: the matrices behind which no other one acts on its way to the output.

    Read off the graph of autograd: of every path from the output to a matrix, the first product that one of them takes
    part in ends it. A classifier's last linear map is found, and so are all maps that are summed into the logits.

    Args:
        model: that ran; a matrix that its modules share comes under its first name, frozen ones cannot be seen.
        output: what it returned with gradients on: a tensor, or tensors in tuples, lists or dicts. None has a head
            without a gradient.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.dim() > 1}
    starts, readers = autograd_nodes(output)
    uses: dict[Any, set[str]] = {}
    for node in readers:
        name = names.get(id(getattr(node, "variable", None)))
        if name is not None:
            for use in _uses(node, readers):
                uses.setdefault(use, set()).add(name)
    found, seen, left = set[str](), set(), list(starts)
    while left:
        node = left.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in uses:
            found |= uses[node]
        else:
            left.extend(_inputs(node))
    return tuple(name for name in names.values() if name in found)


def autograd_nodes(output: Any) -> tuple[list[Any], dict[Any, list[Any]]]:
    """The nodes of autograd that give an output, and all of its graph, each with those that read what it gives."""
    starts = [leaf.grad_fn for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    readers: dict[Any, list[Any]] = {node: [] for node in starts}
    left = list(readers)
    while left:
        node = left.pop()
        for source in _inputs(node):
            if source not in readers:
                readers[source] = []
                left.append(source)
            readers[source].append(node)
    return starts, readers


def _uses(node: Any, readers: Mapping[Any, list[Any]]) -> Iterator[Any]:
    """Where a parameter meets something else: behind transpositions, casts and all else that only it goes through."""
    for reader in readers[node]:
        alone = len(reader.next_functions) == 1 or reader.name().startswith(_SCALING)
        if alone and len(list(_inputs(reader))) == 1 and readers[reader]:
            yield from _uses(reader, readers)
        else:
            yield reader


def _inputs(node: Any) -> Iterator[Any]:
    return (source for source, _ in node.next_functions if source is not None)


def keep_heads_(model: nn.Module, names: Iterable[str]) -> None:
    """Have :func:`~graphprune.masks.prunable` protect these parameters, in this model and in its copies."""
    for name in names:
        module_name, _, own = name.rpartition(".")
        module = model.get_submodule(module_name)
        setattr(module, HEADS, frozenset({own, *getattr(module, HEADS, ())}))
