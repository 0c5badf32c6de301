"""Which layers share their channels."""

from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.compaction import coupled_channels
from graphprune.masks import Coupled, magnitude
from tests.compaction.nets import used


def followers(unit: Coupled) -> set[str]:
    return {name for group in unit.shared for name, _ in group.followers}


def test_sums_couple_layers_and_chains_do_not() -> None:
    data = gp.data.load("MUTAG")
    batch = data.train.batch(range(6))
    sage = gp.models.SAGE.for_data(data, hidden=8, layers=2)
    pairs = {(f"convs.{i}.lin_l.weight", f"convs.{i}.lin_r.weight") for i in range(2)}
    assert set(coupled_channels(sage, batch).together) == pairs
    for kind in (gp.models.GCN, gp.models.GIN):
        assert coupled_channels(kind.for_data(data, hidden=8, layers=2), batch).together == ()


def test_a_stage_of_a_residual_network_is_pruned_as_one_and_then_shrinks() -> None:
    torch.manual_seed(0)
    model, x = gp.models.ResNet50((3, 16, 16), 10, hidden=4).eval(), torch.randn(3, 3, 16, 16)
    unit = coupled_channels(model, x)
    first = ("stages.0.0.third", "stages.0.0.shortcut", "stages.0.1.third", "stages.0.2.third")
    assert unit.together[0] == tuple(f"{name}.conv.weight" for name in first)
    assert [len(names) for names in unit.together] == [4, 5, 7, 4]
    masks = gp.MaskSet.dense(model, gp.prunable(exclude=["head.*"]))
    scores = magnitude(dict(model.named_parameters()), {}, masks)
    tight = masks.tighten(scores, 0.5, scope="layer", unit=unit)
    tight.apply_(model)
    small = gp.compact(model, x)
    assert small.stages[0][2].third.conv.out_channels == 8  # half of 4 times 4
    assert sum(p.numel() for p in small.parameters()) < 0.3 * sum(p.numel() for p in model.parameters())


def test_shortcuts_without_parameters_couple_within_their_stage() -> None:
    unit = coupled_channels(gp.models.ResNet20((3, 32, 32), 10, hidden=4), torch.randn(2, 3, 32, 32))
    assert unit.together[0] == ("stem.conv.weight", *(f"stages.0.{i}.second.conv.weight" for i in range(3)))
    assert [len(names) for names in unit.together] == [4, 3, 3]


def test_the_model_is_left_as_it_is_and_hooks_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert coupled_channels(model, torch.randn(3, 4)).together == ()
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="hooks"):
        coupled_channels(model, torch.randn(3, 4))


@pytest.mark.parametrize("kind", [gp.models.GCN, gp.models.GIN, gp.models.SAGE, gp.models.GAT])
def test_a_dropped_channel_is_gone_behind_its_norm_too(kind: Any) -> None:
    """Whatever biases, norms and embeddings of bonds were trained to: what is kept is what the small model has."""
    torch.manual_seed(0)
    data = gp.data.load("ogbg-molbace")
    model, batch = used(kind.for_data(data, hidden=8, layers=3)), data.train.batch(range(20))
    select = gp.prunable(exclude=["head.*"])
    unit = coupled_channels(model, batch, select)
    masks = gp.MaskSet.dense(model, select, unit=unit)
    tight = masks.tighten(magnitude(dict(model.named_parameters()), {}, masks), 0.5, scope="layer", unit=unit)
    tight.apply_(model)
    small = gp.compact(model, batch)
    left = dict(small.named_parameters())
    for name, (kept, total) in tight.units(unit).items():
        assert left[name].shape[0] == kept * (model.get_parameter(name).shape[0] // total)  # as many in each head
    norms = [module.num_features for module in small.modules() if isinstance(module, nn.BatchNorm1d)]
    assert not norms or set(norms) == {4}


def test_followers_are_those_of_channels_that_are_pruned_in_all_their_layers() -> None:
    model, x = gp.models.ResNet20((3, 16, 16), 4, hidden=4), torch.randn(2, 3, 16, 16)
    every = followers(coupled_channels(model, x))
    assert every == {
        name for name, value in model.named_parameters() if value.ndim == 1 and not name.startswith("head")
    }
    some = coupled_channels(model, x, gp.prunable(exclude=["stem.*"]))  # its channels come through all the same
    assert {"stem.norm.bias", "stages.0.1.second.norm.weight"} <= every - followers(some)
    assert "stages.0.1.first.norm.weight" in followers(some)
    kept = coupled_channels(model, x, gp.prunable(exclude=["*.norm.*"]))
    assert followers(kept) == set()


def test_channels_apart_keep_the_followers_that_are_their_own() -> None:
    model, x = gp.models.ResNet20((3, 16, 16), 4, hidden=4), torch.randn(2, 3, 16, 16)
    apart = coupled_channels(model, x).apart()
    assert apart.together == () and len(followers(apart)) == 2 * 9
    for weights, own in apart.shared:
        assert len(weights) == 1
        assert all(name.startswith(weights[0][0].partition(".conv")[0]) for name, _ in own)


def test_outputs_keep_their_biases() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    unit = coupled_channels(model, torch.randn(3, 4))
    assert followers(unit) == {"0.bias"}


def test_a_loop_of_ones_own_prunes_whole_channels_by_the_unit() -> None:
    torch.manual_seed(0)
    model, x = gp.models.ResNet20((3, 8, 8), 4, hidden=4), torch.randn(6, 3, 8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    unit = coupled_channels(model, x, gp.prunable(exclude=["head.*"]))
    with pytest.raises(ValueError, match="coupled_channels"):
        gp.FGGP(density=0.5, stop=6, every=2, unit="coupled").attach(model, optimizer)
    method = gp.FGGP(density=0.5, stop=6, every=2, unit=unit, scope="layer", protect="head.*")
    with method.attach(model, optimizer) as run:
        for _ in range(8):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), torch.arange(6) % 4).backward()
            optimizer.step()
    units = run.masks.units(unit)
    assert all(2 * kept == total for kept, total in units.values())
    small = gp.compact(model.eval(), x)
    left = dict(small.named_parameters())
    inner = [name for name in units if ".first." in name]
    assert len(inner) == 9 and all(2 * left[name].shape[0] == units[name][1] for name in inner)


@pytest.mark.parametrize("given", [True, False])
def test_what_is_protected_by_name_follows_nothing(given: bool) -> None:
    """Such as norms that are frozen: in one's own loop the unit need not know of it."""
    model, x = gp.models.ResNet20((3, 8, 8), 4, hidden=4), torch.randn(6, 3, 8, 8)
    model.stem.norm.requires_grad_(False)
    unit = coupled_channels(model, x, gp.prunable(exclude=["head.*"]))
    protect = ("head.*", "stem.norm.*") if given else ("head.*",)
    gmp = gp.GMP(density=0.5, stop=4, every=2, unit=unit, protect=protect)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    if not given:
        with pytest.raises(ValueError, match=r"stem\.norm"):
            gmp.attach(model, optimizer)
        return
    run = gmp.attach(model, optimizer)
    assert "stem.norm.bias" not in run.masks and "stages.0.0.second.norm.bias" in run.masks
    run.detach()
