import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.data import Data

import graphprune as gp
from graphprune.compaction import compact, restored, save
from graphprune.models import GCN, GIN, SAGE, ResNet20
from tests.compaction.nets import used, without
from tests.compaction.test_graphs import FRESH, GRAPHS, HIDDEN, Net, coupled, gin
from tests.models.test_blocks import CONVOLUTIONS


def same(loaded: nn.Module, model: nn.Module, inputs: tuple[Tensor, ...], *arguments: Any) -> None:
    with torch.no_grad():
        torch.testing.assert_close(loaded(*inputs), model(*arguments), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 2)), (4,)),
        (ResNet20((3, 8, 8), 4, hidden=4), (3, 8, 8)),
    ],
)
def test_programs_of_tensors_take_any_batch(model: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    small = compact(without(used(model), keep=("head", "3.")), torch.randn(3, *shape))
    path = tmp_path / "small.pt2"
    assert save(small, torch.randn(3, *shape), path) == ()
    loaded = torch.export.load(path).module()
    for count in (1, 3, 8):
        x = torch.randn(count, *shape)
        same(loaded, small, (x,), x)


BLOCKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "virtual node": {"virtual_node": True, "residual": True, "layers": 3},
    "attention": {"readout": "attention", "jk": "cat", "feed_forward": True},
    "largest": {"readout": "max", "norm": "layer", "head_layers": 2},
    "bonds": {"bonds": True},
}


# Each convolution with two sets of blocks, in turn: an export takes seconds.
TRIED = [
    (kind, blocks)
    for number, kind in enumerate(sorted(CONVOLUTIONS))
    for blocks in (list(BLOCKS)[number % len(BLOCKS)], list(BLOCKS)[(number + 2) % len(BLOCKS)])
]


def molecules(kind: str, blocks: str) -> tuple[gp.data.GraphData, nn.Module, tuple[str, ...]]:
    torch.manual_seed(0)
    data = gp.data.load("ogbg-molfreesolv")
    if blocks == "bonds":
        data = data.with_encodings(walks=3)
    network = used(CONVOLUTIONS[kind].for_data(data, **{"hidden": 8, "layers": 2, **BLOCKS[blocks]})).eval()
    return data, network, ("x", "edge_index", "batch", "edge_attr", *["encodings"] * (blocks == "bonds"))


@pytest.mark.parametrize(("kind", "blocks"), TRIED)
def test_programs_of_molecules_take_any_others(kind: str, blocks: str, tmp_path: Path) -> None:
    data, network, inputs = molecules(kind, blocks)
    path = tmp_path / "molecules.pt2"
    assert save(network, data.val.batch(range(7)), path) == inputs
    program = torch.export.load(path).module()
    for numbers in ([3], range(10, 30)):
        batch = data.test.batch(numbers)
        same(program, network, tuple(batch[name] for name in inputs), batch)
    batch = data.test.batch([3])
    batch.x = batch.x.index_fill(1, torch.tensor([0]), 500)  # no such atom
    with pytest.raises(RuntimeError, match="categorical features must lie below"):
        program(*(batch[name] for name in inputs))


@pytest.mark.parametrize(("kind", "blocks"), TRIED[::2])
def test_onnx_files_of_molecules_take_any_others(
    kind: str, blocks: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    data, network, inputs = molecules(kind, blocks)
    path = tmp_path / "molecules.onnx"
    assert save(network, data.val.batch(range(7)), path) == inputs
    assert capfd.readouterr().out == ""
    session = runtime.InferenceSession(path)
    assert tuple(each.name for each in session.get_inputs()) == inputs
    for numbers in ([3], range(10, 30)):
        batch = data.test.batch(numbers)
        (found,) = session.run(None, {name: batch[name].numpy() for name in inputs})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), network(batch), rtol=1e-4, atol=1e-5)


class OwnNet(nn.Module):
    """A user's network, as PyG's examples write it."""

    def __init__(self, conv: type[nn.Module], features: int) -> None:
        super().__init__()
        self.conv, self.head = conv(features, 8), nn.Linear(8, 2)

    def forward(self, batch: Any) -> Tensor:
        hidden = self.conv(batch.x, batch.edge_index).relu()
        out: Tensor = self.head(pyg.global_mean_pool(hidden, batch.batch, batch.num_graphs))
        return out


@pytest.mark.parametrize("conv", [pyg.GCNConv, pyg.GATConv])
def test_networks_of_users_know_how_many_graphs_there_are(conv: type[nn.Module], tmp_path: Path) -> None:
    data = gp.data.load("MUTAG")
    network = used(OwnNet(conv, data.num_features)).eval()
    names = save(network, data.val.batch(range(7)), tmp_path / "own.pt2")
    program = torch.export.load(tmp_path / "own.pt2").module()
    for numbers in ([3], range(10)):
        batch = data.test.batch(numbers)
        same(program, network, tuple(batch[name] for name in names), batch)


def test_images_go_into_onnx_files(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    network, path = used(ResNet20((3, 8, 8), 4, hidden=4)).eval(), tmp_path / "images.onnx"
    assert save(network, torch.randn(3, 3, 8, 8), path) == ()
    x = torch.randn(5, 3, 8, 8)
    (found,) = runtime.InferenceSession(path).run(None, {"input_0": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=1e-4, atol=1e-5)


def test_an_onnx_file_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"ONNX files need onnxscript: pip install 'graphprune\[onnx\]'"):
        save(nn.Linear(2, 2), torch.randn(3, 2), tmp_path / "it.onnx")


@pytest.mark.parametrize("kind", [GCN, GIN, SAGE])
def test_programs_of_graphs_take_any_number_of_nodes_and_edges(kind: Any, tmp_path: Path) -> None:
    small = compact(coupled(used(kind(4, 3, hidden=HIDDEN))), GRAPHS)
    path = tmp_path / "small.pt2"
    names = save(small, GRAPHS, path)
    assert names == ("x", "edge_index", "batch", "edge_attr")
    same(torch.export.load(path).module(), small, tuple(FRESH[name] for name in names), FRESH)


def test_what_cannot_be_exported_is_said_with_the_way_out(tmp_path: Path) -> None:
    small = Net(pyg.GCNConv, pyg.global_mean_pool)
    with pytest.raises(RuntimeError, match=r"cannot follow Net: .*state_dict"):
        save(small, (GRAPHS.x, GRAPHS.edge_index, GRAPHS.batch), tmp_path / "small.pt2")
    with pytest.raises(TypeError, match="tensor"):
        save(small, "molecule", tmp_path / "small.pt2")


def test_a_compacted_model_is_restored_from_its_state() -> None:
    for model in (Net(gin, pyg.global_add_pool), Net(pyg.GCNConv, pyg.global_add_pool)):
        arguments = (GRAPHS.x, GRAPHS.edge_index, GRAPHS.batch)
        small = compact(coupled(used(model)), arguments)
        again = restored(model, small.state_dict())
        assert str(again) == str(small)
        assert torch.equal(again(*arguments), small(*arguments))
        assert not again.training
    with pytest.raises(RuntimeError, match="head"):
        restored(model, {name: value for name, value in small.state_dict().items() if "head" not in name})


def test_a_restored_model_needs_no_bias_from_the_start() -> None:
    model = used(nn.Sequential(nn.Linear(4, 9), nn.Sigmoid(), nn.Linear(9, 5, bias=False), nn.ReLU(), nn.Linear(5, 2)))
    small = compact(without(model, keep=("2", "4")), torch.randn(5, 4))
    assert small[2].bias is not None
    x = torch.randn(3, 4)
    assert torch.equal(restored(model, small.state_dict())(x), small(x))


def test_graphs_without_batch(tmp_path: Path) -> None:
    model = used(GCN(4, 3, hidden=HIDDEN, readout="nodes"))
    example = Data(x=GRAPHS.x, edge_index=GRAPHS.edge_index)
    assert save(model, example, tmp_path / "nodes.pt2") == ("x", "edge_index")
