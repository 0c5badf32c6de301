"""From a list of graphs to flat tensors: to which level each attribute belongs, by PyG's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData

from graphprune.graphs.attributes import (
    check_shifts,
    check_single,
    common_class,
    entries,
    goes_elsewhere,
    of_edges,
    shift,
    without_arcs,
)
from graphprune.graphs.given import with_tensors
from graphprune.graphs.joining import Joining
from graphprune.graphs.sums import EMPTY


def flatten(graphs: Sequence[Data] | Dataset[Data]) -> dict[str, Any]:
    """The arguments of :class:`~graphprune.graphs.PackedGraphs` for these graphs.

    Raises:
        ValueError: no graphs, or an attribute that cannot be packed; names the graph and the attribute.
        TypeError: something that is no ``Data``, or no list of it, a data set of several splits, or features that are
            no array of numbers.
    """
    if hasattr(graphs, "splits"):
        raise TypeError(f"a {type(graphs).__name__} has three splits: give one of them, such as data.test")
    if isinstance(graphs, BaseData | Mapping) or not (hasattr(graphs, "__len__") and hasattr(graphs, "__getitem__")):
        raise TypeError(f"expected a list of graphs, got a {type(graphs).__name__}")
    items = [with_tensors(graphs[number], f"graph {number}: ") for number in range(len(graphs))]  # type: ignore[arg-type]
    if not items:
        raise ValueError("cannot pack an empty sequence of graphs")
    kind, held = common_class(items), [item.to_dict() for item in items]
    for number, (item, mine) in enumerate(zip(items, held, strict=True)):
        _check(item, mine, f"graph {number}")
    nodes = torch.tensor([item.num_nodes or 0 for item in items])
    edges = torch.tensor([mine["edge_index"].size(1) for mine in held])
    stores: dict[str, dict[str, Any]] = {"node": {}, "edge": {}, "graph": {}, "objects": {}}
    dims: dict[str, int | None] = {}
    shifts: dict[str, Tensor] = {}
    names = dict.fromkeys(chain.from_iterable(held))
    indexed = any("index" in name for name in names if name != "edge_index")
    for name in names:
        if name in ("edge_index", "num_nodes", "num_edges"):
            continue
        values = _values(name, held)
        if isinstance(values[0], Tensor | int | float):
            dim, by = items[0].__cat_dim__(name, values[0]), _shifts(name, items, values)
            columns = values[0].dim() if isinstance(values[0], Tensor) else 0
            if dim is None or (columns > 1 and dim % columns):
                dims[name] = dim
            if by is not None:
                shifts[name] = by
        elsewhere = indexed and of_edges(name) and any(goes_elsewhere(item, name) for item in items)
        level, packed = _level(name, items[0], values, nodes, edges, elsewhere)
        stores[level][name] = packed
    index = torch.cat([mine["edge_index"] for mine in held], dim=1)
    joining = Joining(kind, dims, shifts)
    return {"num_nodes": nodes, "num_edges": edges, "edge_index": index, **stores, "joining": joining}


def _check(item: Data, held: Mapping[str, Any], where: str) -> None:
    """Raise ValueError for a graph without arcs to read, or whose arcs an attribute repeats or counts."""
    if held.get("edge_index") is None:
        raise ValueError(f"{where} has no edge_index; give graphs without edges a (2, 0) tensor")
    check_edge_index(held["edge_index"], f"{where}: ")
    try:
        check_single(item)
        if type(item).__inc__ is not Data.__inc__:
            check_shifts(item, without_arcs(item))
            nodes = item.num_nodes or 0
            if not torch.equal(shift(item, "edge_index", item.edge_index), torch.tensor(nodes)):
                raise ValueError(f"edge_index is not shifted by the number of nodes, {nodes}, in a batch (__inc__)")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _values(name: str, held: Sequence[Mapping[str, Any]]) -> list[Any]:
    values = [mine.get(name) for mine in held]
    missing = [number for number, value in enumerate(values) if value is None]
    if missing:
        raise ValueError(f"graph {missing[0]} has no attribute {name!r} that other graphs have")
    return values


def _shifts(name: str, items: Sequence[Data], values: Sequence[Any]) -> Tensor | None:
    """By how much each graph shifts the values of those after it; None of an attribute that is not shifted."""
    if type(items[0]).__inc__ is Data.__inc__ and not indexes(name):
        return None
    by = [shift(item, name, value) for item, value in zip(items, values, strict=True)]
    if any(one.numel() != 1 for one in by):
        raise ValueError(f"attribute {name!r} is shifted by several numbers at once (__inc__), which cannot be packed")
    shifts = torch.stack([one.reshape(()) for one in by])
    return shifts if indexes(name) or bool(shifts.any()) else None


def check_edge_index(edge_index: Tensor, where: str = "") -> None:
    """Raise ValueError, beginning with ``where``, if this is no ``edge_index``."""
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        shape = tuple(edge_index.shape)
        raise ValueError(f"{where}edge_index must be int64 of shape (2, E), got {edge_index.dtype} {shape}")


def check_edge_weight(weight: Any, arcs: int, where: Callable[[int], str]) -> None:
    """Make sure that edge weights are numbers that a degree can be summed from.

    Args:
        weight: of a graph, or of many one after the other.
        arcs: how many there are.
        where: what an error about the arc of this number begins with; -1: about all of them.

    Raises:
        TypeError: no float tensor.
        ValueError: another shape, or a weight that is NaN, infinite, negative, or so small that degrees vanish.
    """
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        got = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise TypeError(f"{where(-1)}edge_weight must be a float tensor, got {got}")
    if weight.shape != (arcs,):
        raise ValueError(
            f"{where(-1)}edge_weight has shape {tuple(weight.shape)}, expected ({arcs},), a number an arc; several of "
            "them are edge_attr"
        )
    wrong = ~weight.isfinite() | (weight < 0) | ((weight > 0) & (weight < EMPTY))
    if bool(wrong.any()):
        arc = int(wrong.nonzero()[0])
        raise ValueError(
            f"{where(arc)}edge_weight is {float(weight[arc]):g}, expected 0 or a finite number from {EMPTY:g} on, "
            "which degrees can be summed from; signed values are edge_attr"
        )


def indexes(name: str) -> bool:
    """Whether an attribute holds node numbers by its name, which PyG shifts in a batch."""
    return "index" in name or name == "face"


def check_name(name: str, edges: bool, shifted: bool) -> None:
    """Raise ValueError for a name by which PyG would shift values that are not, or take edges' for nodes'."""
    if "batch" in name or name == "ptr" or (indexes(name) and not shifted):
        raise ValueError(f"attribute {name!r} holds indices by its name, which cannot be packed: rename or remove it")
    if edges and not of_edges(name):
        raise ValueError(f"edge attribute {name!r} needs 'edge' in its name, or PyG takes it for one of the nodes")


def _nested(value: Any) -> bool:
    """Whether PyG would look inside for tensors."""
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(torch.is_tensor, value)))


def _level(name: str, first: Data, values: list[Any], nodes: Tensor, edges: Tensor, elsewhere: bool) -> tuple[str, Any]:
    """To which level an attribute belongs, and its values packed; not to the edges if it goes ``elsewhere``."""
    if all(isinstance(value, int | float) for value in values):
        return "graph", torch.tensor(values)
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors and not any(_nested(value) for value in values):
        _check_objects(name, first.__cat_dim__(name, values[0]), values, edges)
        return "objects", values
    dim = first.__cat_dim__(name, values[0])
    if len(tensors) == len(values) and all(value.layout == torch.strided for value in tensors) and _fits(dim, tensors):
        tensors = [_rows(value, dim) for value in tensors]
    alike = {(value.shape[1:], value.layout) for value in tensors}
    if len(tensors) < len(values) or alike != {(tensors[0].shape[1:], torch.strided)}:
        raise ValueError(f"attribute {name!r} is not a dense tensor with the same columns in every graph")
    sizes = torch.tensor([value.size(0) for value in tensors])
    rows = {"node": nodes, "edge": edges, "graph": torch.ones_like(nodes)}
    # PyG's rule: an attribute of the edges has "edge" in its name. Labels are the graph's wherever they can be.
    order: tuple[str, ...] = ("graph", "node") if name == "y" else ("node", "graph")
    if of_edges(name):
        order = ("graph",) if elsewhere else ("edge", "graph")
    if dim is None:
        order = ("graph",)
    for level in order:
        if torch.equal(sizes, rows[level]):
            return level, torch.cat(tensors)
    lacks = f"neither one row a {order[0]} nor one row a {order[1]}" if len(order) > 1 else f"not one row a {order[0]}"
    raise ValueError(
        f"attribute {name!r} has {lacks} in every graph (shape "
        f"{tuple(values[0].shape)} in graph 0); an attribute of the edges needs 'edge' in its name, one of the graph "
        "the shape (1, ...)"
    )


def _fits(dim: Any, values: Sequence[Tensor]) -> bool:
    return dim is None or (isinstance(dim, int) and all(not v.dim() or -v.dim() <= dim < v.dim() for v in values))


def _rows(value: Tensor, dim: int | None) -> Tensor:
    """The entries along a dimension, or the one of a new dimension, as rows."""
    if dim is None or value.dim() == 0:
        return value[None]
    return value if dim == 0 else value.movedim(dim, 0)


def _check_objects(name: str, dim: Any, values: Sequence[Any], edges: Tensor) -> None:
    """Raise ValueError for lists or arrays with an entry an arc: by their name, or in graphs of different sizes."""
    sizes = [entries(value, dim if isinstance(dim, int) else 0) for value in values]
    told = int(edges.max()) > 0 if of_edges(name) else len(set(sizes)) > 1
    if told and sizes == edges.tolist():
        raise ValueError(
            f"attribute {name!r} is a {type(values[0]).__name__} with an entry an arc in every graph ({sizes[0]} in "
            "graph 0), which would keep those of pruned arcs: make it a tensor with 'edge' in its name, or remove it"
        )
