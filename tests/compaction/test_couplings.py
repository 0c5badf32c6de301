"""Which layers share their channels."""

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.compaction import coupled_channels
from graphprune.masks import magnitude


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
