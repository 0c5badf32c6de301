"""Channels that are dead go from every block of the graph classifiers, and the rest computes the same."""

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch

from graphprune.compaction import compact, coupled_channels
from graphprune.masks import MaskSet, magnitude
from tests.compaction.nets import smaller, used, without
from tests.graphs.samples import molecule, random_graph
from tests.models.test_blocks import BLOCKS, EVERY, batch, network

HIDDEN = 12
DEAD = [1, 4, 7, 10]  # in GAT one channel of each head
NORMED = [(name, block) for name, block in EVERY if BLOCKS[block].get("norm") != "layer"]


def others(block: str) -> list[Batch]:
    """Other graphs: a batch, one alone, and one without edges."""
    made = [
        (molecule if block == "categories" else random_graph)(seed, nodes=5 + seed, edges=4) for seed in range(5, 8)
    ]
    bare = made[0].clone()
    bare.edge_index, bare.edge_attr = bare.edge_index[:, :0], bare.edge_attr[:0]
    return [Batch.from_data_list([*made, bare]), Batch.from_data_list(made[:1]), Batch.from_data_list([bare])]


def dead_everywhere(model: nn.Module) -> nn.Module:
    """The same channels are 0 in all weights that make or read them."""
    dead = torch.zeros(HIDDEN, dtype=torch.bool)
    dead[DEAD] = True
    for name, weight in model.named_parameters():
        for dim, length in enumerate(weight.shape):
            inputs = length % HIDDEN == 0 and (weight.ndim > 1 or "conv" in name or "start" in name)
            if inputs and weight.ndim < 3:
                weight.data.movedim(dim, 0)[dead.repeat(length // HIDDEN)] = 0
    return model


@pytest.mark.parametrize(("name", "block"), NORMED)
def test_channels_that_are_dead_everywhere_go_from_every_tensor(name: str, block: str) -> None:
    model = dead_everywhere(used(network(name, block, hidden=HIDDEN)))
    small = smaller(model, batch(block), *others(block))
    state = model.state_dict()
    for key, value in small.state_dict().items():
        if key in state and "att_" not in key:  # a norm that was folded has made a bias
            for now, was in zip(value.shape, state[key].shape, strict=True):
                assert now == (was * 2 // 3 if was % HIDDEN == 0 else was), key


@pytest.mark.parametrize(("name", "block"), EVERY)
def test_rows_that_are_dead_leave_the_same_network(name: str, block: str) -> None:
    model = without(used(network(name, block, hidden=HIDDEN)), keep=("head",))
    try:
        smaller(model, batch(block), *others(block))
    except ValueError as error:  # without a channel that is dead in all that is added up
        assert "nothing to remove" in str(error)
        assert BLOCKS[block].get("norm") == "layer" or BLOCKS[block].get("residual") or name in ("sage", "gat", "pna")


@pytest.mark.parametrize(("name", "block"), [(name, block) for name, block in NORMED if name != "gat"])
def test_coupled_channels_that_are_pruned_are_gone(name: str, block: str) -> None:
    model, example = used(network(name, block, hidden=HIDDEN)), batch(block)
    unit = coupled_channels(model, example)
    masks = MaskSet.dense(model, unit=unit)
    weights = {key: model.get_parameter(key).detach() for key in masks}
    masks = masks.tighten(magnitude(weights, {}, masks), 0.4, unit=unit)
    masks.apply_(model)
    small = smaller(model, example, *others(block))
    for key, module in model.named_modules():
        if isinstance(module, nn.Linear) and "head" not in key:  # logits stay; so does one channel where none is needed
            kept = int(masks[f"{key}.weight"].any(1).sum())
            assert len(small.get_parameter(f"{key}.weight")) <= kept + 1, key


@pytest.mark.parametrize("name", ["gcn", "gated"])
def test_layer_norms_keep_their_channels_and_are_named(name: str) -> None:
    model = dead_everywhere(used(network(name, "virtual residual", hidden=HIDDEN)))
    with pytest.raises(ValueError, match="need all of their channels: native_layer_norm"):
        compact(model, batch("plain"))
