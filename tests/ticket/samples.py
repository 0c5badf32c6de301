"""Small tickets and graphs that need no training, and a comparison to the last bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphprune.graphs import EdgePredictor, EdgeRound, EdgeRule, PruneEdges, RandomEdges
from graphprune.graphs.encoders import ATOM_FEATURES
from graphprune.masks import MaskSet, magnitude
from graphprune.models import GIN
from graphprune.ticket import Ticket

FEATURES = 4


def graph(nodes: int, edges: int, seed: int, features: Any = FEATURES) -> Data:
    """A random undirected multigraph, arcs in random order; its self-loops are single arcs."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(max(nodes, 1), (2, edges if nodes else 0), generator=generator)
    arcs = torch.cat([ends, ends.flip(0)[:, ends[0] != ends[1]]], dim=1)
    arcs = arcs[:, torch.randperm(arcs.size(1), generator=generator)]
    if features == "ogb-mol":
        x = torch.randint(2, (nodes, len(ATOM_FEATURES)), generator=generator)
    elif isinstance(features, list):
        x = torch.stack([torch.randint(size, (nodes,), generator=generator) for size in features], 1)
    else:
        x = torch.randn(nodes, features, generator=generator)
    return Data(x=x, edge_index=arcs, edge_attr=torch.arange(arcs.size(1))[:, None])


def graphs(features: Any = FEATURES) -> list[Data]:
    """Graphs of many sizes, one without edges and one without nodes among them."""
    sizes = [(5, 6), (1, 0), (0, 0), (2, 1), (9, 20), (30, 60), (3, 8)]
    return [graph(nodes, edges, seed, features) for seed, (nodes, edges) in enumerate(sizes)]


def network(hidden: int = 8, seed: int = 0) -> GIN:
    torch.manual_seed(seed)
    return GIN(FEATURES, 2, hidden=hidden, layers=2)


def predictors(count: int, *, features: Any = FEATURES, seed: int = 0, **options: Any) -> list[EdgePredictor]:
    torch.manual_seed(seed)
    made = [EdgePredictor(features, hidden=8, **options) for _ in range(count)]
    for predictor in made:  # as training would leave the statistics
        for name, value in predictor.named_buffers():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
    return made


def ticket(
    scorers: Sequence[torch.nn.Module] | None = None,
    *,
    rule: EdgeRule | None = None,
    thresholds: Sequence[float | None] = (None, None),
    rate: float = 0.2,
    density: float = 0.5,
    seed: int = 0,
    row: Mapping[str, Any] | None = None,
) -> Ticket:
    """A ticket of two rounds with weights as of a training."""
    scorers = predictors(2, seed=seed) if scorers is None else scorers
    stages = [
        EdgeRound(scorer, rate, (1 - rate) ** number, threshold)
        for number, (scorer, threshold) in enumerate(zip(scorers, thresholds, strict=False), start=1)
    ]
    model = network(seed=seed)
    rewind = snapshot(model)
    masks = MaskSet.dense(model)
    masks = masks.tighten(magnitude({name: rewind[name] for name in masks}, {}, masks), density)
    states = []
    for _ in range(2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        masks.apply_(model)
        states.append(snapshot(model))
    return Ticket(
        method="icpg",
        round=2,
        masks=masks,
        edges=PruneEdges(tuple(stages), rule or EdgeRule()),
        rewind=rewind,
        trained=states[0],
        last=states[1],
        row={
            "method": "icpg",
            "data": "synthetic",
            "model": "GIN",
            "protocol": "clean",
            "seed": seed,
            "round": 2,
            "edge_sparsity_train": 0.1 + 0.2,
            "edge_sparsity_val": 0.25,
            "edge_sparsity_test": 0.125,
            "weight_sparsity": masks.sparsity,
            "params_kept": 100,
            "params_total": 200,
            "val_metric": 0.75,
            "test_metric": math.nan,
            "metric": "rocauc",
            "epoch": 17,
            "epochs_trained": 60,
            "seconds": 3.25,
            "collapsed": list(masks.collapsed),
            **(row or {}),
        },
        history=(
            {"phase": "search", "epoch": 1, "loss": 1e-300},
            {"phase": "ticket", "epoch": 1, "loss": math.inf},
        ),
        provenance={
            "settings": {
                "rounds": 2,
                "edge_rate": rate,
                "protocol": {"select": "val", "rule": {"unit": "pair"}},
            },
            "data": {"name": "synthetic", "digest": "d" * 64},
        },
    )


def snapshot(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def with_states(sample: Ticket, extra: Mapping[str, Tensor]) -> Ticket:
    """The ticket with further tensors in each of its states."""
    return replace(sample, rewind=sample.rewind | extra, trained=sample.trained | extra, last=sample.last | extra)


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    flat = tensor.detach().contiguous().reshape(-1)
    return (
        tensor.dtype,
        tuple(tensor.shape),
        flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"",
    )


def facts(sample: Ticket) -> dict[str, Any]:
    """Everything that a ticket holds, comparable by ``==``: NaN by its name, tensors by their bits."""
    states = {name: getattr(sample, name) for name in ("masks", "rewind", "trained", "last")}
    return {
        "method": sample.method,
        "round": sample.round,
        "states": {name: {n: bits(t) for n, t in state.items()} for name, state in states.items()},
        "order": list(sample.masks),
        "rule": sample.edges.rule,
        "stages": [
            (
                type(edge_round.scorer),
                edge_round.scorer.config(),
                {name: bits(value) for name, value in edge_round.scorer.state_dict().items()},
                {name: bits(value) for name, value in edge_round.scorer.named_buffers()},
                edge_round.rate,
                edge_round.density,
                edge_round.threshold,
            )
            for edge_round in sample.edges.rounds
        ],
        "plain": repr((sample.row, sample.history, sample.provenance)),
    }


def random_scorers(count: int) -> list[RandomEdges]:
    return [RandomEdges(number) for number in range(count)]
