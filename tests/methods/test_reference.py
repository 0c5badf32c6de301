"""ICPG's rounds against an independent, straightforward loop with dense matrices and Python lists."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data

from graphprune import ICPG, EdgePredictor
from graphprune.models import GCN
from tests.methods.graphs import plain_fit, small_data

EPOCHS, LR, PREDICTOR_LR = 4, 0.05, 0.02


def dense_gcn(x: Tensor, adjacency: Tensor, conv: Any) -> Tensor:
    """Kipf & Welling's layer with matrices; ``adjacency[v, u]`` weighs the arc from u to v."""
    looped = adjacency + torch.eye(len(x), dtype=x.dtype)
    scale = looped.sum(1) ** -0.5
    return (scale[:, None] * looped * scale) @ (x @ conv.lin.weight.T) + conv.bias


def matrix(graphs: list[Data], weights: list[Tensor] | None = None) -> Tensor:
    """Block-diagonal adjacency of all graphs."""
    nodes = sum(int(graph.num_nodes) for graph in graphs)
    out, offset = torch.zeros(nodes, nodes, dtype=torch.float64), 0
    for number, graph in enumerate(graphs):
        for arc, (u, v) in enumerate(graph.edge_index.T.tolist()):
            value = torch.tensor(1.0, dtype=torch.float64) if weights is None else weights[number][arc]
            out = out.index_put((torch.tensor(offset + v), torch.tensor(offset + u)), value, accumulate=True)
        offset += int(graph.num_nodes)
    return out


def arc_logits(predictor: Any, graphs: list[Data]) -> list[Tensor]:
    x = torch.cat([graph.x.double() for graph in graphs])
    adjacency = matrix(graphs)
    z = functional.relu(predictor.node_encoder.norm(x) @ predictor.node_encoder.lin.weight.T)
    for depth in range(3):
        z = dense_gcn(predictor.norms[depth](z), adjacency, predictor.convs[depth])
        z = functional.relu(z) if depth < 2 else z
    logits, offset = [], 0
    for graph in graphs:
        own = []
        for u, v in graph.edge_index.T.tolist():
            own.append(predictor.head(torch.cat([z[offset + u], z[offset + v]])))
        logits.append(torch.cat(own) if own else z.new_zeros(0))
        offset += int(graph.num_nodes)
    return logits


def pair_mean(graph: Data, logit: Tensor) -> Tensor:
    arcs = graph.edge_index.T.tolist()
    return torch.stack([(logit[i] + logit[arcs.index([v, u])]) / 2 for i, (u, v) in enumerate(arcs)]) if arcs else logit


def classify(model: Any, graphs: list[Data], adjacency: Tensor) -> Tensor:
    x = model.node_encoder.norm(torch.cat([graph.x.double() for graph in graphs])) @ model.node_encoder.lin.weight.T
    for norm, conv in zip(model.norms, model.convs, strict=True):
        x = functional.relu(norm(dense_gcn(x, adjacency, conv)))
    parts = x.split([int(graph.num_nodes) for graph in graphs])
    return model.head(torch.stack([part.mean(0) for part in parts]))


def prune_graph(graph: Data, logit: Tensor, original: int, density: float) -> Data:
    """Drop the pairs of smallest mean logit until round(original * density) pairs are left."""
    arcs = graph.edge_index.T.tolist()
    mean = pair_mean(graph, logit).float().tolist() if arcs else []
    pairs = [i for i, (u, v) in enumerate(arcs) if arcs.index([v, u]) > i]
    best = sorted(pairs, key=lambda i: (-mean[i], i))[: round(original * density)]
    kept = {tuple(arcs[i]) for i in best} | {tuple(reversed(arcs[i])) for i in best}
    keep = torch.tensor([tuple(arc) in kept for arc in arcs], dtype=torch.bool)
    return Data(x=graph.x, edge_index=graph.edge_index[:, keep], y=graph.y)


def by_hand(model: nn.Module, predictor: nn.Module, data: Any, rounds: int, p_edge: float, p_weight: float) -> Any:
    names = [name for name, p in model.named_parameters() if p.dim() == 2 and name != "head.weight"]
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if name in names}
    splits = {split: list(getattr(data, split)) for split in ("train", "val", "test")}
    original = {split: [int(g.num_edges) // 2 for g in graphs] for split, graphs in splits.items()}
    y = torch.cat([graph.y for graph in splits["train"]])
    out = []
    for number in range(1, rounds + 1):
        f, g = copy.deepcopy(model).train(), copy.deepcopy(predictor).train()
        parameters = dict(f.named_parameters())
        with torch.no_grad():
            for name in names:
                parameters[name][~masks[name]] = 0
        optimizer = torch.optim.Adam(
            [{"params": f.parameters(), "lr": LR}, {"params": g.parameters(), "lr": PREDICTOR_LR}]
        )
        for _ in range(EPOCHS):
            logits = arc_logits(g, splits["train"])
            gates = [pair_mean(graph, own).sigmoid() for graph, own in zip(splits["train"], logits, strict=True)]
            loss = functional.cross_entropy(classify(f, splits["train"], matrix(splits["train"], gates)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for name in names:
                    parameters[name][~masks[name]] = 0
        # weights: the smallest magnitudes over all layers, until (1-p)^r is left
        entries = [
            (float(parameters[name].detach().flatten()[i].abs()), name, i)
            for name in sorted(names)
            for i in masks[name].flatten().nonzero().flatten().tolist()
        ]
        total = sum(parameters[name].numel() for name in names)
        for _, name, i in sorted(entries)[: len(entries) - round(total * (1 - p_weight) ** number)]:
            masks[name].view(-1)[i] = False
        g.eval()
        with torch.no_grad():
            for split, graphs in splits.items():
                splits[split] = [
                    prune_graph(graph, arc_logits(g, [graph])[0], count, (1 - p_edge) ** number)
                    for graph, count in zip(graphs, original[split], strict=True)
                ]
        out.append((copy.deepcopy(masks), {split: [g.edge_index for g in graphs] for split, graphs in splits.items()}))
    return out


@pytest.mark.parametrize("seed", [0, 1])
def test_rounds_equal_the_independent_loop(seed: int) -> None:
    torch.manual_seed(seed)
    data = small_data(seed, graphs=7)
    model = GCN.for_data(data, hidden=8, layers=2).double()
    predictor = EdgePredictor.for_data(data, hidden=8).double()
    icpg = ICPG(rounds=3, edge_rate=0.2, weight_rate=0.3, predictor=predictor, predictor_lr=PREDICTOR_LR)
    expected = by_hand(model, predictor, data, 3, 0.2, 0.3)
    for ticket, (masks, edges) in zip(icpg.rounds(model, data, plain_fit(EPOCHS, LR)), expected, strict=True):
        assert set(ticket.masks) == set(masks)
        for name, mask in masks.items():
            assert torch.equal(ticket.masks[name], mask), (ticket.round, name)
        for split, kept in edges.items():
            pruned = ticket.prune(getattr(data, split))
            for number, edge_index in enumerate(kept):
                assert torch.equal(pruned[number].edge_index, edge_index), (ticket.round, split, number)
