"""Hard concrete, annealed sigmoids and learned thresholds on the interface of the Gumbel gates."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from graphprune.masks import Channel
from graphprune.masks.gates import (
    DensityControl,
    Gates,
    HardConcreteGates,
    SigmoidGates,
    STRGates,
    Temperature,
)

STEPS = 300
KINDS: dict[str, Callable[..., Gates]] = {
    "hard-concrete": HardConcreteGates,
    "sigmoid": lambda net, **options: SigmoidGates(net, temperature=Temperature(1, 1 / 200, STEPS), **options),
    "str": STRGates,
}


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


def batches(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(64, 6, generator=generator)
        yield x, (x[:, 0] + x[:, 1] > 0).long()


def train(net: nn.Module, gates: Gates, steps: int) -> None:
    optimizer = Adam([{"params": net.parameters(), "lr": 1e-2}, {"params": gates.parameters(), "lr": 5e-2}])
    with gates.attach(net):
        for x, y in batches(steps):
            loss = functional.cross_entropy(net(x), y) + gates.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_they_train_harden_and_compute_what_evaluation_did(kind: str) -> None:
    net = mlp()
    before = list(net.state_dict())
    gates = KINDS[kind](net, density=0.2, control=DensityControl(steps=200))
    train(net, gates, STEPS)
    x, y = next(batches(1))
    net.eval()
    with gates.attach(net):
        expected = net(x)
    assert list(net.state_dict()) == before
    masks = gates.harden()
    assert masks.kept == gates.kept
    gates.apply_(net)
    torch.testing.assert_close(net(x), expected)
    assert (net(x).argmax(1) == y).float().mean() > 0.85
    masks.verify(net)  # what evaluation drops is zero in its weights
    assert 0.05 <= masks.density <= 0.35


@pytest.mark.parametrize("kind", KINDS)
def test_they_go_on_from_a_state(kind: str) -> None:
    net = mlp()
    gates = KINDS[kind](net, density=0.3)
    train(net, gates, 5)
    resumed = KINDS[kind](copy.deepcopy(net), density=0.3)
    resumed.load_state_dict(gates.state_dict())
    assert resumed.step == 5
    assert torch.equal(resumed.penalty(), gates.penalty())
    assert resumed.harden() == gates.harden()


def test_hard_concrete_gates_are_zero_as_often_as_the_penalty_says() -> None:
    net = nn.Linear(100, 100, bias=False)
    torch.manual_seed(0)
    gates = HardConcreteGates(net, penalty_weight=1.0, start=0.3)
    weight = torch.ones(100, 100)
    drawn = torch.stack([gates.trained("weight", weight, gates.drawn("weight")).detach() for _ in range(20)])
    assert (drawn != 0).float().mean().item() == pytest.approx(gates.penalty().item(), abs=0.005)
    assert drawn.min() == 0
    assert drawn.max() == 1


def test_hard_concrete_evaluation_is_the_published_formula() -> None:
    net = nn.Linear(5, 4, bias=False)
    gates = HardConcreteGates(net, density=0.5, unit=Channel(0))
    with torch.no_grad():
        gates.logits["weight"].copy_(torch.tensor([-4.0, -2.0, 0.0, 4.0]))
    with gates.attach(net.eval()):
        out = net(torch.eye(5)).T
    gate = (1.2 * torch.sigmoid(gates.logits["weight"]) - 0.1).clamp(0, 1)
    torch.testing.assert_close(out, net.weight * gate[:, None])
    assert gates.harden()["weight"].any(1).tolist() == [False, True, True, True]


def test_sigmoid_gates_start_dense_and_end_hard() -> None:
    net = nn.Linear(50, 50, bias=False)
    gates = SigmoidGates(net, density=0.5, temperature=Temperature(1, 1e-6, 10), start=0.6)
    assert torch.allclose(gates.trained("weight", net.weight, gates.drawn("weight")), net.weight, atol=0.02)
    gates.step = 10
    with torch.no_grad():
        gates.logits["weight"].copy_(torch.randn(2500))
    torch.testing.assert_close(
        gates.trained("weight", net.weight, gates.drawn("weight")), gates.settled("weight", net.weight)
    )


def test_str_shrinks_and_learns_its_threshold() -> None:
    net = nn.Linear(30, 30, bias=False)
    gates = STRGates(net, penalty_weight=1.0, threshold=0.05)
    out = gates.trained("weight", net.weight, gates.drawn("weight"))
    torch.testing.assert_close(out, functional.softshrink(net.weight, 0.05))
    assert torch.equal(gates.harden()["weight"], net.weight.abs() > torch.sigmoid(gates.thresholds["weight"]))
    gates.penalty().backward()
    assert gates.thresholds["weight"].grad is not None
    assert gates.thresholds["weight"].grad < 0  # a step against it raises the threshold


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0])
def test_bad_options_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        STRGates(mlp(), density=0.5, threshold=threshold)
    with pytest.raises(ValueError, match="temperature"):
        SigmoidGates(mlp(), density=0.5, temperature=0.0)
    with pytest.raises(ValueError, match="start"):
        HardConcreteGates(mlp(), density=0.5, start=0.0)
