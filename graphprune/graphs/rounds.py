"""The rounds of a ticket, applied one after the other."""

from __future__ import annotations

import contextlib
import copy
import copyreg
import hashlib
import pickle
import sys
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphprune.graphs.edges import EdgeMask, drop_arcs
from graphprune.graphs.encodings import ENCODINGS, Encodings
from graphprune.graphs.packed import PackedGraphs
from graphprune.graphs.pairs import EDGE_UNIT, arcs_and_nodes, at_arcs, graph_units
from graphprune.graphs.prune import EdgeRound, check_unseen, keep_arcs
from graphprune.graphs.rule import EdgeRule, in_chunks, number_units, original_units, structure_digest, unit_counts
from graphprune.graphs.scorers import Preparing


def keep_in_round(
    batches: Iterable[Data],
    numbers: Tensor | None,
    edge_index: Tensor,
    edge_round: EdgeRound,
    rule: EdgeRule,
    original: Tensor | None,
    preparing: Preparing,
) -> tuple[Tensor, float | None]:
    """Which arcs stay after a round: by its mask on graphs that it knows, else by its scores.

    Args:
        batches: the graphs, in batches, in order.
        numbers: their edge attribute ``edge_unit``; None: unseen graphs.
        edge_index: their arcs, shape ``(2, E)``.
        edge_round: that prunes.
        rule: how units are made and counted.
        original: units of each graph before any pruning, shape ``(G,)``; None: nothing was pruned before.
        preparing: has the round's scorer as it scores.

    Returns:
        Bool of shape ``(E,)`` over all batches' arcs, and the round's threshold (global budget only).

    Raises:
        ValueError: scores that are not numbers, or graphs with more units than the round knows.
    """
    if edge_round.known is not None and numbers is not None:
        if numbers.numel() and int(numbers.max()) >= edge_round.known.numel():
            raise ValueError(
                f"the graphs have more edges than the {edge_round.known.numel()} that the masks were learnt for"
            )
        threshold = edge_round.threshold
        if rule.budget == "global" and threshold is None and edge_round.scorer is not None:  # for graphs yet unseen
            threshold = keep_arcs(batches, edge_round, rule, original, preparing(edge_round.scorer, rule)).threshold
        return at_arcs(edge_round.known.to(numbers.device), numbers, True), threshold
    if edge_round.scorer is None:
        return torch.ones_like(edge_index[0], dtype=torch.bool), None
    found = keep_arcs(batches, edge_round, rule, original, preparing(edge_round.scorer, rule))
    return found.arcs, found.threshold


def told(scorer: nn.Module) -> str:
    """A module by its class and a digest of all that it holds: weights, buffers, plain attributes, those of submodules.

    Classes and functions are told by their names, other objects by what they would be pickled as. What has no name
    (a lambda, a local function) and cannot be pickled is told by a random token of that very object: two such are
    never the same, nor is one in the next process.
    """
    return f"{type(scorer).__module__}.{type(scorer).__qualname__}[{_digest(scorer)[:16]}]"


_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_TOKENS: dict[int, tuple[Callable[[], object], str]] = {}  # by id: whether that object is still the one, its token
_MACHINERY = vars(nn.Module()).keys() - {"_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks"}


def _digest(value: object, above: tuple[int, ...] = ()) -> str:
    """SHA-256 of a value, in which those of these ids hold each other."""
    if id(value) in above:
        return f"up to {above.index(id(value))}"
    try:
        words, parts = _contents(value)
    except Exception:  # whatever an object raises that cannot be copied
        words, parts = _token(value), []
    inner = [_digest(part, (*above, id(value))) for part in parts]
    if isinstance(value, set | frozenset):
        inner.sort()
    kind = type(value)
    return hashlib.sha256(repr((kind.__module__, kind.__qualname__, words, inner)).encode()).hexdigest()


def _contents(value: Any) -> tuple[str, list[Any]]:
    """What tells a value: words, and values that it consists of; raises whatever an object does that cannot be told."""
    kind = type(value)
    if kind in _ATOMS:
        return repr(value), []
    if kind in (Tensor, nn.Parameter):
        value = value.detach().cpu().contiguous()
        return f"{value.dtype} {tuple(value.shape)} {_sha(value.reshape(-1).view(torch.uint8).numpy())}", []
    if kind is np.ndarray and not value.dtype.hasobject:
        return f"{value.dtype} {value.shape} {_sha(np.ascontiguousarray(value).reshape(-1).view(np.uint8))}", []
    if isinstance(value, nn.Module):
        own = {name: held for name, held in sorted(vars(value).items()) if name not in _MACHINERY}
        return "", [own]
    if kind in (list, tuple, set, frozenset):
        return "", list(value)
    if kind is dict:
        return "", [each for item in value.items() for each in item]
    if isinstance(value, type | FunctionType):
        return _name(value, value.__qualname__), []
    reduce = copyreg.dispatch_table.get(kind)
    made = value.__reduce_ex__(4) if reduce is None else reduce(value)
    if isinstance(made, str):
        return _name(value, made), []
    return "", [list(part) if isinstance(part, Iterator) else part for part in made]


def _sha(values: Any) -> str:
    return hashlib.sha256(values.data).hexdigest()


def _name(value: Any, name: str) -> str:
    """Where to find a class or function, or whatever else is pickled by name; a token if something else is there."""
    module = pickle.whichmodule(value, name)  # type: ignore[attr-defined]
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    # NoneType is one that is not found among the built-in names.
    return f"{module}.{name}" if found is value or module == "builtins" else _token(value)


def _token(value: object) -> str:
    """Random words for an object, the same as long as it lives; others each time if no one can tell how long."""
    there, token = _TOKENS.get(id(value), (lambda: None, ""))
    if there() is value:
        return token
    token = uuid.uuid4().hex
    with contextlib.suppress(TypeError):
        _TOKENS[id(value)] = weakref.ref(value), token
    return token


@dataclass(frozen=True, eq=False, repr=False)
class PruneEdges(BaseTransform):  # type: ignore[misc]
    """Prunes graphs nobody has seen: all rounds in turn, each scored on what the one before left.

    Graphs whose edges the rounds have learnt masks for (UGS's training graphs) are recognised and pruned by these.

    A PyG transform for a ``Data``; :meth:`mask` and :meth:`prune` serve whole data sets.

    Where graphs have encodings, those that a graph brings along are read, unless they can be neither of its arcs nor of
    more of them, and else they are counted once, before anything is pruned: every round reads the same, and the pruned
    graph has them for a network to read.

    Args:
        rounds: 1, ..., r.
        rule: units, counts and scoring; the same in every round.
        encodings: of the data set that the rounds were learnt on; None: it has none.
        recounted: pruned graphs have encodings that are counted again on the edges that are left.

    Raises:
        ValueError: a global budget and a round without the threshold that was found on the training graphs.
    """

    rounds: Sequence[EdgeRound] = ()
    rule: EdgeRule = field(default_factory=EdgeRule)
    encodings: Encodings | None = None
    recounted: bool = False
    _preparing: Preparing = field(default_factory=Preparing, init=False)  # that each call needs

    def __post_init__(self) -> None:
        for number, edge_round in enumerate(self.rounds, start=1):
            if self.rule.budget == "global" and edge_round.threshold is None and edge_round.scorer is not None:
                raise ValueError(
                    f"round {number} has no threshold: a global budget is met on the training graphs first"
                )

    def forward(self, data: Data) -> Data:
        """The graph with fewer arcs: a shallow copy, all other attributes kept.

        Raises:
            ValueError: a batch (prune before collation), a graph without ``edge_index`` or with an attribute that would
                be wrong without some arcs, other encodings than those of the set, or scores that are no numbers.
            TypeError: something that is no ``Data``, or features that are no array of numbers.
        """
        return self.left(check_unseen(data, "PruneEdges"))

    def left(self, data: Data) -> Data:
        """The same of a graph or a batch of unseen graphs that is known to be sound, each graph of it by itself."""
        data = self.encoded(data)
        edge_index, num_nodes = arcs_and_nodes(data)
        original = unit_counts(data, self.rule.unit) if len(self.rounds) > 1 else None
        numbers = data.get(EDGE_UNIT) if self._takes_numbers else None
        if self._knows(torch.tensor([num_nodes]), torch.tensor([edge_index.size(1)]), edge_index):
            numbers = graph_units(data, self.rule.unit).unit
        for edge_round in self.rounds:
            keep, _ = keep_in_round([data], numbers, data.edge_index, edge_round, self.rule, original, self._preparing)
            data, numbers = drop_arcs(data, keep), None if numbers is None else numbers[keep]
        return self.encoded(data, again=self.recounted)

    def prune(self, graphs: PackedGraphs) -> PackedGraphs:
        """The same for a whole data set."""
        graphs = self._encoded_all(graphs)
        left = graphs.keep_edges(self.mask(graphs).keep)
        return self.encodings.counted(left) if self.encodings is not None and self.recounted else left

    def encoded(self, data: Data, *, again: bool = False) -> Data:
        """A graph or batch with the encodings that the rounds read, a copy where it brings none along.

        Args:
            data: left as it is.
            again: count them in any case.

        Raises:
            ValueError: it has others, or such as cannot be, or would take too long.
        """
        if self.encodings is None:
            return data
        if not again and data.get(ENCODINGS) is not None:
            self.encodings.believed(data, type(self).__name__)
            return data
        out = copy.copy(data)
        out[ENCODINGS] = self.encodings.count(data)
        return out

    def _encoded_all(self, graphs: PackedGraphs) -> PackedGraphs:
        if self.encodings is None:
            return graphs
        if ENCODINGS not in graphs.node:
            return self.encodings.counted(graphs)
        self.encodings.believed(graphs, type(self).__name__)
        return graphs

    def mask(self, graphs: PackedGraphs) -> EdgeMask:
        """Which arcs of a data set stay."""
        original = original_units(graphs, self.rule) if len(self.rounds) > 1 else None
        mask = EdgeMask.full(graphs.edge_ptr)
        left = self._encoded_all(graphs)
        numbers = graphs.edge.get(EDGE_UNIT) if self._takes_numbers else None
        if self._knows(graphs.node_count, graphs.edge_count, graphs.edge_index):
            numbers = number_units(graphs, self.rule.unit).edge[EDGE_UNIT]
        for edge_round in self.rounds:
            keep, _ = keep_in_round(
                in_chunks(left, self.rule), numbers, left.edge_index, edge_round, self.rule, original, self._preparing
            )
            left, numbers = left.keep_edges(keep), None if numbers is None else numbers[keep.to(numbers.device)]
            mask.keep.masked_scatter_(mask.keep.clone(), keep.to(mask.keep.device))
        return mask

    def __repr__(self) -> str:
        """By what decides, so that PyG tells when the cache of a ``pre_transform`` was made by another one."""
        total = hashlib.sha256()
        for edge_round in self.rounds:
            scorer = "nothing" if edge_round.scorer is None else told(edge_round.scorer)
            words = (scorer, edge_round.rate, edge_round.density, edge_round.threshold, edge_round.graphs)
            total.update(repr(words).encode())
            if edge_round.known is not None:
                total.update(edge_round.known.cpu().numpy().tobytes())
        more = "" if self.encodings is None else f", {self.encodings}{', recounted' * self.recounted}"
        return f"{type(self).__name__}({len(self.rounds)} rounds[{total.hexdigest()[:16]}], {self.rule}{more})"

    @property
    def _takes_numbers(self) -> bool:
        """Whether the graphs' own numbers are believed, as tickets need it that do not tell whose masks they hold."""
        return any(edge_round.known is not None and not edge_round.graphs for edge_round in self.rounds)

    def _knows(self, num_nodes: Tensor, num_edges: Tensor, edge_index: Tensor) -> bool:
        """Whether these are the very graphs for whose edges the rounds have learnt masks."""
        known = {edge_round.graphs for edge_round in self.rounds if edge_round.known is not None and edge_round.graphs}
        return bool(known) and structure_digest(num_nodes, num_edges, edge_index) in known
