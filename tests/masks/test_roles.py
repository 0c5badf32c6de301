"""What is a weight in each convolution of the installed torch_geometric."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn

from graphprune.masks import prunable

META = (["a", "b"], [("a", "to", "b"), ("b", "to", "a")])


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs))


# All others are made by their sizes alone.
MADE: dict[str, Callable[[Any], nn.Module]] = {
    "AGNNConv": lambda c: c(),
    "APPNP": lambda c: c(2, 0.1),
    "ARMAConv": lambda c: c(8, 8, num_stacks=2, num_layers=2),
    "AntiSymmetricConv": lambda c: c(8),
    "CGConv": lambda c: c(8, dim=3, batch_norm=True),
    "ChebConv": lambda c: c(8, 8, K=2),
    "DNAConv": lambda c: c(8, heads=2, groups=2),
    "DirGNNConv": lambda c: c(pyg.GCNConv(8, 8)),
    "DynamicEdgeConv": lambda c: c(mlp(16, 8), k=2),
    "ECConv": lambda c: c(8, 4, mlp(3, 32)),
    "EGConv": lambda c: c(8, 8, num_heads=4, num_bases=2),
    "EdgeConv": lambda c: c(mlp(16, 8)),
    "FAConv": lambda c: c(8),
    "FastRGCNConv": lambda c: c(8, 8, 3),
    "FeaStConv": lambda c: c(8, 8, heads=2),
    "FiLMConv": lambda c: c(8, 8, num_relations=2),
    "FusedGATConv": lambda c: c(8, 8, add_self_loops=False),
    "GATConv": lambda c: c(8, 4, heads=2, edge_dim=3),
    "GATv2Conv": lambda c: c(8, 4, heads=2, edge_dim=3),
    "GCN2Conv": lambda c: c(8, 0.1, theta=0.5, layer=1, shared_weights=False),
    "GENConv": lambda c: c(8, 8, learn_t=True, learn_p=True, learn_msg_scale=True, edge_dim=3),
    "GINConv": lambda c: c(mlp(8, 8), train_eps=True),
    "GINEConv": lambda c: c(mlp(8, 8), edge_dim=3),
    "GMMConv": lambda c: c(8, 8, dim=2, kernel_size=3),
    "GPSConv": lambda c: c(8, pyg.GCNConv(8, 8), heads=2),
    "GatedGraphConv": lambda c: c(8, 2),
    "GeneralConv": lambda c: c(8, 8, in_edge_channels=3, attention=True),
    "GravNetConv": lambda c: c(8, 8, 2, 3, 2),
    "HANConv": lambda c: c(8, 4, META, heads=2),
    "HEATConv": lambda c: c(8, 8, 2, 2, 3, 3, 3, heads=2),
    "HGTConv": lambda c: c(8, 8, META, heads=2),
    "HeteroConv": lambda c: c({("a", "to", "b"): pyg.SAGEConv((8, 8), 8)}),
    "HypergraphConv": lambda c: c(8, 4, use_attention=True, heads=2),
    "LGConv": lambda c: c(),
    "NNConv": lambda c: c(8, 4, mlp(3, 32)),
    "PANConv": lambda c: c(8, 8, 2),
    "PDNConv": lambda c: c(8, 8, edge_dim=3, hidden_channels=4),
    "PNAConv": lambda c: c(8, 8, ["mean"], ["identity"], torch.tensor([1, 2]), edge_dim=3),
    "PPFConv": lambda c: c(mlp(12, 8), mlp(8, 8)),
    "PointGNNConv": lambda c: c(mlp(8, 3), mlp(11, 8), mlp(8, 8)),
    "PointNetConv": lambda c: c(mlp(11, 8), mlp(8, 8)),
    "RGATConv": lambda c: c(8, 4, 3, heads=2, edge_dim=3, num_bases=2),
    "RGCNConv": lambda c: c(8, 8, 3, num_bases=2),
    "ResGatedGraphConv": lambda c: c(8, 8, edge_dim=3),
    "SAGEConv": lambda c: c(8, 8, project=True),
    "SSGConv": lambda c: c(8, 8, alpha=0.1),
    "SignedConv": lambda c: c(8, 8, first_aggr=True),
    "SimpleConv": lambda c: c(),
    "SplineConv": lambda c: c(8, 8, dim=2, kernel_size=3),
    "TransformerConv": lambda c: c(8, 4, heads=2, edge_dim=3, beta=True),
    "WLConv": lambda c: c(),
    "WLConvContinuous": lambda c: c(),
    "XConv": lambda c: c(8, 8, dim=2, kernel_size=2),
}

# Where something is selected that no linear map owns, or a linear map is not selected: all that is.
SELECTED: dict[str, set[str]] = {
    "FAConv": set(),  # att_l and att_r are linear maps to one number
    "GCN2Conv": {"weight1", "weight2"},
    "GMMConv": {"g", "root.weight"},
    "HANConv": {"k_lin.weight", "proj.a.weight", "proj.b.weight"},
    "HEATConv": {"hetero_lin.weight", "edge_attr_emb.weight", "lin.weight"},
    "RGATConv": {"lin_edge.weight"},
    "RGCNConv": {"root"},
    "FastRGCNConv": {"root"},
}

PROTECTED: dict[str, set[str]] = {
    "RGATConv": {"q", "k", "e", "l1", "b1", "l2", "b2", "att", "basis", "w"},
    "GMMConv": {"mu", "sigma", "bias"},
    "FAConv": {"att_l.weight", "att_r.weight"},
    "HANConv": {"q", "lin_src.a__to__b", "lin_dst.b__to__a"},
    "HEATConv": {"att.weight", "edge_type_emb.weight"},
    "RGCNConv": {"comp", "weight", "bias"},
}


def made(name: str) -> nn.Module:
    try:
        return MADE.get(name, lambda c: c(8, 8))(getattr(pyg, name))
    except ImportError as error:
        pytest.skip(str(error))


def convolutions() -> list[str]:
    names = [name for name in dir(pyg) if "Conv" in name and inspect.isclass(getattr(pyg, name))]
    return [name for name in names if not name.startswith("CuGraph")] + ["APPNP"]


@pytest.mark.parametrize("name", convolutions())
def test_matrices_are_selected_and_all_else_is_protected(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.ModuleDict({"conv": made(name), "head": nn.Linear(2, 2)})
    found = {each.removeprefix("conv.") for each in prunable()(net).selected} - {"head.weight"}
    maps = {
        f"{path}.weight".removeprefix(".")
        for path, module in net["conv"].named_modules()
        if type(module).__name__ in ("Linear", "HeteroLinear", "NonDynamicallyQuantizableLinear")
    }
    assert found == SELECTED.get(name, maps)


@pytest.mark.parametrize("name", PROTECTED)
def test_biases_kernels_attention_and_tables_are_protected(name: str) -> None:
    net = nn.ModuleDict({"conv": made(name), "head": nn.Linear(2, 2)})
    protected = {each.removeprefix("conv.") for each in prunable()(net).protected}
    assert protected >= PROTECTED[name]
    some = sorted(PROTECTED[name])[0]
    assert f"conv.{some}" in prunable(include=[f"conv.{some}"])(net).selected


def test_attention_is_a_name_of_convolutions_and_classes_settle_their_own() -> None:
    class Attending(pyg.MessagePassing):
        def __init__(self, attention: nn.Module) -> None:
            super().__init__()
            self.attention = attention
            self.lin = nn.Linear(4, 4)

    class Own(nn.Linear):
        prunable_parameters = frozenset({"weight"})

    deep = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    assert prunable()(Attending(deep)).selected == ("lin.weight",)
    assert prunable()(Attending(Own(4, 4))).selected == ("attention.weight", "lin.weight")
    plain = nn.ModuleDict({"attention": nn.Linear(4, 4), "conv": pyg.GCNConv(4, 4)})
    assert prunable()(plain).selected == ("attention.weight", "conv.lin.weight")
    inner = nn.ModuleDict({"attic": pyg.GCNConv(4, 4)})
    assert prunable()(inner).selected == ("attic.lin.weight",)


def test_an_own_convolution_names_its_matrices() -> None:
    class Mine(pyg.MessagePassing):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))
            self.out_weight = nn.Parameter(torch.randn(4, 4))
            self.table = nn.Parameter(torch.randn(4, 4))

    assert prunable()(Mine()).selected == ("weight", "out_weight")
    assert "include=" in prunable()(Mine()).protected["table"]
