import pytest
import torch
from torch import nn

from graphprune.masks import MaskSet, prunable
from graphprune.models import GIN
from graphprune.reading import survivors
from tests.measure.nets import mlp


def test_columns_of_the_encoder_that_are_read() -> None:
    model = GIN(4, 2, hidden=8, layers=1)
    masks = MaskSet.dense(model)
    masks["node_encoder.lin.weight"][:, 1] = False
    masks["node_encoder.lin.weight"][2:, 3] = False
    found = survivors(model, masks)
    assert [(feature.kept, feature.total) for feature in found.features] == [(8, 8), (0, 8), (8, 8), (2, 8)]
    assert [feature.alive for feature in found.features] == [True, False, True, True]
    assert found.dense == ()
    assert "features that no weight reads: node_encoder: feature 1" in found.describe()


def test_layers_that_survive() -> None:
    model = GIN(4, 2, hidden=8, layers=1)
    masks = MaskSet.dense(model)
    name = "convs.0.net.0.weight" if "convs.0.net.0.weight" in masks else list(masks)[1]
    masks[name][:] = False
    masks[name][0, :3] = True
    (layer,) = (layer for layer in survivors(model, masks).layers if layer.name == name)
    assert (layer.kept, layer.reads, layer.writes) == (3, (3, 8), (1, 8))
    assert [layer.name for layer in survivors(model, masks).layers] == list(masks)


def test_atoms_and_bonds_by_name() -> None:
    model = GIN("ogb-mol", 1, hidden=8, layers=1, bonds=True)
    masks = MaskSet.dense(model, prunable(include=("*encoder*.table.weight",)))
    table = masks["node_encoder.table.weight"]
    table[119 : 119 + 5] = False  # chirality
    table[:119] = False
    table[5, :2] = table[7, 1] = True
    found = {feature.name: feature for feature in survivors(model, masks).features}
    number, chirality = found["node_encoder: atomic number"], found["node_encoder: chirality"]
    assert (number.kept, number.total, number.reads, number.writes) == (3, 119 * 8, (2, 119), (2, 8))
    assert not chirality.alive
    assert found["bond_encoders.0: conjugated"].kept == 2 * 8
    assert len(found) == 9 + 3


def test_tables_without_masks_are_said_to_be_dense() -> None:
    model = GIN("ogb-mol", 1, hidden=8, layers=1, bonds=False)
    found = survivors(model, MaskSet.dense(model))
    assert (found.features, found.dense) == ((), ("node_encoder.table.weight",))
    assert "all its features are read" in found.describe()


def test_features_of_any_network_by_name() -> None:
    model = mlp(3, 4, 1)
    masks = MaskSet.dense(model)
    masks["0.weight"][:, 2] = False
    names = {"0.weight": ["height", "weight", "age"]}
    found = survivors(model, masks, names)
    assert [(feature.name, feature.alive) for feature in found.features] == [
        ("0: height", True),
        ("0: weight", True),
        ("0: age", False),
    ]
    with pytest.raises(ValueError, match="3 columns"):
        survivors(model, masks, {"0.weight": ["height"]})
    with pytest.raises(KeyError, match=r"7\.weight"):
        survivors(model, masks, {"7.weight": ["height"]})


def test_kernels_connect_channels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3))
    mask = torch.zeros(3, 2, 3, 3, dtype=torch.bool)
    mask[1, 0, 1, 1] = mask[2, 0, 0, 0] = True
    (layer,) = survivors(model, MaskSet.of({"0.weight": mask})).layers
    assert (layer.kept, layer.reads, layer.writes) == (2, (1, 2), (2, 3))
