from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric import nn as pyg
from torch_geometric.data import Batch, Data

from graphprune.compaction import compact
from graphprune.graphs import PackedGraphs
from graphprune.models import GAT, GCN, GIN, SAGE, UGSGAT, NodeGAT, NodeGCN, NodeGIN, PaperGCN
from tests.compaction.nets import size, smaller, used, without
from tests.graphs.samples import molecule, random_graph

GRAPHS = Batch.from_data_list([random_graph(seed, nodes=4 + seed) for seed in range(3)])
FRESH = Batch.from_data_list([random_graph(seed, nodes=9, edges=5) for seed in range(5, 9)])
MOLECULES = PackedGraphs.of([molecule(seed) for seed in range(4)]).batch([0, 1, 2])
OTHERS = PackedGraphs.of([molecule(seed, nodes=5, edges=4) for seed in range(5, 9)]).batch([0, 2])


HIDDEN, DEAD = 12, [1, 4, 5, 9]
MODELS = {
    "gin": lambda features: GIN(features, 3, hidden=HIDDEN),
    "jk": lambda features: GIN(features, 3, hidden=HIDDEN, jk="cat", readout="sum"),
    "gine": lambda features: GIN(features, 3, hidden=HIDDEN, bonds=True, jk="cat"),
    "columns": lambda features: GIN(features, 3, hidden=HIDDEN, bonds=True, edge_features=3),
    "gcn": lambda features: GCN(features, 3, hidden=HIDDEN),
    "sage": lambda features: SAGE(features, 3, hidden=HIDDEN),
    "paper": lambda features: PaperGCN(features, 3, hidden=HIDDEN),
    "nodes": lambda features: GCN(features, 3, hidden=HIDDEN, readout="nodes"),
}


def batches(name: str) -> tuple[int | str, Batch, Batch]:
    return ("ogb-mol", MOLECULES, OTHERS) if name == "gine" else (4, GRAPHS, FRESH)


def coupled(model: nn.Module) -> nn.Module:
    """The same hidden units are dead in all weights that make or read them."""
    dead = torch.zeros(HIDDEN, dtype=torch.bool)
    dead[DEAD] = True
    for weight in model.parameters():
        for dim in range(weight.ndim if weight.ndim > 1 else 0):
            if weight.shape[dim] % HIDDEN == 0:
                weight.data.movedim(dim, 0)[dead.repeat(weight.shape[dim] // HIDDEN)] = 0
    return model


@pytest.mark.parametrize("name", MODELS)
def test_coupled_units_go_from_every_tensor(name: str) -> None:
    features, example, fresh = batches(name)
    model = coupled(used(MODELS[name](features)))
    small = smaller(model, example, fresh, fresh[0])
    state = model.state_dict()
    for key, value in small.state_dict().items():
        if key in state:  # a norm that was folded has made a bias
            left = len(DEAD) * HIDDEN // (HIDDEN - len(DEAD))
            assert all(
                now == was or now * HIDDEN == was * (HIDDEN - len(DEAD))
                for now, was in zip(value.shape, state[key].shape, strict=True)
            ), left
            assert HIDDEN not in value.shape


@pytest.mark.parametrize("name", MODELS)
def test_dead_rows_alone(name: str) -> None:
    features, example, fresh = batches(name)
    model = without(used(MODELS[name](features)), keep=("head", "lin_r"))
    if name == "sage":
        for conv in model.convs:
            conv.lin_r.weight.data[(conv.lin_l.weight == 0).all(1)] = 0
    smaller(model, example, fresh, fresh[0])


@pytest.mark.parametrize("model", [NodeGCN(4, 3, hidden=HIDDEN), NodeGIN(4, 3, hidden=HIDDEN)])
@pytest.mark.parametrize("words", [False, True])
def test_node_classifiers(model: nn.Module, words: bool) -> None:
    example, fresh = random_graph(0), random_graph(1, nodes=20, edges=30)
    if words:
        example.x, fresh.x = (torch.eye(30)[:count, :4] for count in (7, 20))
    smaller(coupled(used(model)), example, fresh)


@pytest.mark.parametrize("model", [GAT(4, 3, hidden=HIDDEN), NodeGAT(4, 3, hidden=3), UGSGAT(4, 3, hidden=3)])
def test_channels_of_attention_heads_go_if_they_are_dead_in_all_heads(model: nn.Module) -> None:
    used(model)
    for name, weight in model.named_parameters():
        if "conv" in name or "first" in name:
            if name.endswith("lin.weight"):
                weight.data.view(-1, 3, weight.shape[1])[:, 1] = 0
            if name.endswith("bias"):
                weight.data.view(-1, 3)[:, 1] = 0
    small = smaller(model, GRAPHS, FRESH)
    layer = small.convs[1] if isinstance(model, GAT) else small.first
    assert layer.out_channels == 2
    assert len(layer.bias) == 2 * layer.heads


def test_a_constant_summed_over_neighbours_is_none() -> None:
    """On a ring all nodes have two neighbours; elsewhere they do not."""
    around = torch.arange(6)
    ring = torch.stack([torch.cat([around, (around + 1) % 6]), torch.cat([(around + 1) % 6, around])])
    example = Data(x=torch.randn(6, 4), edge_index=ring)
    model = used(GIN(4, 3, hidden=HIDDEN))
    model.norms[0].bias.data.fill_(2.0)
    model.convs[0].nn[3].weight.data[DEAD] = 0
    model.convs[2].nn[0].weight.data[0] = 0
    small = smaller(model, example, FRESH)
    assert size(small) < size(model)


class Net(nn.Module):
    """A network as PyG's tutorials write it."""

    def __init__(self, conv: Callable[[int, int], nn.Module], pool: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.pool = conv(4, 12), conv(12, 12), pool
        self.norm, self.head = pyg.BatchNorm(12), nn.Linear(12, 2)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x, edge_index)))
        x = functional.dropout(x, 0.5, self.training)
        return self.head(self.pool(self.second(x, edge_index).relu(), batch))


def gin(inputs: int, outputs: int) -> nn.Module:
    inner = nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Linear(outputs, outputs))
    return pyg.GINConv(inner, train_eps=True)


CONVS = {
    "gcn": pyg.GCNConv,
    "gin": gin,
    "sage": pyg.SAGEConv,
    "sage-max": lambda inputs, outputs: pyg.SAGEConv(inputs, outputs, aggr="max"),
    "graph": pyg.GraphConv,
    "gated": pyg.ResGatedGraphConv,
    "tag": pyg.TAGConv,
    "cheb": lambda inputs, outputs: pyg.ChebConv(inputs, outputs, 2),
}
POOLS = [pyg.global_mean_pool, pyg.global_add_pool, pyg.global_max_pool]


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("pool", POOLS)
def test_networks_of_pyg_convolutions(name: str, pool: Callable[[Tensor, Tensor], Tensor]) -> None:
    model = coupled(used(Net(CONVS[name], pool)))
    example, fresh = ((batch.x, batch.edge_index, batch.batch) for batch in (GRAPHS, FRESH))
    small = smaller(model, example, fresh)
    assert small.head.in_features == HIDDEN - len(DEAD)
    assert size(small.norm) in (0, 2 * (HIDDEN - len(DEAD)))


@pytest.mark.parametrize("name", ["gin", "sage", "graph"])
def test_of_constants_that_are_summed_over_neighbours_one_is_enough(name: str) -> None:
    model = used(Net(CONVS[name], pyg.global_mean_pool))
    for key, weight in model.first.named_parameters():
        if weight.shape[0] == HIDDEN and weight.ndim == 2 and "nn.0" not in key:
            weight.data[DEAD] = 0
    model.norm.module.weight.data[DEAD] = 0
    model.norm.module.bias.data[DEAD] = torch.tensor([1.0, 2.0, 0.5, 3.0])
    example, fresh = ((batch.x, batch.edge_index, batch.batch) for batch in (GRAPHS, FRESH))
    small = smaller(model, example, fresh)
    reading = small.second.nn[0] if name == "gin" else small.second.lin_l if name == "sage" else small.second.lin_rel
    assert reading.weight.shape[1] == HIDDEN - len(DEAD) + 1


@pytest.mark.parametrize("conv", [pyg.GATConv, pyg.GATv2Conv])
def test_pyg_attention_loses_channels_that_are_dead_in_all_heads(conv: Callable[..., nn.Module]) -> None:
    model = used(Net(lambda inputs, outputs: conv(inputs, outputs // 4, heads=4), pyg.global_add_pool))
    model.second.bias = None
    for name, weight in model.second.named_parameters():
        if name.startswith("lin") and len(weight) == HIDDEN:
            weight.data.view(4, 3, -1)[:, 1] = 0
    example, fresh = ((batch.x, batch.edge_index, batch.batch) for batch in (GRAPHS, FRESH))
    small = smaller(model, example, fresh)
    assert small.head.in_features == 8
    assert small.second.out_channels == 2


def test_heads_of_another_code_stay_whole_and_are_named() -> None:
    model = nn.Sequential(
        nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), nn.Unflatten(1, (4, 3)), nn.Flatten(), nn.Linear(12, 2)
    )
    model[2].weight.data.view(4, 3, 12)[:, 1] = 0
    with pytest.raises(ValueError, match=r"no unit is dead.*need all of their channels: view"):
        compact(model, torch.randn(5, 4))
    model[0].weight.data[3] = 0
    small = smaller(model, torch.randn(5, 4), torch.randn(3, 4))
    assert (small[0].out_features, small[2].out_features) == (11, 12)
