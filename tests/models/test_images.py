import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from graphprune.masks import MaskSet, prunable, sparing
from graphprune.models import MODELS, VGG19, ImageClassifier, LeNet5, LeNet300, ResNet20, ResNet50, ResNet110
from graphprune.models.resnet import BasicBlock

IMAGES = {name: model for name, model in MODELS.items() if issubclass(model, ImageClassifier)}
GRAPHS = {name: model for name, model in MODELS.items() if name not in IMAGES}

# The narrowest of each kind that still has all its parts.
NARROW = {"lenet-300-100": 12, "lenet-5": 50}


def narrow(name, shape=(3, 32, 32)):
    torch.manual_seed(0)
    return IMAGES[name](shape, 5, hidden=NARROW.get(name, 4))


def images(shape=(3, 32, 32), count=4):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "weights"),
    [
        ("lenet-300-100", (1, 28, 28), 266_610, 266_200),
        ("lenet-5", (1, 28, 28), 431_080, 430_500),
        ("vgg-19", (3, 32, 32), 20_040_522, 20_024_000),
        ("resnet-20", (3, 32, 32), 269_722, 268_336),
        ("resnet-32", (3, 32, 32), 464_154, 461_872),
        ("resnet-110", (3, 32, 32), 1_727_962, 1_719_856),
        ("resnet-50", (3, 32, 32), 23_520_832, 23_467_712),
    ],
)
def test_sizes_are_the_published_ones(name, shape, parameters, weights):
    with torch.device("meta"):
        model = IMAGES[name](shape, 10)
    assert count(model) == parameters
    found = prunable()(model)
    assert sum(math.prod(found.shapes[name]) for name in found.selected) == weights
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(found.selected) == len(convs)


def load_in_order(network, model):
    """Give a network another one's parameters and buffers, in the order in which they were made."""
    mine, other = network.state_dict(), model.state_dict()
    assert [value.shape for value in mine.values()] == [value.shape for value in other.values()]
    network.load_state_dict(dict(zip(mine, other.values(), strict=True)))
    return network


def shaken(model):
    """Norms and biases away from their initial values, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(3)
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if name.endswith("var") else 0.1))
    return model


def test_lenet_300_100_layer_by_layer():
    model = LeNet300((1, 28, 28), 10)
    twin = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    x = images((1, 28, 28))
    torch.testing.assert_close(load_in_order(twin, model)(x), model(x))


def test_lenet_5_layer_by_layer():
    model = LeNet5((1, 28, 28), 10)
    convs = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)]
    twin = nn.Sequential(*convs, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))
    x = images((1, 28, 28))
    torch.testing.assert_close(load_in_order(twin, model)(x), model(x))


@pytest.mark.parametrize("training", [True, False])
def test_vgg_19_layer_by_layer(training):
    model = shaken(VGG19((3, 32, 32), 10, hidden=8))
    layers, channels = [], 3
    for width in (8, 8, "M", 16, 16, "M", 32, 32, 32, 32, "M", 64, 64, 64, 64, "M", 64, 64, 64, 64):
        if width == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    twin = load_in_order(nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)), model)
    x = images()
    torch.testing.assert_close(twin.train(training)(x), model.train(training)(x), rtol=1e-4, atol=1e-5)


class Reference:
    """Residual networks written down anew, over a state dict and as flat functions."""

    def __init__(self, model):
        self.state = model.eval().state_dict()

    def conv(self, name, x, stride=1):
        weight = self.state[f"{name}.conv.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=(weight.size(2) - 1) // 2)
        norm = [self.state[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *norm)

    def basic(self, name, x, stride):
        y = self.conv(f"{name}.second", self.conv(f"{name}.first", x, stride).relu())
        short = torch.zeros_like(y)
        short[:, : x.size(1)] = functional.max_pool2d(x, 1, stride)
        return (y + short).relu()

    def bottleneck(self, name, x, stride):
        y = self.conv(f"{name}.first", x).relu()
        y = self.conv(f"{name}.third", self.conv(f"{name}.second", y, stride).relu())
        if f"{name}.shortcut.conv.weight" in self.state:
            x = self.conv(f"{name}.shortcut", x, stride)
        return (y + x).relu()

    def __call__(self, x, depths, block):
        x = self.conv("stem", x).relu()
        for stage, depth in enumerate(depths):
            for place in range(depth):
                x = block(self, f"stages.{stage}.{place}", x, 2 if stage > 0 and place == 0 else 1)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return functional.linear(x, self.state["head.weight"], self.state.get("head.bias"))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 14)])
@pytest.mark.parametrize(
    ("name", "depths", "block"),
    [
        ("resnet-20", (3, 3, 3), Reference.basic),
        ("resnet-32", (5, 5, 5), Reference.basic),
        ("resnet-110", (18, 18, 18), Reference.basic),
        ("resnet-50", (3, 4, 6, 3), Reference.bottleneck),
    ],
)
def test_residual_networks_layer_by_layer(name, depths, block, shape):
    model = shaken(narrow(name, shape))
    expected = Reference(model)(images(shape), depths, block)
    assert expected.std(0).max() > 0
    torch.testing.assert_close(model(images(shape)), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_first_block_of_each_stage_of_bottlenecks_projects_its_shortcut():
    model = narrow("resnet-50")
    projected = [name for name, module in model.named_modules() if name.endswith("shortcut.conv")]
    assert projected == [f"stages.{stage}.0.shortcut.conv" for stage in range(4)]


def test_the_shortcut_without_parameters_drops_pixels_and_adds_empty_channels():
    block = BasicBlock(4, 8, 2).eval()
    for conv in (block.first.conv, block.second.conv):
        nn.init.zeros_(conv.weight)
    x = images((4, 6, 6)).abs()
    out = block(x)
    assert torch.equal(out[:, :4], x[:, :, ::2, ::2])
    assert not out[:, 4:].any()


@pytest.mark.parametrize("name", ["vgg-19", "resnet-20", "resnet-50"])
def test_weights_start_as_he_et_al_s(name):
    torch.manual_seed(0)
    model = IMAGES[name]((3, 32, 32), 10, hidden=32)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            error = 4 / math.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=error)
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_gets_the_same_logits_in_any_batch(name):
    model, x = narrow(name).eval(), images()
    expected = model(x)
    assert expected.shape == (4, 5)
    torch.testing.assert_close(model(x[[2]]), expected[[2]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", IMAGES)
def test_a_training_step_moves_every_parameter(name):
    model = narrow(name)
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    functional.cross_entropy(model(images()), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    # In front of a batch norm a bias changes nothing: its gradient is rounding.
    still = {key for key, value in model.named_parameters() if torch.equal(value, before[key])}
    assert not {key for key in still if not key.endswith("conv.bias")}


@pytest.mark.parametrize("name", IMAGES)
def test_a_model_is_rebuilt_from_its_config(name):
    model, x = narrow(name).eval(), images()
    again = type(model)(**model.config())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    wider = model.resized(60)
    assert wider.config() == model.config() | {"hidden": 60}
    assert wider.eval()(x).shape == (4, 5)


@pytest.mark.parametrize("name", IMAGES)
def test_every_width_from_one_on_is_larger_than_the_one_before(name):
    with torch.device("meta"):
        model = IMAGES[name]((3, 32, 32), 10)
        own = model.config()["hidden"]
        sizes = [count(model.resized(width)) for width in (1, 2, 3, 5, own // 2, own, 2 * own)]
    assert all(one < other for one, other in pairwise(sizes))
    assert sizes[-2] == count(model)


def test_initial_weights_depend_on_the_random_state_alone():
    one, other = narrow("resnet-20"), narrow("resnet-20")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    torch.manual_seed(1)
    assert not torch.equal(one.resized(4).stem.conv.weight, one.stem.conv.weight)


@given(height=st.integers(16, 40), width=st.integers(16, 40))
@settings(max_examples=15)
def test_lenet_5_fits_any_images_that_are_large_enough(height, width):
    assert LeNet5((2, height, width), 3, hidden=25)(torch.zeros(2, 2, height, width)).shape == (2, 3)


def test_small_images():
    digits = images((1, 8, 8))
    for name in ("lenet-300-100", "resnet-20", "resnet-50"):
        assert narrow(name, (1, 8, 8))(digits).shape == (4, 5)
    for name in ("lenet-5", "vgg-19"):
        with pytest.raises(ValueError, match="at least 16 x 16 pixels, got 8 x 8"):
            narrow(name, (1, 8, 8))


def test_the_stem_can_be_protected():
    for name in ("vgg-19", "resnet-20", "resnet-50"):
        model = narrow(name)
        masks = MaskSet.dense(model, sparing(prunable(), ["stem.*"]))
        assert set(MaskSet.dense(model)) - set(masks) == {"stem.conv.weight"}


class Pictures:
    name, level, shape, num_outputs = "pictures", "image", (3, 32, 32), 7


class Graphs:
    name, level, features, edge_features, num_outputs = "graphs", "graph", 4, None, 7


def test_for_data_reads_shape_and_classes():
    for name, model in IMAGES.items():
        made = model.for_data(Pictures(), hidden=NARROW.get(name, 4))
        assert made(images()).shape == (4, 7)
        with pytest.raises(ValueError, match="classifies images, this data has labels of a graph"):
            model.for_data(Graphs())


@pytest.mark.parametrize("name", GRAPHS)
def test_networks_over_graphs_name_what_reads_images(name):
    with pytest.raises(ValueError, match="reads graphs, this data has labels of an image: take LeNet300"):
        GRAPHS[name].for_data(Pictures())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeNet300((1, 8, 8), 2, hidden=0), "hidden must be .* got 0"),
        (lambda: LeNet5((1, 28, 28), 0), "num_outputs must be .* got 0"),
        (lambda: ResNet20((0, 32, 32), 2), r"shape must be .* got \(0, 32, 32\)"),
        (lambda: ResNet110((3, 32), 2), r"shape must be .* got \(3, 32\)"),
        (lambda: VGG19((3, 32, 15), 2), "got 32 x 15"),
        (
            lambda: ResNet20((3, 32, 32), 2)(images((3, 28, 28))),
            r"made for images of shape \(3, 32, 32\), got .*28, 28",
        ),
        (lambda: LeNet300((1, 8, 8), 2)(images((8, 8))), r"shape \(4, 8, 8\)"),
        (lambda: ResNet50((3, 32, 32), 2, hidden=4)(images((3, 32, 32))[0]), r"got x of shape \(3, 32, 32\)"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
