"""CLAD's parts: what a network costs without some channels, gates, criteria, and attention maps."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import graphprune as gp
from graphprune.measure import count_macs
from graphprune.methods.clad.attention import Distillation, Taps, attention_map, attention_stages
from graphprune.methods.clad.channels import Channels
from graphprune.methods.clad.criteria import FIXED, Criterion, Learner, Mixture, standardised
from graphprune.methods.clad.gated import Gated, open_gates
from graphprune.methods.clad.target import _fewest, best_within, check_target, floors
from tests.train.tiny import pictures, tiny


class ResNet8(gp.models.ResNet):
    """Three stages of one block: shortcuts that drop pixels and add channels."""

    depths = (1, 1, 1)


def alive(model, seed=0):
    """No weight, bias, mean or deviation of which anything could hide behind a 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if value.is_floating_point() and value.ndim == 1:
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.is_floating_point() and "embedding" not in name:
                value.copy_(torch.randn(value.shape, generator=generator) * value[0].numel() ** -0.5)
    return model


def images(count=6, size=16, channels=3):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def rings():
    return tiny().train.batch(range(12))


def on_graphs(kind, **options):
    return lambda: (kind.for_data(tiny(), hidden=16, layers=3, **options), rings())


NETWORKS = {
    "resnet": lambda: (ResNet8((3, 16, 16), 4, hidden=8), images()),
    "bottlenecks": lambda: (gp.models.ResNet50((3, 16, 16), 4, hidden=4), images()),
    "vgg": lambda: (gp.models.VGG19((3, 16, 16), 4, hidden=8), images()),
    "lenet-5": lambda: (gp.models.LeNet5((1, 28, 28), 4), images(size=28, channels=1)),
    "lenet-300": lambda: (gp.models.LeNet300((1, 16, 16), 4), images(channels=1)),
    "gcn": on_graphs(gp.models.GCN),
    "gcn-cat": on_graphs(gp.models.GCN, jk="cat"),
    "gin": on_graphs(gp.models.GIN),
    "gin-bonds": lambda: (
        gp.models.GIN.for_data(data := gp.data.load("ogbg-molbace"), hidden=16),
        data.train.batch(range(12)),
    ),
    "sage": on_graphs(gp.models.SAGE),
    "gat": on_graphs(gp.models.GAT),
}


def made(name):
    model, example = NETWORKS[name]()
    return alive(model).eval(), example


# ---------------------------------------------------------------------- channels and what they cost


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_cost_is_that_of_the_compacted_network(name, seed):
    model, example = made(name)
    channels = Channels.of(model, example, gp.prunable())
    scores = torch.rand(channels.count, generator=torch.Generator().manual_seed(seed))
    keep = best_within(channels, scores, 0.6, 0.0)
    masks = channels.masks(model, keep)
    assert torch.equal(channels.kept(masks), keep)
    small = copy.deepcopy(model)
    masks.apply_(small)
    small = gp.compact(small, example)
    share = count_macs(small, example).total / count_macs(model, example).total
    assert float(channels.macs(keep.double())) == pytest.approx(share, abs=1e-12)
    assert 0.6 - share < (0.05 if channels.count < 120 else 0.01) and share <= 0.6


@pytest.mark.parametrize("name", ["resnet", "gin"])
def test_the_gradient_of_the_cost(name):
    """The cost is linear in each gate, so that a difference of any width is its slope."""
    model, example = made(name)
    channels = Channels.of(model, example, gp.prunable())
    gates = torch.rand(channels.count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gates.requires_grad_()
    (slopes,) = torch.autograd.grad(channels.macs(gates), gates)
    for number in (0, channels.count // 2, channels.count - 1):
        one, none = gates.detach().clone(), gates.detach().clone()
        one[number], none[number] = 1.0, 0.0
        assert float(slopes[number]) == pytest.approx(float(channels.macs(one) - channels.macs(none)), abs=1e-12)
    assert bool((slopes > 0).all())
    assert float(channels.macs(torch.ones(channels.count, dtype=torch.float64))) == pytest.approx(1, abs=1e-12)


def test_protected_layers_keep_the_channels_that_they_give():
    model, example = made("resnet")
    select = gp.prunable(exclude=["stages.1.0.second.conv.weight", "stages.0.0.first.norm.*"])
    channels = Channels.of(model, example, select)
    everything = Channels.of(model, example, gp.prunable())
    names = {name for name, _ in channels.makers()}
    # The stream of the second stage is given by one more layer of that stage only; the others begin with its channels.
    assert {name for name, _ in everything.makers()} - names == {
        "stages.1.0.second.conv.weight",
        "stages.0.0.first.conv.weight",
        "stem.conv.weight",
        "stages.0.0.second.conv.weight",
    }
    stay = channels.entries["stages.2.0.second.conv.weight"].of == channels.count
    assert stay[:16].all() and not stay[16:].any()


def test_a_network_of_one_layer_has_no_channels():
    with pytest.raises(ValueError, match="no channel of Linear can be removed"):
        Channels.of(nn.Linear(4, 3), torch.randn(2, 4), gp.prunable())


def test_the_best_that_fit():
    model = nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 10))  # each neuron is a quarter
    channels = Channels.of(model, torch.randn(2, 10), gp.prunable())
    scores = torch.tensor([0.1, 0.4, 0.4, 0.2])
    assert best_within(channels, scores, 0.8, 0.0).tolist() == [False, True, True, True]
    assert best_within(channels, scores, 0.5, 0.0).tolist() == [False, True, True, False]
    assert best_within(channels, scores, 0.49, 0.0).tolist() == [False, True, False, False]  # of equals the first
    assert best_within(channels, scores, 0.8, 0.6).tolist() == [False, True, True, True]
    assert floors(channels, scores, 0.5).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match=r"the best 0% .* at least one, have 25.0% of .* more than target=0.2"):
        best_within(channels, scores, 0.2, 0.0)
    with pytest.raises(ValueError, match=r"the best 51% .* have 75.0% of .* more than target=0.5"):
        best_within(channels, scores, 0.5, 0.51)
    check_target(channels, 0.75, 0.51)
    with pytest.raises(ValueError, match=r"target=0.5 cannot be reached: 75.0%"):
        check_target(channels, 0.5, 0.51)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("floor", [0.0, 0.1, 0.5])
def test_no_scores_need_less_than_what_is_refused(name, floor):
    model, example = made(name)
    channels = Channels.of(model, example, gp.prunable())
    fewest = _fewest(channels, floor)
    least, generator = float(channels.macs(fewest.double())), torch.Generator().manual_seed(0)
    drawn = [torch.zeros(channels.count), *(torch.rand(channels.count, generator=generator) for _ in range(20))]
    taken = [float(channels.macs(floors(channels, scores, floor).double())) for scores in drawn]
    assert least <= min(taken) + 1e-12
    assert torch.equal(floors(channels, fewest.float(), floor), fewest)  # there are scores that need no more
    check_target(channels, least + 1e-9, floor)
    with pytest.raises(ValueError, match="cannot be reached"):
        check_target(channels, least - 1e-6, floor)


def test_small_channels_fill_what_large_ones_leave():
    model = nn.Sequential(nn.Linear(1, 60), nn.ReLU(), nn.Linear(60, 2), nn.ReLU(), nn.Linear(2, 1))
    channels = Channels.of(model, torch.randn(2, 1), gp.prunable())
    scores = torch.cat([torch.linspace(1, 2, 60), torch.tensor([9.0, 0.0])])
    keep = best_within(channels, scores, 0.55, 0.0)
    # Costs are n + 2n + 2 in all with both last neurons, n + n + 1 with one of them.
    assert keep[60:].tolist() == [True, False] and int(keep[:60].sum()) == int((0.55 * 182 - 1) // 2)
    assert keep[:60].tolist() == sorted(keep[:60].tolist())


# ---------------------------------------------------------------------- gates


@pytest.mark.parametrize("name", NETWORKS)
def test_gates_multiply_what_comes_out_of_norms(name):
    """With hard gates the network is the masked one, where norms have running statistics."""
    model, example = made(name)
    channels = Channels.of(model, example, gp.prunable())
    gated = Gated(model, channels, example)
    keep = torch.rand(channels.count, generator=torch.Generator().manual_seed(3)) < 0.6
    masked = copy.deepcopy(model)
    channels.masks(model, keep).apply_(masked)
    gated.network.eval()
    gated.gates = keep.float()
    torch.testing.assert_close(gated(example), masked(example), rtol=1e-4, atol=1e-4)
    norms = {key for key, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    if norms:
        assert {key.rpartition(".")[0] for key in gated.names} == norms


class Residual(nn.Module):
    """What a layer adds, and what it adds to, end in one ReLU; the layer hears the stream through another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        x = self.first(x)
        return self.head((x + self.second(x.relu())).relu())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bias", [0.0, -2.0])
def test_no_relu_hides_what_a_closed_gate_lets_through(seed, bias):
    torch.manual_seed(seed)
    model = Residual()
    nn.init.constant_(model.second.bias, bias)
    channels = Channels.of(model, torch.randn(4, 5), gp.prunable())
    gated = Gated(model, channels, torch.randn(4, 5))
    assert set(gated.names) == {"first.weight", "first.bias", "second.weight"} | ({"second.bias"} if bias else set())
    gated.gates = (torch.rand(16) < 0.5).float()
    masked = copy.deepcopy(model)
    channels.masks(model, gated.gates.bool()).apply_(masked)
    others = 5 * torch.randn(64, 5)
    torch.testing.assert_close(gated(others), masked(others), rtol=1e-4, atol=1e-5)


def test_a_network_whose_outputs_are_no_numbers_has_no_gates():
    model, example = made("lenet-5")
    channels = Channels.of(model, example, gp.prunable())
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(gp.methods.TrainingDiverged, match="the trained network's outputs are not finite"):
        Gated(model, channels, example)


def test_in_training_gates_stand_behind_norms():
    """Multiplying the maps behind each norm by hooks, with statistics of the batch, is the same."""
    model, example = made("resnet")
    channels = Channels.of(model, example, gp.prunable())
    gated = Gated(model, channels, example)
    buffers = copy.deepcopy(dict(model.named_buffers()))
    gates = torch.rand(channels.count, generator=torch.Generator().manual_seed(4))
    gated.gates = gates
    by_hand, values = copy.deepcopy(model).train(), torch.cat([gates, torch.ones(1)])
    for key, module in by_hand.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            factor = values[channels.entries[f"{key}.weight"].of].view(1, -1, 1, 1)
            module.register_forward_hook(lambda _module, _args, out, factor=factor: out * factor)
    torch.testing.assert_close(gated(example), by_hand(example))
    assert all(torch.equal(value, buffers[key]) for key, value in model.named_buffers())


def test_gates_are_hard_and_have_the_sigmoids_gradient():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    channels = Channels.of(model, torch.randn(2, 3), gp.prunable())
    scores = torch.tensor([-2.0, 0.5, -0.1, 3.0], requires_grad=True)
    gates = open_gates(channels, scores, 0.0)
    assert gates.tolist() == [0, 1, 0, 1]
    (slopes,) = torch.autograd.grad(gates.sum(), scores)
    torch.testing.assert_close(slopes, scores.detach().sigmoid() * (1 - scores.detach().sigmoid()))
    assert open_gates(channels, scores - 9, 0.0).tolist() == [0, 0, 0, 1]  # a layer keeps its best


def test_a_closed_gate_hears_of_the_loss_through_a_relu():
    model, example = made("resnet")
    channels = Channels.of(model, example, gp.prunable())
    gated = Gated(model, channels, example)
    for leak, heard in ((0.0, False), (1e-6, True)):
        gates = torch.ones(channels.count)
        inner = channels.entries["stages.0.0.first.conv.weight"].of
        gates[inner[:3]] = leak
        gated.gates = gates.requires_grad_()
        (slopes,) = torch.autograd.grad(functional.cross_entropy(gated(example), torch.arange(6) % 4), gates)
        assert bool((slopes[inner[:3]] != 0).all()) == heard


# ---------------------------------------------------------------------- criteria


def criterion(kind, model=None, example=None, seed=0):
    model, example = (model, example) if model is not None else made("resnet")
    channels = Channels.of(model, example, gp.prunable())
    torch.manual_seed(seed)
    return Criterion(channels, model, kind), channels


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)), st.sampled_from(["learner", "mixture", *FIXED]))
def test_filters_in_another_order_have_scores_in_that_order(order, kind):
    filters = torch.randn(8, 18, generator=torch.Generator().manual_seed(0))

    def scores(given_):
        torch.manual_seed(5)
        return {"learner": Learner, "mixture": Mixture}[kind](given_)() if kind not in FIXED else FIXED[kind](given_)

    torch.testing.assert_close(scores(filters[order]), scores(filters)[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["learner", "free", "mixture"])
def test_what_learns_starts_open_and_leaves_the_filters_alone(kind):
    model, example = made("resnet")
    learned, channels = criterion(kind, model, example)
    scores = learned()
    assert scores.shape == (channels.count,) and scores.requires_grad
    scores.sum().backward()
    assert all(weight.grad is None for weight in model.parameters())
    assert all(parameter.grad is not None for parameter in learned.parameters())
    if kind == "free":
        assert scores.tolist() == [1.0] * channels.count
    assert float(scores.detach().mean()) > 0.3


@pytest.mark.parametrize("kind", FIXED)
def test_fixed_criteria_by_hand(kind):
    model, example = made("resnet")
    fixed, channels = criterion(kind, model, example)
    assert not list(fixed.parameters())
    sums, members = torch.zeros(channels.count), torch.zeros(channels.count)
    for name, entries in channels.makers():
        filters = model.get_parameter(name).detach().flatten(1).double()
        by_hand = {
            "l1": filters.abs().sum(1),
            "l2": filters.square().sum(1).sqrt(),
            "geometric-median": torch.stack([(filters - one).square().sum(1).sqrt().sum() for one in filters]),
        }[kind]
        for place, channel in enumerate(entries.of.tolist()):
            sums[channel] += float(by_hand[place] / by_hand.mean())
            members[channel] += 1
    torch.testing.assert_close(fixed(), sums / members, rtol=1e-4, atol=1e-4)
    assert members.max() == 4  # the first channels of the residual stream: the stem and a block of each stage


def test_filters_that_agree_are_standardised_to_zero():
    assert standardised(torch.ones(5, 7)).abs().max() == 0
    values = standardised(torch.randn(50, 7, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(values.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones(3))


# ---------------------------------------------------------------------- attention


def test_attention_maps_of_images_by_hand():
    out = images(4, 5)
    maps = attention_map(out, out)
    for one, image in zip(maps, out.double(), strict=True):
        squares = sum(channel**2 for channel in image).flatten()
        torch.testing.assert_close(one.double(), squares / squares.square().sum().sqrt(), rtol=1e-5, atol=1e-6)
    assert attention_map(torch.zeros(2, 3, 4, 4), out).abs().max() == 0


def test_attention_maps_of_graphs_are_those_of_single_graphs():
    batch = rings()
    vectors = torch.randn(batch.num_nodes, 5, generator=torch.Generator().manual_seed(0))
    maps = attention_map(vectors, batch)
    for number, graph in enumerate(batch.to_data_list()):
        own = vectors[batch.batch == number]
        squares = own.square().sum(1)
        torch.testing.assert_close(maps[batch.batch == number], squares / squares.norm())
        torch.testing.assert_close(attention_map(own, graph), squares / squares.norm())
    assert attention_map(torch.zeros_like(vectors), batch).abs().max() == 0


def test_stages_that_are_found_and_named():
    resnet, x = made("resnet")
    with Taps(resnet, found := attention_stages(resnet, x)) as taps:
        resnet(x)
    assert [tuple(out.shape[1:]) for out in taps.seen.values()] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert found[:2] == ("stages.0", "stages.1")
    vgg, _ = made("vgg")
    assert attention_stages(vgg, x) == ("groups.0.0", "groups.1.1", "groups.2.3", "groups.3.3")  # behind it one pixel
    assert attention_stages(resnet, x, ["stages.*"]) == ("stages.0", "stages.1", "stages.2")
    assert attention_stages(resnet, x, ["stages.*.0.first", "stem"])[-1] == "stem"
    gcn, batch = made("gcn")
    assert attention_stages(gcn, batch) == ("convs.0", "convs.1", "convs.2")
    for model, given_, stages, text in (
        (resnet, x, ["blocks.*"], r"'blocks.\*' matches no module of ResNet8"),
        (resnet, x, ["head"], r"no maps over pixels come out of \['head'\]"),
        (gcn, batch, ["head"], r"no maps over nodes come out of \['head'\]"),
        (*made("lenet-300"), (), "no module of LeNet300 gives maps over pixels"),
        (nn.Sequential(nn.Linear(4, 2)), batch.x, ["convs.*"], "matches no module of Sequential"),
    ):
        with pytest.raises(ValueError, match=text):
            attention_stages(model, given_, stages)


def test_the_loss_follows_into_any_loop():
    student, x = made("resnet")
    teacher, y = alive(copy.deepcopy(student), seed=9), torch.arange(6) % 4
    stages, twin = attention_stages(student, x), copy.deepcopy(student)
    Distillation(student, copy.deepcopy(teacher), stages, 50.0).follow(student)
    student = copy.deepcopy(student).train()  # as loops make them
    functional.cross_entropy(student(x), y).backward()

    twin.train()
    with Taps(twin, stages) as mine, Taps(teacher.eval(), stages) as theirs:
        out = twin(x)
        teacher(x)
    loss = functional.cross_entropy(out, y)
    for name in stages:
        loss = loss + 50 * (attention_map(mine.seen[name], x) - attention_map(theirs.seen[name], x)).square().mean()
    loss.backward()
    for (name, parameter), other in zip(student.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert student.state_dict().keys() == twin.state_dict().keys()
    assert torch.equal(student.eval()(x), twin.eval()(x))
    student.train()
    with torch.no_grad():
        student(x)


def test_a_network_that_looks_where_its_teacher_does_has_no_loss():
    student, x = made("resnet")
    loss = Distillation(student, copy.deepcopy(student), attention_stages(student, x), 1000.0)
    student(x)
    assert float(loss.loss(x).detach()) == 0


def test_scaled_losses_are_refused():
    student, x = made("resnet")
    Distillation(student, copy.deepcopy(student), attention_stages(student, x), 1.0).follow(student)
    student.train()
    with torch.autocast("cpu", torch.bfloat16):
        student(x).float().sum().backward()
    with torch.autocast("cpu", torch.float16), pytest.raises(RuntimeError, match="use bfloat16"):
        student(x)


def test_images_of_the_method_have_maps():
    assert pictures().train.batch(range(2)).x.shape[2:] == (8, 8)
