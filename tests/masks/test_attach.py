import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer, RMSprop

from graphprune.masks import MaskSet, magnitude, prunable, random
from graphprune.masks.parameters import masked_parameters

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: Adam(p, lr=0.1),
    "adam-decay": lambda p: Adam(p, lr=0.1, weight_decay=0.1, foreach=False),
    "adamw": lambda p: AdamW(p, lr=0.1, weight_decay=0.3),
    "amsgrad": lambda p: AdamW(p, lr=0.1, amsgrad=True),
    "rmsprop": lambda p: RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "lbfgs": lambda p: LBFGS(p, lr=0.1, max_iter=3, history_size=3),
}


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))


def masks_of(net: nn.Module, density: float, seed: int = 0) -> MaskSet:
    dense = MaskSet.dense(net)
    return dense.tighten(random(seed)({}, {}, dense), density)


def train(net: nn.Module, optimizer: Optimizer, steps: int, check: Callable[[], None] = lambda: None) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        x = torch.randn(16, 6, generator=generator)
        y = torch.randint(3, (16,), generator=generator)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        check()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_comes_back_under_any_optimiser(name: str) -> None:
    net = model()
    optimizer = OPTIMIZERS[name](net.parameters())
    train(net, optimizer, 3)  # momentum from a dense start
    masks = masks_of(net, 0.3)
    with masks.attach(net, optimizer):
        before = net[0].weight.detach().clone()
        train(net, optimizer, 6, check=lambda: masks.verify(net))
        assert not torch.equal(net[0].weight.detach(), before)


def test_surviving_weights_train_as_they_would_in_a_masked_network() -> None:
    net, twin = model(), model()
    masks = masks_of(net, 0.4)
    optimizer, reference = SGD(net.parameters(), lr=0.1), SGD(twin.parameters(), lr=0.1)
    masks.apply_(twin)
    for name, mask in masks.items():  # without memory in the optimiser, masked gradients are the same thing
        twin.get_parameter(name).register_hook(lambda grad, mask=mask: grad * mask)
    with masks.attach(net, optimizer):
        train(net, optimizer, 5)
    train(twin, reference, 5)
    for mine, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_gradients_stay_dense() -> None:
    net = model()
    masks = masks_of(net, 0.2)
    optimizer = SGD(net.parameters(), lr=0.1)
    with masks.attach(net, optimizer):
        train(net, optimizer, 1)
    assert (net[2].weight.grad[~masks["2.weight"]] != 0).any()


def state_at(optimizer: Optimizer, parameter: Tensor, where: Tensor) -> list[Tensor]:
    values = optimizer.state[parameter].values()
    return [value[where] for value in values if isinstance(value, Tensor) and value.shape == parameter.shape]


@pytest.mark.parametrize("name", ["nesterov", "adam", "amsgrad", "rmsprop"])
def test_state_is_cleared_on_attach_update_and_detach(name: str) -> None:
    net = model()
    optimizer = OPTIMIZERS[name](net.parameters())
    train(net, optimizer, 2)
    first, second = masks_of(net, 0.5, seed=1), masks_of(net, 0.5, seed=2)

    def assert_cleared(outside: MaskSet) -> None:
        for key, mask in outside.items():
            states = state_at(optimizer, net.get_parameter(key), ~mask)
            assert states and not any(bool(state.any()) for state in states)

    handle = first.attach(net, optimizer)
    assert_cleared(first)
    train(net, optimizer, 2)
    handle.update(second)
    assert handle.masks == second
    assert_cleared(first & second)  # newly pruned and regrown alike
    second.verify(net)
    regrown = second["2.weight"] & ~first["2.weight"]
    assert regrown.any() and not net[2].weight.detach()[regrown].any()
    train(net, optimizer, 2, check=lambda: second.verify(net))
    assert net[2].weight.detach()[regrown].any()
    handle.detach()
    assert_cleared(second)


def test_after_detaching_training_is_dense_again() -> None:
    net = model()
    optimizer = Adam(net.parameters(), lr=0.1)
    masks = masks_of(net, 0.2)
    handle = masks.attach(net, optimizer)
    train(net, optimizer, 1)
    handle.detach()
    handle.detach()
    masks.verify(net)
    train(net, optimizer, 1)
    with pytest.raises(RuntimeError, match="masks were lost"):
        masks.verify(net)
    with pytest.raises(RuntimeError, match="detached"):
        handle.update(masks)
    with masks.attach(net, optimizer):
        masks.verify(net)


def test_an_exception_inside_detaches() -> None:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    with pytest.raises(KeyError), masks_of(net, 0.2).attach(net, optimizer):
        raise KeyError
    masks_of(net, 0.2).attach(net, optimizer).detach()


def test_full_and_partial_masks_together() -> None:
    net = model()
    dense = MaskSet.dense(net)
    masks = MaskSet.of({**dense, "0.weight": torch.zeros(8, 6, dtype=torch.bool)})
    optimizer = Adam(net.parameters(), lr=0.1)
    with masks.attach(net, optimizer):
        train(net, optimizer, 2, check=lambda: masks.verify(net))
    assert not net[0].weight.any() and net[2].weight.detach().all()


def test_a_pruned_weight_that_turns_nan_is_zero_after_the_step() -> None:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    masks = masks_of(net, 0.5)
    with masks.attach(net, optimizer), torch.no_grad():
        for name, parameter in masked_parameters(net, masks).items():
            parameter.grad = torch.zeros_like(parameter).masked_fill_(~masks[name], torch.nan)
        optimizer.step()
        masks.verify(net)
    assert all(bool(parameter.isfinite().all()) for parameter in net.parameters())


def test_a_step_that_a_gradient_scaler_skips_changes_nothing() -> None:
    class Scaler:
        """What torch.amp.GradScaler does with a gradient that overflowed; the real one needs a GPU."""

        skipped = 0

        def step(self, optimizer: Optimizer) -> None:
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if all(bool(grad.isfinite().all()) for grad in grads):
                optimizer.step()
            else:
                self.skipped += 1

    net, scaler = model(), Scaler()
    optimizer = AdamW(net.parameters(), lr=0.1)
    masks = masks_of(net, 0.3)
    with masks.attach(net, optimizer):
        for step in range(4):
            optimizer.zero_grad()
            net(torch.randn(4, 6)).square().sum().backward()
            before = copy.deepcopy(net.state_dict())
            if step % 2:
                net[2].weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            masks.verify(net)
            same = all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
            assert same == bool(step % 2)
    assert scaler.skipped == 2


def test_the_real_gradient_scaler_on_the_cpu() -> None:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    masks = masks_of(net, 0.3)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with masks.attach(net, optimizer):
        for scale in (1.0, torch.inf, 1.0):
            optimizer.zero_grad()
            scaler.scale(net(torch.randn(4, 6)).square().sum() * scale).backward()
            scaler.step(optimizer)
            scaler.update()
            masks.verify(net)
    assert scaler.get_scale() == 2.0


def test_masks_follow_parameters_to_another_dtype() -> None:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    masks = masks_of(net, 0.3)
    with masks.attach(net, optimizer):
        net.double()
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        masks.verify(net)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nothing_comes_back_after_a_move_to_the_gpu() -> None:
    net = model()
    optimizer = AdamW(net.parameters(), lr=0.1)
    masks = masks_of(net, 0.3)
    with masks.attach(net, optimizer):
        net.cuda()
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.randn(4, 6, device="cuda")).square().sum().backward()
            optimizer.step()
            masks.verify(net)
    assert masks.to("cuda") == masks and masks.to("cuda").digest() == masks.digest()
    scores = magnitude(dict(net.named_parameters()), {}, masks)
    cpu = {name: score.cpu() for name, score in scores.items()}
    assert masks.to("cuda").tighten(scores, 0.1) == masks.tighten(cpu, 0.1)


def test_the_state_dict_stays_dense_and_copies_are_free() -> None:
    net = model()
    keys = list(net.state_dict())
    optimizer = Adam(net.parameters(), lr=0.1)
    masks = masks_of(net, 0.3)
    with masks.attach(net, optimizer):
        twin, other = copy.deepcopy((net, optimizer))
        train(twin, other, 1)
        assert list(net.state_dict()) == keys
        with pytest.raises(RuntimeError, match="masks were lost"):
            masks.verify(twin)


def test_a_parameter_that_the_optimiser_does_not_own_is_named() -> None:
    net = model()
    optimizer = SGD(net[0].parameters(), lr=0.1)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r"does not own .*\['2\.weight', '4\.weight'\]"):
        masks_of(net, 0.3).attach(net, optimizer)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    only = MaskSet.dense(net, select=prunable(exclude=["2.*", "4.*"]))
    only.attach(net, optimizer).detach()


def test_an_optimiser_holds_one_set_of_masks() -> None:
    net = model()
    optimizer = SGD(net.parameters(), lr=0.1)
    with masks_of(net, 0.3).attach(net, optimizer), pytest.raises(ValueError, match=r"attached .* already"):
        masks_of(net, 0.2).attach(net, optimizer)


def test_a_wrapped_optimiser_is_the_optimiser() -> None:
    class Wrapper:
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer = optimizer

    net = model()
    optimizer = Adam(net.parameters(), lr=0.1)
    masks = masks_of(net, 0.3)
    with masks.attach(net, Wrapper(optimizer)):  # type: ignore[arg-type]
        train(net, optimizer, 2, check=lambda: masks.verify(net))
        with pytest.raises(ValueError, match="already"):
            masks.attach(net, optimizer)


def test_an_update_with_other_parameters_is_refused_and_changes_nothing() -> None:
    net = model()
    masks = masks_of(net, 0.3)
    with masks.attach(net, SGD(net.parameters(), lr=0.1)) as handle:
        with pytest.raises(ValueError, match=r"other parameters: \['0\.weight', '2\.weight'\]"):
            handle.update(MaskSet.of({"4.weight": masks["4.weight"]}))
        with pytest.raises(ValueError, match=r"'0\.weight' has shape"):
            handle.update(MaskSet.of({**masks, "0.weight": torch.ones(2, 2, dtype=torch.bool)}))
        assert handle.masks == masks
        masks.verify(net)
