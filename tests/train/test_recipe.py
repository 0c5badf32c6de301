"""A recipe as published for ZINC through methods that prune edges: regression on graphs like molecules."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import GraphData
from graphprune.methods.core.fit import state_digest

RECIPE = {
    "loss": "mae",
    "schedule": "cosine",
    "warmup": 0.1,
    "clip": 1.0,
    "ema": 0.9,
    "optimizer": "adamw",
    "weight_decay": 1e-5,
}


def molecule(generator: torch.Generator) -> Data:
    """A chain with rings: categories of atoms and bonds, one real label, which both decide."""
    size = int(torch.randint(6, 12, (), generator=generator))
    nodes = torch.arange(size)
    ends = torch.stack([nodes[:-1], nodes[1:]])
    rings = torch.stack([nodes[:-5], nodes[5:]])
    edges = torch.cat([ends, rings], 1)
    bonds = torch.randint(3, (edges.size(1),), generator=generator)
    atoms = torch.randint(4, (size,), generator=generator)
    label = (atoms == 1).float().mean() - 0.5 * (bonds == 2).float().mean() + 0.3 * rings.size(1) / size
    index = torch.cat([edges, edges.flip(0)], 1)
    return Data(x=atoms[:, None], edge_index=index, edge_attr=bonds.repeat(2)[:, None], y=label.view(1, 1))


@pytest.fixture(scope="module")
def molecules() -> GraphData:
    generator = torch.Generator().manual_seed(0)
    graphs = [molecule(generator) for _ in range(160)]
    splits = {"train": graphs[:96], "val": graphs[96:128], "test": graphs[128:]}
    kinds: dict[str, Any] = {"features": [4], "edge_features": [3], "metric": "mae"}
    return gp.data.from_graphs(**splits, name="molecules", task="regression", **kinds)


def network(data: GraphData, kind: Any = gp.models.GIN) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind.for_data(data, hidden=16, layers=2, residual=True)


def methods(data: GraphData, fit: gp.train.Fit) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        predictor = gp.EdgePredictor.for_data(data, hidden=16, edges=True)
    stop = fit.epochs * len(data.train) // fit.batch_size // 2
    return {
        "icpg": gp.ICPG(predictor=predictor, rounds=2, edge_rate=0.1, weight_rate=0.3),
        "gicp": gp.GICP(predictor=predictor, densities=(0.9, 0.8), weight_density=0.5, stop=stop, every=4),
    }


@pytest.mark.parametrize("kind", [gp.models.GIN, gp.models.GatedGCN])
@pytest.mark.parametrize("name", ["icpg", "gicp"])
def test_a_recipe_with_all_options_prunes_and_learns(
    name: str, kind: Any, molecules: GraphData, tmp_path: Path
) -> None:
    fit = gp.train.Fit(epochs=15, lr=0.01, batch_size=16, **RECIPE)
    model = network(molecules, kind)
    guess = torch.cat([molecules.train.graph["y"]]).mean()
    blind = (molecules.test.graph["y"] - guess).abs().mean()
    tickets = list(methods(molecules, fit)[name].rounds(model, molecules, fit))
    assert len(tickets) == 2
    for ticket in tickets:
        assert ticket.row["test_metric"] < 0.9 * blind
        assert ticket.row["edge_sparsity_test"] > 0.05 and ticket.row["weight_sparsity"] > 0.25
        ticket.masks.verify(ticket.build(model))
        again = gp.train.evaluate(ticket.build(model), ticket.prune(molecules.test), molecules)
        assert again == pytest.approx(ticket.row["test_metric"])
    tickets[0].save(tmp_path / "first")
    after = gp.Ticket.load(tmp_path / "first")
    (second,) = methods(molecules, fit)[name].rounds(model, molecules, fit, after=after)
    assert state_digest(second.trained) == state_digest(tickets[1].trained)
