"""Which parameters of a model are pruned, by tensor and role, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import prod

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from graphprune.masks.factors import Factor, factors_of
from graphprune.masks.heads import HEADS
from graphprune.masks.networks import check_network

_WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_PYG_WEIGHTED = {"Linear", "HeteroLinear"}
# Of what convolutions own themselves: biases, kernels, queries and tables of relations have two dimensions too.
_PYG_MATRICES = ("weight*", "*_weight", "root", "g", "W")
_EMBEDDING = (nn.Embedding, nn.EmbeddingBag)
_FACTOR = "factor of the weight"


@dataclass(frozen=True)
class Targets:
    """What a selector found in one model; a parameter shared by several modules appears once.

    Where a user has named a parameter, so that not even a channel that it belongs to takes it along, the reason says
    ``by pattern``.

    Attributes:
        selected: names of the parameters to prune, in the model's order.
        protected: names of all other parameters, each with the reason.
        shapes: the shape of every parameter.
    """

    selected: tuple[str, ...]
    protected: dict[str, str]
    shapes: dict[str, tuple[int, ...]] = field(repr=False)

    @property
    def named(self) -> set[str]:
        """What is protected by name, and not by its role."""
        return {name for name, reason in self.protected.items() if reason.endswith("by pattern")}

    def describe(self) -> str:
        """A printable table: every parameter, its shape, its count, and whether it is pruned or why not."""
        rows = [(name, self.shapes[name], "pruned") for name in self.selected]
        rows += [(name, self.shapes[name], f"protected: {reason}") for name, reason in self.protected.items()]
        width = max((len(name) for name, _, _ in rows), default=0)
        lines = [f"{name:{width}}  {shape!s:>18}  {prod(shape):>10,}  {state}" for name, shape, state in rows]
        pruned = sum(prod(self.shapes[name]) for name in self.selected)
        total = sum(prod(shape) for shape in self.shapes.values())
        return "\n".join([*lines, f"{pruned:,} of {total:,} parameters may be pruned"])


Selector = Callable[[nn.Module], Targets]
"""Says which parameters of a model are pruned."""


def prunable(include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Selector:
    """Select by tensor and role.

    Selected are the parameters of two or more dimensions that ``nn.Linear``, ``nn.Conv*`` or
    torch_geometric's ``Linear`` and ``HeteroLinear`` own, and the matrices of torch_geometric's convolutions: 2-D ones
    that are called ``weight*``, ``*_weight``, ``root``, ``g`` or ``W``. Protected are biases, norms, embeddings,
    attention vectors (own names that start with ``att``, and whatever in a convolution lies below such a name) and
    every role not known here: kernels, queries, tables of relations; and heads, the weights that give what leaves the
    model, where a method with data has found them (in a loop of your own: ``exclude``). A module class may settle it
    for its own parameters with the class attributes ``protected_parameters`` and ``prunable_parameters`` (sets of own
    names), which go before the role.

    Args:
        include: fnmatch patterns over dotted parameter names to select whatever their role.
        exclude: fnmatch patterns over dotted parameter names never to select; goes before ``include``.

    Returns:
        A selector. Called with a model it raises ValueError if the model has parameters that a first forward
        would shape, if a pattern matches no parameter, if nothing is selected (`NothingToPrune`; the text lists why),
        or if a weight is computed from other parameters (torch.nn.utils.prune, weight_norm, spectral_norm, any
        parametrization) that no pattern protects: zeros among these are no zeros of the weight.
    """
    for name, patterns in (("include", include), ("exclude", exclude)):
        if isinstance(patterns, str):
            raise TypeError(f"{name} must be a collection of patterns, got the string {patterns!r}")
    return _Prunable(_ordered(include), _ordered(exclude))


def sparing(select: Selector, patterns: Iterable[str]) -> Selector:
    """The same selector without some parameters, such as a model's head.

    Args:
        select: what could be pruned.
        patterns: fnmatch patterns over dotted parameter names that are protected instead.

    Returns:
        A selector that raises ValueError if a pattern matches no parameter, or if nothing is left.
    """
    return _Sparing(select, _ordered(patterns))


def refuse_factors(model: nn.Module, targets: Targets) -> Targets:
    """The same targets, if none of them, and nothing that could have been one, is a factor of a weight.

    Raises:
        ValueError: names the factors, the weight, its module and the way out.
    """
    factors = factors_of(model)
    wrong = [
        name for name in factors if name in targets.selected or targets.protected.get(name, "").startswith(_FACTOR)
    ]
    if wrong:
        found = factors[wrong[0]]
        names = [name for name in wrong if factors[name].weight == found.weight]
        raise ValueError(
            f"the weight {found.weight!r} ({type(found.owner).__name__}) is computed from {names}, whose zeros are not "
            f"its own: first {found.way_out}; or protect={names}"
        )
    return targets


class NothingToPrune(ValueError):
    """No parameter of a model is selected."""


@dataclass(frozen=True)
class _Prunable:
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def __call__(self, model: nn.Module) -> Targets:
        targets = refuse_factors(model, self.found(model))
        if not targets.selected:
            raise NothingToPrune(f"nothing to prune in {type(model).__name__}:\n{targets.describe()}")
        return targets

    def found(self, model: nn.Module) -> Targets:
        """The same of any model; factors of weights are protected as such."""
        check_network(model)
        owners = _owners(model)
        lazy = [names[0] for parameter, names, _ in owners if is_lazy(parameter)]
        if lazy:
            raise ValueError(f"uninitialised lazy parameters {lazy}: run one forward pass of the model first")
        self._check_patterns([name for _, names, _ in owners for name in names])
        factors = factors_of(model)
        reasons = {names[0]: self._reason(parameter, names, roles, factors) for parameter, names, roles in owners}
        return Targets(
            selected=tuple(name for name, reason in reasons.items() if reason is None),
            protected={name: reason for name, reason in reasons.items() if reason is not None},
            shapes={names[0]: tuple(parameter.shape) for parameter, names, _ in owners},
        )

    def _reason(
        self, parameter: Tensor, names: list[str], roles: list[tuple[nn.Module, bool]], factors: dict[str, Factor]
    ) -> str | None:
        """Why a parameter is protected, or None; any owner can protect a shared parameter."""
        if any(_matches(name, self.exclude) for name in names):
            return "excluded by pattern"
        found = next((factors[name] for name in names if name in factors), None)
        if found is not None:
            return _role_reason(found.owner, False, found.weight, found.shaped) or f"{_FACTOR} {found.weight}"
        if any(_matches(name, self.include) for name in names):
            return None
        reasons = (_role_reason(*role, name, parameter) for name, role in zip(names, roles, strict=True))
        return next((reason for reason in reasons if reason is not None), None)

    def _check_patterns(self, names: list[str]) -> None:
        for pattern in (*self.include, *self.exclude):
            if not any(_matches(name, (pattern,)) for name in names):
                raise ValueError(f"the pattern {pattern!r} matches no parameter; the model has {names}")


@dataclass(frozen=True)
class _Sparing:
    select: Selector
    patterns: tuple[str, ...]

    def __call__(self, model: nn.Module) -> Targets:
        targets = refuse_factors(model, self.found(model))
        if not targets.selected:
            raise NothingToPrune(
                f"nothing to prune in {type(model).__name__}: {', '.join(self.patterns)} protect every weight"
            )
        return targets

    def found(self, model: nn.Module) -> Targets:
        """The same of any model; factors of weights are protected as such, or by the patterns."""
        found = self.select.found(model) if isinstance(self.select, _Prunable | _Sparing) else self.select(model)
        for pattern in self.patterns:
            if not any(_matches(name, (pattern,)) for name in found.shapes):
                raise ValueError(f"the pattern {pattern!r} matches no parameter; the model has {list(found.shapes)}")
        protected = found.protected | {
            name: "protected by pattern" for name in found.shapes if _matches(name, self.patterns)
        }
        return Targets(tuple(name for name in found.selected if name not in protected), protected, found.shapes)


def _ordered(patterns: Iterable[str]) -> tuple[str, ...]:
    """The patterns, of a set in an order that is the same in every process."""
    return tuple(sorted(patterns) if isinstance(patterns, set | frozenset) else patterns)


BY_ROLE = prunable()


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _owners(model: nn.Module) -> list[tuple[Tensor, list[str], list[tuple[nn.Module, bool]]]]:
    """Each distinct parameter with all its dotted names, and the modules that own it under these names.

    With each goes whether it lies in a convolution below a name that starts with ``att``.
    """
    found: dict[int, tuple[Tensor, list[str], list[tuple[nn.Module, bool]]]] = {}
    convolutions: list[str] = []
    for prefix, module in model.named_modules(remove_duplicate=False):
        path = f"{prefix}." if prefix else ""
        below = (path.removeprefix(outer).split(".") for outer in convolutions if path.startswith(outer))
        attends = any(part.startswith("att") for parts in below for part in parts)
        if "MessagePassing" in _pyg(module):
            convolutions.append(path)
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            _, names, modules = found.setdefault(id(parameter), (parameter, [], []))
            names.append(path + name)
            modules.append((module, attends))
    return list(found.values())


def _pyg(module: nn.Module) -> set[str]:
    """The classes of torch_geometric that a module is of, by name, so that this floor works without it."""
    return {cls.__name__ for cls in type(module).__mro__ if cls.__module__.startswith("torch_geometric.")}


def _role_reason(module: nn.Module, attends: bool, dotted: str, parameter: Tensor) -> str | None:
    """Why this owner protects the parameter, or None if it is a weight to prune."""
    name = dotted.rpartition(".")[2]
    if name in getattr(module, HEADS, ()):
        return "head: it gives what leaves the model"
    if name in getattr(module, "protected_parameters", ()):
        return f"protected by {type(module).__name__}"
    if name in getattr(module, "prunable_parameters", ()):
        return None
    if isinstance(module, _EMBEDDING):
        return "embedding"
    if "Norm" in type(module).__name__:
        return "norm"
    if attends or name.startswith("att"):
        return "attention vector"
    if parameter.ndim < 2 or "bias" in name:  # HeteroLinear has one bias for each type
        return "bias or vector"
    pyg = _pyg(module)
    if isinstance(module, _WEIGHTED) or pyg & _PYG_WEIGHTED:
        return None
    if "MessagePassing" in pyg and parameter.ndim == 2 and _matches(name, _PYG_MATRICES):
        return None
    return "unknown role; name it in include="
