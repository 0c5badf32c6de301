import copy

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn import functional

from graphprune.masks import MaskSet, prunable
from graphprune.models import VGG19, LeNet5, LeNet300, ResNet20
from graphprune.reading import Chain, live, trace, trim_
from tests.measure.nets import masked, mlp, nets


def images(*shape: int, count: int = 6) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7))


class Backward(nn.Module):
    """Made in another order than it runs; with a unit order of its own where ``mixed``."""

    def __init__(self, mixed: bool = False) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(4, 3), nn.Linear(2, 4)
        self.mixed = mixed

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        return self.last(x.flip(-1) if self.mixed else x)


@given(nets())
def test_a_trimmed_network_computes_the_same_without_dead_ends(net: tuple[nn.Sequential, MaskSet]) -> None:
    model, masks = net
    x = images(model[0].in_features)
    before = model(x)
    left = trim_(model, masks, x)
    assert left == live(masks)
    left.verify(model)
    torch.testing.assert_close(model(x), before)
    torch.testing.assert_close(model(10 * x + 3), _again(net, 10 * x + 3))


def _again(net: tuple[nn.Sequential, MaskSet], x: Tensor) -> Tensor:
    """The trimmed network's biases follow from the weights alone, so trimming twice changes nothing."""
    model = copy.deepcopy(net[0])
    trim_(model, live(net[1]), x)
    return model(x)


def test_a_constant_moves_into_the_next_bias() -> None:
    model = mlp(2, 3, 2)
    masks = MaskSet.dense(model)
    masks["0.weight"][1] = False
    masks.apply_(model)
    x = images(2)
    before, bias, column = model(x), model[2].bias.detach().clone(), model[2].weight[:, 1].detach().clone()
    constant = model[0].bias[1].detach().tanh()
    trim_(model, masks, x)
    assert not model[2].weight[:, 1].any()
    assert model[0].bias[1] == 0
    torch.testing.assert_close(model[2].bias, bias + column * constant)
    torch.testing.assert_close(model(x), before)


def test_constants_move_through_several_layers() -> None:
    model = mlp(3, 4, 4, 4, 2)
    masks = MaskSet.dense(model)
    masks["0.weight"][2] = False
    masks["2.weight"][1] = torch.tensor([False, False, True, False])  # reads nothing but the constant
    masks.apply_(model)
    x = images(3)
    before = model(x)
    left = trim_(model, masks, x)
    assert not left["4.weight"][:, 1].any()
    torch.testing.assert_close(model(x), before)


@pytest.mark.parametrize("density", [0.01, 0.05, 0.3])
def test_lenets_are_trimmed_exactly(density: float) -> None:
    for network in (LeNet300((1, 16, 16), 10, hidden=60), LeNet5((1, 16, 16), 10, hidden=100)):
        masks, x = masked(network, density), images(1, 16, 16)
        before = network(x)
        left = trim_(network, masks, x)
        assert left.kept < masks.kept
        torch.testing.assert_close(network(x), before, atol=1e-5, rtol=1e-4)


def test_modes_gradients_and_statistics_stay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).train()
    masks, x = masked(model, 0.2), images(1, 4, 4)
    model(x).sum().backward()
    buffers, grad = copy.deepcopy(dict(model.named_buffers())), model[0].weight.grad.clone()
    trim_(model, masks, x)
    assert all(module.training for module in model.modules())
    assert torch.equal(model[0].weight.grad, grad)
    torch.testing.assert_close(dict(model.named_buffers()), buffers)
    assert not model[0]._forward_pre_hooks


def test_padding_makes_a_constant_that_no_bias_can_take() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Sigmoid(), nn.Conv2d(2, 2, 3, padding=1))
    masks, x = MaskSet.dense(model), images(1, 5, 5)
    masks["0.weight"][0] = False
    masks.apply_(model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="border of its padding"):
        trim_(model, masks, x)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    with torch.no_grad():
        model[0].bias.fill_(-200)  # behind the sigmoid nothing comes of it
    assert trim_(model, masks, x).kept < masks.kept


def test_without_a_bias_only_zero_can_be_taken() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    masks = MaskSet.dense(model)
    masks["0.weight"][0] = False
    masks.apply_(model)
    with torch.no_grad():
        model[0].bias.fill_(1.0)
    with pytest.raises(ValueError, match="no bias"):
        trim_(model, masks, images(2))
    with torch.no_grad():
        model[0].bias.fill_(-1.0)
    trim_(model, masks, images(2))


def test_the_order_is_that_of_the_forward_pass() -> None:
    model = Backward()
    masks = MaskSet.dense(model)
    with pytest.raises(ValueError, match="no chain in this order"):
        Chain.of(masks)
    assert trace(model, masks, images(2)).layers == ("first.weight", "last.weight")


def test_layers_without_masks_are_dense() -> None:
    model = mlp(4, 3, 2)
    masks = MaskSet.dense(model, prunable(exclude=("2.weight",)))
    masks["0.weight"][0] = False
    chain = trace(model, masks, images(4))
    assert chain.layers == ("0.weight", "2.weight")
    assert chain.live["2.weight"].tolist() == [[False, True, True]] * 2


def test_vgg_is_a_chain_and_a_residual_network_is_none() -> None:
    x = images(3, 32, 32, count=2)
    vgg = VGG19((3, 32, 32), 5, hidden=4)
    assert trace(vgg, MaskSet.dense(vgg), x).layers == tuple(MaskSet.dense(vgg))
    resnet = ResNet20((3, 32, 32), 5, hidden=4)
    with pytest.raises(ValueError, match="go around the layer"):
        trace(resnet, MaskSet.dense(resnet), x)


class Odd(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.one(x) if self.kind == "twice" else x


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (Odd("twice"), (2,), "more than once"),
        (Odd("never"), (2,), "do not run"),
        (nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)), (2, 3, 3), "grouped"),
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 1)), (2, 3, 3), "transposed"),
    ],
)
def test_what_cannot_be_read_is_refused(model: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trace(model, MaskSet.dense(model), images(*shape))


@pytest.mark.parametrize("cut", [("first.weight", 0), ("last.weight", (slice(None), 0))])
def test_units_in_another_order_are_noticed(cut: tuple[str, int]) -> None:
    model = Backward(mixed=True)
    masks = MaskSet.dense(model)
    masks[cut[0]][cut[1]] = False
    masks.apply_(model)
    with torch.no_grad():
        model.first.bias.fill_(5.0)  # no activation is 0
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="mixes the outputs"):
        trim_(model, masks, images(2))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_bad_arguments() -> None:
    model = mlp(2, 3, 2)
    masks = MaskSet.dense(model)
    with pytest.raises(TypeError, match="example"):
        trace(model, masks, torch.ones(3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="do not fit"):
        trace(mlp(2, 4, 2), masks, images(2))
    masks["0.weight"][0] = False
    with pytest.raises(RuntimeError, match="not zero"):
        trim_(model, masks, images(2))
