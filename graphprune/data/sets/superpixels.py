"""MNIST and CIFAR-10 as graphs of superpixels, from the file that datasets/scripts/build_superpixels.py writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.data.base import GraphData
from graphprune.data.files.download import cache_folder
from graphprune.data.files.unpack import array, zip_member, zip_members
from graphprune.data.labelled import SPLITS
from graphprune.graphs.packed import PackedGraphs
from graphprune.limits import LimitExceeded

# name: what the build script calls the images, columns of x
SETS = {"mnist-superpixels": ("mnist", 3), "cifar10-superpixels": ("cifar10", 5)}

FEATURES = ("raw", "weight")

CLASSES = 10

# array of the file: kinds of its dtype, dimensions
_ARRAYS = {
    "x": ("f", 2),
    "arcs": ("u", 2),
    "weight": ("f", 1),
    "num_nodes": ("u", 1),
    "num_arcs": ("u", 1),
    "y": ("u", 1),
    "split": ("u", 1),
    "about": ("U", 0),
}

Arrays = dict[str, NDArray[Any]]


def load(name: str, *, root: str | Path | None, features: str | None = None) -> GraphData:
    """Superpixel graphs as in Dwivedi et al., "Benchmarking Graph Neural Networks" (JMLR 2023).

    ``x`` is the mean intensity (MNIST) or mean red, green and blue (CIFAR-10) in [0, 1], then the centroid's row and
    column over the image's side. Eight arcs leave each node, to the nodes that are nearest in place and colour; they
    are directed, as there. The build script's first lines give the whole recipe.

    Args:
        name: a key of :data:`SETS`.
        root: the file, or the folder it lies in; None: ``superpixels`` in the folder of downloads.
        features: ``"raw"`` (and None): no edge features; ``"weight"``: the Gaussian weight of nearness as
            ``edge_attr``, ``(E, 1)`` in [0, 1].
    """
    if features not in (None, *FEATURES):
        raise ValueError(f"features of {name} must be one of {', '.join(FEATURES)}, got {features!r}")
    path = cache_folder() / "superpixels" if root is None else Path(root).expanduser()
    if path.suffix != ".npz":
        path = path / f"{name}.npz"
    arrays, about = _read(path, name)
    train, val, test = (_graphs(arrays, code, weighted=features == "weight") for code in range(len(SPLITS)))
    limit = about.get("limit")
    return GraphData(
        name=name,
        train=train,
        val=val,
        test=test,
        task="multiclass",
        metric="accuracy",
        features=arrays["x"].shape[1],
        num_classes=CLASSES,
        edge_features=1 if features == "weight" else None,
        provenance={
            "source": f"built by datasets/scripts/build_superpixels.py, scikit-image {about.get('scikit-image', '?')}",
            "licence": "none stated by the source of the images",
            "split": "test images test; training images validate, drawn by class with seed "
            f"{about.get('seed', '?')}; " + (f"limited to {limit} images" if limit else "all images"),
        },
    )


def _read(path: Path, name: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of the file, checked against each other, and what the build script noted of them."""
    images, columns = SETS[name]
    command = f"python datasets/scripts/build_superpixels.py {images} IMAGES --out {path.parent}"
    if not path.is_file():
        raise FileNotFoundError(
            f"{name}: {path} is missing. Build it in a checkout of graphprune (pip install 'graphprune[datasets]'): "
            f"{command}, where IMAGES is the folder of the {images} files; the script's first lines say which"
        )
    try:
        arrays = {
            name.removesuffix(".npy"): array(zip_member(path, full, f"{path}/{name}"), f"{path}/{name}")
            for name, full in zip_members(path).items()
        }
        for fault in _faults(arrays, columns):
            raise ValueError(fault)
        about = dict(json.loads(str(arrays["about"])))
        if about.get("images") != images:
            raise ValueError(f"it was built from {about.get('images')} images, not from {images}")
    except LimitExceeded:
        raise
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged or no file of {name} ({error}); build it again: {command}") from error
    return arrays, about


def _faults(arrays: Arrays, columns: int) -> Iterator[str]:
    """What is wrong with the arrays; whoever goes on after the first fault may meet an error."""
    for key, (kind, dimensions) in _ARRAYS.items():
        if key not in arrays:
            yield f"it has no array {key}"
        if arrays[key].dtype.kind != kind or arrays[key].ndim != dimensions:
            yield f"array {key} is {arrays[key].dtype} with {arrays[key].ndim} dimensions"
    nodes, count = arrays["num_nodes"].astype(np.int64), arrays["num_arcs"].astype(np.int64)
    shapes: dict[str, tuple[int, ...]] = {key: (len(nodes),) for key in ("num_arcs", "y", "split")}
    shapes |= {"x": (int(nodes.sum()), columns), "arcs": (int(count.sum()), 2), "weight": (int(count.sum()),)}
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            yield f"array {key} has shape {arrays[key].shape}, the counts make it {shape}"
    for key in ("x", "weight"):
        if not bool(((arrays[key] >= 0) & (arrays[key] <= 1)).all()):
            yield f"array {key} has a value that is NaN or outside [0, 1]"
    if bool((arrays["y"] >= CLASSES).any()):
        yield f"a label is no class from 0 to {CLASSES - 1}"
    if bool((arrays["arcs"] >= np.repeat(nodes, count)[:, None]).any()):
        yield "an arc points outside its graph"
    if np.unique(arrays["split"]).tolist() != [0, 1, 2] or bool((np.diff(arrays["split"].astype(np.int8)) < 0).any()):
        yield "the splits are not train, validation and test, in this order"


def _graphs(arrays: Arrays, code: int, *, weighted: bool) -> PackedGraphs:
    """The graphs of one split, cut out of the arrays before anything is widened."""
    first, last = np.searchsorted(arrays["split"], [code, code + 1])
    graphs, nodes, arcs = (
        slice(first, last),
        _rows(arrays["num_nodes"], first, last),
        _rows(arrays["num_arcs"], first, last),
    )
    weight = torch.from_numpy(arrays["weight"][arcs].astype(np.float32))[:, None]
    return PackedGraphs(
        torch.from_numpy(arrays["num_nodes"][graphs].astype(np.int64)),
        torch.from_numpy(arrays["num_arcs"][graphs].astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(arrays["arcs"][arcs].T).astype(np.int64)),
        node={"x": torch.from_numpy(arrays["x"][nodes].astype(np.float32))},
        edge={"edge_attr": weight} if weighted else {},
        graph={"y": torch.from_numpy(arrays["y"][graphs].astype(np.int64))},
    )


def _rows(count: NDArray[Any], first: int, last: int) -> slice:
    """The rows of the graphs from ``first`` to before ``last``, of which each has ``count``."""
    start = int(count[:first].sum(dtype=np.int64))
    return slice(start, start + int(count[first:last].sum(dtype=np.int64)))
