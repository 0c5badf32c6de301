"""Which attributes of a graph have an entry an arc, by PyG's rules and those of the graph's own class."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import is_sparse

from graphprune.graphs.pairs import arcs_of

D = TypeVar("D", bound=Data)

# What a batch and a graph know of themselves.
_OWN = ("edge_index", "num_nodes", "num_edges", "batch", "ptr")

# What no network takes for arcs, though it may be square; the last two are counted.
_NO_MATRIX = frozenset(("x", "y", "pos", "encodings", "graphprune_walks", *_OWN))


def check_graph(graph: object, where: str = "") -> None:
    """Raise TypeError, beginning with ``where``, unless this is a homogeneous graph."""
    if not isinstance(graph, Data):
        what = f"is a {type(graph).__name__}" if where else f"got a {type(graph).__name__}"
        raise TypeError(f"{where}{what}, expected a torch_geometric.data.Data")


def check_data(data: object) -> None:
    """Raise TypeError for anything in place of a data set, such as graphs or batches; the text says how to make one."""
    known = hasattr(data, "features") or hasattr(data, "shape")  # of graphs, of images
    if isinstance(data, type | nn.Module) or hasattr(data, "__iter__") or hasattr(data, "__getitem__") or not known:
        what = f"the class {data.__name__} itself" if isinstance(data, type) else f"a {type(data).__name__}"
        raise TypeError(
            f"data is {what}, not a data set: load one by its name with graphprune.data.load(name), or make one of "
            "your own graphs with graphprune.data.from_graphs(train, val, test, name=..., task=...)"
        )


def of_edges(name: str) -> bool:
    """Whether PyG takes an attribute for one of the edges wherever its name has to decide."""
    return "edge" in name or name == "e_id"


def entries(value: Any, dim: int) -> int | None:
    """Entries of a tensor, an array (along ``dim``), a list or a tuple; None of anything else."""
    if isinstance(value, list | tuple):
        return len(value)
    if not isinstance(value, Tensor | np.ndarray) or is_sparse(value) or not -value.ndim <= dim < value.ndim:
        return None
    return int(value.shape[dim])


def arc_attributes(data: Data) -> dict[str, int]:
    """The attributes of a graph, or of a batch, with an entry an arc, and the dimension along which these lie.

    They have as many entries along ``__cat_dim__`` as there are arcs, in each graph of a batch, and "edge" in the name.
    (PyG's ``is_edge_attr`` goes by sizes where these differ from the number of nodes: a vector of the whole graph is
    then cut in one graph and left in the next.) What goes with an index of its own, as ``edge_label`` with
    ``edge_label_index``, and such an index itself do not belong to the arcs.

    Args:
        data: with ``edge_index``.

    Raises:
        ValueError: an attribute of which this cannot be said, or that holds the arcs a second time; names it.
    """
    check_single(data)
    arcs, found = arcs_of(data).size(1), {"edge_index": 1}
    parts = _parts(data)
    for name, value in data:
        dim = data.__cat_dim__(name, value)
        if name in _OWN or not isinstance(dim, int) or goes_elsewhere(data, name):
            continue
        base = name.removesuffix("_batch")  # of PyG's follow_batch
        if base != name and base in found:
            found[name] = 0
        elif _entry_an_arc(data, name, value, dim, parts):
            found[name] = dim
        elif arcs > 1 and any(entries(inner, 0) == arcs for inner in _nested(value)):
            raise ValueError(
                f"{name!r} is a container of tensors with an entry an arc, which would keep those of pruned arcs: make "
                "them attributes of their own"
            )
    return found


def _parts(data: Data) -> dict[str, Tensor] | None:
    """Where the entries of each graph of a batch begin, by attribute; None for a single graph."""
    slices = getattr(data, "_slice_dict", None) if isinstance(data, Batch) else None
    return slices if slices and "edge_index" in slices else None


def _entry_an_arc(data: Data, name: str, value: Any, dim: int, parts: dict[str, Tensor] | None) -> bool:
    """Whether an attribute has an entry an arc, in each graph of a batch, and "edge" in its name.

    Raises:
        ValueError: as many entries under another name, and not as many as there are nodes; ``y`` is the graph's.
    """
    own, arcs, nodes = _sizes(data, name, value, dim, parts)
    if own != arcs or of_edges(name):
        return own == arcs
    if name != "y" and any(count > 1 for count in arcs) and arcs != nodes:
        raise ValueError(
            f"{name!r} has as many entries as there are arcs ({sum(arcs)}), which are cut with these only if its name "
            "says so: rename it with 'edge' in it, or give a vector of the whole graph the shape (1, ...)"
        )
    return False


def _sizes(
    data: Data, name: str, value: Any, dim: int, parts: dict[str, Tensor] | None
) -> tuple[list[int | None], list[int], list[int]]:
    """Entries of an attribute, arcs and nodes: of each graph of a batch, or of the one that there is."""
    starts = None if parts is None else parts.get(name)
    if parts is None or not isinstance(starts, Tensor):
        return [entries(value, dim)], [arcs_of(data).size(1)], [int(data.num_nodes or 0)]
    arcs: list[int] = parts["edge_index"].diff().tolist()
    # What is no tensor comes as a list of as many values as graphs.
    own = starts.diff().tolist() if isinstance(value, Tensor) else [entries(of_graph, dim) for of_graph in value]
    return own, arcs, [] if data.get("ptr") is None else data.ptr.diff().tolist()


def goes_elsewhere(data: Data, name: str) -> bool:
    """Whether an attribute goes with an index of its own: ``edge_label`` with ``edge_label_index``, and that itself."""
    if name != "edge_index" and "index" in name and getattr(data[name], "ndim", 0) > 1:
        return True
    for index in data.keys():  # noqa: SIM118 (Data is no dict)
        stem = index.removesuffix("_index")
        if stem == index or index == "edge_index" or not (name == stem or name.startswith(f"{stem}_")):
            continue
        pairs = data[index]
        if index == name:
            return not of_edges(name)
        dims = data.__cat_dim__(name, data[name]), data.__cat_dim__(index, pairs)
        if all(isinstance(dim, int) for dim in dims) and entries(data[name], dims[0]) == entries(pairs, dims[1]):
            return True
    return False


def _nested(value: Any) -> Iterator[Tensor]:
    """The tensors in a container."""
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            if isinstance(inner, Tensor):
                yield inner
            else:
                yield from _nested(inner)


def cut(value: Any, keep: Tensor, dim: int) -> Any:
    """The entries along a dimension where ``keep`` is True, of a tensor, an array, a list or a tuple."""
    if isinstance(value, Tensor):
        keep = keep.to(value.device)
        return value[keep] if dim == 0 else value[(slice(None),) * (dim % value.dim()) + (keep,)]
    if isinstance(value, np.ndarray):
        return np.compress(keep.cpu().numpy(), value, axis=dim)
    left = [entry for entry, stays in zip(value, keep.tolist(), strict=True) if stays]
    return tuple(left) if isinstance(value, tuple) else left


def in_dtype(data: D, dtype: torch.dtype) -> D:
    """A copy of a graph or batch whose real numbers are of this dtype."""
    copied: D = copy.copy(data).apply(
        lambda values: values.to(dtype if values.is_floating_point() else values.dtype, copy=True)
    )
    return copied


def check_single(data: Data) -> None:
    """Raise ValueError if a graph carries its arcs a second time, as a matrix; names the attribute."""
    for name, value in data.to_dict().items():
        if name in _NO_MATRIX or (isinstance(value, Tensor) and value.layout is torch.strided and value.dim() < 2):
            continue
        if not is_sparse(value) and not isinstance(value, Tensor):
            continue
        value = value if is_sparse(value) or value.size(0) != 1 else value[0]  # as to_dense_adj makes it
        if value.dim() < 2 or value.size(0) != value.size(1) or value.size(0) != data.num_nodes:
            continue
        if is_sparse(value) or (not of_edges(name) and _same_arcs(value, arcs_of(data))):
            raise ValueError(
                f"{name!r} holds the arcs a second time, as a matrix, and would keep those that are pruned: remove it "
                f"(del data.{name}) and let the network read edge_index"
            )


def _same_arcs(matrix: Tensor, edge_index: Tensor) -> bool:
    """Whether the entries of a dense matrix beside its diagonal are zero exactly where there is no arc."""
    there = (matrix != 0).reshape(*matrix.shape[:2], -1).any(-1).fill_diagonal_(False)
    source, target = edge_index[:, edge_index[0] != edge_index[1]].to(matrix.device)
    arcs = torch.zeros_like(there)
    arcs[source, target] = True
    return bool(arcs.any()) and (torch.equal(there, arcs) or torch.equal(there, arcs.t()))


def shift(data: Data, name: str, value: Any) -> Tensor:
    """By how much a batch shifts the values of the graphs after this one: PyG's ``__inc__``."""
    return torch.as_tensor(data.__inc__(name, value))


def check_shifts(data: Data, less: Data) -> None:
    """Make sure that no attribute counts arcs: ``less`` is the graph without some of them.

    Raises:
        ValueError: an attribute whose ``__inc__`` differs between the two; names it.
    """
    if type(data).__inc__ is Data.__inc__:
        return
    for name, value in data:
        if name in _OWN or isinstance(value, str) or not isinstance(value, Tensor | int | float):
            continue
        if not torch.equal(shift(data, name, value), shift(less, name, value)):
            raise ValueError(
                f"{name!r} numbers arcs (its __inc__ depends on them), and pruning would leave it with numbers of "
                "others: remove it"
            )


def without_arcs(data: Data) -> Data:
    """A shallow copy of a graph of which nothing but its nodes are left, to ask it how it counts."""
    out, arcs = copy.copy(data), arcs_of(data).size(1)
    out.num_nodes = data.num_nodes
    for name, value in data:
        dim = data.__cat_dim__(name, value)
        if of_edges(name) and isinstance(dim, int) and entries(value, dim) == arcs:
            out[name] = cut(value, torch.zeros(arcs, dtype=torch.bool), dim)
    return out


def common_class(graphs: Sequence[Data]) -> type[Data]:
    """The class of all these graphs.

    Raises:
        TypeError: one that is no ``Data``.
        ValueError: a batch, graphs of different classes, or of one that PyG cannot make batches of.
    """
    for number, graph in enumerate(graphs):
        check_graph(graph, f"graph {number} ")
        if isinstance(graph, Batch):
            raise ValueError(f"graph {number} is a batch; give its graphs: batch.to_data_list()")
        if type(graph) is not type(graphs[0]):
            names = type(graph).__name__, type(graphs[0]).__name__
            raise ValueError(f"graph {number} is a {names[0]}, graph 0 a {names[1]}: give all graphs the same class")
    kind = type(graphs[0])
    try:
        kind()
    except TypeError as error:
        raise ValueError(
            f"graph 0 is a {kind.__name__}, which cannot be made without arguments as PyG does for batches: give all "
            f"arguments of its constructor defaults ({error})"
        ) from error
    return kind
