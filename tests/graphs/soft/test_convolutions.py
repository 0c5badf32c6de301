"""Whether every convolution and aggregation of torch_geometric is gated or refused, and networks made of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.data import Batch, Data
from torch_geometric.nn import aggr, conv

from graphprune.graphs.soft.check import check_removal
from graphprune.graphs.soft.soft import SoftEdges, supports
from graphprune.graphs.soft.tables import AGGREGATIONS, NO_AGGREGATIONS, NO_CONVOLUTIONS, PROVEN
from tests.graphs.soft.cases import CASES, CHORDS, RING, WIDTH, Net, build, close, double, graph, soft, without
from tests.graphs.soft.table import MARK, PAGE, tables

AROUND = {"MessagePassing", "AntiSymmetricConv", "DirGNNConv", "GPSConv", "HeteroConv"}  # other convolutions


def test_every_convolution_is_proven_or_refused() -> None:
    assert set(conv.__all__) - AROUND == (PROVEN | NO_CONVOLUTIONS.keys()) - {"GATEConv"}
    assert not PROVEN & NO_CONVOLUTIONS.keys()


def test_every_proven_one_is_among_the_cases() -> None:
    built = {type(build(name).conv).__name__ for name in CASES}
    assert built == PROVEN or built == PROVEN - {"SplineConv"}  # which needs pyg-lib


def test_every_aggregation_is_proven_or_refused() -> None:
    assert set(aggr.__all__) - {"Aggregation"} == (AGGREGATIONS | NO_AGGREGATIONS.keys()) - {"FusedAggregation"}
    parts = {
        type(part).__name__ for name in CASES for part in build(name).modules() if isinstance(part, aggr.Aggregation)
    }
    assert parts >= AGGREGATIONS


def test_the_page_says_what_is_proven() -> None:
    if "SplineConv" not in {type(build(name).conv).__name__ for name in CASES}:
        assert PAGE.read_text().partition(MARK)[2] == tables(), "write them again: python -m tests.graphs.soft.table"


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "HANConv": lambda: pyg.HANConv(WIDTH, 2, metadata=(["a"], [("a", "to", "a")])),
    "HGTConv": lambda: pyg.HGTConv(WIDTH, 2, metadata=(["a"], [("a", "to", "a")])),
    "HypergraphConv": lambda: pyg.HypergraphConv(WIDTH, 2),
    "MeshCNNConv": lambda: pyg.MeshCNNConv(WIDTH, 2),
    "PANConv": lambda: pyg.PANConv(WIDTH, 2, 2),
    "SignedConv": lambda: pyg.SignedConv(WIDTH, 2, first_aggr=True),
    "WLConv": lambda: pyg.WLConv(),
}


@pytest.mark.filterwarnings("ignore:Parameter 'kernels' is None")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}\): {name} {NO_CONVOLUTIONS[name][:20]}"):
        supports(Net(REFUSED[name]()))


def test_relations_that_are_selected_by_indexing_are_refused() -> None:
    net = Net(pyg.FiLMConv(WIDTH, 3, num_relations=2), edge_type="edge_type")
    data = graph(5, RING + CHORDS)
    data.edge_type = data.edge_type % 2
    with pytest.raises(ValueError, match=r"FiLMConv hands .* edges of its own making.*edge_gate"):
        soft(net, torch.ones(data.num_edges), data)


class Model(nn.Module):
    """What is called as ``body(x, edge_index, **more)``."""

    def __init__(self, body: nn.Module, *more: str) -> None:
        super().__init__()
        self.body, self.more = body, more

    def forward(self, data: Data) -> Any:
        return self.body(data.x, data.edge_index, **{name: data[name] for name in self.more})


class OneType(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = pyg.HeteroConv({("a", "to", "a"): pyg.GATConv(WIDTH, 3, add_self_loops=False)})

    def forward(self, data: Data) -> Tensor:
        return self.convs({"a": data.x}, {("a", "to", "a"): data.edge_index})["a"]


def layers(conv: Callable[[], nn.Module]) -> nn.Module:
    return pyg.Sequential(
        "x, e",
        [
            (pyg.DeepGCNLayer(conv(), pyg.LayerNorm(WIDTH), nn.ReLU(), block="res+"), "x, e -> x"),
            (pyg.DeepGCNLayer(conv(), pyg.LayerNorm(WIDTH), nn.ReLU(), block="plain"), "x, e -> x"),
        ],
    )


DEGREES = torch.tensor([0, 1, 3, 2, 1])
MODELS: dict[str, Callable[[], nn.Module]] = {
    "GCN": lambda: Model(pyg.GCN(WIDTH, 5, 2, 3, jk="cat"), "edge_weight"),
    "GIN": lambda: Model(pyg.GIN(WIDTH, 5, 3, 3, jk="lstm", norm="batch")),
    "GAT": lambda: Model(pyg.GAT(WIDTH, 6, 2, 3, heads=2, v2=True, jk="max", edge_dim=WIDTH), "edge_attr"),
    "PNA": lambda: Model(
        pyg.PNA(WIDTH, 6, 2, 3, aggregators=["mean", "max", "std"], scalers=["identity", "attenuation"], deg=DEGREES)
    ),
    "EdgeCNN": lambda: Model(pyg.EdgeCNN(WIDTH, 5, 2, 3)),
    "GraphSAGE": lambda: Model(pyg.GraphSAGE(WIDTH, 5, 2, 3, aggr=["mean", "max"])),
    "AttentiveFP": lambda: Model(pyg.AttentiveFP(WIDTH, 5, 3, WIDTH, 2, 2), "edge_attr", "batch"),
    "GPSConv": lambda: Model(pyg.GPSConv(WIDTH, pyg.GINEConv(nn.Linear(WIDTH, WIDTH)), heads=2), "batch", "edge_attr"),
    "DirGNNConv": lambda: Model(pyg.DirGNNConv(pyg.SAGEConv(WIDTH, 3))),
    "AntiSymmetricConv": lambda: Model(pyg.AntiSymmetricConv(WIDTH, num_iters=2)),
    "DeepGCNLayer": lambda: Model(layers(lambda: pyg.GENConv(WIDTH, WIDTH, aggr="softmax", learn_t=True))),
    "HeteroConv": OneType,
    "NeuralFingerprint": lambda: Model(pyg.models.NeuralFingerprint(WIDTH, 5, 3, 2), "batch"),
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_them(name: str) -> None:
    torch.manual_seed(0)
    net = MODELS[name]().double().eval()
    data = double(Batch.from_data_list([graph(7, RING + CHORDS), graph(5, RING)]))
    keep = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(0)) < 0.5
    close(soft(net, keep.double(), data), net(without(data, keep)), 1e-10)
    check_removal(net, data)
    gate = keep.double().requires_grad_()
    soft(net, gate, data).square().sum().backward()
    assert bool(gate.grad.isfinite().all()) and bool(gate.grad.any())


def test_a_subclass_that_adds_something_around_is_gated_after_a_look() -> None:
    class Normed(pyg.GCNConv):
        def __init__(self) -> None:
            super().__init__(WIDTH, 3)
            self.norm = nn.LayerNorm(3)

        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            return self.norm(super().forward(*args, **kwargs)).relu()

        def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
            return 2 * super().message(x_j, edge_weight)

    net, data = Model(Normed()), graph(7, RING + CHORDS)
    with pytest.raises(TypeError, match=r"body \(Normed\): nobody has seen"), SoftEdges(net):
        pass
    check_removal(net, data)
    keep = torch.arange(data.num_edges) % 3 > 0
    close(soft(net, keep.float(), data), net(without(data, keep)), 1e-5)
    assert type(net.body) is Normed
