import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from graphprune.compaction import compact
from graphprune.masks import MaskSet
from graphprune.reading import Chain
from tests.compaction.nets import NORMS, assert_same, draw, size, smaller, used, without


@st.composite
def chains(draw_: st.DrawFn) -> tuple[nn.Sequential, MaskSet]:
    """Random networks with random masks of weights, some so thin that units die."""
    sizes = draw_(st.lists(st.integers(1, 7), min_size=3, max_size=5))
    torch.manual_seed(draw_(st.integers(0, 99)))
    act = draw_(st.sampled_from([nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.ELU]))
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, bias=draw_(st.booleans())), act(), nn.Dropout(0.5)]
    model = nn.Sequential(*layers[:-2])
    density = draw_(st.floats(0.05, 0.9))
    masks = MaskSet.of({name: torch.rand(mask.shape) < density for name, mask in MaskSet.dense(model).items()})
    masks.apply_(model)
    return model, masks


@given(chains())
def test_a_chain_keeps_the_units_on_paths_from_inputs_to_outputs(net: tuple[nn.Sequential, MaskSet]) -> None:
    model, masks = net
    alive = [int(level.sum()) for level in Chain.of(masks).alive[1:-1]]
    units = [len(level) for level in Chain.of(masks).alive[1:-1]]
    x = torch.randn(5, model[0].in_features, generator=draw(1))
    if alive == units or (max(units) == 1):
        with pytest.raises(ValueError, match="nothing to remove"):
            compact(model, x)
        return
    try:
        small = compact(model, x)
    except ValueError:
        assert not all(alive), "nothing removed"  # only where each layer keeps one of its dead units
        return
    assert_same(model, small, torch.randn(9, model[0].in_features, generator=draw(2)))
    left = [layer.out_features for layer in small if isinstance(layer, nn.Linear)][:-1]
    if all(alive):
        assert left == alive
    assert min(left) >= 1


def test_the_result_is_an_ordinary_module_and_the_model_stays_as_it_is() -> None:
    model = without(used(nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 2)))).train()
    model(torch.randn(8, 4)).sum().backward()
    before, grad = copy.deepcopy(model.state_dict()), model[0].weight.grad.clone()
    state = torch.get_rng_state()
    small = smaller(model, torch.randn(8, 4, generator=draw(3)))
    assert torch.equal(state, torch.get_rng_state())
    model.train()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(model[0].weight.grad, grad)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in small.parameters())
    assert type(small) is type(model) and not small.training
    again = copy.deepcopy(small)
    for parameter in again.parameters():
        parameter.data.zero_()
    again.load_state_dict(small.state_dict())
    x = torch.randn(3, 4)
    assert torch.equal(again(x), small(x))
    assert (small[0].out_features, small[3].in_features) == (len(small[0].weight), small[3].weight.shape[1])


def test_constants_of_dead_units_move_into_biases_that_are_made_if_there_are_none() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 2))
    model[0].weight.data[[1, 3]] = 0
    small = smaller(model, torch.randn(6, 3), torch.randn(11, 3))
    assert small[0].out_features == 3
    assert small[2].bias is not None


def test_a_dead_layer_keeps_one_unit() -> None:
    model = used(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)))
    model[2].weight.data.zero_()
    small = smaller(model, torch.randn(6, 3), torch.randn(11, 3))
    assert [layer.out_features for layer in (small[0], small[2], small[4])] == [1, 1, 2]


def test_norms_behind_layers_are_folded_and_others_sliced() -> None:
    model = nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 8, bias=False), nn.ReLU(),
        nn.BatchNorm1d(8, affine=False), nn.Linear(8, 2),
    )  # fmt: skip
    for module in model:
        if isinstance(module, NORMS) and module.affine:
            used(nn.Sequential(module))
    model[6].running_mean.normal_()
    small = smaller(without(model, keep=("7",)), torch.randn(6, 3), torch.randn(11, 3))
    assert [type(small[place]) for place in (1, 3, 6)] == [nn.Identity, nn.BatchNorm1d, nn.BatchNorm1d]
    assert small[3].num_features == small[0].out_features
    assert small[6].num_features == small[4].out_features


def test_a_norm_whose_scale_is_zero_makes_its_unit_a_constant() -> None:
    model = used(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)))
    model[1].weight.data[2:5] = 0
    assert smaller(model, torch.randn(6, 3), torch.randn(7, 3))[0].out_features == 5


def test_norms_and_layers_that_are_used_twice_are_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.both, self.last = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)
            self.norm = nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.first(x)).tanh()
            return self.last(self.norm(self.both(self.both(x))))

    model = used(Twice())
    model.both.weight.data[:, 1:3] = 0
    model.last.weight.data[:, 1:3] = 0
    small = smaller(model, torch.randn(4, 3), torch.randn(9, 3))
    assert small.both.weight.shape == (4, 4)
    assert isinstance(small.norm, nn.BatchNorm1d)


def test_shared_parameters_stay_shared() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    model[4].weight.data[:, 2] = 0
    x = torch.randn(4, 6)
    with pytest.raises(ValueError, match="nothing to remove"):
        compact(model, x)  # its inputs are those of the model
    deep = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), *model)
    deep[2].weight.data[:2] = 0
    deep[0].weight.data[:2] = 0
    for layer in deep[:5:2]:
        layer.bias.data[:2] = 0
    small = smaller(deep, torch.randn(4, 3), torch.randn(5, 3))
    assert small[2].weight is small[4].weight
    assert size(small) < size(deep)
