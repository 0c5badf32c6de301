"""Masks hold whatever writes the weights: pruned ones are zero in every forward pass, or there is an error."""

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.checkpoint import checkpoint

import graphprune as gp
from graphprune import FGGP
from graphprune.masks import MaskSet, random
from tests.masks.writers import SAM, Average, HookedLookahead, Lookahead, ScheduleFree


class Net(nn.Module):
    """Three layers, and a note of what each pass finds at pruned places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh())
        self.head = nn.Linear(12, 3)
        self.watched: MaskSet | None = None
        self.passes, self.back = 0, 0

    def encode(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        if self.watched is not None:
            self.passes += 1
            own = dict(self.named_parameters())
            self.back += sum(int(own[name][~mask].count_nonzero()) for name, mask in self.watched.items())
        return self.head(self.encode(x))


def masks_of(net: nn.Module, density: float = 0.3) -> MaskSet:
    dense = MaskSet.dense(net)
    return dense.tighten(random(0)({}, {}, dense), density)


def batches(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        x = torch.randn(16, 6, generator=generator)
        yield x, x[:, :3].argmax(1)


def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(net(x), y)


def plain(net: nn.Module, optimizer: Optimizer, steps: int) -> None:
    for x, y in batches(steps):
        optimizer.zero_grad()
        loss(net, x, y).backward()
        optimizer.step()


def halves(net: nn.Module, optimizer: SAM, steps: int) -> None:
    for x, y in batches(steps):
        loss(net, x, y).backward()
        optimizer.first_step()
        loss(net, x, y).backward()
        optimizer.second_step()


def closures(net: nn.Module, optimizer: Optimizer, steps: int) -> None:
    for x, y in batches(steps):
        loss(net, x, y).backward()
        optimizer.step(lambda x=x, y=y: loss(net, x, y).backward())
        optimizer.zero_grad()


def evaluating(net: nn.Module, optimizer: ScheduleFree, steps: int) -> None:
    for number in range(steps):
        optimizer.train()
        plain(net, optimizer, 1)
        if number % 2:
            optimizer.eval()
            net(torch.ones(2, 6))
    optimizer.eval()


def sgd(params: object) -> Optimizer:
    return SGD(params, lr=0.1, momentum=0.9)  # type: ignore[arg-type]


WAYS: dict[str, tuple[Callable[[Net], Optimizer], Callable[..., None]]] = {
    "sam": (lambda net: SAM(net.parameters(), sgd), halves),
    "sam-closure": (lambda net: SAM(net.parameters(), sgd), closures),
    "lookahead": (lambda net: Lookahead(sgd(net.parameters())), plain),
    "lookahead-hooked": (lambda net: HookedLookahead(Adam(net.parameters(), lr=0.1)), plain),
    "schedule-free": (lambda net: ScheduleFree(net.parameters()), evaluating),
}


@pytest.mark.parametrize("steps", [6, 7])
@pytest.mark.parametrize("name", WAYS)
def test_pruned_weights_are_zero_in_every_pass_and_behind_the_block(name: str, steps: int) -> None:
    make, loop = WAYS[name]
    net = Net()
    optimizer = make(net)
    masks = net.watched = masks_of(net)
    before = net.head.weight.detach().clone()
    with masks.attach(net, optimizer):
        loop(net, optimizer, steps)
    masks.verify(net)
    assert net.passes >= steps and net.back == 0
    assert not torch.equal(before, net.head.weight.detach())


# Not SAM: the norm of its climb is that of all gradients, those of pruned weights too.
@pytest.mark.parametrize("name", ["lookahead", "lookahead-hooked", "schedule-free"])
def test_what_is_kept_trains_as_in_a_network_of_masked_weights(name: str) -> None:
    make, loop = WAYS[name]
    net, twin = Net(), Net()
    masks = masks_of(net)
    masks.apply_(net)
    masks.apply_(twin)
    optimizer, reference = make(net), make(twin)
    for name_, mask in masks.items():  # nothing ever moves a weight of which every gradient is zero
        twin.get_parameter(name_).register_hook(lambda grad, mask=mask: grad * mask)
    with masks.attach(net, optimizer):
        loop(net, optimizer, 7)
    loop(twin, reference, 7)
    for mine, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", WAYS)
def test_pruning_in_training_counts_one_step_for_each(name: str) -> None:
    make, loop = WAYS[name]
    net = Net()
    optimizer = make(net)
    with FGGP(density=0.25, start=2, stop=10, every=2).attach(net, optimizer) as run:
        loop(net, optimizer, 11)
    assert run.step == 11
    assert run.masks.kept == round(0.25 * run.masks.total)
    run.masks.verify(net)


def test_the_gradients_that_decide_under_sam_are_those_of_its_update() -> None:
    found = []
    for on_base in (False, True):
        net = Net()
        optimizer = SAM(net.parameters(), sgd)
        inner = optimizer.base if on_base else optimizer
        with FGGP(density=0.25, start=2, stop=10, every=2).attach(net, inner) as run:
            (halves if on_base else closures)(net, optimizer, 10)
        found.append(run.masks)
    assert found[0] == found[1]


def another_optimiser(net: Net) -> None:
    plain(net, Adam(net.parameters(), lr=0.1), 3)


def loading(net: Net) -> None:
    net.load_state_dict(Net().state_dict())


def averaging(net: Net) -> None:
    average = Average(Net().parameters())
    average.params = list(net.parameters())
    average.swap()
    net(torch.ones(2, 6))
    average.swap()


def starting_again(net: Net) -> None:
    nn.init.normal_(net.head.weight)


@pytest.mark.parametrize("write", [another_optimiser, loading, averaging, starting_again])
def test_whatever_else_writes_is_pruned_before_the_next_pass_and_before_leaving(write: Callable[[Net], None]) -> None:
    net = Net()
    optimizer = sgd(net.parameters())
    masks = net.watched = masks_of(net)
    with masks.attach(net, optimizer):
        plain(net, optimizer, 2)
        write(net)
        plain(net, optimizer, 1)
        write(net)
    masks.verify(net)
    assert net.back == 0


def test_a_state_that_is_read_in_between_is_pruned() -> None:
    net = Net()
    optimizer = sgd(net.parameters())
    masks = masks_of(net)
    with masks.attach(net, optimizer):
        loading(net)
        state, wrapped = net.state_dict(), None
        loading(net)
        wrapped = nn.Sequential(net).state_dict()
    for name, mask in masks.items():
        assert not state[name][~mask].any() and not wrapped[f"0.{name}"][~mask].any()


def test_parts_that_run_alone_are_pruned_before_they_do() -> None:
    net = Net()
    optimizer = Lookahead(sgd(net.parameters()))
    masks = masks_of(net)
    found = []
    net.body[2].register_forward_hook(lambda layer, *_: found.append(layer.weight[~masks["body.2.weight"]].any()))
    with masks.attach(net, optimizer):
        for x, y in batches(7):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net.head(net.encode(x)), y).backward()
            optimizer.step()
    masks.verify(net)
    assert len(found) == 7 and not any(found)


class Around(Net):
    """Reads weights around their modules, and is never called as a whole."""

    def run(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.body[0].weight.T) @ self.head.weight.T


def test_weights_that_come_back_where_no_pass_is_seen_are_an_error_that_names_them() -> None:
    net = Around()
    optimizer = Lookahead(SGD(net.parameters(), lr=0.1), k=2)
    masks = masks_of(net)
    pruned = int((~masks["head.weight"]).sum())
    with (
        pytest.raises(RuntimeError, match=rf"attached to Lookahead: .*{pruned} of {pruned} in 'head\.weight'"),
        masks.attach(net, optimizer),
    ):
        for x, y in batches(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net.run(x), y).backward()
            optimizer.step()
    with (
        pytest.raises(RuntimeError, match=r"attached to SGD: .*masks\.apply_"),
        masks.attach(net, sgd(net.parameters())),
    ):
        loading(net)  # and leave
    sam = SAM(net.parameters(), sgd)
    with pytest.raises(RuntimeError, match="SAM writes weights between its steps"), masks.attach(net, sam):
        x, y = next(batches(1))
        nn.functional.cross_entropy(net.run(x), y).backward()
        sam.first_step(zero_grad=False)
        sam.second_step()


class Beside(nn.Module):
    """Runs one of its layers, and uses the weight of the other around it."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = nn.Linear(6, 5), nn.Linear(5, 6)

    def loss(self, x: Tensor) -> Tensor:
        return (nn.functional.linear(self.enc(x), self.dec.weight) - x).pow(2).mean()


def test_a_pass_of_one_layer_is_none_of_another() -> None:
    torch.manual_seed(0)
    net, x = Beside(), torch.randn(8, 6)
    optimizer = SAM(net.parameters(), lambda params: SGD(params, lr=0.1))
    dense = MaskSet.dense(net)
    masks = dense.tighten({name: torch.rand_like(net.get_parameter(name)) for name in dense}, 0.5)
    masks.attach(net, optimizer)
    net.loss(x).backward()
    optimizer.first_step()
    net.loss(x).backward()
    with pytest.raises(RuntimeError, match=r"no forward pass is seen of the modules that own \['dec.weight'\]"):
        optimizer.second_step()


def test_ordinary_steps_need_no_pass_that_is_seen() -> None:
    net = Around()
    optimizer = Adam(net.parameters(), lr=0.1)
    masks = masks_of(net)
    with masks.attach(net, optimizer):
        for x, y in batches(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net.run(x), y).backward()
            optimizer.step()
    masks.verify(net)


def assigning(net: Net, _optimizer: Optimizer) -> None:
    net.load_state_dict(Net().state_dict(), assign=True)


def a_new_layer(net: Net, _optimizer: Optimizer) -> None:
    net.head = nn.Linear(12, 3)


def spectral(net: Net, _optimizer: Optimizer) -> None:
    nn.utils.parametrizations.spectral_norm(net.head)


def other_groups(_net: Net, optimizer: Optimizer) -> None:
    optimizer.param_groups[0]["params"] = list(Net().parameters())


@pytest.mark.parametrize("change", [assigning, a_new_layer, spectral, other_groups])
@pytest.mark.parametrize("steps", [0, 1])
def test_parameters_that_were_exchanged_are_an_error_that_names_them(
    change: Callable[[Net, Optimizer], None], steps: int
) -> None:
    net = Net()
    optimizer = sgd(net.parameters())
    text = r"SGD.* given other parameters" if change is other_groups else r"given other parameters .*'head\.weight'"
    with pytest.raises(RuntimeError, match=text), masks_of(net).attach(net, optimizer) as handle:
        change(net, optimizer)
        plain(net, optimizer, steps)
    other = sgd(net.parameters()) if change is not spectral else None
    assert handle is not None and (other is None or masks_of(net).attach(net, other).detach() is None)


def test_an_error_in_the_block_stays_that_error() -> None:
    net = Net()
    with pytest.raises(KeyError), masks_of(net).attach(net, sgd(net.parameters())):
        assigning(net, sgd(net.parameters()))
        raise KeyError


def test_an_optimiser_without_hooks_is_refused_when_it_attaches() -> None:
    class Bare(Optimizer):
        def __init__(self, params: list[nn.Parameter]) -> None:
            self.param_groups, self.state = [{"params": params}], {}

    net = Net()
    with pytest.raises(TypeError, match=r"Bare has no step hooks.*super\(\)\.__init__"):
        masks_of(net).attach(net, Bare(list(net.parameters())))
    with pytest.raises(TypeError, match="Bare has no step hooks"):
        FGGP(density=0.25, stop=10, every=2).attach(net, Bare(list(net.parameters())))
    masks_of(net).attach(net, sgd(net.parameters())).detach()


def test_copies_and_pickles_of_the_model_are_free() -> None:
    net = Net()
    masks = masks_of(net)
    with masks.attach(net, sgd(net.parameters())):
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            loading(twin)
            twin(torch.ones(2, 6))
            assert all(twin.get_parameter(name).all() for name in masks)
    net.load_state_dict(Net().state_dict())
    net(torch.ones(2, 6))
    assert all(net.get_parameter(name).all() for name in masks)
    assert not net._forward_pre_hooks and not net.head._forward_pre_hooks and not net._state_dict_pre_hooks


def test_two_passes_before_one_backward_and_recomputed_ones() -> None:
    net, twin = Net(), Net()
    masks = masks_of(net)
    masks.apply_(twin)
    (x, _), (z, _) = batches(2)
    with masks.attach(net, sgd(net.parameters())):
        (net(x) - net(z)).square().sum().backward()
        nn.Sequential(net.head)(checkpoint(net.body, x, use_reentrant=False)).sum().backward()
    (twin(x) - twin(z)).square().sum().backward()
    twin(x).sum().backward()
    torch.testing.assert_close(net.head.weight.grad, twin.head.weight.grad)
    torch.testing.assert_close(net.body[0].weight.grad, twin.body[0].weight.grad)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_functional_calls_gradients_and_inference() -> None:
    net = Net()
    masks = masks_of(net)
    x = torch.ones(4, 6)
    with masks.attach(net, sgd(net.parameters())):
        loading(net)
        weights = {name: p.detach() for name, p in net.named_parameters()}
        grads = torch.func.grad(lambda w: torch.func.functional_call(net, w, (x,)).sum())(weights)
        assert grads["head.weight"].all()
        torch.func.vmap(net)(x)
        with torch.inference_mode():
            loading(net)
            net(x)
            masks.verify(net)
        loading(net)
        traced = torch.jit.trace(net, x, check_trace=False)
        assert "bitwise" not in str(traced.inlined_graph)
        exported = torch.export.export(net, (x,))
        assert "bitwise" not in exported.graph_module.code


def test_measuring_and_compacting_inside_the_block_is_as_outside() -> None:
    data = gp.data.load("digits")
    net = gp.models.LeNet300.for_data(data)
    masks = masks_of(net, 0.02)
    masks.apply_(net)
    outside, small = gp.measure.report(net, data.test), gp.compact(net, example=data.test.batch(range(4)).x)
    with masks.attach(net, sgd(net.parameters())):
        inside, also = gp.measure.report(net, data.test), gp.compact(net, example=data.test.batch(range(4)).x)
    assert inside.macs == outside.macs and inside.file_bytes == outside.file_bytes
    assert inside.peak_bytes == outside.peak_bytes
    assert str(also) == str(small)
    assert not any(module._forward_pre_hooks or module._state_dict_pre_hooks for module in also.modules())


@pytest.mark.parametrize("full", [False, True])
def test_compiled_models(full: bool) -> None:
    net = Net()
    net.watched = None
    masks = masks_of(net)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=full)
    x, y = next(batches(1))
    sam = SAM(net.parameters(), sgd)
    with masks.attach(net, sam):
        halves(compiled, sam, 3)
        loading(net)
        twin = Net()
        masks.apply_(twin)
        torch.testing.assert_close(compiled(x), twin(x))
        torch.testing.assert_close(compiled(x) + compiled(x), twin(x) * 2)
        loss(compiled, x, y).backward()
    masks.verify(net)
    loading(net)
    torch.testing.assert_close(compiled(x), Net()(x))  # and free again
    torch._dynamo.reset()


def test_a_model_that_was_compiled_and_run_before() -> None:
    x, _ = next(batches(1))
    net, twin = Net(), Net()  # torch calls the hooks of an own module outside of what it compiles
    compiled, sam = torch.compile(net, backend="aot_eager"), SAM(net.parameters(), sgd)
    compiled(x)
    masks_of(twin).apply_(twin)
    with masks_of(net).attach(net, sam):
        loading(net)
        torch.testing.assert_close(compiled(x), twin(x))
        halves(compiled, sam, 2)
    layers = Net().body  # but not of torch's own, which it knows already
    compiled = torch.compile(layers, backend="aot_eager")
    compiled(x)
    masks, sam, ordinary = masks_of(layers), SAM(layers.parameters(), sgd), sgd(layers.parameters())
    with pytest.raises(RuntimeError, match=r"SAM writes .*before torch\.compile"), masks.attach(layers, sam):
        halves(compiled, sam, 2)
    with masks.attach(layers, ordinary):
        plain(compiled, ordinary, 2)
    masks.verify(layers)
    torch._dynamo.reset()
