"""Gumbel gates as a method of one training, against a loop of its own, and bad input."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import graphprune as gp
from graphprune.masks import Channel, random
from graphprune.masks.gates import DensityControl
from graphprune.methods.core.fit import derive_seed
from tests.methods.loops import OPTIMIZERS, batches, network, train

STOP, STEPS = 16, 22
WEIGHTS, NEURONS = 6 * 9 + 9 * 7 + 7 * 3, 9 + 7 + 3
UNITS = {"weight": {"unit": "weight"}, "channel": {"unit": "channel", "protect": "4.weight"}}  # whose are the outputs


def method(**changes):
    return gp.Gumbel(**{"density": 0.3, "stop": STOP, "seed": 5, **changes})


def pruned(net, optimizer, plan, steps=STEPS):
    torch.manual_seed(1)
    with plan.attach(net, optimizer) as run:
        train(net, optimizer, steps)
    return run


@pytest.mark.parametrize("unit", ["weight", "channel"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_does_what_gates_in_a_loop_of_ones_own_do(optimizer, unit):
    net = network()
    by_hand = copy.deepcopy(net)
    plan = method(**UNITS[unit])
    run = pruned(net, OPTIMIZERS[optimizer](net.parameters()), plan)

    torch.manual_seed(derive_seed(5, "gates"))
    control = DensityControl(steps=12)
    gates = gp.GumbelGates(by_hand, density=0.3, unit=plan.pruned_unit, select=plan.selector, control=control)
    own = OPTIMIZERS[optimizer](by_hand.parameters())
    of_gates = torch.optim.Adam(gates.parameters(), lr=0.05, fused=True)
    torch.manual_seed(1)
    rounds = list(batches(STEPS))
    with gates.attach(by_hand):
        for x, y in rounds[:STOP]:
            own.zero_grad()
            of_gates.zero_grad()
            (functional.cross_entropy(by_hand(x), y) + gates.penalty()).backward()
            own.step()
            of_gates.step()
    masks = gates.harden(0.3)
    with masks.attach(by_hand, own):
        for x, y in rounds[STOP:]:
            own.zero_grad()
            functional.cross_entropy(by_hand(x), y).backward()
            own.step()

    assert run.masks == masks and 0 < masks.kept < masks.total
    for mine, theirs in zip(net.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("unit", "units"), [("weight", WEIGHTS), ("channel", 9 + 7)])
def test_the_exact_count_is_left_at_stop_and_not_before(unit, units):
    net = network()
    optimizer = OPTIMIZERS["adam"](net.parameters())
    densities, finished = [], []
    with method(**UNITS[unit]).attach(net, optimizer) as run:
        train(net, optimizer, STEPS, lambda step: (densities.append(run.density), finished.append(run.finished)))
    assert sum(kept for kept, _ in run.masks.units(gp.masks.UNITS[unit]).values()) == round(0.3 * units)
    assert finished == [False] * (STOP - 1) + [True] * (STEPS - STOP + 1)
    assert densities[-1] == run.masks.density
    run.masks.verify(net)


def test_evaluation_sees_what_would_be_kept_and_the_model_is_dense_without_gates():
    net = network()
    optimizer = OPTIMIZERS["adam"](net.parameters())
    x = torch.randn(4, 6)
    run = method().attach(net, optimizer)
    train(net, optimizer, 10)
    kept = run.gates.harden()
    with torch.no_grad():
        seen = net.eval()(x)
        run.detach()
        assert not torch.equal(net(x), seen)
        kept.apply_(net)
        assert torch.equal(net(x), seen)


@pytest.mark.parametrize("interrupted", [7, STOP, STOP + 2])
def test_a_resumed_training_is_the_uninterrupted_one(interrupted, tmp_path):
    whole, optimizer = network(), None
    optimizer = OPTIMIZERS["adam"](whole.parameters())
    run = pruned(whole, optimizer, method())

    net = network()
    first = OPTIMIZERS["adam"](net.parameters())
    torch.manual_seed(1)
    handle = method().attach(net, first)
    rounds = list(batches(STEPS))
    for x, y in rounds[:interrupted]:
        first.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        first.step()
    # The optimiser's state is saved before detach, which clears it at pruned weights.
    state = {"net": net.state_dict(), "optimizer": first.state_dict(), "run": handle.state()}
    torch.save(state | {"noise": torch.get_rng_state()}, tmp_path / "state.pt")
    handle.detach()

    state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = network(seed=9)
    again.load_state_dict(state["net"])
    second = OPTIMIZERS["adam"](again.parameters())
    second.load_state_dict(state["optimizer"])
    with method().attach(again, second, resume=state["run"]) as resumed:
        torch.set_rng_state(state["noise"])
        for x, y in rounds[interrupted:]:
            second.zero_grad()
            functional.cross_entropy(again(x), y).backward()
            second.step()
    assert resumed.masks == run.masks
    for mine, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_first_gates_follow_from_the_seed_and_leave_the_random_state_alone():
    before = torch.get_rng_state()
    starts = []
    for seed in (5, 5, 6):
        net = network()
        run = method(seed=seed).attach(net, OPTIMIZERS["sgd"](net.parameters()))
        starts.append([logits.clone() for logits in run.gates.parameters()])
        run.detach()
    assert torch.equal(torch.get_rng_state(), before)
    same, other = (all(map(torch.equal, starts[0], start)) for start in starts[1:])
    assert same and not other


def test_accumulated_gradients_reach_the_gates_as_well():
    found = []
    for parts in (1, 2):
        net = network()
        optimizer = OPTIMIZERS["sgd"](net.parameters())
        run = method().attach(net, optimizer)
        x, y = next(batches(1, size=16))
        x, y = x[:8].repeat(2, 1), y[:8].repeat(2)
        for rows in range(0, 16, 16 // parts):
            torch.manual_seed(2)  # the same noise in each part
            part = slice(rows, rows + 16 // parts)
            (functional.cross_entropy(net(x[part]), y[part]) / parts).backward()
        optimizer.step()
        found.append([logits.clone() for logits in run.gates.parameters()])
        run.detach()
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_a_training_that_ends_too_early_is_an_error():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with pytest.raises(RuntimeError, match=f"ended after step 10, but pruning ends at stop={STOP}"):
        pruned(net, optimizer, method(), steps=10)
    train(net, optimizer, 2)  # nothing is left behind


def test_closures_and_float16_are_refused():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    x, y = next(batches(1))
    run = method().attach(net, optimizer)
    for call in (lambda closure: optimizer.step(closure), lambda closure: optimizer.step(closure=closure)):
        with pytest.raises(RuntimeError, match=r"closure.*loss.backward\(\).*automatic_optimization = False"):
            call(lambda: functional.cross_entropy(net(x), y))
    with torch.autocast("cpu", torch.float16), pytest.raises(RuntimeError, match="bfloat16"):
        net(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x).isfinite().all()
    run.detach()
    with torch.autocast("cpu", torch.float16):
        assert net(x).isfinite().all()


def test_a_step_in_evaluation_mode_is_an_error():
    net = network()
    optimizer = OPTIMIZERS["adam"](net.parameters())
    run = method().attach(net, optimizer)
    train(net, optimizer, 3)
    net.eval()
    with pytest.raises(RuntimeError, match=r"eval\(\) mode at step 4"):
        train(net, optimizer, 1)
    run.detach()


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("spoilt", [1e6, float("nan")])
def test_gradients_that_the_loop_throws_away_train_no_gate(spoilt, to_none):
    found = []
    for skipped in (False, True):
        net = network()
        optimizer = OPTIMIZERS["sgd"](net.parameters())
        torch.manual_seed(2)
        run = method().attach(net, optimizer)
        for x, y in batches(4):
            if skipped:
                state = torch.get_rng_state()
                (functional.cross_entropy(net(x), y) * spoilt).backward()
                optimizer.zero_grad(set_to_none=to_none)
                torch.set_rng_state(state)
            optimizer.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        found.append([logits.clone() for logits in run.gates.parameters()])
        run.detach()
    assert all(map(torch.equal, *found))


def test_gradients_that_are_not_finite_are_named_at_once():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    run = method().attach(net, optimizer)
    x, y = next(batches(1))
    (functional.cross_entropy(net(x), y) * float("nan")).backward()
    with pytest.raises(RuntimeError, match=r"at step 1 the gradients of the gates of \['0.weight'"):
        optimizer.step()
    run.detach()


def test_gates_without_gradient_are_named_at_stop():
    net = nn.ModuleDict({"used": nn.Linear(6, 3), "idle": nn.Linear(6, 3)})

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = net

        def forward(self, x):
            return self.parts["used"](x)

    model = Half()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(RuntimeError, match=r"no gradient reached the gates of \['parts.idle.weight'\]"):
        pruned(model, optimizer, method(stop=3))


def test_an_emptied_layer_is_named_or_keeps_one():
    def small():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 60), nn.Tanh(), nn.Linear(60, 3), nn.Linear(3, 3))

    plan = method(density=0.006, stop=STOP)  # 3 of 549 weights
    net = small()
    with pytest.raises(ValueError, match=r"nothing is left of \[") as refused:
        pruned(net, OPTIMIZERS["adam"](net.parameters()), plan)
    assert "weight" in str(refused.value)
    net = small()
    run = pruned(net, OPTIMIZERS["adam"](net.parameters()), plan.replace(empty="keep-one"))
    assert [row.kept for row in run.masks.ledger] == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fall": STOP + 1}, f"fall={STOP + 1} lies after stop={STOP}"),
        ({"fall": 0}, "fall must be a number of optimiser steps"),
        ({"cycles": -1}, "cycles"),
        ({"cycles": 1.5}, "cycles must be a whole number"),
        ({"stop": None}, "stop must be a whole number of optimiser steps, or a share"),
        ({"gate_lr": 0.0}, "gate_lr"),
        ({"temperature": 0.0}, "temperature"),
        ({"unit": "layer"}, "unit must be one of 'weight', 'channel', 'coupled', got 'layer'"),
        ({"empty": "drop"}, "empty"),
        ({"density": 0.0}, "density must lie in"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        method(**change)


def test_too_low_a_density_and_a_late_stop_are_refused_at_once():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with pytest.raises(ValueError, match="keeps 2 of 138"):
        method(density=0.015).attach(net, optimizer)
    with pytest.raises(ValueError, match=f"stop={STOP} lies after the 10 steps"):
        method().attach(net, optimizer, steps=10)
    assert torch.equal(net(torch.ones(1, 6)), network()(torch.ones(1, 6)))
    gp.GMP(density=0.5, stop=4, every=1).attach(net, optimizer).detach()  # the optimiser is free


def test_a_state_that_does_not_fit_is_refused():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    run = method().attach(net, optimizer)
    train(net, optimizer, 3)
    state = run.state()
    run.detach()
    with pytest.raises(ValueError, match="resume lacks"):
        method().attach(net, optimizer, resume={"step": 3, "masks": state["masks"]})
    with pytest.raises(ValueError, match="gates of another model or method"):
        method(unit="channel").attach(net, optimizer, resume=state)
    with pytest.raises(ValueError, match="run of another method"):
        gp.GMP(density=0.5, stop=4, every=1).attach(net, optimizer, resume=state)


# ---------------------------------------------------------------------- channels of the methods it is compared with


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("kind", [gp.GMP, gp.FGGP, gp.AnnealedGMP])
def test_channels_fall_as_one_in_gradual_methods_too(kind, scope):
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    plan = kind(density=0.5, start=2, stop=14, every=3, unit="channel", scope=scope)
    with plan.attach(net, optimizer) as run:
        train(net, optimizer, 16)
    kept = [units for units, _ in run.masks.units(Channel()).values()]
    assert sum(kept) == round(0.5 * NEURONS) if scope == "global" else kept == [round(0.5 * n) for n in (9, 7, 3)]
    for mask in run.masks.values():
        assert torch.equal(mask.all(1), mask.any(1))


def test_channels_of_the_largest_mean_stay():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    means = {name: weight.detach().abs().mean(1) for name, weight in net.named_parameters() if weight.ndim == 2}
    with gp.GMP(density=0.4, stop=3, every=3, unit="channel").attach(net, optimizer) as run:
        train(net, optimizer, 3)
    level = sorted(torch.cat(list(means.values())).tolist(), reverse=True)[round(0.4 * NEURONS) - 1]
    for name, mask in run.masks.items():
        assert torch.equal(mask.any(1), means[name] >= level)


def test_sparse_starts_are_of_single_weights():
    with pytest.raises(ValueError, match=r"start_density=0\.5 is for single weights"):
        gp.GMP(density=0.1, stop=4, every=1, unit="channel", start_density=0.5)


def test_kept_and_refilled_channels_are_counted_as_channels():
    masks = gp.MaskSet.dense(network())
    scores = random(3)({}, {}, masks)
    kept = masks.keep(scores, 7, unit=Channel())
    assert sum(count for count, _ in kept.units(Channel()).values()) == 7
    other = random(4)({}, {}, masks)
    filled = masks.refill(scores, 7, other, 11, unit=Channel())
    assert (kept & filled) == kept
    assert sum(count for count, _ in filled.units(Channel()).values()) == 11
