"""Steering the gates' penalty to a density, on small networks of each kind."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, global_mean_pool

from graphprune.masks import Channel
from graphprune.masks.gates import DensityControl, Gates, GumbelGates
from graphprune.models import GIN


class Net(nn.Module):
    """A convolution of torch_geometric and two layers behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.middle, self.head = GCNConv(4, 32), nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, batch: Batch) -> Tensor:
        x = self.conv(batch.x, batch.edge_index).relu()
        return self.head(global_mean_pool(self.middle(x).relu(), batch.batch))


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(x))
        return out


def graphs() -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for number in range(40):
        edges = torch.randint(6, (2, 14), generator=generator)
        x = torch.randn(6, 4, generator=generator) + number % 2
        made.append(Data(x=x, edge_index=edges))
    return Batch.from_data_list(made), torch.arange(40) % 2


def images() -> tuple[Tensor, Tensor]:
    x = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(40) % 2
    x[y == 1, :, :3] += 1
    return x, y


def steered(net: nn.Module, data: tuple[Tensor | Batch, Tensor], gates: Gates, steps: int, lr: float = 0.05) -> float:
    """Train, and the mean accuracy of evaluation."""
    x, y = data
    optimizer = Adam([{"params": net.parameters(), "lr": 5e-3}, {"params": gates.parameters(), "lr": lr}])
    with gates.attach(net):
        for _ in range(steps):
            loss = functional.cross_entropy(net(x), y) + gates.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float((net.eval()(x).argmax(1) == y).float().mean())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor | Batch, Tensor]]]] = {
    "gcn": (Net, graphs),
    "gin": (lambda: GIN(4, 2, hidden=16, layers=2), graphs),
    "conv": (Convolutions, images),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_reach_the_density(kind: str) -> None:
    torch.manual_seed(0)
    net, data = NETWORKS[kind][0](), NETWORKS[kind][1]()
    gates = GumbelGates(net, density=0.2, control=DensityControl(steps=160))
    accuracy = steered(net, data, gates, 240)
    masks = gates.harden()
    assert masks.kept == pytest.approx(0.2 * masks.total, rel=0.01, abs=3)  # a gate or two always waver
    assert accuracy > 0.8


def test_channels_fall_as_one_and_are_what_is_counted() -> None:
    torch.manual_seed(0)
    net = Convolutions()
    gates = GumbelGates(net, density=0.3, unit=Channel(0), empty="keep-one", control=DensityControl(steps=160))
    steered(net, images(), gates, 240)
    masks = gates.harden()
    assert gates.total == 16 + 16 + 2
    assert abs(gates.kept - 0.3 * 34) <= 1  # a gate always wavers
    for chosen, kept in ((masks, gates.kept), (gates.harden(0.3), round(0.3 * 34))):
        assert sum(int(Channel().alive(mask).sum()) for mask in chosen.values()) == kept
    assert gates.harden(gates.kept / 34) == masks
    for mask in masks.values():
        assert bool((mask.flatten(1).all(1) | ~mask.flatten(1).any(1)).all())


@given(st.floats(0.001, 1), st.integers(1, 50), st.floats(1, 5))
def test_the_target_falls_from_one_to_the_density_ever_slower(density: float, steps: int, power: float) -> None:
    control = DensityControl(steps=steps, power=power)
    targets = [control.target(step, density) for step in range(steps + 3)]
    assert targets[0] == pytest.approx(1)
    assert targets[steps:] == pytest.approx([density] * 3)
    factors = [after / before for before, after in pairwise(targets)]
    assert all(0 < factor <= 1 + 1e-9 for factor in factors)
    assert all(late >= early - 1e-9 for early, late in pairwise(factors))


@given(st.floats(0.001, 0.2), st.integers(1, 6), st.floats(1.5, 5))
def test_the_target_swells_and_falls_back_in_cycles(density: float, cycles: int, swell: float) -> None:
    control = DensityControl(steps=200 * cycles, cycles=cycles, swell=swell)
    targets = [control.target(step, density) for step in range(220 * cycles)]
    first, rest = targets[: 100 * cycles], targets[100 * cycles :]
    assert first[0] == pytest.approx(1) and all(late <= early for early, late in pairwise(first))
    rises = [place for place, (before, after) in enumerate(pairwise([density, *rest])) if after > before * 1.01]
    assert rises == [100 * cycle for cycle in range(cycles)]
    assert [rest[place] for place in rises] == pytest.approx([density * swell] * cycles)
    settled = [target for place, target in enumerate(rest) if place % 100 >= 70 or place >= 100 * cycles]
    assert settled == pytest.approx([density] * len(settled))


@given(st.integers(0, 10_000), st.floats(-5, 5))
def test_too_many_make_the_penalty_dearer_and_too_few_cheaper(kept: int, log_price: float) -> None:
    control = DensityControl()
    error = control.error(kept, 100)
    price, level = control.scale(log_price, error), control.scale(log_price, 0.0)
    moved = control.moved(log_price, error)
    assert (price > level, price < level) == (moved > log_price, moved < log_price) == (kept > 100, kept < 100)
    assert (price < 0) == (kept < 100)


@pytest.mark.parametrize(
    "option",
    [{"steps": -1}, {"power": 0.5}, {"gain": 0}, {"proportional": -1}, {"price": 0}, {"cycles": -1}, {"swell": 1}],
)
def test_control_refuses_what_steers_nothing(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        DensityControl(**option)  # type: ignore[arg-type]


def test_penalty_is_the_expected_share_and_counts_steps_of_training_only() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    gates = GumbelGates(net, penalty_weight=2.5)
    shares = torch.sigmoid(torch.cat(list(gates.parameters())).detach().double())
    torch.testing.assert_close(gates.penalty().double(), 2.5 * shares.mean())
    assert gates.step == 1
    with torch.no_grad():
        gates.penalty()
    net.eval()
    gates.penalty()
    assert gates.step == 1
    wide = GumbelGates(net, penalty_weight=1.0, unit=Channel(0))
    channels = torch.sigmoid(torch.cat(list(wide.parameters())))
    torch.testing.assert_close(wide.penalty(), channels.mean())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_penalty_pulls_as_relaxed_gates_do(temperature: float) -> None:
    torch.manual_seed(0)
    net = nn.Linear(6, 7)
    gates = GumbelGates(net, penalty_weight=1.0, temperature=temperature)
    with torch.no_grad():
        gates.margin("weight").copy_(4 * torch.randn(42))
    gates.penalty().backward()
    (logits,) = gates.parameters()
    free = logits.detach().clone().requires_grad_()
    torch.sigmoid(free / temperature).mean().backward()
    torch.testing.assert_close(logits.grad, free.grad)


@pytest.mark.slow
def test_the_two_pathways_of_a_toy_are_found() -> None:
    """Four inputs, two targets of two inputs each: a network that mixes them has connections to spare."""
    good = 0
    for seed in range(8):
        torch.manual_seed(seed)
        x = torch.rand(2000, 4) * 2 - 1
        y = torch.stack([3 * torch.sin((x[:, 0] - x[:, 1]) ** 2), (x[:, 2] + x[:, 3]) ** 3], 1)
        net = nn.Sequential(nn.Linear(4, 10), nn.SiLU(), nn.Linear(10, 10), nn.SiLU(), nn.Linear(10, 2))
        gates = GumbelGates(net, density=0.15, control=DensityControl(steps=6000, power=1.5), empty="keep-one")
        optimizer = Adam([{"params": net.parameters()}, {"params": gates.parameters(), "lr": 0.03}], lr=0.01)
        with gates.attach(net):
            for _ in range(7500):
                loss = functional.l1_loss(net(x[:1000]), y[:1000]) + gates.penalty()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            error = functional.mse_loss(net.eval()(x[1000:]), y[1000:])
        paths = torch.eye(4)
        for mask in gates.harden().values():
            paths = mask.float() @ paths
        crossing = paths[0, 2:].sum() + paths[1, :2].sum()
        good += bool(crossing == 0 and gates.kept <= 24 and error <= 0.005)
    assert good >= 4
