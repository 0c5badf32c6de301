"""A ticket as plain data and named tensors, and back; whatever comes back has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.graphs import EdgeRound, EdgeRule, Encodings, PruneEdges
from graphprune.masks import MaskSet
from graphprune.ticket import plain, scorers

STATES = ("rewind", "trained", "last")
NOTHING = "nothing"  # the kind of a round without a scorer: unseen graphs stay as they are

_NAMES = {"mask": list[str]} | {state: list[str] for state in STATES}
EDGES = {"rule": dict[str, str | bool | int], "stages": list, "encodings": dict[str, int | bool] | None}
_FIELDS = {
    "method": str,
    "round": int,
    "row": dict,
    "names": dict,
    "provenance": dict,
    "history": list[dict[str, Any]],
    **EDGES,
}
_EDGE_ROUND = {"kind": str, "config": dict, "rate": float, "density": float, "threshold": float | None, "graphs": str}
_ROW = {
    "method": str,
    "data": str,
    "model": str,
    "protocol": str,
    "seed": int,
    "round": int,
    "edge_sparsity_train": float,
    "edge_sparsity_val": float,
    "edge_sparsity_test": float,
    "weight_sparsity": float,
    "params_kept": int,
    "params_total": int,
    "val_metric": float,
    "test_metric": float,
    "metric": str,
    "epoch": int,
    "epochs_trained": int,
    "seconds": float,
    "collapsed": list[str],
}


def pack(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A ticket's fields as a document, ready for JSON, and tensors.

    These are called ``mask/NAME``, ``trained/NAME``, ``edges/1/NAME``, ``known/1`` and so on.

    Raises:
        TypeError: something that is no plain data, or an edge scorer of an unregistered class.
    """
    sections = {"mask": fields["masks"]} | {state: fields[state] for state in STATES}
    tensors = {f"{section}/{name}": t for section, named in sections.items() for name, t in named.items()}
    edges, scorers_ = pack_edges(fields["edges"])
    document = {
        **{name: fields[name] for name in ("method", "round", "row")},
        # In their own order, which breaks ties between equal weights; safetensors has an order of its own.
        "names": {section: list(named) for section, named in sections.items()},
        **{name: fields[name] for name in ("provenance", "history")},
    }
    return plain.encode(document, "ticket") | edges, tensors | scorers_


def pack_edges(edges: PruneEdges) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """How graphs are pruned as a document, ready for JSON, and tensors; raises as :func:`pack`."""
    tensors, rounds = dict[str, Tensor](), []
    for number, edge_round in enumerate(edges.rounds, start=1):
        kind, config = (NOTHING, {}) if edge_round.scorer is None else scorers.describe(edge_round.scorer)
        numbers = {
            "rate": edge_round.rate,
            "density": edge_round.density,
            "threshold": edge_round.threshold,
            "graphs": edge_round.graphs,
        }
        rounds.append({"kind": kind, "config": config, **numbers})
        if edge_round.scorer is not None:
            tensors |= {f"edges/{number}/{name}": t for name, t in edge_round.scorer.state_dict().items()}
        if edge_round.known is not None:
            tensors[f"known/{number}"] = edge_round.known
    document: dict[str, Any] = {"rule": edges.rule.config(), "stages": rounds}
    if (found := edges.encodings) is not None:
        document["encodings"] = found.config() | {"recounted": edges.recounted}
    return plain.encode(document, "ticket"), tensors


def unpack(document: object, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields of the ticket that `pack` made these from.

    Raises:
        ValueError: it cannot have made them; the text names the field or tensor.
    """
    if isinstance(document, dict):  # of sets without encodings nothing is said, as before there were any
        document = {"encodings": None} | document
    fields = plain.require_fields(document, _FIELDS, "ticket")
    if fields["round"] < 0:
        raise ValueError(f"ticket.round must not be negative, got {fields['round']}")
    left = dict(tensors)
    names = plain.require_fields(fields.pop("names"), _NAMES, "ticket.names")
    masks, *states = ({name: _take(left, section, name) for name in names[section]} for section in _NAMES)
    _check_masks(masks, dict(zip(STATES, states, strict=True)))
    edges = unpack_edges({name: fields.pop(name) for name in EDGES}, left)
    check_left(left)
    return fields | {
        "row": plain.require_fields(fields["row"], _ROW, "ticket.row", more=True),
        "history": tuple(fields["history"]),
        "masks": MaskSet.of(masks),
        "edges": edges,
        **dict(zip(STATES, states, strict=True)),
    }


def unpack_edges(fields: Mapping[str, Any], left: dict[str, Tensor]) -> PruneEdges:
    """How graphs are pruned, from the fields of :data:`EDGES`; its tensors are taken out of ``left``.

    Raises:
        ValueError: `pack_edges` cannot have made them; the text names the field or tensor.
    """
    rounds, scored = fields["stages"], _by_round(left)
    known = {number: left.pop(f"known/{number}", None) for number in range(1, len(rounds) + 1)}
    made = tuple(
        _edge_round(n, edge_round, scored.pop(str(n), {}), known[n]) for n, edge_round in enumerate(rounds, start=1)
    )
    if len({edge_round.known.numel() for edge_round in made if edge_round.known is not None}) > 1:
        raise ValueError("ticket.stages: their edge masks are of different lengths")
    left |= {f"edges/{number}/{name}": t for number, named in scored.items() for name, t in named.items()}
    return PruneEdges(made, _rule(fields["rule"]), *_encodings(fields["encodings"]))


def check_left(left: Mapping[str, Tensor]) -> None:
    """Raise ValueError for tensors that nothing has taken."""
    if left:
        raise ValueError(f"tensors that belong to nothing: {scorers.first(repr(name[:80]) for name in left)}")


def _take(left: dict[str, Tensor], section: str, name: str) -> Tensor:
    try:
        return left.pop(f"{section}/{name}")
    except KeyError:
        raise ValueError(f"the tensor {section}/{name[:80]} is missing, or named twice") from None


def _by_round(left: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Takes the tensors of edge scorers out: number of the round -> name -> tensor."""
    found: dict[str, dict[str, Tensor]] = {}
    for key in [key for key in left if key.startswith("edges/")]:
        number, _, name = key.removeprefix("edges/").partition("/")
        found.setdefault(number, {})[name] = left.pop(key)
    return found


def _check_masks(masks: Mapping[str, Tensor], states: Mapping[str, Mapping[str, Tensor]]) -> None:
    for name, mask in masks.items():
        _check_bools(mask, f"mask/{name}")
        for state, weights in states.items():
            if name not in weights or weights[name].shape != mask.shape:
                found = tuple(weights[name].shape) if name in weights else "nothing"
                raise ValueError(f"mask/{name} has shape {tuple(mask.shape)}, {state}/{name} has {found}")
    for state in STATES[1:]:
        odd = sorted(states[state].keys() ^ states[STATES[0]].keys())
        if odd:
            raise ValueError(f"{STATES[0]} and {state} hold different tensors: {scorers.first(odd)}")


def _check_bools(mask: Tensor, where: str) -> None:
    # Torch takes a byte other than 0 and 1 for True here and for False there.
    if mask.dtype != torch.bool or bool((mask.contiguous().view(torch.uint8) > 1).any()):
        raise ValueError(f"{where} must hold bools, got {mask.dtype} or bytes other than 0 and 1")


def _rule(words: dict[str, Any]) -> EdgeRule:
    try:
        return EdgeRule(**words)  # it checks its words itself
    except (TypeError, ValueError) as error:
        raise ValueError(f"ticket.rule: {error}") from None


def _encodings(words: dict[str, Any] | None) -> tuple[Encodings | None, bool]:
    """The encodings of a document, and whether they are counted again."""
    if words is None:
        return None, False
    recounted = plain.require(words.get("recounted"), bool, "ticket.encodings.recounted")
    try:
        return Encodings.of({name: word for name, word in words.items() if name != "recounted"}), recounted
    except ValueError as error:
        raise ValueError(f"ticket.encodings: {error}") from None


def _edge_round(number: int, edge_round: object, tensors: Mapping[str, Tensor], known: Tensor | None) -> EdgeRound:
    where = f"ticket.stages[{number - 1}]"
    if isinstance(edge_round, dict):  # tickets written before methods learnt masks of single edges
        edge_round = {"graphs": ""} | edge_round
    found = plain.require_fields(edge_round, _EDGE_ROUND, where)
    rate, density, threshold = found["rate"], found["density"], found["threshold"]
    if not (0 <= rate <= 1 and 0 <= density <= 1):
        raise ValueError(f"{where}: rate must lie in [0, 1] and density in [0, 1], got {rate} and {density}")
    if threshold is not None and threshold != threshold:
        raise ValueError(f"{where}.threshold must not be NaN")
    if known is not None:
        _check_bools(known, f"known/{number}")
        if known.dim() != 1:
            raise ValueError(f"known/{number} must be flat, got shape {tuple(known.shape)}")
    if found["kind"] == NOTHING:
        if tensors or found["config"]:
            raise ValueError(f"{where}: a round without a scorer has neither config nor tensors")
        return EdgeRound(None, rate, density, threshold, known, found["graphs"])
    try:
        scorer = scorers.rebuild(found["kind"], found["config"], tensors)
        return EdgeRound(scorer, rate, density, threshold, known, found["graphs"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
