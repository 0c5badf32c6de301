"""Edges and weights counted anew, in plain Python: no function of graphprune counts here."""

from collections.abc import Mapping, Sequence
from functools import cache
from math import floor
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data

import graphprune as gp
from graphprune.methods import Method
from tests.contract.methods import options

Arcs = list[tuple[int, int, int]]  # from, to, and the number that the arc carries as its attribute


def arcs(graph: Data) -> Arcs:
    """The arcs of a graph, by the numbers of :func:`tests.contract.data.graph`."""
    numbers = [round(64 * number) for number in graph.edge_attr[:, 0].tolist()]
    return list(zip(*graph.edge_index.tolist(), numbers, strict=True))


def proper(found: Arcs) -> Arcs:
    return [arc for arc in found if arc[0] != arc[1]]


def unit_of(found: Arcs, unit: str) -> dict[int, tuple[int, ...]]:
    """What each proper arc falls together with: of pairs, the k-th arc from u to v with the k-th back."""
    seen: dict[tuple[int, int], int] = {}
    units = {}
    for source, target, number in proper(found):
        if unit == "arc":
            units[number] = (number,)
            continue
        copy = seen.get((source, target), 0)
        seen[source, target] = copy + 1
        units[number] = (min(source, target), max(source, target), copy)
    return units


def alone(ticket: gp.Ticket) -> bool:
    """Whether the ticket prunes a graph by this graph alone, by the rule that it says it has."""
    return ticket.edges.rule.scoring == "eval"


@cache
def left(ticket: gp.Ticket, data: Any, split: str) -> list[Arcs]:
    """The arcs that a ticket leaves in each graph of a split: one by one, as unseen graphs come, or as a data set."""
    graphs = list(data.splits[split])
    pruned = ticket.prune(graphs) if split == "train" or not alone(ticket) else map(ticket.prune_graph, graphs)
    return [arcs(graph) for graph in pruned]


def fallen(ticket: gp.Ticket, data: Any, split: str) -> tuple[list[int], list[int]]:
    """Units that each graph keeps, and that it had; makes sure that each is kept or gone as a whole, and loops stay."""
    kept, there = [], []
    for graph, now in zip(data.splits[split], left(ticket, data, split), strict=True):
        full = arcs(graph)
        assert set(now) <= set(full) and len(set(now)) == len(now), "an arc is new, changed or doubled"
        assert set(now) - set(proper(now)) == set(full) - set(proper(full)), "a self-loop is gone"
        units, numbers = unit_of(full, ticket.edges.rule.unit), {number for *_, number in proper(now)}
        whole = {units[number] for number in numbers}
        assert not whole & {units[number] for number in units.keys() - numbers}, "a part of a unit is gone"
        kept.append(len(whole))
        there.append(len(set(units.values())))
    return kept, there


def edges_as_asked(method: Method, ticket: gp.Ticket, data: Any, split: str) -> bool:
    """Whether a ticket keeps as many edges of each graph as the settings ask for."""
    kept, there = fallen(ticket, data, split)
    asked = asked_edges(method, ticket, split, there)
    if isinstance(asked, int):  # of all graphs together; unseen ones go by the lowest score that is kept there
        return split != "train" or sum(kept) == asked
    return asked in (None, kept)


def asked_edges(method: Method, ticket: gp.Ticket, split: str, units: Sequence[int]) -> list[int] | int | None:
    """How many units of each graph are to stay by the method's settings; one number for all graphs together.

    None where no setting of the method is about edges.
    """
    rule, known, stages = ticket.edges.rule, options(type(method)), 1
    if "densities" in known:
        rate = 1 - method.densities[ticket.round - 1]
    elif "edge_rate" in known:
        rate, stages = method.edge_rate, ticket.round
    elif "edges_kept" in ticket.row:
        rate = 1 - ticket.row["edges_kept"]
    else:
        return None
    if split != "train" and ticket.row["unseen"] in ("dense", "none"):
        return list(units)
    totals = [sum(units)] if rule.budget == "global" else list(units)
    if rule.count == "cumulative":
        stay = [round(total * (1 - rate) ** stages) for total in totals]
    else:
        stay = totals
        for _ in range(stages):
            stay = [now - floor(now * rate) for now in stay]
    return stay[0] if rule.budget == "global" else stay


def rows(mask: torch.Tensor) -> list[bool]:
    """Which channels a mask keeps at least in part."""
    return [any(row) for row in mask.flatten(1).tolist()]


def weight_units(masks: Mapping[str, torch.Tensor], unit: str, together: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Units kept and units there are: entries, or channels, of which those that a sum adds up count once."""
    if unit == "weight":
        entries = [entry for mask in masks.values() for entry in mask.flatten().tolist()]
        return sum(entries), len(entries)
    groups = [[name for name in group if name in masks] for group in together] if unit == "coupled" else []
    others = [[name] for name, mask in masks.items() if mask.dim() > 1 and not any(name in group for group in groups)]
    kept = [
        [any(same) for same in zip(*(rows(masks[name]) for name in group), strict=True)] for group in groups + others
    ]
    return sum(sum(group) for group in kept), sum(len(group) for group in kept)


def asked_weights(method: Method, ticket: gp.Ticket, total: int) -> int | None:
    """How many units of the weights are to stay by the method's settings; None where none of them is about weights."""
    known = options(type(method))
    if "weight_density" in known:
        return round(method.weight_density * total)
    if "density" in known and method.prunes_weights:
        return round(method.density * total)
    if "weight_rate" in known:
        return round(total * (1 - method.weight_rate) ** ticket.round)
    return None


def pruned_to_zero(ticket: gp.Ticket, model: nn.Module) -> bool:
    """Whether all that the masks prune is exactly zero in the network that is built, and something else is not."""
    state = ticket.build(model).state_dict()
    gone = all(not state[name][~mask].abs().sum() for name, mask in ticket.masks.items())
    return gone and any(bool(state[name].any()) for name in ticket.masks)
