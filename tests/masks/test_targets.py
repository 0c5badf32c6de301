import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, HeteroLinear, RGCNConv
from torch_geometric.nn import Linear as PygLinear

from graphprune.masks import MaskSet, prunable


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.atoms = nn.Embedding(7, 8)
        self.gcn = GCNConv(8, 8)
        self.gat = GATConv(8, 4, heads=2)
        self.gin = GINConv(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()), train_eps=True)
        self.norm = nn.LayerNorm([2, 8])
        self.head = nn.Linear(8, 3)
        self.loose = nn.Parameter(torch.randn(4, 4))


def test_weights_are_selected_by_role_and_the_rest_is_protected_with_a_reason() -> None:
    targets = prunable()(Net())
    assert targets.selected == ("gcn.lin.weight", "gat.lin.weight", "gin.nn.0.weight", "head.weight")
    assert targets.protected["atoms.weight"] == "embedding"
    assert targets.protected["gat.att_src"] == "attention vector"
    assert targets.protected["norm.weight"] == "norm"
    assert targets.protected["gin.nn.1.weight"] == "norm"
    assert targets.protected["gin.eps"] == "bias or vector"
    assert "include=" in targets.protected["loose"]
    assert {*targets.selected, *targets.protected} == {name for name, _ in Net().named_parameters()}


def test_description_lists_everything_with_counts() -> None:
    text = prunable()(Net()).describe()
    for name, parameter in Net().named_parameters():
        line = next(line for line in text.splitlines() if line.startswith(name + " "))
        assert f"{parameter.numel():,}" in line
    assert f"{64 + 64 + 64 + 24:,} of {sum(p.numel() for p in Net().parameters()):,} parameters" in text


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv1d(2, 3, 3),
        nn.Conv2d(2, 3, 3),
        nn.Conv3d(2, 3, 3),
        nn.ConvTranspose2d(2, 3, 3),
        PygLinear(3, 2),
        HeteroLinear(3, 2, num_types=2),
    ],
)
def test_roles_known_besides(module: nn.Module) -> None:
    assert prunable()(module).selected == ("weight",)


def test_only_matrices_of_a_convolution_are_weights() -> None:
    targets = prunable()(RGCNConv(4, 4, num_relations=3))
    assert targets.selected == ("root",)
    assert "unknown role" in targets.protected["weight"]


def test_patterns_go_before_the_role_and_exclude_before_include() -> None:
    net = Net()
    assert "loose" in prunable(include=["loose"])(net).selected
    assert prunable(exclude=["g*"])(net).selected == ("head.weight",)
    both = prunable(include=["gat.*"], exclude=["*.att_*"])(net)
    assert "gat.bias" in both.selected and "gat.att_src" in both.protected


def test_a_module_class_decides_over_its_own_parameters() -> None:
    class Special(nn.Linear):
        prunable_parameters = frozenset({"mix"})
        protected_parameters = frozenset({"weight"})

        def __init__(self) -> None:
            super().__init__(3, 3)
            self.mix = nn.Parameter(torch.randn(3, 3))

    targets = prunable()(Special())
    assert targets.selected == ("mix",)
    assert targets.protected["weight"] == "protected by Special"


def test_a_shared_parameter_counts_once_and_any_owner_protects_it() -> None:
    shared = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    shared[1].weight = shared[0].weight
    assert prunable()(shared).selected == ("0.weight",)
    assert MaskSet.dense(shared).total == 16

    tied = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Embedding(5, 4), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    targets = prunable()(tied)
    assert targets.selected == ("2.weight",)
    assert targets.protected["0.weight"] == "embedding"
    assert "0.weight" in prunable(include=["1.weight"])(tied).selected


def test_a_module_used_twice_counts_once() -> None:
    layer = nn.Linear(4, 4)
    assert prunable()(nn.Sequential(layer, layer)).selected == ("0.weight",)


def test_a_pattern_without_a_match_is_an_error() -> None:
    for selector in (prunable(include=["decoder.*"]), prunable(exclude=["decoder.*"])):
        with pytest.raises(ValueError, match=r"'decoder\.\*' matches no parameter"):
            selector(Net())
    with pytest.raises(TypeError, match="include must be a collection"):
        prunable(include="head.*")


def test_lazy_parameters_ask_for_a_forward() -> None:
    model = nn.Sequential(nn.LazyLinear(4), GCNConv(-1, 4))
    with pytest.raises(ValueError, match=r"0\.weight.*run one forward"):
        prunable()(model)


def test_nothing_to_prune_lists_why() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.table

    with pytest.raises(ValueError, match=r"(?s)nothing to prune in Odd.*table.*unknown role"):
        prunable()(Odd())


def test_the_floor_does_not_import_torch_geometric() -> None:
    code = "import sys, graphprune.masks; sys.exit('torch_geometric' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
