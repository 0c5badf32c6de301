import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

from graphprune import reading
from graphprune.masks import MaskSet
from graphprune.reading import Chain, draw_class_maps, draw_importance, draw_pathways
from graphprune.reading.layout import crossings, ordered, places
from graphprune.reading.pictures import NEGATIVE, POSITIVE
from tests.measure.nets import masked, mlp, nets, two_parts

SIGNS = {True: POSITIVE.lower(), False: NEGATIVE.lower()}


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def lenet() -> tuple[nn.Module, Chain]:
    model = mlp(64, 30, 10, 4)
    return model, Chain.of(masked(model, 0.06))


@given(nets())
def test_crossings_are_counted_as_drawn(net: tuple[nn.Sequential, MaskSet]) -> None:
    links = [mask.numpy() for mask in net[1].values()]
    draw = np.random.default_rng(0)
    ranks = [draw.permutation(size) for size in (links[0].shape[1], *(len(link) for link in links))]
    wanted = 0
    for link, before, after in zip(links, ranks[:-1], ranks[1:], strict=True):
        edges = [(before[u], after[v]) for v, u in np.argwhere(link)]
        wanted += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(edges) for c, d in edges[:i])
    assert crossings(links, ranks) == wanted


@given(nets())
def test_every_live_unit_has_a_place_and_no_other(net: tuple[nn.Sequential, MaskSet]) -> None:
    chain = Chain.of(net[1])
    for heights, alive in zip(places(chain), chain.alive, strict=True):
        assert sorted(heights) == alive.nonzero().flatten().tolist()
        assert len(set(heights.values())) == len(heights)
        assert all(0 < height < 1 for height in heights.values())


def test_a_network_that_can_be_untangled_is() -> None:
    chain = Chain.of(two_parts())
    links = [mask.any(2).numpy() for mask in chain.grouped(chain.live)]
    for pathway in chain.pathways():
        levels = ordered(pathway, links)
        assert [sorted(level) for level in levels] == [list(units) for units in pathway.units]
        within = [link[np.ix_(b, a)] for link, a, b in zip(links, levels[:-1], levels[1:], strict=True)]
        assert crossings(within, [np.arange(len(level)) for level in levels]) == 0


def test_parts_lie_above_each_other() -> None:
    inputs, _, outputs = places(Chain.of(two_parts()))
    assert min(inputs[0], inputs[1], outputs[0]) > max(inputs[2], inputs[3], outputs[1])


def test_every_live_weight_is_a_line_of_its_sign() -> None:
    model, chain = lenet()
    figure = draw_pathways(chain, model.state_dict(), shape=(1, 8, 8))
    lines = [artist for artist in figure.axes[0].collections if isinstance(artist, LineCollection)]
    dots = [artist for artist in figure.axes[0].collections if isinstance(artist, PathCollection)]
    for layer, name in zip(lines, chain.layers, strict=True):
        weights = model.state_dict()[name][chain.live[name]]
        widths, order = layer.get_linewidths(), weights.abs().argsort()
        assert [to_hex(colour) for colour in layer.get_colors()] == [SIGNS[bool(w > 0)] for w in weights[order]]
        assert (np.diff(widths) >= 0).all()
    assert [len(dot.get_offsets()) for dot in dots] == [int(alive.sum()) for alive in chain.alive]
    (image,) = figure.axes[1].images
    live = chain.alive[0].view(8, 8).numpy()
    assert ((np.asarray(image.get_array())[..., :3] < 1).any(-1) == live).all()


def test_names_stand_beside_units(tmp_path: Path) -> None:
    masks = two_parts()
    weights = {name: mask.float() for name, mask in masks.items()}
    figure = draw_pathways(Chain.of(masks), weights, inputs=["a", "b", "c", "d"], outputs=["sum", "difference"])
    assert {"a", "b", "c", "d", "sum", "difference"} <= set(words(figure))
    assert "4 of 5\nunits" in words(figure)
    figure.savefig(tmp_path / "parts.png")
    numbered = draw_pathways(Chain.of(masks), weights)
    assert {"0", "1", "2", "3"} <= set(words(numbered))


def test_importance_is_drawn_as_it_is() -> None:
    _, chain = lenet()
    counts = chain.path_counts().sum(0)
    figure = draw_importance(counts, (1, 8, 8), label="paths")
    (image,) = figure.axes[0].images
    assert (np.asarray(image.get_array()) == counts.view(8, 8).numpy()).all()
    assert f"{int((counts > 0).sum())} of 64 pixels" in figure.axes[0].get_xlabel()
    draw_importance(torch.zeros(64), (1, 8, 8)).draw_without_rendering()


def test_channels_are_added_up() -> None:
    figure = draw_importance(torch.arange(12), (3, 2, 2))
    assert np.asarray(figure.axes[0].images[0].get_array()).tolist() == [[12, 15], [18, 21]]


def test_each_class_has_a_map() -> None:
    model, chain = lenet()
    products = chain.path_products(model.state_dict())
    figure = draw_class_maps(products, (1, 8, 8), outputs=list("wxyz"))
    maps = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in maps] == list("wxyz")
    for axes, values in zip(maps, products, strict=True):
        shown = np.asarray(axes.images[0].get_array())
        assert (np.sign(shown) == values.sign().view(8, 8).numpy()).all()
        assert np.abs(shown).max() == pytest.approx(float(values.any()))
    assert len([axes for axes in draw_class_maps(torch.zeros(7, 4), (1, 2, 2)).axes if axes.images]) == 7


def test_what_cannot_be_drawn_is_refused() -> None:
    model, chain = lenet()
    weights = model.state_dict()
    dense = mlp(64, 64, 2)
    with pytest.raises(ValueError, match="2,000"):
        draw_pathways(Chain.of(MaskSet.dense(dense)), dense.state_dict())
    with pytest.raises(ValueError, match="has 0"):
        draw_pathways(Chain.of(MaskSet.of({n: ~m & m for n, m in chain.masks.items()})), weights)
    with pytest.raises(ValueError, match="49 pixels"):
        draw_pathways(chain, weights, shape=(1, 7, 7))
    with pytest.raises(ValueError, match="outputs has 3 names for 4"):
        draw_pathways(chain, weights, outputs=["a", "b", "c"])
    with pytest.raises(ValueError, match="49 pixels"):
        draw_importance(torch.ones(64), (1, 7, 7))
    with pytest.raises(ValueError, match="importance"):
        draw_importance(-torch.ones(64), (1, 8, 8))
    with pytest.raises(ValueError, match="outputs has 1 names for 2"):
        draw_class_maps(torch.ones(2, 64), (1, 8, 8), outputs=["a"])
    with pytest.raises(ValueError, match="finite"):
        draw_class_maps(torch.full((2, 64), torch.nan), (1, 8, 8))


def test_pictures_without_matplotlib_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "graphprune.reading.pictures")
    with pytest.raises(ImportError, match=r"graphprune\[report\]"):
        _ = reading.draw_importance


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="draw_nothing"):
        _ = reading.draw_nothing
