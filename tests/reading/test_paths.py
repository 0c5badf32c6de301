import copy
import math

import networkx as nx
import pytest
import torch
from hypothesis import given
from torch import nn
from torch_geometric.data import Batch, Data

from graphprune.masks import MaskSet
from graphprune.models import GCN, GIN, LeNet5
from graphprune.reading import Chain, PathRow, live
from tests.measure.nets import every_path, masked, mlp, nets, two_parts


@given(nets())
def test_live_weights_are_those_on_some_path(net: tuple[nn.Sequential, MaskSet]) -> None:
    _, masks = net
    on_path = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for path in every_path(masks):
        for level, name in enumerate(masks):
            on_path[name][path[level + 1], path[level]] = True
    assert live(masks) == MaskSet.of(on_path)
    assert live(live(masks)) == live(masks)


@given(nets())
def test_counts_strengths_and_products_are_sums_over_paths(net: tuple[nn.Sequential, MaskSet]) -> None:
    model, masks = net
    weights, chain = model.state_dict(), Chain.of(masks)
    counts = torch.zeros(model[-1].out_features, model[0].in_features, dtype=torch.int64)
    strengths, products = counts.double(), counts.double()
    for path in every_path(masks):
        along = [float(weights[name][path[level + 1], path[level]]) for level, name in enumerate(masks)]
        place = path[-1], path[0]
        counts[place] += 1
        strengths[place] += math.prod(map(abs, along))
        products[place] += math.prod(along)
    assert torch.equal(chain.path_counts(), counts)
    torch.testing.assert_close(chain.path_strengths(weights), strengths)
    torch.testing.assert_close(chain.path_products(weights), products)


@given(nets())
def test_the_products_of_a_linear_network_are_its_jacobian(net: tuple[nn.Sequential, MaskSet]) -> None:
    model, masks = net
    linear = nn.Sequential(*(layer for layer in model if isinstance(layer, nn.Linear))).double()
    jacobian = torch.func.jacrev(linear)(torch.zeros(model[0].in_features, dtype=torch.float64))
    torch.testing.assert_close(Chain.of(masks).path_products(model.state_dict()), jacobian)


@given(nets())
def test_pathways_are_the_components_of_the_graph(net: tuple[nn.Sequential, MaskSet]) -> None:
    model, masks = net
    chain = Chain.of(masks)
    graph = chain.graph(model.state_dict())
    found = chain.pathways()
    wanted = {frozenset(part) for part in nx.weakly_connected_components(graph)}
    assert {
        frozenset((level, unit) for level, units in enumerate(pathway.units) for unit in units) for pathway in found
    } == wanted
    assert [pathway.weights for pathway in found] == sorted((pathway.weights for pathway in found), reverse=True)
    assert sum(pathway.weights for pathway in found) == graph.number_of_edges() == chain.live.kept


def test_a_network_in_two_parts() -> None:
    chain = Chain.of(two_parts())
    one, other = chain.pathways()
    assert (one.inputs, one.outputs, one.weights) == ((0, 1), (0,), 5)
    assert (other.inputs, other.outputs, other.weights) == ((2, 3), (1,), 4)
    assert chain.path_counts().tolist() == [[1, 2, 0, 0], [0, 0, 1, 1]]
    assert chain.ledger == (
        PathRow("0.weight", 20, 6, 5, units=5, live_units=4, constant_units=0),
        PathRow("2.weight", 10, 4, 4, units=2, live_units=2, constant_units=0),
    )
    assert "9 of 30 weights (30.0000%) lie on paths from 4 of 4 inputs, 1 kept ones are dead ends" in chain.describe()


def test_units_without_inputs_are_constants_and_not_live() -> None:
    first, second = torch.ones(3, 2, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    first[1] = False
    chain = Chain.of(MaskSet.of({"first": first, "second": second}))
    assert [row.constant_units for row in chain.ledger] == [1, 0]
    assert chain.live["second"].tolist() == [[True, False, True]] * 2


def test_nothing_left_is_no_path() -> None:
    masks = MaskSet.of({"a": torch.ones(3, 2, dtype=torch.bool), "b": torch.zeros(4, 3, dtype=torch.bool)})
    chain = Chain.of(masks)
    assert chain.live.kept == 0
    assert chain.pathways() == ()
    assert not chain.path_counts().any()


def test_a_convolution_counts_every_entry_of_its_kernel() -> None:
    """And a linear layer every pixel of a channel."""
    model = LeNet5((1, 16, 16), 3, hidden=20)
    masks = MaskSet.dense(model)
    last = masks["fc.weight"].shape[1]
    assert (
        Chain.of(masks).path_counts().tolist() == [[25 * 2 * 25 * (last // 2) * 20]] * 3 == [[25 * 25 * last * 20]] * 3
    )


def test_a_pixel_belongs_to_its_channel() -> None:
    conv, fc = torch.ones(2, 1, 3, 3, dtype=torch.bool), torch.zeros(1, 8, dtype=torch.bool)
    conv[1] = False
    fc[0, 3] = fc[0, 4] = True  # the last pixel of channel 0, and the first of channel 1
    assert live(MaskSet.of({"conv": conv, "fc": fc}))["fc"].nonzero().tolist() == [[0, 3]]


def test_more_paths_than_can_be_counted_are_refused() -> None:
    chain = Chain.of(MaskSet.of({str(layer): torch.ones(64, 64, dtype=torch.bool) for layer in range(12)}))
    with pytest.raises(OverflowError, match=r"2\*\*53"):
        chain.path_counts()
    assert chain.path_strengths({name: mask.float() for name, mask in chain.masks.items()}).isfinite().all()


def test_pruned_weights_that_are_no_numbers_do_not_matter() -> None:
    masks = two_parts()
    weights = {name: torch.where(mask, 2.0, torch.nan) for name, mask in masks.items()}
    assert Chain.of(masks).path_strengths(weights).tolist() == [[4, 8, 0, 0], [0, 0, 4, 4]]


def test_other_masks_stay_as_they_are() -> None:
    masks = MaskSet.of({**two_parts(), "aside.weight": torch.ones(7, 3, dtype=torch.bool)})
    found = live(masks, ["0.weight", "2.weight"])
    assert found["aside.weight"].all()
    assert found["0.weight"].sum() == 5


@pytest.mark.parametrize("network", [GCN, GIN])
def test_a_graph_network_does_not_see_features_without_a_path(network: type[GCN] | type[GIN]) -> None:
    torch.manual_seed(0)
    model = network(6, 2, hidden=8, layers=2).eval()
    masks = masked(model, 0.3, seed=1)
    seen = Chain.of(masks).path_counts().sum(0) > 0
    assert 0 < seen.sum() < 6
    x = torch.randn(10, 6)
    ring = torch.stack([torch.arange(10), torch.arange(10).roll(1)])
    other = torch.where(seen, x, torch.randn(10, 6))
    outputs = [model(Batch.from_data_list([Data(x=one, edge_index=ring)])) for one in (x, other)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        (["2.weight", "0.weight"], ValueError, "no chain in this order"),
        (["0.weight", "0.weight"], ValueError, "once"),
        ([], ValueError, "name each weight"),
        (["1.weight"], KeyError, "1.weight"),
        (["0.bias"], ValueError, "connects nothing"),
    ],
)
def test_layers_that_are_no_chain_are_refused(layers: list[str], error: type[Exception], words: str) -> None:
    masks = MaskSet.of({**two_parts(), "0.bias": torch.ones(5, dtype=torch.bool)})
    with pytest.raises(error, match=words):
        Chain.of(masks, layers)


def test_weights_that_do_not_fit_are_refused() -> None:
    chain = Chain.of(two_parts())
    with pytest.raises(KeyError, match=r"0\.weight"):
        chain.path_strengths({})
    with pytest.raises(ValueError, match=r"0\.weight"):
        chain.path_products(mlp(3, 5, 2).state_dict())


def test_reading_changes_nothing() -> None:
    masks = two_parts()
    before = copy.deepcopy(masks)
    chain = Chain.of(masks)
    chain.live, chain.pathways(), chain.path_counts()
    assert masks == before
