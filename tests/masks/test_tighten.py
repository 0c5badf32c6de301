import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from graphprune.masks import Channel, Coupled, MaskSet, Scope, Shared

SHAPES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4)


def trees(shapes: list[tuple[int, int]], seed: int, levels: int = 5) -> tuple[MaskSet, dict[str, Tensor]]:
    """Dense masks, and scores with many ties."""
    generator = torch.Generator().manual_seed(seed)
    names = [f"layer{i}" for i in range(len(shapes))]
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in zip(names, shapes, strict=True)}
    scores = {name: torch.randint(levels, mask.shape, generator=generator).float() for name, mask in masks.items()}
    return MaskSet.of(masks), scores


def best(scores: Tensor, mask: Tensor, count: int) -> Tensor:
    """The straightforward answer for one flat tensor: sort the kept entries, best first, earlier first."""
    alive = [i for i in range(len(scores)) if mask[i]]
    chosen = sorted(alive, key=lambda i: -float(scores[i]))[:count]
    return torch.tensor([i in chosen for i in range(len(scores))], dtype=torch.bool)


def flat(tree: MaskSet | dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in tree.values()])


@given(SHAPES, st.integers(0, 99), st.floats(0, 1), st.floats(0, 1))
def test_global_rounds_equal_a_sort_of_everything(
    shapes: list[tuple[int, int]], seed: int, first: float, second: float
) -> None:
    first, second = max(first, second), min(first, second)
    dense, scores = trees(shapes, seed)
    _, later = trees(shapes, seed + 100)
    once = dense.tighten(scores, first)
    twice = once.tighten(later, second)
    assert once.kept == round(first * dense.total)
    assert torch.equal(flat(once), best(flat(scores), flat(dense), round(first * dense.total)))
    assert torch.equal(flat(twice), best(flat(later), flat(once), round(second * dense.total)))
    assert twice & once == twice


@given(SHAPES, st.integers(0, 99), st.floats(0, 1))
def test_layer_scope_counts_each_layer(shapes: list[tuple[int, int]], seed: int, density: float) -> None:
    dense, scores = trees(shapes, seed)
    masks = dense.tighten(scores, density, scope="layer")
    for name, mask in masks.items():
        count = round(density * mask.numel())
        assert torch.equal(mask.flatten(), best(scores[name].flatten(), torch.ones(mask.numel()), count))


@given(SHAPES, st.integers(0, 99), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["global", "layer"]))
def test_monotone_in_density_and_idempotent(
    shapes: list[tuple[int, int]], seed: int, first: float, second: float, scope: Scope
) -> None:
    dense, scores = trees(shapes, seed)
    fewer = dense.tighten(scores, min(first, second), scope=scope)
    more = dense.tighten(scores, max(first, second), scope=scope)
    assert fewer & more == fewer
    assert more.tighten(scores, min(first, second), scope=scope) == fewer
    assert more.tighten(scores, max(first, second), scope=scope) == more


@given(SHAPES, st.integers(0, 99), st.floats(0, 1), st.sampled_from([0.125, 3.0, 1e6]))
def test_scale_of_the_scores_does_not_matter(
    shapes: list[tuple[int, int]], seed: int, density: float, factor: float
) -> None:
    dense, scores = trees(shapes, seed)
    scaled = {name: score * factor for name, score in scores.items()}
    assert dense.tighten(scaled, density) == dense.tighten(scores, density)


def test_twenty_rounds_hit_every_geometric_count() -> None:
    masks, scores = trees([(37, 11), (5, 9)], seed=0)
    for step in range(1, 21):
        masks = masks.tighten(scores, 0.8**step)
        assert masks.kept == round(0.8**step * masks.total)


def test_layer_collapse_happens_is_named_and_is_prevented_by_a_floor() -> None:
    dense = MaskSet.of({"a": torch.ones(10, 10, dtype=torch.bool), "b": torch.ones(10, 10, dtype=torch.bool)})
    scores = {"a": torch.rand(10, 10), "b": torch.rand(10, 10) + 5}
    assert dense.tighten(scores, 0.1).collapsed == ("a",)
    safe = dense.tighten(scores, 0.1, layer_floor=0.03)
    assert [row.kept for row in safe.ledger] == [3, 17]
    assert torch.equal(safe["a"].flatten(), best(scores["a"].flatten(), torch.ones(100), 3))
    assert torch.equal(safe["b"].flatten(), best(scores["b"].flatten(), torch.ones(100), 17))


@given(SHAPES, st.integers(0, 99), st.floats(0, 1), st.floats(0, 1))
def test_floors_hold_and_counts_stay_exact(
    shapes: list[tuple[int, int]], seed: int, density: float, floor: float
) -> None:
    dense, scores = trees(shapes, seed)
    floors = {row.name: math.ceil(round(floor * row.total, 9)) for row in dense.ledger}
    budget = round(density * dense.total)
    if sum(floors.values()) > budget:
        with pytest.raises(ValueError, match="layer_floor asks for"):
            dense.tighten(scores, density, layer_floor=floor)
        return
    masks = dense.tighten(scores, density, layer_floor=floor)
    assert masks.kept == budget
    assert all(row.kept >= floors[row.name] for row in masks.ledger)
    again = masks.tighten(scores, density, layer_floor=floor)
    assert again == masks


def test_a_floor_holds_against_infinite_scores_and_what_is_already_gone() -> None:
    masks = MaskSet.of({"a": torch.ones(4, dtype=torch.bool), "b": torch.tensor([True, False, False, False])})
    scores = {"a": torch.full((4,), torch.inf), "b": torch.zeros(4)}
    tight = masks.tighten(scores, 0.5, layer_floor=0.5)
    assert [row.kept for row in tight.ledger] == [3, 1]


def test_a_share_that_is_whole_is_not_rounded_up_by_float_noise() -> None:
    dense = MaskSet.of({"a": torch.ones(100, dtype=torch.bool), "b": torch.ones(100, dtype=torch.bool)})
    scores = {"a": torch.zeros(100), "b": torch.ones(100)}
    assert [row.kept for row in dense.tighten(scores, 0.5, layer_floor=0.07).ledger] == [7, 93]


@pytest.mark.parametrize("worst", [torch.nan, torch.inf, -torch.inf])
def test_scores_of_pruned_entries_are_ignored(worst: float) -> None:
    dense, scores = trees([(4, 4), (3, 5)], seed=1)
    once = dense.tighten(scores, 0.5)
    spoilt = {name: score.masked_fill(~once[name], worst) for name, score in scores.items()}
    assert once.tighten(spoilt, 0.25) == once.tighten(scores, 0.25)
    channels = once.tighten(spoilt, 0.25, unit=Channel())
    clean = {name: score.masked_fill(~once[name], 0) for name, score in scores.items()}
    assert channels == once.tighten(clean, 0.25, unit=Channel())


def test_regrowth_lets_pruned_entries_compete_again() -> None:
    dense, scores = trees([(6, 6)], seed=2, levels=1000)
    once = dense.tighten(scores, 0.2)
    turned = {name: -score for name, score in scores.items()}
    grown = once.tighten(turned, 0.4, regrow=True)
    assert grown == dense.tighten(turned, 0.4)
    # Drop and grow, as sparse training does: what stays is marked infinite.
    kept = {name: torch.where(once[name], torch.inf, score) for name, score in turned.items()}
    assert once.tighten(kept, 0.4, regrow=True) & once == once


def test_a_higher_density_needs_regrowth() -> None:
    dense, scores = trees([(6, 6), (2, 2)], seed=0)
    once = dense.tighten(scores, 0.3)
    with pytest.raises(ValueError, match=r"asks for 20 of the 40 units in all 2 layers, but only 12"):
        once.tighten(scores, 0.5)
    emptied = MaskSet.of({**dense, "layer1": torch.zeros(2, 2, dtype=torch.bool)})
    with pytest.raises(ValueError, match="'layer1', but only 0"):
        emptied.tighten(scores, 0.5, scope="layer")


@given(SHAPES, st.integers(0, 99), st.floats(0, 1), st.sampled_from([0, 1, -1]))
def test_channels_fall_whole_and_are_counted_exactly(
    shapes: list[tuple[int, int]], seed: int, density: float, dim: int
) -> None:
    dense, scores = trees(shapes, seed)
    masks = dense.tighten(scores, density, unit=Channel(dim))
    means = torch.cat([score.movedim(dim, 0).flatten(1).mean(1) for score in scores.values()])
    expected = best(means, torch.ones(len(means)), round(density * len(means)))
    whole = torch.cat([mask.movedim(dim, 0).flatten(1).all(1) for mask in masks.values()])
    some = torch.cat([mask.movedim(dim, 0).flatten(1).any(1) for mask in masks.values()])
    assert torch.equal(whole, expected) and torch.equal(some, expected)


def test_channels_of_convolutions_and_kept_entries_inside_a_channel() -> None:
    mask = torch.ones(3, 2, 2, 2, dtype=torch.bool)
    mask[1, 0] = False
    masks = MaskSet.of({"conv": mask, "bias": torch.ones(3, dtype=torch.bool)})
    scores = {"conv": torch.ones(3, 2, 2, 2), "bias": torch.tensor([0.1, -5.0, 0.2])}
    scores["conv"][1] = 10
    tight = masks.tighten(scores, 2 / 6, unit=Channel())
    assert torch.equal(tight["conv"][1], mask[1]) and not tight["conv"][[0, 2]].any()
    assert tight["bias"].tolist() == [False, True, False]
    grown = tight.tighten(scores, 2 / 6, unit=Channel(), regrow=True)
    assert grown["conv"][1].all()


def test_a_channel_dimension_that_is_not_there_is_named() -> None:
    dense, scores = trees([(2, 2)], seed=0)
    with pytest.raises(ValueError, match=r"layer0: Channel\(dim=2\) does not exist"):
        dense.tighten(scores, 0.5, unit=Channel(2))


def test_tensors_of_several_floating_types_compete() -> None:
    dense, scores = trees([(4, 4), (4, 4)], seed=3)
    mixed = {"layer0": scores["layer0"].half(), "layer1": scores["layer1"].bfloat16()}
    assert dense.tighten(mixed, 0.4) == dense.tighten(scores, 0.4)


def test_the_receiver_and_the_scores_are_left_alone() -> None:
    dense, scores = trees([(4, 4)], seed=4)
    before = {name: score.clone() for name, score in scores.items()}
    dense.tighten(scores, 0.1)
    assert dense.density == 1.0 and torch.equal(scores["layer0"], before["layer0"])


@pytest.mark.parametrize(
    ("scores", "density", "options", "error", "text"),
    [
        ({}, 0.5, {}, ValueError, r"missing \['w'\]"),
        ({"w": torch.ones(2, 2), "v": torch.ones(1)}, 0.5, {}, ValueError, r"unknown \['v'\]"),
        ({"w": torch.ones(4)}, 0.5, {}, ValueError, r"'w' have shape \(4,\), its mask \(2, 2\)"),
        ({"w": torch.ones(2, 2).long()}, 0.5, {}, TypeError, "'w' must be floating"),
        ({"w": torch.full((2, 2), torch.nan)}, 0.5, {}, ValueError, "scores of 'w' contain NaN"),
        ({"w": torch.ones(2, 2)}, 1.1, {}, ValueError, "density"),
        ({"w": torch.ones(2, 2)}, math.nan, {}, ValueError, "density"),
        ({"w": torch.ones(2, 2)}, 0.5, {"layer_floor": -1.0}, ValueError, "layer_floor"),
        ({"w": torch.ones(2, 2)}, 0.5, {"scope": "graph"}, ValueError, "scope"),
    ],
)
def test_bad_input_is_named(
    scores: dict[str, Tensor], density: float, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        MaskSet.of({"w": torch.ones(2, 2, dtype=torch.bool)}).tighten(scores, density, **options)


@given(st.permutations(range(20)), st.floats(0, 1))
def test_permuting_distinct_scores_permutes_the_mask(order: list[int], density: float) -> None:
    assume(order)
    dense = MaskSet.of({"w": torch.ones(20, dtype=torch.bool)})
    scores = torch.arange(20.0)
    straight = dense.tighten({"w": scores}, density)["w"]
    assert torch.equal(dense.tighten({"w": scores[order]}, density)["w"], straight[order])


# ---------------------------------------------------------------------- channels that several parameters have in common


def coupled(*groups: tuple[str, ...]) -> Coupled:
    return Coupled(tuple(Shared(tuple((name, Channel()) for name in names)) for names in groups))


def coupled_masks() -> tuple[MaskSet, dict[str, Tensor], Coupled]:
    generator = torch.Generator().manual_seed(4)
    shapes = {"a": (4, 3), "b": (6, 2), "c": (4, 5), "d": (6, 2, 1, 1)}
    masks = MaskSet.of({name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()})
    scores = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return masks, scores, coupled(("a", "c"), ("d", "elsewhere", "b"))


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_coupled_channels_fall_together_by_the_mean_of_all_their_entries(scope: Any, density: float) -> None:
    masks, scores, unit = coupled_masks()
    tight = masks.tighten(scores, density, scope=scope, unit=unit)
    means = {
        "a": [torch.cat([scores["a"][i], scores["c"][i]]).abs().mean().item() for i in range(4)],
        "b": [torch.cat([scores["b"][i], scores["d"][i].flatten()]).abs().mean().item() for i in range(6)],
    }
    ranked = {name: sorted(values, reverse=True) for name, values in means.items()}
    everything = sorted(means["a"] + means["b"], reverse=True)
    for name, twin in (("a", "c"), ("b", "d")):
        pool = everything if scope == "global" else ranked[name]
        best = set(pool[: round(density * len(pool))])
        expected = torch.tensor([mean in best for mean in means[name]])
        for member in (name, twin):
            flat = tight[member].flatten(1)
            assert torch.equal(flat.all(1), expected) and torch.equal(flat.any(1), expected)
    kept = tight.units(unit)
    assert kept.keys() == {"a", "b"} and {total for _, total in kept.values()} == {4, 6}
    assert masks.keep(scores, {name: count for name, (count, _) in kept.items()}, unit=unit) == tight


def test_coupled_parameters_have_as_many_channels() -> None:
    masks, scores, _ = coupled_masks()
    with pytest.raises(ValueError, match="'a' and 'b' are coupled, but have 4 and 6 channels"):
        masks.tighten(scores, 0.5, unit=coupled(("a", "b")))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 1))
def test_channels_of_several_rows_fall_together(drawn: list[int], dim: int) -> None:
    """As in the heads of attention: each row says whose it is."""
    of = tuple(sorted(set(drawn)).index(channel) for channel in drawn)
    count, shape = 1 + max(of), (len(of), 3) if dim == 0 else (3, len(of))
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(len(of)))
    how = Channel(dim, of)
    rows = scores if dim == 0 else scores.T
    means = [torch.cat([rows[i] for i in range(len(of)) if of[i] == channel]).abs().mean() for channel in range(count)]
    assert how.size(shape) == count
    torch.testing.assert_close(how.reduce(scores), torch.stack(means))
    keep = torch.arange(count) % 2 == 0
    mask = how.expand(keep, scores)
    seen = mask if dim == 0 else mask.T
    assert all(bool(row.all()) == bool(row.any()) == bool(keep[channel]) for row, channel in zip(seen, of, strict=True))
    assert torch.equal(how.alive(mask), keep)
