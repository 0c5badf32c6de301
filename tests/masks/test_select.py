import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphprune.masks import keep_top, select

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, float("inf"), float("-inf")]),  # ties on purpose
    st.floats(-10, 10, width=32),
)


def reference(scores: Tensor, ptr: list[int], keep: list[int]) -> Tensor:
    """One segment after the other, by Python's stable sort."""
    mask = torch.zeros(len(scores), dtype=torch.bool)
    for begin, end, count in zip(ptr[:-1], ptr[1:], keep, strict=True):
        best = sorted(range(begin, end), key=lambda i: -float(scores[i]))[:count]
        mask[torch.tensor(best, dtype=torch.long)] = True
    return mask


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, list[int], list[int]]:
    sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=8))
    scores = draw(st.lists(VALUES, min_size=sum(sizes), max_size=sum(sizes)))
    keep = [draw(st.integers(0, size)) for size in sizes]
    ptr = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return torch.tensor(scores, dtype=torch.float32), ptr, keep


def run(scores: Tensor, ptr: list[int], keep: list[int]) -> Tensor:
    return keep_top(scores, torch.tensor(ptr), torch.tensor(keep, dtype=torch.long))


@given(problems())
def test_equals_a_sort_of_each_segment(problem: tuple[Tensor, list[int], list[int]]) -> None:
    assert torch.equal(run(*problem), reference(*problem))


@given(problems(), st.sampled_from([torch.float16, torch.bfloat16, torch.float64]))
def test_any_floating_dtype(problem: tuple[Tensor, list[int], list[int]], dtype: torch.dtype) -> None:
    scores, ptr, keep = problem
    scores = scores.to(dtype)
    assert torch.equal(run(scores, ptr, keep), reference(scores, ptr, keep))


@given(problems(), st.integers(1, 16))
def test_small_chunks_change_nothing(problem: tuple[Tensor, list[int], list[int]], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "_CHUNK", chunk)
        assert torch.equal(run(*problem), reference(*problem))


@given(problems())
def test_idempotent(problem: tuple[Tensor, list[int], list[int]]) -> None:
    scores, ptr, keep = problem
    once = run(scores, ptr, keep)
    assert torch.equal(run(scores.masked_fill(~once, -torch.inf), ptr, keep), once)
    assert torch.equal(run(once.float(), ptr, keep), once)


@given(problems(), st.data())
def test_more_keeps_a_superset(problem: tuple[Tensor, list[int], list[int]], data: st.DataObject) -> None:
    scores, ptr, keep = problem
    fewer = [data.draw(st.integers(0, count)) for count in keep]
    assert not (run(scores, ptr, fewer) & ~run(scores, ptr, keep)).any()


@given(problems(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_scale_does_not_matter(problem: tuple[Tensor, list[int], list[int]], factor: float) -> None:
    scores, ptr, keep = problem
    scores = scores.double()  # wide enough to be scaled without rounding
    assert torch.equal(run(scores * factor, ptr, keep), run(scores, ptr, keep))


@given(st.integers(1, 200), st.data())
def test_permutation_equivariant_where_scores_differ(size: int, data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    scores = torch.randperm(size, generator=generator).float()
    order = torch.randperm(size, generator=generator)
    keep = data.draw(st.integers(0, size))
    assert torch.equal(keep_top(scores[order], None, keep), keep_top(scores, None, keep)[order])


@given(problems())
def test_segments_do_not_see_each_other(problem: tuple[Tensor, list[int], list[int]]) -> None:
    scores, ptr, keep = problem
    alone = [
        keep_top(scores[begin:end], None, count) for begin, end, count in zip(ptr[:-1], ptr[1:], keep, strict=True)
    ]
    assert torch.equal(run(scores, ptr, keep), torch.cat(alone))


def test_equal_scores_keep_the_earlier_positions_to_the_exact_count() -> None:
    kept = keep_top(torch.ones(1000), None, 500)
    assert kept[:500].all() and not kept[500:].any()


def test_one_count_holds_for_every_segment() -> None:
    kept = keep_top(torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0, 8.0]), torch.tensor([0, 2, 6]), 1)
    assert kept.tolist() == [False, True, False, False, True, False]


def test_minus_infinity_in_a_short_segment_goes_before_padding() -> None:
    scores = torch.tensor([-torch.inf] * 3 + [1.0] * 5)
    assert run(scores, [0, 3, 8], [2, 4]).tolist() == [True, True, False, True, True, True, True, False]


@pytest.mark.parametrize("ties", [False, True])
def test_large_and_ragged(ties: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = (torch.randn(3000, generator=generator).exp() * 60).long()
    sizes[::100] = 0
    sizes[7] = 300_000
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    scores = torch.randn(int(ptr[-1]), generator=generator)
    if ties:
        scores = scores.round()
    keep = (sizes * torch.rand(len(sizes), generator=generator)).long()
    kept = keep_top(scores, ptr, keep)
    segment = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    best_first = torch.argsort(scores, descending=True, stable=True)
    best_first = best_first[torch.argsort(segment[best_first], stable=True)]
    rank = torch.empty_like(best_first)
    rank[best_first] = torch.arange(len(scores)) - ptr[segment]
    assert torch.equal(kept, rank < keep[segment])


def test_scores_and_their_graph_are_left_alone() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    kept = keep_top(scores * 1.0, None, 2)
    assert kept.tolist() == [True, False, True] and not kept.requires_grad
    assert scores.tolist() == [3.0, 1.0, 2.0]


def test_nothing_to_choose_from() -> None:
    assert keep_top(torch.empty(0), None, 0).shape == (0,)
    assert keep_top(torch.empty(0), torch.tensor([0]), torch.tensor([], dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize(
    ("scores", "segments", "keep", "error", "text"),
    [
        (torch.tensor([1.0, torch.nan]), None, 1, ValueError, r"scores\[1\] is NaN"),
        (torch.ones(3), None, 4, ValueError, r"keep\[0\] = 4 .* \[0, 3\]"),
        (torch.ones(3), torch.tensor([0, 1, 3]), torch.tensor([1, -1]), ValueError, r"keep\[1\] = -1"),
        (torch.ones(3), torch.tensor([0, 1, 3]), torch.tensor([1]), ValueError, "each of the 2 segments"),
        (torch.ones(3), torch.tensor([0, 2]), 1, ValueError, "rise from 0 to the number of scores, 3"),
        (torch.ones(3), torch.tensor([0, 2, 1, 3]), 1, ValueError, "rise from 0"),
        (torch.ones(3), torch.tensor([1, 3]), 1, ValueError, "rise from 0"),
        (torch.ones(2, 2), None, 1, ValueError, "one dimension"),
        (torch.ones(3, dtype=torch.long), None, 1, TypeError, "floating point"),
        (torch.ones(3), None, torch.tensor([1.0]), TypeError, "keep must be integer"),
        (torch.ones(3), torch.tensor([0.0, 3.0]), 1, TypeError, "segments must be integer"),
    ],
)
def test_bad_input_is_named(
    scores: Tensor, segments: Tensor | None, keep: Tensor | int, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        keep_top(scores, segments, keep)
