"""Gumbel gates on models: what they compute, what they leave alone, and what they harden into."""

import copy
import io
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.utils.checkpoint import checkpoint

from graphprune.masks import Channel, Coupled, MaskSet, Shared, Weight, prunable
from graphprune.masks.gates import DensityControl, GumbelGates, Temperature, straight_through

STEPS = 20


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(steps: int, seed: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield torch.randn(16, 6, generator=generator), torch.randint(3, (16,), generator=generator)


def optimizer_of(net: nn.Module, gates: nn.Module) -> Adam:
    return Adam([{"params": net.parameters(), "lr": 1e-2}, {"params": gates.parameters(), "lr": 5e-2}])


def train(net: nn.Module, gates: GumbelGates, optimizer: Adam, data: Any) -> None:
    with gates.attach(net):
        for x, y in data:
            loss = functional.cross_entropy(net(x), y) + gates.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


# ---------------------------------------------------------------------- one gate


def test_a_gate_is_one_with_the_probability_of_its_logit() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([-6.0, -2.0, -0.3, 0.0, 0.7, 3.0])
    draws = 200_000
    gates = straight_through(logits.expand(draws, -1), 1.0)
    assert set(gates.unique().tolist()) == {0.0, 1.0}
    expected = torch.sigmoid(logits.double())
    error = (gates.double().mean(0) - expected).abs()
    assert bool((error < 5 * (expected * (1 - expected) / draws).sqrt()).all())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.5])
def test_value_and_gradient_are_those_of_two_logits(logit: float, temperature: float) -> None:
    """Against the Gumbel-softmax over (keep, drop), integrated in double precision over both noises."""
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    gumbel = -torch.log(-torch.log(grid))
    difference = logit + gumbel[:, None] - gumbel[None, :]
    soft = torch.sigmoid(difference / temperature)  # softmax over two is a sigmoid of the difference
    value, slope = (difference > 0).double().mean(), (soft * (1 - soft)).mean() / temperature

    torch.manual_seed(0)
    draws = 400_000
    logits = torch.full((draws,), logit, requires_grad=True)
    gates = straight_through(logits, temperature)
    gates.sum().backward()
    assert logits.grad is not None
    assert gates.mean().item() == pytest.approx(value.item(), abs=5 * 0.5 / draws**0.5)
    assert logits.grad.mean().item() == pytest.approx(slope.item(), rel=0.01)


def test_half_precision_is_sampled_in_single() -> None:
    torch.manual_seed(0)
    logits = torch.full((100_000,), -5.0, dtype=torch.bfloat16, requires_grad=True)
    gates = straight_through(logits, 1.0)
    gates.sum().backward()
    assert gates.dtype == torch.bfloat16
    assert gates.float().mean().item() == pytest.approx(0.0067, rel=0.2)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_are_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        straight_through(torch.zeros(3), temperature)
    with pytest.raises(ValueError, match="temperature"):
        GumbelGates(mlp(), density=0.5, temperature=temperature)


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.integers(1, 50))
def test_temperature_moves_by_one_factor(start: float, stop: float, steps: int) -> None:
    way = [Temperature(start, stop, steps).at(step) for step in range(steps + 3)]
    assert way[0] == pytest.approx(start)
    assert way[steps:] == pytest.approx([stop] * 3)
    for before, after in pairwise(way[: steps + 1]):
        assert after / before == pytest.approx((stop / start) ** (1 / steps))
    with pytest.raises(ValueError, match="steps"):
        Temperature(1.0, 1.0, 0)


# ---------------------------------------------------------------------- gated weights


@pytest.mark.parametrize("unit", [None, Channel(0), Channel(1)])
def test_gated_weights_are_products_with_straight_through_gates(unit: Channel | None) -> None:
    net = mlp()
    gates = GumbelGates(net, penalty_weight=0.0, temperature=2.0, **({} if unit is None else {"unit": unit}))
    x, y = next(batches(1))

    def by_hand() -> Tensor:
        hidden = x
        for layer in (net[0], net[2]):
            logits = gates.logits[f"{'0' if layer is net[0] else '2'}/weight"]
            gate = straight_through(logits, 2.0)
            shape = layer.weight.shape if unit is None else [(1, -1), (-1, 1)][unit.dim == 0]
            weight = layer.weight * gate.view(shape)
            drawn.append(weight)
            hidden = functional.linear(hidden if layer is net[0] else hidden.tanh(), weight, layer.bias)
        return hidden

    drawn: list[Tensor] = []
    torch.manual_seed(3)
    expected = by_hand()
    functional.cross_entropy(expected, y).backward()
    grads = [p.grad for p in (*net.parameters(), *gates.parameters())]
    for p in (*net.parameters(), *gates.parameters()):
        p.grad = None
    torch.manual_seed(3)
    with gates.attach(net):
        out = net(x)
        functional.cross_entropy(out, y).backward()
    assert torch.equal(out, expected)
    for p, grad in zip((*net.parameters(), *gates.parameters()), grads, strict=True):
        torch.testing.assert_close(p.grad, grad)


def test_closed_gates_hide_weights_that_are_not_finite() -> None:
    net = mlp()
    gates = GumbelGates(net, density=0.5)
    with torch.no_grad():
        net[0].weight[0, 0], net[0].weight[1, 1] = torch.nan, torch.inf
        gates.logits["0/weight"].view(8, 6)[0, 0] = gates.logits["0/weight"].view(8, 6)[1, 1] = -1e4
    with gates.attach(net):
        assert bool(net(torch.randn(4, 6)).isfinite().all())
        assert bool(net.eval()(torch.randn(4, 6)).isfinite().all())


def test_each_pass_in_training_draws_anew_and_evaluation_does_not() -> None:
    net = mlp()
    gates = GumbelGates(net, density=0.5)
    x = torch.randn(4, 6)
    with gates.attach(net):
        assert not torch.equal(net(x), net(x))
        net.eval()
        assert torch.equal(net(x), net(x))


def test_outside_of_the_block_the_model_is_dense() -> None:
    net = mlp()
    x = torch.randn(4, 6)
    dense, names = net(x), list(net.state_dict())
    gates = GumbelGates(net, density=0.5)
    assert torch.equal(net(x), dense)
    with gates.attach(net):
        assert not torch.equal(net(x), dense)
        assert list(net.state_dict()) == names
        assert [name for name, _ in net.named_parameters()] == names
        assert isinstance(net[0].weight, nn.Parameter)
    assert torch.equal(net(x), dense)
    assert not net._forward_pre_hooks
    assert not net._forward_hooks
    assert not net[0]._forward_pre_hooks


def test_an_error_in_the_forward_leaves_the_model_whole() -> None:
    net = mlp()
    gates = GumbelGates(net, density=0.5)
    with gates.attach(net):
        with pytest.raises(RuntimeError, match="shapes"):
            net(torch.randn(4, 5))
        assert isinstance(net[0].weight, nn.Parameter)
        net(torch.randn(4, 6)).sum().backward()


def test_copies_made_inside_the_block_are_dense() -> None:
    net = mlp()
    gates = GumbelGates(net, density=0.5)
    x = torch.randn(4, 6)
    dense = net(x)
    with gates.attach(net):
        twin = copy.deepcopy(net)
    assert torch.equal(twin(x), dense)
    pair, other = copy.deepcopy((net, gates))
    with other.attach(pair):
        assert not torch.equal(pair(x), dense)
        assert torch.equal(net(x), dense)


def test_tied_weights_share_one_gate() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.first.weight, self.second.weight))
            return self.second(self.first(x))

    seen: list[tuple[Tensor, Tensor]] = []
    net = Tied()
    gates = GumbelGates(net, density=0.5)
    assert len(list(gates.parameters())) == 1
    with gates.attach(net):
        net(torch.randn(2, 5)).sum().backward()
    assert seen[0][0] is seen[0][1]
    assert gates.harden().total == 25


def test_bfloat16_autocast_and_half_models() -> None:
    net = mlp()
    gates = GumbelGates(net, density=0.5)
    x, y = next(batches(1))
    with gates.attach(net), torch.autocast("cpu", dtype=torch.bfloat16):
        loss = functional.cross_entropy(net(x).float(), y) + gates.penalty()
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in gates.parameters())

    net = mlp().bfloat16()
    gates = GumbelGates(net, density=0.5)
    with gates.attach(net):
        (net(x.bfloat16()).float().square().mean() + gates.penalty()).backward()
    assert all(p.dtype == torch.float32 and bool(p.grad.isfinite().all()) for p in gates.parameters())
    gates.half()
    with gates.attach(net), pytest.raises(TypeError, match="single precision"):
        net(x.bfloat16())


# ---------------------------------------------------------------------- hardening


@given(st.integers(0, 20), st.sampled_from([None, Channel(0)]))
def test_hardened_networks_compute_what_evaluation_did(seed: int, unit: Channel | None) -> None:
    net = mlp(seed)
    gates = GumbelGates(net, density=0.5, empty="keep-one", **({} if unit is None else {"unit": unit}))
    train(net, gates, optimizer_of(net, gates), batches(5, seed))
    x = torch.randn(9, 6)
    net.eval()
    with gates.attach(net):
        expected = net(x)
    masks, twin = gates.harden(), copy.deepcopy(net)
    masks.apply_(net)
    gates.apply_(twin)
    assert torch.equal(net(x), expected)
    assert torch.equal(twin(x), expected)
    assert sum(int((unit or Weight()).alive(mask).sum()) for mask in masks.values()) == gates.kept
    assert isinstance(masks, MaskSet)


def test_harden_can_keep_an_exact_count() -> None:
    net = mlp()
    gates = GumbelGates(net, density=0.5)
    logits = torch.cat([value.detach() for value in gates.parameters()])
    masks = gates.harden(0.25)
    kept = torch.cat([mask.flatten() for mask in masks.values()])
    assert masks.kept == 18
    assert logits[kept].min() > logits[~kept].max()
    channels = GumbelGates(net, density=0.5, unit=Channel(0), empty="keep-one")
    assert channels.harden(3 / 11).kept in {3 * 8, 3 * 6, 6 + 16, 12 + 8}


def test_layers_that_are_emptied_are_named_or_keep_their_best() -> None:
    net = mlp()
    strict, lenient = (GumbelGates(net, density=0.5, empty=empty) for empty in ("raise", "keep-one"))
    for gates in (strict, lenient):
        with torch.no_grad():
            gates.logits["2/weight"].fill_(-1.0)[7] = -0.5
    with pytest.raises(ValueError, match=r"nothing is left of \['2.weight'\]"):
        strict.harden()
    masks = lenient.harden()
    assert masks["2.weight"].flatten().nonzero().tolist() == [[7]]
    assert lenient.harden(2 / 72).ledger[1].kept == 1
    x = torch.randn(4, 6)
    with lenient.attach(net.eval()):
        expected = net(x)
    masks.apply_(net)
    assert torch.equal(net(x), expected)


def test_parameters_that_training_does_not_reach_are_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.cut = (nn.Linear(6, 3) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x) + self.cut(x).detach()

    net = Odd()
    gates = GumbelGates(net, density=0.5)
    gates.harden()  # nothing was trained: nothing to complain about
    train(net, gates, optimizer_of(net, gates), batches(2))
    with pytest.raises(RuntimeError, match=r"'unused.weight', 'cut.weight'"):
        gates.harden()


def test_hardening_in_a_forward_is_refused() -> None:
    class Inside(nn.Module):
        def __init__(self, harden: Callable[[nn.Module], Any]) -> None:
            super().__init__()
            self.layer, self.harden = nn.Linear(3, 3), harden

        def forward(self, x: Tensor) -> Tensor:
            self.harden(self)
            out: Tensor = self.layer(x)
            return out

    net = Inside(lambda net: middle[0](net))
    gates = GumbelGates(net, density=0.5)
    for harden in (lambda net: gates.harden(), gates.apply_, lambda net: handle.detach()):
        middle = [harden]
        with gates.attach(net) as handle, pytest.raises(RuntimeError, match="middle of a forward"):
            net(torch.randn(2, 3))


def test_hardening_in_the_middle_of_a_training_changes_nothing() -> None:
    nets = []
    for harden in (True, False):
        net = mlp()
        gates = GumbelGates(net, density=0.5, empty="keep-one")
        optimizer = optimizer_of(net, gates)
        for batch in batches(4):
            train(net, gates, optimizer, [batch])
            if harden:
                gates.harden()
                gates.harden(0.25)
        nets.append(net)
    assert all(torch.equal(one, other) for one, other in zip(*(net.parameters() for net in nets), strict=True))


# ---------------------------------------------------------------------- going on


def test_training_goes_on_bit_for_bit() -> None:
    def made() -> tuple[nn.Module, GumbelGates, Adam]:
        net = mlp()
        control = DensityControl(steps=STEPS)
        gates = GumbelGates(net, density=0.2, control=control, temperature=Temperature(3.0, 0.5, STEPS))
        return net, gates, optimizer_of(net, gates)

    through = made()
    train(*through, batches(STEPS))

    half = made()
    data = list(batches(STEPS))
    train(*half, data[: STEPS // 2])
    file = io.BytesIO()
    torch.save([part.state_dict() for part in half] + [torch.get_rng_state()], file)
    file.seek(0)
    *states, random = torch.load(file, weights_only=True)
    resumed = made()
    for part, state in zip(resumed, states, strict=True):
        part.load_state_dict(state)
    torch.set_rng_state(random)
    train(*resumed, data[STEPS // 2 :])
    for one, other in zip(through[:2], resumed[:2], strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert resumed[1].step == STEPS


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "exactly one"),
        ({"density": 0.1, "penalty_weight": 1.0}, "exactly one"),
        ({"density": 0.0}, "density must be in"),
        ({"density": 1.5}, "density must be in"),
        ({"density": float("nan")}, "density must be in"),
        ({"density": 0.01}, r"1 of 72 units, so that not all of \['0.weight', '2.weight'\]"),
        ({"density": 0.1, "unit": Channel()}, "1 of 11 units"),
        ({"penalty_weight": -1.0}, "penalty_weight"),
        ({"density": 0.5, "start": 1.0}, "start"),
        ({"density": 0.5, "empty": "ignore"}, "empty"),
        ({"density": 0.5, "select": prunable(exclude=["*"])}, "nothing to prune"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        GumbelGates(mlp(), **options)


def test_a_parameter_is_gated_once() -> None:
    net = mlp()
    gates, others = GumbelGates(net, density=0.5), GumbelGates(net, density=0.5)
    rest = GumbelGates(net, density=0.5, select=prunable(exclude=["0.*"]))
    handle = gates.attach(net)
    for second in (gates, others, rest):
        with pytest.raises(ValueError, match="gated already"):
            second.attach(net)
    handle.detach()
    handle.detach()
    first = GumbelGates(net, density=0.5, select=prunable(exclude=["2.*"]))
    with first.attach(net), rest.attach(net):
        net(torch.randn(2, 6)).sum().backward()


def test_models_that_do_not_fit_are_refused() -> None:
    gates = GumbelGates(mlp(), density=0.5)
    with pytest.raises(ValueError, match=r"2\.weight"):
        gates.attach(nn.Sequential(nn.Linear(6, 8)))
    with pytest.raises(TypeError, match="module inside of DataParallel"):
        GumbelGates(wrapped := nn.DataParallel(mlp()), density=0.5).attach(wrapped)
    compiled = mlp()
    compiled.compile(backend="eager")
    with pytest.raises(TypeError, match="compiled"):
        gates.attach(compiled)


def test_compiling_while_gated_is_refused() -> None:
    net = mlp()
    gates = GumbelGates(net, density=0.5)
    with gates.attach(net), pytest.raises(Exception, match=r"(?s)torch.compile would freeze"):
        torch.compile(net, backend="eager", fullgraph=True)(torch.randn(2, 6))


class Saving(nn.Module):
    """Computes its only layer in some way."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.run = nn.Linear(6, 3), run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.inner, x)


def test_parts_of_a_gated_model_do_not_run_dense() -> None:
    net, x = Saving(lambda inner, x: inner(x)), torch.randn(2, 6)
    with GumbelGates(net, density=0.5).attach(net):
        with pytest.raises(RuntimeError, match="as a whole"):
            net.inner(x)
        assert net(x).requires_grad
    assert net.inner(x).requires_grad


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_have_the_gradients_of_the_gated_model(reentrant: bool) -> None:
    x, grads = torch.randn(2, 6, requires_grad=True), []
    for run in (lambda inner, x: inner(x), partial(checkpoint, use_reentrant=reentrant)):
        torch.manual_seed(0)
        net = Saving(run)
        gates = GumbelGates(net, density=0.5)
        with gates.attach(net):
            net(x).square().sum().backward()
        grads.append([*(p.grad for p in net.parameters()), *(p.grad for p in gates.parameters())])
    for wanted, found in zip(*grads, strict=True):
        assert bool(wanted.any())
        torch.testing.assert_close(found, wanted)


def test_parts_without_gradients_are_refused() -> None:
    net = Saving(torch.no_grad()(lambda inner, x: inner(x)))
    with GumbelGates(net, density=0.5).attach(net):
        with pytest.raises(RuntimeError, match=r"inner \(Linear\) runs without gradients"):
            net(torch.randn(2, 6))
        net.run = lambda inner, x: inner(x)
        assert net(torch.randn(2, 6)).requires_grad  # and nothing is left of the pass that failed


@pytest.mark.parametrize("training", [True, False])
def test_coupled_channels_have_one_gate_and_followers_share_it(training: bool) -> None:
    """Two maps that are added up: in each forward pass a channel is open or closed in both, and in what follows."""
    net = nn.ModuleDict({"left": nn.Linear(5, 6), "right": nn.Linear(5, 6, bias=False), "out": nn.Linear(6, 2)})
    net.forward = lambda x: net["out"]((net["left"](x) + net["right"](x)).relu())  # type: ignore[method-assign]
    both = ("left.weight", "right.weight")
    sums = Shared(tuple((name, Channel()) for name in both), (("left.bias", Channel()),))
    unit = Coupled((sums, Shared((("out.weight", Channel()),), (("out.bias", Channel()),))))
    gates = GumbelGates(net, density=0.5, unit=unit, select=prunable(exclude=["out.*"]))
    assert gates.total == 6 and {name for name, _ in gates.named_parameters()} == {"logits.left/weight"}
    net.train(training)
    seen: dict[str, Tensor] = {}
    net["left"].register_forward_hook(
        lambda *_: seen.update(
            {
                f"{side}.{own}": getattr(net[side], own).detach()
                for side in ("left", "right")
                for own in ("weight", "bias")
                if getattr(net[side], own) is not None
            }
        )
    )
    with gates.attach(net):
        for _ in range(4):
            net(torch.ones(1, 5)).sum().backward()
            open_ = seen["left.weight"].any(1)
            assert torch.equal(open_, seen["right.weight"].any(1)) and torch.equal(open_, seen["left.bias"] != 0)
    masks = gates.harden(0.5)
    assert masks.units(unit) == {"left.weight": (3, 6)} and masks.keys() == {*both, "left.bias"}
    assert torch.equal(masks["left.bias"], masks["right.weight"].all(1))
