"""Weights that are computed from other parameters are refused by name, unless a pattern protects them."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch_geometric.nn import GCNConv

import graphprune as gp
from graphprune.masks import MaskSet, Targets, prunable, sparing

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm:FutureWarning")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 4))


def own_hook(module: nn.Module) -> None:
    """A weight that a hook computes, as torch.nn.utils.prune does."""
    weight = module.weight
    del module.weight
    module.weight_bar = nn.Parameter(weight.detach().clone())
    module.weight = weight.detach().clone()

    def compute(layer: nn.Module, _args: object) -> None:
        layer.weight = layer.weight_bar / layer.weight_bar.norm()

    module.register_forward_pre_hook(compute)


class Halved(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


WAYS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "prune": (lambda m: prune.l1_unstructured(m, "weight", amount=300), "torch.nn.utils.prune.remove("),
    "prune-rows": (lambda m: prune.random_structured(m, "weight", amount=3, dim=0), "torch.nn.utils.prune.remove("),
    "weight-norm": (nn.utils.weight_norm, "torch.nn.utils.remove_weight_norm("),
    "spectral-norm": (nn.utils.spectral_norm, "torch.nn.utils.remove_spectral_norm("),
    "new-weight-norm": (parametrizations.weight_norm, "torch.nn.utils.parametrize.remove_parametrizations("),
    "new-spectral-norm": (parametrizations.spectral_norm, "torch.nn.utils.parametrize.remove_parametrizations("),
    "orthogonal": (parametrizations.orthogonal, "torch.nn.utils.parametrize.remove_parametrizations("),
    "own": (lambda m: parametrize.register_parametrization(m, "weight", Halved()), "remove_parametrizations("),
    "own-hook": (own_hook, "remove the hook of "),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_entry_refuses_by_name_and_says_the_way_out(name: str) -> None:
    wrap, way = WAYS[name]
    model = net()
    wrap(model[0])
    data = gp.data.load("MUTAG")
    entries: list[Callable[[], object]] = [
        lambda: prunable()(model),
        lambda: prunable(include=["0.*"])(model),
        lambda: sparing(prunable(), ["2.*"])(model),
        lambda: MaskSet.dense(model),
        lambda: MaskSet.from_zeros(model),
        lambda: gp.GumbelGates(model, density=0.5),
        lambda: gp.FGGP(density=0.25, stop=10, every=2).attach(model, torch.optim.SGD(model.parameters(), lr=0.1)),
        lambda: gp.SNIP(density=0.5).masks(model, [torch.ones(2, 20)]),
        lambda: list(gp.IMP(rounds=1).rounds(model, data, fit=gp.train.Fit(epochs=1))),
        lambda: gp.measure.report(model, torch.ones(2, 20)),
    ]
    for entry in entries:
        with pytest.raises(ValueError) as caught:
            entry()
        text = str(caught.value)
        assert "the weight '0.weight' (" in text and "is computed from ['0." in text, text
        assert way in text and "model.get_submodule('0')" in text and "protect=['0." in text, text


@pytest.mark.parametrize("name", WAYS)
def test_patterns_leave_them_out(name: str) -> None:
    model = net()
    WAYS[name][0](model[0])
    for select in (prunable(exclude=["0.*"]), sparing(prunable(), ["0.*"]), sparing(sparing(prunable(), ["0.*"]), [])):
        assert select(model).selected == ("2.weight",)
        assert MaskSet.dense(model, select).total == 200
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gp.FGGP(density=0.25, stop=10, every=2, protect="0.*").attach(model, optimizer).detach()


def test_the_way_out_gives_the_right_number() -> None:
    model = net()
    WAYS["prune"][0](model[0])
    prune.remove(model[0], "weight")
    assert MaskSet.from_zeros(model)["0.weight"].sum() == 700
    assert gp.measure.report(model, torch.ones(2, 20)).weights.kept == 700 + 200
    nn.utils.weight_norm(model[0])
    with pytest.raises(ValueError, match="remove_weight_norm"):
        MaskSet.dense(model)
    nn.utils.remove_weight_norm(model[0])
    assert MaskSet.dense(model).total == 1200


def test_factors_of_what_is_protected_anyway_are_protected_likewise() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm([4]))
    nn.utils.weight_norm(model[0])
    prune.l1_unstructured(model[1], "bias", amount=2)
    parametrize.register_parametrization(model[2], "weight", Halved())
    targets = prunable()(model)
    assert targets.selected == ("1.weight",)
    assert targets.protected["0.weight_v"] == "embedding"
    assert targets.protected["1.bias_orig"] == "bias or vector"
    assert targets.protected["2.parametrizations.weight.original"] == "norm"


def test_inside_of_a_convolution_at_the_root_and_of_the_users_own_selector() -> None:
    conv = GCNConv(3, 4)
    prune.l1_unstructured(conv.lin, "weight", amount=2)
    with pytest.raises(ValueError, match=r"'lin\.weight' \(Linear\).*'lin\.weight_orig'"):
        prunable()(conv)
    layer = nn.utils.weight_norm(nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"'weight' \(Linear\).*\['weight_g', 'weight_v'\].*weight_norm\(model, "):
        prunable()(layer)

    def select(model: nn.Module) -> Targets:
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        return Targets(("weight_v",), {"weight_g": "mine", "bias": "mine"}, shapes)

    with pytest.raises(ValueError, match=r"computed from \['weight_v'\]"):
        MaskSet.dense(layer, select)


def test_hooks_of_other_kinds_and_other_tensors_are_none() -> None:
    model = net()
    model[0].register_forward_pre_hook(lambda *_: None)
    model[0].scale = torch.ones(1)
    model[0].weight_copy = torch.ones(1)
    assert prunable()(model).selected == ("0.weight", "2.weight")
    masks = MaskSet.dense(model)
    with masks.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        assert MaskSet.dense(model) == masks
