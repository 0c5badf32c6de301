"""What is left of a graph network: which input features it still reads, and how much of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from graphprune.graphs.encoders import AtomEncoder, BondEncoder, CategoricalEncoder, FeatureEncoder
from graphprune.masks import MaskSet

# Of OGB's molecules, in the order of its columns (ogb.utils.features, ogb 1.3.6).
ATOM_NAMES = (
    "atomic number",
    "chirality",
    "degree",
    "formal charge",
    "hydrogens",
    "radical electrons",
    "hybridisation",
    "aromatic",
    "in a ring",
)
BOND_NAMES = ("bond type", "bond stereo", "conjugated")
_CALLED: dict[type[nn.Module], tuple[str, ...]] = {AtomEncoder: ATOM_NAMES, BondEncoder: BOND_NAMES}


@dataclass(frozen=True)
class Survivor:
    """A feature or a layer, and what is left of the weights that belong to it.

    Attributes:
        name: of the feature, or of the layer's weight.
        kept: its weights that are kept.
        total: its weights.
        reads: inputs that a kept weight reads, with their number (of a feature with categories: its categories).
        writes: outputs that a kept weight writes, with their number.
    """

    name: str
    kept: int
    total: int
    reads: tuple[int, int]
    writes: tuple[int, int]

    @property
    def alive(self) -> bool:
        """Whether anything is left."""
        return self.kept > 0


@dataclass(frozen=True)
class Survivors:
    """What `survivors` found.

    Attributes:
        features: the input features of every masked encoder, called by the encoder and the feature.
        layers: all masked weights, in the model's order.
        dense: weights of encoders without a mask: all of their features are read.
    """

    features: tuple[Survivor, ...]
    layers: tuple[Survivor, ...]
    dense: tuple[str, ...]

    def describe(self) -> str:
        """A printable table."""
        rows = [*self.features, *self.layers]
        width = max(len(row.name) for row in rows)
        table = [
            f"{row.name:{width}}  {row.kept:>9,} of {row.total:>9,} weights  "
            f"reads {row.reads[0]:>5,} of {row.reads[1]:>5,}  writes {row.writes[0]:>5,} of {row.writes[1]:>5,}"
            for row in rows
        ]
        lost = [row.name for row in self.features if not row.alive]
        notes = [f"{name} is not masked: all its features are read" for name in self.dense]
        notes += [f"features that no weight reads: {', '.join(lost)}"] if lost else []
        return "\n".join([*table, *notes])


def survivors(model: nn.Module, masks: MaskSet, names: Mapping[str, Sequence[str]] | None = None) -> Survivors:
    """Which input features a masked network still reads, and what is left of its layers.

    Features are those of the package's encoders in the model: the columns of a `FeatureEncoder`, and the categorical
    features of an `AtomEncoder` or `BondEncoder`, whose tables have masks only where a method was told to prune them
    (``prunable(include=("*encoder*.table.weight",))``).

    That a feature is read does not mean that it reaches the output: where a network is a chain,
    :class:`graphprune.reading.Chain` tells.

    Args:
        model: whose masks these are.
        masks: of any method.
        names: what the columns of a masked matrix ``(outputs, inputs)`` are called, by its name; with it the features
            of any network can be told, and those of a `FeatureEncoder` have names instead of numbers.

    Raises:
        KeyError: ``names`` of a weight that is not masked.
        ValueError: another number of names than the weight has columns.
    """
    readers = _readers(model)
    for name, columns in (names or {}).items():
        if name not in masks:
            raise KeyError(f"names: {name!r} is not masked; the masks are those of {list(masks)}")
        if len(columns) != masks[name].shape[1]:
            raise ValueError(f"names: {name!r} has {masks[name].shape[1]} columns, got {len(columns)} names")
        readers[name] = _Reader(name.rpartition(".")[0], tuple(columns), (1,) * len(columns), table=False)
    features = [
        _survivor(f"{reader.module}: {feature}", part)
        for name, reader in readers.items()
        if name in masks
        for feature, part in zip(reader.features, reader.parts(masks[name]), strict=True)
    ]
    layers = [_survivor(name, mask) for name, mask in masks.items() if mask.ndim > 1]
    return Survivors(tuple(features), tuple(layers), tuple(name for name in readers if name not in masks))


@dataclass(frozen=True)
class _Reader:
    """A weight that reads input features: whose, their names, how many inputs each has, whether these are its rows."""

    module: str
    features: tuple[str, ...]
    sizes: tuple[int, ...]
    table: bool

    def parts(self, mask: Tensor) -> tuple[Tensor, ...]:
        """The mask of each feature, ``(outputs, inputs)``."""
        return (mask.t() if self.table else mask).split(self.sizes, dim=1)  # type: ignore[no-any-return]


def _readers(model: nn.Module) -> dict[str, _Reader]:
    found = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, FeatureEncoder):
            numbers = tuple(f"feature {number}" for number in range(module.in_dim))
            found[f"{prefix}lin.weight"] = _Reader(name, numbers, (1,) * module.in_dim, table=False)
        elif isinstance(module, CategoricalEncoder):
            called = _CALLED.get(type(module)) or tuple(f"feature {number}" for number in range(len(module.sizes)))
            found[f"{prefix}table.weight"] = _Reader(name, called, module.sizes, table=True)
    return found


def _survivor(name: str, mask: Tensor) -> Survivor:
    """Of a mask ``(outputs, inputs, ...)``."""
    links = mask.flatten(2).any(2) if mask.ndim > 2 else mask
    return Survivor(
        name=name,
        kept=int(mask.count_nonzero()),
        total=mask.numel(),
        reads=(int(links.any(0).count_nonzero()), links.shape[1]),
        writes=(int(links.any(1).count_nonzero()), links.shape[0]),
    )
