"""The whole way, from raw graphs to predictions, as a program that needs nothing of this package."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, global_mean_pool

import graphprune as gp
from graphprune.deployed import Deployed, deploy
from graphprune.train import Fit

# Runs files where this package and PyG cannot be imported.
ELSEWHERE = """
import sys
for name in ("graphprune", "torch_geometric"):
    sys.modules[name] = None
import numpy as np
path, *files = sys.argv[1:]
if path.endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    run = lambda given: session.run(None, given)
else:
    import torch
    program = torch.export.load(path).module()
    run = lambda given: [each.detach().numpy() for each in program(*map(torch.from_numpy, given.values()))]
for file in files:
    np.savez(file, *run(dict(np.load(file))))
"""


@cache
def molecules(name: str) -> tuple[gp.data.GraphData, Deployed]:
    data = gp.data.load(name)
    if name == "MUTAG":
        data = data.with_encodings(walks=3)
    return data, deployed_of(data, encoder="mlp" if name == "MUTAG" else "gcn")


def deployed_of(data: gp.data.GraphData, **options: Any) -> Deployed:
    torch.manual_seed(0)
    model = gp.models.GIN.for_data(data, hidden=16, layers=2, bonds=data.edge_features is not None)
    predictor = gp.EdgePredictor.for_data(
        data, hidden=8, layers=1, score="bilinear", edges=data.edge_features is not None, **options
    )
    method = gp.GICP(
        predictor=predictor, densities=(0.6,), stop=6, every=3, unit="coupled", channel_density=0.5, weight_density=0.3
    )
    (ticket,) = method.rounds(model, data, Fit(epochs=3, batch_size=64, lr=0.01, seed=0))
    return deploy(ticket, model, data, edges=True)


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("name", ["ogbg-molbace", "MUTAG"])
def test_a_program_says_what_the_object_says_of_all_unseen_graphs(name: str, suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
    data, deployed = molecules(name)
    path = tmp_path / f"whole{suffix}"
    names = deployed.export(path, data.val.select(torch.arange(5)))
    assert set(names) <= {"x", "edge_index", "batch", "edge_attr", "encodings"}
    unseen = data.test if name == "MUTAG" else data.train
    batches = [unseen.batch([3]), unseen.batch(torch.arange(len(unseen)))]
    lone = Data(**{key: value for key, value in unseen[0].to_dict().items() if key in names})
    lone.x, lone.edge_index = lone.x[:1], lone.edge_index[:, :0]
    for key in ("edge_attr", "encodings"):
        if key in lone:
            lone[key] = lone[key][: 0 if key == "edge_attr" else 1]
    batches += [Batch.from_data_list([lone]), Batch.from_data_list([lone, unseen[1], lone])]
    files = [tmp_path / f"{number}.npz" for number in range(len(batches))]
    for file, batch in zip(files, batches, strict=True):
        np.savez(file, **{key: batch[key].numpy() for key in names})
    subprocess.run([sys.executable, "-W", "ignore", "-c", ELSEWHERE, path, *files], check=True, timeout=300)
    for file, batch in zip(files, batches, strict=True):
        predictions, kept = (torch.from_numpy(each) for each in np.load(file).values())
        torch.testing.assert_close(predictions, deployed(batch), rtol=1e-5, atol=1e-5)
        assert torch.equal(batch.edge_index[:, kept], deployed.edges.left(batch).edge_index)
        assert len(predictions) == batch.num_graphs


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    data = gp.data.load("MUTAG")
    deployed = deployed_of(data, walks=4)
    with pytest.raises(ValueError, match="cannot be part of a program: its scorer counts random walks"):
        deployed.export(tmp_path / "it.pt2", data.val)
    graph = data.test[0].clone()
    graph.edge_protected = torch.zeros(graph.num_edges, dtype=torch.bool)
    with pytest.raises(ValueError, match="edge_protected is no input"):
        deployed_of(data).export(tmp_path / "it.pt2", [graph, graph])
    assert list(tmp_path.iterdir()) == []


def test_full_graphs_go_through_unpruned(tmp_path: Path) -> None:
    data = gp.data.load("MUTAG")
    torch.manual_seed(0)
    model = gp.models.GCN.for_data(data, hidden=8, layers=2)
    (ticket,) = gp.IMP(rounds=1, weight_rate=0.5).rounds(model, data, Fit(epochs=1, batch_size=64, lr=0.01, seed=0))
    deployed = deploy(ticket, model, data)
    names = deployed.export(tmp_path / "it.pt2", [data.val[0], data.val[1]])
    batch = data.test.batch(range(7))
    program: nn.Module = torch.export.load(tmp_path / "it.pt2").module()
    with torch.no_grad():
        predictions, kept = program(*(batch[name] for name in names))
    torch.testing.assert_close(predictions, deployed(batch), rtol=1e-5, atol=1e-5)
    assert kept.all()
    assert kept.numel() == batch.num_edges


class Own(nn.Module):
    """A user's network, which reads how many graphs there are."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv, self.head = GCNConv(features, 8), nn.Linear(8, 2)

    def forward(self, batch: Any) -> Tensor:
        hidden = self.conv(batch.x, batch.edge_index).relu()
        out: Tensor = self.head(global_mean_pool(hidden, batch.batch, batch.num_graphs))
        return out


def test_networks_of_users_are_exported_with_their_pruning(tmp_path: Path) -> None:
    data = gp.data.load("MUTAG")
    torch.manual_seed(0)
    model, predictor = Own(data.num_features), gp.EdgePredictor.for_data(data, hidden=8, layers=1)
    (ticket,) = gp.GICP(predictor=predictor, densities=(0.6,), stop=0.5).rounds(
        model, data, Fit(epochs=2, batch_size=64, lr=0.01, seed=0)
    )
    deployed = deploy(ticket, model, data, edges=True)
    names = deployed.export(tmp_path / "own.pt2", data.val)
    program: nn.Module = torch.export.load(tmp_path / "own.pt2").module()
    for numbers in ([2], range(9)):
        batch = data.test.batch(numbers)
        with torch.no_grad():
            predictions, kept = program(*(batch[name] for name in names))
        torch.testing.assert_close(predictions, deployed(batch), rtol=1e-5, atol=1e-5)
        assert torch.equal(batch.edge_index[:, kept], deployed.edges.left(batch).edge_index)
