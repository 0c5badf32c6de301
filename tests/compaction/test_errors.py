import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch_geometric.nn import GCNConv, Linear

from graphprune.compaction import compact
from graphprune.compaction.check import difference
from tests.compaction.nets import assert_same, used

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def net() -> nn.Sequential:
    model = used(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    model[0].weight.data[1:3] = 0
    return model


def test_masks_of_single_weights_are_refused_with_the_reason() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    model[0].weight.data[:, 1:] = 0
    with pytest.raises(ValueError, match=r"nothing to remove from Sequential: 50\.0% of the weights .* prune channels"):
        compact(model, X)


def test_wrapped_models_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated
        scripted = torch.jit.trace(net(), X)
    with pytest.raises(TypeError, match="scripted"):
        compact(scripted, X)
    with pytest.raises(TypeError, match="_orig_mod"):
        compact(torch.compile(net()), X)
    with pytest.raises(TypeError, match="DataParallel wraps"):
        compact(nn.DataParallel(net()), X)


def test_hooks_and_parametrizations_are_refused() -> None:
    model = net()
    handle = model[1].register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(ValueError, match=r"1 has hooks \(_forward_hooks\)"):
        compact(model, X)
    handle.remove()
    compact(model, X)
    with pytest.raises(ValueError, match="parametrizations"):
        compact(nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 6)), nn.Linear(6, 2)), X)
    conv = GCNConv(4, 6)
    conv.register_message_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(ValueError, match="_message_forward_hooks"):
        compact(conv, (X, torch.tensor([[0, 1], [1, 2]])))


def test_parameters_without_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lazy.*0\.weight"):
        compact(nn.Sequential(Linear(-1, 6), nn.Linear(6, 2)), X)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_outputs_that_are_no_numbers_are_refused(value: float) -> None:
    model = net()
    model[2].weight.data[0, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        compact(model, X)


def test_outputs_without_tensors_are_refused() -> None:
    class Text(nn.Module):
        def forward(self, x: Tensor) -> str:
            return str(x)

    with pytest.raises(TypeError, match="str"):
        compact(Text(), X)


class Counting(nn.Module):
    """Multiplies by the number of its own units, which no operation shows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * len(self.inner[0].weight)


def test_a_model_that_becomes_another_function_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"outputs are off by 0\.33 of the largest"):
        compact(Counting(), X)


class Broken(Counting):
    """Does not run with fewer units."""

    def forward(self, x: Tensor) -> Tensor:
        assert len(self.inner[0].weight) == 6, "six units"
        return self.inner(x)


def test_a_model_that_does_not_run_is_refused() -> None:
    with pytest.raises(RuntimeError, match="does not run: six units"):
        compact(Broken(), X)


def test_unknown_operations_are_barriers_and_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner[2](self.inner[0](x).cumsum(1))

    with pytest.raises(ValueError, match=r"need all of their channels: cumsum \(6\)"):
        compact(Odd(), X)


class Scripted(nn.Module):
    """A module of which any attribute can be a function of x; see below."""

    def __init__(self, middle: Any) -> None:
        super().__init__()
        self.first, self.last, self.middle = nn.Linear(4, 6), nn.Linear(6, 2), middle

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x), self))


def written(x: Tensor, net: nn.Module) -> Tensor:
    """Units 1 and 2 are made from 0 in place, through a view."""
    y = torch.zeros_like(x)
    y[:, 1:3] = x[:, :1]
    return y


def written_whole(x: Tensor, net: nn.Module) -> Tensor:
    y = torch.zeros_like(x)
    y.view(-1).copy_(x.view(-1))
    return y + 1


def read_off(x: Tensor, net: nn.Module) -> Tensor:
    return x * float(x.max()) + net.first.weight.sum()


def of_memory(x: Tensor, net: nn.Module) -> Tensor:
    """The weight read behind the back of the operations, and the bias as numbers."""
    return x + net.first.weight.data[0, 0] * net.first.bias.tolist()[1]


def sorted_units(x: Tensor, net: nn.Module) -> Tensor:
    return x.sort(1).values


def mixed(x: Tensor, net: nn.Module) -> Tensor:
    return x @ x.t() @ x / 10


def normalised(x: Tensor, net: nn.Module) -> Tensor:
    return (x / x.norm(dim=1, keepdim=True)).softmax(1)


def where(x: Tensor, net: nn.Module) -> Tensor:
    return torch.where(x > 0, x, -x.exp()) + x.max(0).values


def chosen(x: Tensor, net: nn.Module) -> Tensor:
    return x[:, [0, 1, 2, 5, 4, 3]] + x[(x > 0).any(1).nonzero().flatten()].sum(0)


def einsum(x: Tensor, net: nn.Module) -> Tensor:
    return torch.einsum("ni,ji,nk->nk", x, x, x) / 50


CODE = [written, written_whole, read_off, of_memory, sorted_units, mixed, normalised, where, chosen, einsum]


@pytest.mark.parametrize("middle", CODE, ids=lambda code: code.__name__)
@pytest.mark.parametrize("bias", [True, False])
def test_odd_code_is_followed_or_left_alone(middle: Any, bias: bool) -> None:
    model = Scripted(middle)
    model.first.weight.data[[1, 2, 4]] = 0
    if not bias:
        model.first.bias.data[[1, 2, 4]] = 0
        model.last.weight.data[:, [1, 3]] = 0
    try:
        small = compact(model, X)
    except ValueError as error:
        assert "nothing to remove" in str(error)
        return
    assert_same(model, small, torch.randn(9, 4))


def test_differences_are_relative_to_the_largest_output() -> None:
    one = [torch.tensor([100.0, 1.0])]
    assert difference(one, [torch.tensor([100.0, 1.5])]) == pytest.approx(0.005)
    assert difference(one, [torch.tensor([100.0])]) == float("inf")
    assert difference(one, [torch.tensor([torch.nan, 1.0])]) == float("inf")
    assert difference([], []) == 0
