"""Pruning while a network trains: each method against a loop of its own, in all kinds of loops, and bad input."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphprune import FGGP, GMP, SET, SNIP, AnnealedGMP, GraNet, Gumbel, MaskSet, RigL, prunable
from tests.methods.loops import OPTIMIZERS, ByHand, batches, cubic, fall, network, top, train

PLAN = {"start": 2, "stop": 20, "every": 3}
STEPS = 26
TOTAL = 6 * 9 + 9 * 7 + 7 * 3
GRADUAL = {
    "fggp": FGGP(density=0.2, **PLAN),
    "gmp": GMP(density=0.2, **PLAN),
    "annealed": AnnealedGMP(density=0.2, end=24, **PLAN),
    "granet": GraNet(density=0.2, end=24, **PLAN),
}
SPARSE = {"rigl": RigL(density=0.3, **PLAN), "set": SET(density=0.3, **PLAN)}
METHODS = GRADUAL | SPARSE


def sets(masks):
    """The kept entries as (layer, position)."""
    return {
        (layer, place) for layer, m in enumerate(masks.values()) for place in m.flatten().nonzero().flatten().tolist()
    }


def by_hand(net, optimizer, method, kept):
    """The loop of this method with Python sets."""

    def due(step):
        behind = step - PLAN["start"]
        if isinstance(method, (RigL, SET)):
            return behind > 0 and step <= PLAN["stop"] and behind % PLAN["every"] == 0
        last = 24 if isinstance(method, GraNet) else PLAN["stop"]
        return behind > 0 and step <= last and (behind % PLAN["every"] == 0 or step == PLAN["stop"])

    def by_layer(kept):
        return [{entry for entry in kept if entry[0] == layer} for layer in range(3)]

    def grow(kept, size, grow, drop):
        everything, out = reference.entries(), set()
        for layer, mine in enumerate(by_layer(kept)):
            stay = top(mine, size, len(mine) - drop(len(mine)))
            rest = [entry for entry in everything if entry[0] == layer and entry not in stay]
            out |= stay | top(rest, grow, len(mine) - len(stay))
        return out

    def decide(step, kept, size, grad):
        left = round(cubic(step, method.initial_density, method.density, PLAN["start"], PLAN["stop"]) * TOTAL)
        if isinstance(method, FGGP):
            candidates = sorted(kept, key=lambda e: (grad[e], (-e[0], -e[1])))[
                : int(method.candidate_ratio * len(kept))
            ]
            return kept - set(sorted(candidates, key=lambda e: (size[e], (-e[0], -e[1])))[: len(kept) - left])
        if isinstance(method, GMP):
            return top(kept, size, left)
        if isinstance(method, AnnealedGMP):
            stay = top(kept, size, left - int(fall(0.5, step, 24) * left))
            return stay | top(kept - stay, grad, left - len(stay))
        if isinstance(method, GraNet):
            ratio = fall(0.5, step, 24)
            return grow(top(kept, size, left), size, grad, lambda n: math.ceil(ratio * n))
        ratio = fall(0.3, step, PLAN["stop"], last=0.0)
        return grow(kept, size, grad, lambda n: int(ratio * n))

    reference = ByHand(net, optimizer, decide, due, kept)
    return reference


@pytest.mark.parametrize("sparse_start", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["fggp", "gmp", "annealed", "granet", "rigl"])
def test_a_method_does_what_a_loop_of_its_own_does(name, optimizer, sparse_start):
    method = METHODS[name]
    if sparse_start:
        if name == "rigl":
            pytest.skip("RigL always starts sparse")
        method = method.replace(start_density=0.5)
    net = network()
    reference = copy.deepcopy(net)
    optim, other = OPTIMIZERS[optimizer](net.parameters()), OPTIMIZERS[optimizer](reference.parameters())
    run = method.attach(net, optim)
    hand = by_hand(reference, other, method, sets(run.masks))
    seen = []

    def compare(step):
        hand.behind(step)
        seen.append(hand.masks())

    train(reference, other, STEPS, compare)

    def check(step):
        for mask, expected in zip(run.masks.values(), seen[step - 1], strict=True):
            assert torch.equal(mask, expected), f"step {step}"

    with run:
        train(net, optim, STEPS, check)
    for mine, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert any(not torch.equal(a, b) for a, b in zip(seen[0], seen[-1], strict=True))


def test_set_grows_as_much_as_it_drops_and_what_it_keeps_are_the_largest():
    method, net = SPARSE["set"], network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    run = method.attach(net, optimizer)
    before = {name: mask.clone() for name, mask in run.masks.items()}
    moved = []

    def check(step):
        for name, mask in run.masks.items():
            assert mask.count_nonzero() == before[name].count_nonzero()
            if method.due(step):
                dropped = int((before[name] & ~mask).count_nonzero())
                assert dropped <= int(fall(0.3, step, 20, last=0.0) * int(mask.count_nonzero()))
                moved.append(dropped)
            before[name] = mask

    with run:
        train(net, optimizer, STEPS, check)
    assert sum(moved) > 0
    draws = [method.growth(step, run.masks, {}) for step in (5, 5, 8)]
    name = next(iter(before))
    assert torch.equal(draws[0][name], draws[1][name]) and not torch.equal(draws[0][name], draws[2][name])


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("start_density", [1.0, 0.5])
def test_ratio_one_is_magnitude_pruning(scope, start_density):
    plan = {"density": 0.1, "scope": scope, "start_density": start_density, **PLAN}
    found = []
    for method in (FGGP(candidate_ratio=1.0, **plan), GMP(**plan)):
        net = network()
        optimizer = OPTIMIZERS["sgd"](net.parameters())
        with method.attach(net, optimizer) as run:
            train(net, optimizer, STEPS)
        found.append((run.masks.digest(), [p.detach().clone() for p in net.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_no_more_candidates_than_needed_is_pure_gradient_pruning():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    method = FGGP(density=0.5, stop=1, every=1, candidate_ratio=0.5)
    with method.attach(net, optimizer) as run:
        train(net, optimizer, 1)
    grads = torch.cat([m.weight.grad.abs().flatten() for m in net if isinstance(m, nn.Linear)])
    kept = torch.cat([mask.flatten() for mask in run.masks.values()])
    assert int(kept.count_nonzero()) == TOTAL // 2
    assert grads[kept].min() >= grads[~kept].max()


@settings(max_examples=40, deadline=None)
@given(
    density=st.floats(0.02, 0.9),
    start=st.integers(0, 4),
    length=st.integers(2, 15),
    every=st.integers(1, 5),
    start_density=st.sampled_from([1.0, 0.9]),
    name=st.sampled_from(["gmp", "annealed", "granet", "fggp"]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
)
def test_densities_follow_the_schedule_and_nothing_returns(
    density, start, length, every, start_density, name, optimizer
):
    every = min(every, length)
    kinds = {"gmp": GMP, "annealed": AnnealedGMP, "granet": GraNet, "fggp": FGGP}
    extra = {"candidate_ratio": 1.0} if name == "fggp" else {}
    stop = start + length
    method = kinds[name](density=density, start=start, stop=stop, every=every, start_density=start_density, **extra)
    net = network()
    optim = OPTIMIZERS[optimizer](net.parameters())
    run = method.attach(net, optim, steps=stop + 3)
    assert run.masks.kept == round(start_density * TOTAL)
    gone = {key: ~mask for key, mask in run.masks.items()}
    last = start

    def check(step):
        nonlocal last
        if start < step <= stop and ((step - start) % every == 0 or step == stop):
            last = step
        assert run.masks.kept == round(cubic(last, start_density, density, start, stop) * TOTAL)
        run.masks.verify(net)
        if name != "granet":
            for key, mask in run.masks.items():
                assert not bool((gone[key] & mask).any()), "a pruned weight came back"
                gone[key] |= ~mask
        assert run.finished == (step >= stop or run.masks.kept == round(density * TOTAL))

    with run:
        train(net, optim, stop + 3, check)


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_is_the_uninterrupted_one(name):
    method = METHODS[name]

    def go(cut):
        net = network()
        optimizer = OPTIMIZERS["sgd"](net.parameters())
        data = list(batches(STEPS))
        run = method.attach(net, optimizer)
        for step, (x, y) in enumerate(data, start=1):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            if step == cut:
                saved = copy.deepcopy((net.state_dict(), optimizer.state_dict(), run.state()))
                run.detach()
                net = network(seed=99)
                net.load_state_dict(saved[0])
                optimizer = OPTIMIZERS["sgd"](net.parameters())
                optimizer.load_state_dict(saved[1])
                run = method.attach(net, optimizer, resume=saved[2])
        run.detach()
        return run.masks.digest(), torch.cat([p.detach().flatten() for p in net.parameters()])

    whole = go(None)
    for cut in (1, 5, 6, 20, 23):
        part = go(cut)
        assert part[0] == whole[0] and torch.equal(part[1], whole[1]), f"cut at {cut}"


def test_a_state_survives_a_checkpoint_that_holds_tensors_and_numbers_only(tmp_path):
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    run = GRADUAL["fggp"].attach(net, optimizer)
    train(net, optimizer, 9)
    torch.save(run.state(), tmp_path / "state.pt")
    run.detach()
    again = GRADUAL["fggp"].attach(net, optimizer, resume=torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.step == 9 and again.masks == run.masks
    again.detach()


# ---------------------------------------------------------------------- all kinds of loops


def test_accumulated_gradients_are_summed_and_only_real_steps_count():
    """Two half batches a step are one whole batch."""
    whole, halves = network(), network()
    optimizers = [OPTIMIZERS["sgd"](net.parameters()) for net in (whole, halves)]
    runs = [GRADUAL["fggp"].attach(net, optim) for net, optim in zip((whole, halves), optimizers, strict=True)]
    for x, y in batches(STEPS):
        optimizers[0].zero_grad()
        nn.functional.cross_entropy(whole(x), y).backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        for part in (slice(0, 8), slice(8, 16)):
            (nn.functional.cross_entropy(halves(x[part]), y[part]) / 2).backward()
        optimizers[1].step()
    assert runs[0].step == runs[1].step == STEPS
    assert runs[0].masks == runs[1].masks
    for run in runs:
        run.detach()


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_gradient_scaler_skips_are_not_counted(fused):
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    taken = 0
    with FGGP(density=0.3, stop=6, every=2).attach(net, optimizer) as run:
        for number, (x, y) in enumerate(batches(14)):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            scaler.scale(loss * (math.inf if number in (1, 3, 4) else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
            taken += number not in (1, 3, 4)
            assert run.step == taken
            assert run.masks.kept == round(cubic(min(taken // 2 * 2, 6), 1.0, 0.3, 0, 6) * TOTAL)
            run.masks.verify(net)


def test_the_gradient_is_the_loss_s_own_whatever_the_optimiser_makes_of_it():
    """Nesterov's foreach step writes momentum into the gradients: the one behind the step would be another."""
    found = []
    for foreach in (False, True):
        net = network()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, foreach=foreach)
        with FGGP(density=0.2, stop=20, every=4).attach(net, optimizer) as run:
            train(net, optimizer, 20)
        found.append(run.masks)
    assert found[0] == found[1]


def test_clipping_by_norm_changes_no_ranking():
    found = []
    for limit in (None, 1e-3):
        net = network()
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)
        with FGGP(density=0.2, stop=12, every=3, candidate_ratio=0.6).attach(net, optimizer) as run:
            for x, y in batches(12):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                if limit:
                    nn.utils.clip_grad_norm_(net.parameters(), limit)
                optimizer.step()
        found.append(run.masks)
    assert found[0] == found[1]


@pytest.mark.parametrize("as_keyword", [False, True])
def test_a_closure_s_last_gradient_counts(as_keyword):
    net = network()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)
    data = list(batches(8))
    seen = []
    with FGGP(density=0.5, stop=8, every=4).attach(net, optimizer) as run:
        for x, y in data:

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(net(x), y)
                loss.backward()
                seen.append([m.weight.grad.clone() for m in net if isinstance(m, nn.Linear)])
                return loss

            before = run.masks
            optimizer.step(closure=closure) if as_keyword else optimizer.step(closure)
            run.masks.verify(net)
            if run.step in (4, 8):
                # The half of smaller gradient may go, nothing else.
                grads = torch.cat([g.abs().flatten() for g in seen[-1]])
                was, now = (torch.cat([m.flatten() for m in masks.values()]) for masks in (before, run.masks))
                out = was & ~now
                limit = grads[was].sort().values[int(0.5 * int(was.count_nonzero())) - 1]
                assert out.any() and bool((grads[out] <= limit).all())
    assert run.step == 8


def test_a_copy_that_averages_weights_takes_the_masks_in_the_end():
    net = network()
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = OPTIMIZERS["adam"](net.parameters())
    with GRADUAL["fggp"].attach(net, optimizer) as run:
        train(net, optimizer, STEPS, lambda step: average.update_parameters(net))
    with pytest.raises(RuntimeError, match="pruned weights are not zero"):
        run.masks.verify(average.module)
    run.masks.apply_(average.module)
    run.masks.verify(average.module)


def test_a_compiled_model_is_pruned_by_the_names_of_the_module_inside():
    net = network()
    compiled = torch.compile(net, backend="eager")
    optimizer = OPTIMIZERS["sgd"](compiled.parameters())
    with GRADUAL["fggp"].attach(compiled, optimizer) as run:
        train(compiled, optimizer, STEPS)
    plain = network()
    other = OPTIMIZERS["sgd"](plain.parameters())
    with GRADUAL["fggp"].attach(plain, other) as expected:
        train(plain, other, STEPS)
    assert list(run.masks) == ["0.weight", "2.weight", "4.weight"]
    assert run.masks == expected.masks
    run.masks.verify(net)


def test_tied_weights_are_masked_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.outer.weight = self.inner.weight
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.outer(self.inner(x).tanh()).tanh())

    net = Tied()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with FGGP(density=0.25, stop=8, every=2).attach(net, optimizer) as run:
        train(net, optimizer, 8)
    assert list(run.masks) == ["inner.weight", "head.weight"] and run.masks.total == 54
    assert run.masks.kept == round(0.25 * 54)
    assert int((net.outer.weight == 0).sum()) == int((~run.masks["inner.weight"]).sum())


def test_half_precision_weights_are_pruned_to_the_exact_count():
    net = network().to(torch.bfloat16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with FGGP(density=0.1, stop=18, every=2).attach(net, optimizer) as run:
        for x, y in batches(18):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x.bfloat16()).float(), y).backward()
            optimizer.step()
    assert run.masks.kept == round(0.1 * TOTAL)


def test_layers_have_a_density_of_their_own():
    net = network()
    optimizer = OPTIMIZERS["adam"](net.parameters())
    with FGGP(density=0.2, scope="layer", start_density=0.5, **PLAN).attach(net, optimizer) as run:
        assert {row.kept for row in run.masks.ledger} == {27, 32, 10}
        train(net, optimizer, STEPS)
    assert [row.kept for row in run.masks.ledger] == [round(0.2 * n) for n in (54, 63, 21)]


def test_protected_layers_stay_dense():
    net = network()
    optimizer = OPTIMIZERS["adam"](net.parameters())
    with FGGP(density=0.2, protect="0.*", **PLAN).attach(net, optimizer) as run:
        train(net, optimizer, STEPS)
    assert list(run.masks) == ["2.weight", "4.weight"]
    assert bool((net[0].weight != 0).all())


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("density", [0.0, -0.1, 1.1, math.nan])
def test_a_density_outside_is_refused(density):
    with pytest.raises(ValueError, match="density must lie in"):
        FGGP(density=density, stop=10, every=1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"start": 20}, "start must lie before stop"),
        ({"start": -1}, "start must be a number of optimiser steps"),
        ({"every": 0}, "every must be a number of optimiser steps"),
        ({"every": 19}, "every=19 is longer than all the 18 steps"),
        ({"candidate_ratio": 0.0}, "candidate_ratio must lie in"),
        ({"start_density": 0.1}, "density=0.2 is above start_density=0.1"),
        ({"distribution": "er"}, "distribution"),
        ({"scope": "local"}, "scope"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        FGGP(**{"density": 0.2, **PLAN, **change})


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_too_few_candidates_are_told_before_any_training(scope):
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    method = FGGP(density=0.05, stop=2, every=1, candidate_ratio=0.3, scope=scope)
    with pytest.raises(ValueError, match=r"candidate_ratio=0\.3 offers .* candidates too few"):
        method.attach(net, optimizer)
    GMP(density=0.05, stop=2, every=1).attach(net, optimizer).detach()  # and nothing was left attached


def test_a_stop_behind_the_training_is_refused_at_once():
    net = network()
    with pytest.raises(ValueError, match="stop=20 lies after the 15 steps"):
        GRADUAL["fggp"].attach(net, OPTIMIZERS["sgd"](net.parameters()), steps=15)


def test_a_training_that_ends_too_early_is_an_error():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with (
        pytest.raises(RuntimeError, match="ended after step 10, but pruning ends at stop=20"),
        GRADUAL["fggp"].attach(net, optimizer),
    ):
        train(net, optimizer, 10)
    # The loop's own error is not covered up.
    with pytest.raises(KeyboardInterrupt), GRADUAL["fggp"].attach(net, optimizer):
        raise KeyboardInterrupt


def test_a_parameter_without_gradient_is_named():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with GRADUAL["gmp"].attach(net, optimizer) as run:
        for number in range(20):  # magnitude pruning needs none
            if number:
                optimizer.zero_grad()
            optimizer.step()
    assert run.finished
    with (
        pytest.raises(RuntimeError, match=r"after step 5, but .*4\.weight.* no gradient"),
        GRADUAL["fggp"].attach(net, optimizer),
    ):
        for x, _ in batches(5):
            optimizer.zero_grad()
            net[2](net[0](x)).sum().backward()
            optimizer.step()


def test_a_gradient_that_is_not_finite_is_named():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    with (
        pytest.raises(RuntimeError, match=r"after step 5, but the gradients of .*'0.weight'.* are not finite"),
        GRADUAL["fggp"].attach(net, optimizer),
    ):
        for x, _ in batches(5):
            optimizer.zero_grad()
            (net(x).sum() * math.nan).backward()
            optimizer.step()


def test_frozen_parameters_are_refused_and_can_be_protected():
    net = network()
    net[2].weight.requires_grad_(False)
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with pytest.raises(ValueError, match=r"\['2.weight'\] are frozen"):
        GRADUAL["fggp"].attach(net, optimizer)
    GRADUAL["fggp"].replace(protect="2.*").attach(net, optimizer).detach()


def test_sparse_gradients_are_refused_where_they_would_be_ranked():
    net = nn.Sequential(nn.EmbeddingBag(6, 4, sparse=True), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    select = prunable(include=["0.weight"])
    with pytest.raises(ValueError, match=r"\['0.weight'\] are sparse.*sparse=False, or protect=\['0.weight'\]"):
        GRADUAL["fggp"].replace(select=select).attach(net, optimizer)
    for method in (GRADUAL["fggp"], GRADUAL["fggp"].replace(select=select, protect="0.*")):
        method.attach(net, optimizer).detach()
    with GMP(density=0.5, start=0, stop=4, every=2, select=select).attach(net, optimizer) as run:  # reads no gradient
        for _ in range(4):
            net(torch.randint(6, (5, 3))).square().sum().backward()
            optimizer.step()
    assert run.masks.kept == round(0.5 * (24 + 12))


def test_parameters_that_the_optimiser_gets_later_are_told():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with pytest.raises(RuntimeError, match="given other parameters"), GRADUAL["gmp"].attach(net, optimizer):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(3, 3))]})
        train(net, optimizer, STEPS)


def test_two_prunings_of_one_optimiser_are_refused():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with pytest.raises(ValueError, match="attached to this optimizer already"), GRADUAL["gmp"].attach(net, optimizer):
        GRADUAL["fggp"].attach(net, optimizer)


def test_a_state_that_does_not_fit_is_refused():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    run = GRADUAL["fggp"].attach(net, optimizer)
    train(net, optimizer, 9)
    run.detach()
    state = run.state()
    for wrong, text in (
        ({"step": 14, "masks": state["masks"]}, "after step 14 it would be"),
        ({"step": 2, "masks": state["masks"]}, "after step 2 it would be"),
        ({"step": -1, "masks": state["masks"]}, "number of optimiser steps"),
        ({"step": 9, "masks": {}}, "masks of other parameters"),
        ({"step": 9, "masks": {k: v.float() for k, v in state["masks"].items()}}, "bool"),
        ({"masks": state["masks"]}, "must be what state"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            GRADUAL["fggp"].attach(net, optimizer, resume=wrong)
    with pytest.raises(ValueError, match="it would be"):
        RigL(density=0.3, **PLAN).attach(net, optimizer, resume=state)


def test_masks_are_a_set_that_stands_behind_the_run():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with GRADUAL["fggp"].attach(net, optimizer) as run:
        train(net, optimizer, STEPS)
    assert isinstance(run.masks, MaskSet)
    assert run.masks == MaskSet.from_zeros(net)


# ---------------------------------------------------------------------- unusual company


class Twice(torch.optim.SGD):
    """Calls its parent's step, of which torch calls the hooks too."""

    def step(self, closure=None):
        return super().step(closure)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_that_calls_its_parents_step_counts_once(name):
    torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)  # from here on SGD.step itself calls hooks
    found = []
    for kind in (torch.optim.SGD, Twice):
        net = network()
        optimizer = kind(net.parameters(), lr=0.1, momentum=0.9)
        with METHODS[name].attach(net, optimizer, steps=STEPS) as run:
            train(net, optimizer, STEPS)
        assert run.step == STEPS
        found.append(run.masks)
    assert found[0] == found[1]


def test_a_step_that_failed_is_forgotten():
    class Fails(torch.optim.SGD):
        fail = True

        def step(self, closure=None):
            if self.fail:
                raise ArithmeticError
            return super().step(closure)

    net = network()
    optimizer = Fails(net.parameters(), lr=0.1)
    with METHODS["gmp"].attach(net, optimizer) as run:
        with pytest.raises(ArithmeticError):
            train(net, optimizer, 1)
        optimizer.fail = False
        train(net, optimizer, STEPS)
    assert run.step == STEPS


def test_weights_that_something_else_writes_over_are_pruned_again():
    net = network()
    optimizer, other = OPTIMIZERS["sgd"](net.parameters()), torch.optim.SGD(net.parameters(), lr=0.1)
    with GRADUAL["gmp"].attach(net, optimizer) as run:
        train(net, optimizer, STEPS)
        other.step()
    run.masks.verify(net)


def test_weights_that_come_back_behind_the_last_step_without_a_pass_are_told():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    run = GRADUAL["gmp"].attach(net, optimizer)
    train(net, optimizer, STEPS)
    with pytest.raises(RuntimeError, match=r"pruned weights are not zero .* attached to SGD"), run:
        run.detach()
        train(net, optimizer, 1)


def test_a_layer_that_was_replaced_is_told():
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    with (
        pytest.raises(RuntimeError, match="the model was given other parameters"),
        GRADUAL["gmp"].attach(net, optimizer),
    ):
        net[2] = nn.Linear(9, 7)
        optimizer.add_param_group({"params": list(net[2].parameters())})
        train(net, optimizer, STEPS)


@pytest.mark.parametrize("late", [4, STEPS])
def test_what_a_refused_step_leaves_behind_can_go_on(late):
    net = network()
    optimizer = OPTIMIZERS["sgd"](net.parameters())
    run = METHODS["gmp"].attach(net, optimizer)
    train(net, optimizer, late)
    extra = nn.Parameter(torch.zeros(3, 3))
    optimizer.add_param_group({"params": [extra]})
    if late == STEPS:
        with pytest.raises(RuntimeError, match="given other parameters"), run:
            pass
        return
    with pytest.raises(RuntimeError, match="given other parameters"):
        train(net, optimizer, 1)
    assert run.step == 4
    run.detach()
    with METHODS["gmp"].attach(net, optimizer, resume=run.state()) as again:
        train(net, optimizer, STEPS)
    assert again.masks.kept == round(0.2 * TOTAL)


def test_wrappers_are_looked_into_for_the_names():
    from lightning_fabric import Fabric

    net = network()
    model, optimizer = Fabric(accelerator="cpu", devices=1).setup(net, OPTIMIZERS["sgd"](net.parameters()))
    with METHODS["fggp"].replace(protect="0.*").attach(model, optimizer) as run:
        train(model, optimizer, STEPS)
    assert list(run.masks) == ["2.weight", "4.weight"]
    run.masks.verify(net)
    parallel = nn.DataParallel(network())
    other = METHODS["gmp"].attach(parallel, OPTIMIZERS["sgd"](parallel.parameters()))
    assert list(other.masks) == ["0.weight", "2.weight", "4.weight"]


@pytest.mark.parametrize("every", [10.4, 10.0, 0.5, True, "10"])
def test_steps_are_whole_numbers(every):
    with pytest.raises(ValueError, match="every must be a number of optimiser steps, a whole one"):
        GMP(density=0.2, stop=20, every=every)


@pytest.mark.parametrize("kind", [GraNet, AnnealedGMP])
def test_annealing_ends_with_the_training(kind):
    net = network()
    with pytest.raises(ValueError, match="end=10 is the end of the training"):
        kind(density=0.2, end=10, **PLAN)
    with pytest.raises(ValueError, match="end=30 lies after the 25 steps"):
        kind(density=0.2, end=30, **PLAN).attach(net, OPTIMIZERS["sgd"](net.parameters()), steps=25)


def test_a_long_schedule_is_checked_in_a_moment():
    net = network()
    FGGP(density=0.2, stop=50_000_000, every=1_000_000).attach(net, OPTIMIZERS["sgd"](net.parameters())).detach()


def test_a_density_that_keeps_nothing_is_refused():
    net = network()
    with pytest.raises(ValueError, match=rf"density=0\.001 keeps none of the {TOTAL} weights"):
        GMP(density=0.001, stop=9, every=1).attach(net, OPTIMIZERS["sgd"](net.parameters()))
    with pytest.raises(ValueError, match="keeps none"):
        SNIP(density=0.001).masks(net, list(batches(1)))


@pytest.mark.parametrize("name", [*METHODS, "gumbel"])
def test_a_stop_may_be_a_share_of_the_training(name):
    plan = {key: value for key, value in PLAN.items() if key != "stop"}
    kinds = {name: type(method) for name, method in METHODS.items()} | {"gumbel": Gumbel}
    more = {} if name == "gumbel" else plan
    found = []
    for stop in (20, 20 / STEPS):
        torch.manual_seed(0)
        net = network()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        method = kinds[name](density=0.3, stop=stop, **more)
        with method.attach(net, optimizer, steps=STEPS) as run:
            for x, y in batches(STEPS):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()
        found.append((run.masks, [value.clone() for value in net.parameters()]))
    (masks, weights), (others, same) = found
    assert masks == others
    assert all(torch.equal(one, other) for one, other in zip(weights, same, strict=True))


def test_a_share_needs_to_know_of_how_many_steps():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    method = FGGP(density=0.2, stop=0.8, every=2)
    with pytest.raises(ValueError, match=r"stop=0.8 is a share of the training.*attach with steps"):
        method.attach(net, optimizer)
    with pytest.raises(ValueError, match="start must lie before stop, got start=30 and stop=21"):
        method.replace(start=30).attach(net, optimizer, steps=STEPS)
    for wrong in (0, 0.0, 1.0, 10.4, 10.0, -2, True, "10"):
        with pytest.raises(
            ValueError, match="stop must be a whole number of optimiser steps, or a share of the training"
        ):
            FGGP(density=0.2, stop=wrong, every=2)
