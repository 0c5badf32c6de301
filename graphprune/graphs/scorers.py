"""Edge scores that need no training. Every scorer is a module from a batch to one score an arc."""

from __future__ import annotations

import copy
import inspect
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.checks import whole
from graphprune.graphs.attributes import in_dtype
from graphprune.graphs.kinds import Kinds
from graphprune.graphs.known import fact_of
from graphprune.graphs.pairs import EdgeUnit, arcs_and_nodes
from graphprune.graphs.rule import EdgeRule
from graphprune.graphs.segments import graph_of_nodes


class EdgeScorer(nn.Module):
    """A module from a graph or batch to one score an arc, shape ``(E,)``, that tickets can hold.

    A subclass keeps each argument of its constructor under its own name, as plain data. These and the ``state_dict``
    are what a ticket saves; where the constructor takes a ``seed`` or a ``unit``, the method that prunes gives its own.

    Whole batches are given to it: the scores of a graph have to be those that it gets alone, whatever its batch-mates.
    """

    #: Whether ``edge_weight`` changes the score.
    reads_weights: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()

    def config(self) -> dict[str, Any]:
        """The arguments the scorer was made from."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class RandomEdges(EdgeScorer):
    """Uniform random scores that depend on the graph alone: the same graph gets the same scores in any batch.

    A counter-based hash (SplitMix64) of the seed, the graph's arcs and the arc's end nodes, so that neither
    batch-mates nor the order of the data set matter.

    Args:
        seed: another seed, another order of the edges.
        unit: with ``"pair"`` both arcs of an undirected edge draw the same number (a mean of two draws would spare
            pairs beside arcs without a partner), with ``"arc"`` each arc its own.

    Raises:
        ValueError: a seed that is no whole number.
    """

    def __init__(self, seed: int = 0, unit: EdgeUnit = "pair") -> None:
        super().__init__()
        self.seed, self.unit = whole("seed", seed), unit

    def forward(self, data: Data) -> Tensor:
        """Scores in [0, 1), shape ``(E,)``, float64."""
        arcs, nodes = arcs_and_nodes(data)
        if self.unit == "pair":
            arcs = arcs.sort(dim=0).values
        return uniform(arc_bits(arcs, *graph_of_nodes(data, nodes, arcs.device), self.seed))


def own_dtype(scorer: nn.Module) -> torch.dtype | None:
    """The dtype of a scorer's parameters, or of its buffers if it has none; None: of neither."""
    found = chain(scorer.parameters(), scorer.buffers())
    return next((each.dtype for each in found if each.is_floating_point()), None)


def checked_scores(scorer: nn.Module, scores: object, arcs: int) -> Tensor:
    """What a scorer gives for so many arcs.

    Raises:
        TypeError: no tensor.
        ValueError: not one score an arc.
    """
    name, wanted = type(scorer).__name__, f"expected a tensor of one score an arc, of shape ({arcs},)"
    if not isinstance(scores, Tensor):
        raise TypeError(f"{name} gives a {type(scores).__name__}, {wanted}")
    if scores.shape != (arcs,):
        raise ValueError(f"{name} gives scores of shape {tuple(scores.shape)} for {arcs} arcs, {wanted}")
    return scores


def given_to(scorer: nn.Module, data: Data, dtype: torch.dtype | None) -> Data:
    """What a scorer is called with: a copy, for it may work in place, with real numbers of a dtype, if it has one.

    A class that says ``leaves_data = True`` (its subclasses have to say it again) changes nothing and turns numbers
    into its own dtype: it is given what there is, but for copies of what its gradient may read, for the network that
    comes next may work in place. Rows whose kinds are known it does not read.
    """
    if not vars(type(scorer)).get("leaves_data", False):
        return data.clone() if dtype is None else in_dtype(data, dtype)
    if not torch.is_grad_enabled():
        return data
    given = copy.copy(data)
    for name, values in data:
        if isinstance(values, Tensor) and values.is_floating_point() and fact_of(values, Kinds) is None:
            given[name] = values.clone()
    return given


def prepared(scorer: nn.Module, rule: EdgeRule) -> nn.Module:
    """A copy that scores by the rule, in double precision if its ``follows_dtype`` says that it can.

    Dropout stays off: a score is no matter of chance.
    """
    scorer = copy.deepcopy(scorer).eval()
    if getattr(scorer, "follows_dtype", False):
        scorer.double()
    if rule.scoring == "eval":
        folded = getattr(scorer, "folded", None)
        return scorer if folded is None else folded()
    for module in scorer.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.train()
    return scorer


class Preparing:
    """:func:`prepared` scorers: one that is folded is copied once for as long as its modules and weights stay the same.

    Of others nobody knows what a call changes in them, and norms that read a batch's statistics change: each call has a
    copy of its own. A copy of this object holds none.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[list[nn.Module], list[Tensor], nn.Module]] = {}

    def __call__(self, scorer: nn.Module, rule: EdgeRule) -> nn.Module:
        """The scorer, as it scores by the rule."""
        # A subclass may do more than what it inherits from.
        if "folded" not in vars(type(scorer)) or rule.scoring != "eval":
            return prepared(scorer, rule)
        modules, state = list(scorer.modules()), [*scorer.parameters(), *scorer.buffers()]
        held = self._held.get(id(scorer))
        if held is None or not _same(modules, state, *held[:2]):
            copies = [value.detach().clone() for value in state]
            held = self._held[id(scorer)] = modules, copies, prepared(scorer, rule)
        return held[2]

    def __reduce__(self) -> tuple[type[Preparing], tuple[()]]:
        return type(self), ()


def _same(modules: list[nn.Module], state: list[Tensor], others: list[nn.Module], copies: list[Tensor]) -> bool:
    """Whether these are the same modules, with weights of the same values."""
    if len(modules) != len(others) or len(state) != len(copies):
        return False
    return all(one is other for one, other in zip(modules, others, strict=True)) and all(
        one.device == other.device and one.dtype == other.dtype and torch.equal(one, other)
        for one, other in zip(state, copies, strict=True)
    )


def arc_bits(arcs: Tensor, of_node: Tensor, ptr: Tensor, seed: int) -> Tensor:
    """64 random bits an arc, the same for the same graph in any batch and in any order of its arcs.

    Args:
        arcs: shape ``(2, K)``.
        of_node: the graph of each node of the batch, shape ``(N,)``.
        ptr: where each graph's nodes start, shape ``(B + 1,)``.
        seed: any integer.

    Returns:
        int64, shape ``(K,)``.
    """
    arc, total = arc_hashes(arcs, of_node, ptr)
    return mix(mix(total + _signed(seed * _GOLDEN))[of_node[arcs[0]]] + arc)


def arc_hashes(arcs: Tensor, of_node: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
    """64 bits of each arc within its graph, ``(K,)``, and their sum over each graph, ``(B,)``; see :func:`arc_bits`."""
    graph = of_node[arcs[0]]
    local = arcs - ptr[graph]
    arc = mix(mix(local[0]) + 3 * local[1])
    # The sum over a graph's arcs tells graphs apart and does not know their order.
    return arc, arc.new_zeros(ptr.numel() - 1).index_add(0, graph, arc)


def uniform(bits: Tensor) -> Tensor:
    """A number in [0, 1) from each 64 bits, float64."""
    return ((bits >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def _signed(value: int) -> int:
    """The int64 of the same 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_GOLDEN = _signed(0x9E3779B97F4A7C15)


def mix(value: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014) on int64, which wraps as the unsigned type does."""
    value = value + _GOLDEN
    value = (value ^ ((value >> 30) & ((1 << 34) - 1))) * _signed(0xBF58476D1CE4E5B9)
    value = (value ^ ((value >> 27) & ((1 << 37) - 1))) * _signed(0x94D049BB133111EB)
    return value ^ ((value >> 31) & ((1 << 33) - 1))
