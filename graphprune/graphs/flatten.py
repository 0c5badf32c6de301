"""From a list of graphs to flat tensors: to which level each attribute belongs, by PyG's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data


def flatten(items: Sequence[Data]) -> dict[str, Any]:
    """The arguments of :class:`~graphprune.graphs.PackedGraphs` for these graphs.

    Raises:
        ValueError: no graphs, or an attribute that cannot be packed; names the graph and the attribute.
    """
    if not items:
        raise ValueError("cannot pack an empty sequence of graphs")
    for number, item in enumerate(items):
        if item.edge_index is None:
            raise ValueError(f"graph {number} has no edge_index; give graphs without edges a (2, 0) tensor")
        check_edge_index(item.edge_index, f"graph {number}: ")
    nodes = torch.tensor([item.num_nodes or 0 for item in items])
    edges = torch.tensor([item.edge_index.size(1) for item in items])
    stores: dict[str, dict[str, Any]] = {"node": {}, "edge": {}, "graph": {}, "objects": {}}
    for name in dict.fromkeys(key for item in items for key in item.keys()):  # noqa: SIM118 (Data is no dict)
        if name not in ("edge_index", "num_nodes"):
            level, values = _level(name, items, nodes, edges)
            stores[level][name] = values
    index = torch.cat([item.edge_index for item in items], dim=1)
    return {"num_nodes": nodes, "num_edges": edges, "edge_index": index, **stores}


def check_edge_index(edge_index: Tensor, where: str = "") -> None:
    """Raise ValueError, beginning with ``where``, if this is no ``edge_index``."""
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        shape = tuple(edge_index.shape)
        raise ValueError(f"{where}edge_index must be int64 of shape (2, E), got {edge_index.dtype} {shape}")


def check_name(name: str, of_edges: bool) -> None:
    """Raise ValueError for a name by which PyG would shift the values in a batch, or take edges' for nodes'."""
    if "index" in name or "batch" in name or name in ("face", "ptr"):
        raise ValueError(f"attribute {name!r} holds indices by its name, which cannot be packed: rename or remove it")
    if of_edges and "edge" not in name:
        raise ValueError(f"edge attribute {name!r} needs 'edge' in its name, or PyG takes it for one of the nodes")


def _nested(value: Any) -> bool:
    """Whether PyG would look inside for tensors."""
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(torch.is_tensor, value)))


def _level(name: str, items: Sequence[Data], nodes: Tensor, edges: Tensor) -> tuple[str, Any]:
    """To which level an attribute belongs, and its values packed."""
    values = [item.get(name) for item in items]
    missing = [number for number, value in enumerate(values) if value is None]
    if missing:
        raise ValueError(f"graph {missing[0]} has no attribute {name!r} that other graphs have")
    if all(isinstance(value, int | float) for value in values):
        return "graph", torch.tensor(values)
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors and not any(_nested(value) for value in values):
        return "objects", values
    alike = {(value.shape[1:], value.layout) for value in tensors}
    if len(tensors) < len(values) or alike != {(tensors[0].shape[1:], torch.strided)}:
        raise ValueError(f"attribute {name!r} is not a dense tensor with the same columns in every graph")
    sizes = torch.tensor([value.size(0) if value.dim() else 1 for value in tensors])
    rows = {"node": nodes, "edge": edges, "graph": torch.ones_like(nodes)}
    # PyG's rule: an attribute of the edges has "edge" in its name. Labels are the graph's wherever they can be.
    order = ("edge", "graph") if "edge" in name else ("graph", "node") if name == "y" else ("node", "graph")
    for level in order:
        if torch.equal(sizes, rows[level]):
            return level, torch.cat([value.reshape(1) if value.dim() == 0 else value for value in tensors])
    raise ValueError(
        f"attribute {name!r} has neither one row a {order[0]} nor one row a {order[1]} in every graph (shape "
        f"{tuple(tensors[0].shape)} in graph 0); an attribute of the edges needs 'edge' in its name, one of the graph "
        "the shape (1, ...)"
    )
