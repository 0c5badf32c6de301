"""Exact segmented top-k: the one rule by which anything in the package is kept or dropped."""

from itertools import pairwise

import torch
from torch import Tensor

_CHUNK = 1 << 20
"""Scores ranked at once, which bounds the scratch memory; only a longer segment is copied whole."""


def keep_top(scores: Tensor, segments: Tensor | None, keep: Tensor | int) -> Tensor:
    """Mark exactly ``keep[i]`` highest scores of every segment ``i``.

    Among equal scores the earlier position is kept, so the count is exact and the answer does not depend on
    the sort that produced it. ``-inf`` and ``inf`` are ordinary scores.

    Args:
        scores: ``(n,)``, any floating dtype, on any device.
        segments: ``(s + 1,)`` integer offsets; segment ``i`` is ``scores[segments[i]:segments[i + 1]]`` and
            may be empty. ``None``: all scores are one segment.
        keep: ``(s,)`` integer counts, or one count that holds for every segment.

    Returns:
        ``(n,)`` bool on the device of ``scores``, ``True`` = keep.

    Raises:
        TypeError: scores that are not floating point, counts or offsets that are not integers.
        ValueError: NaN scores, wrong shapes, offsets that do not partition the scores, a count outside
            ``[0, size of its segment]``.
    """
    scores = _checked_scores(scores)
    ptr = _checked_segments(segments, len(scores))
    sizes = ptr.diff()
    counts = _checked_counts(keep, sizes)
    threshold = _thresholds(scores, ptr, sizes, counts)
    kept = torch.empty(len(scores), dtype=torch.bool, device=scores.device)
    for first, last in pairwise(_block_edges(ptr)):
        block = slice(int(ptr[first]), int(ptr[last]))
        offsets = ptr[first : last + 1] - ptr[first]
        kept[block] = _kept_at(threshold[first:last], scores[block], offsets, counts[first:last])
    return kept


def _block_edges(ptr: Tensor) -> list[int]:
    """Segment numbers that cut the segments into runs of about ``_CHUNK`` scores."""
    marks = torch.tensor(range(_CHUNK, int(ptr[-1]), _CHUNK), dtype=torch.long)
    inner = (torch.searchsorted(ptr, marks, right=True) - 1).tolist()
    return sorted({0, *inner, len(ptr) - 1})


def _kept_at(threshold: Tensor, scores: Tensor, ptr: Tensor, counts: Tensor) -> Tensor:
    """What lies above each segment's threshold, and of what equals it the first up to the exact count."""
    level, ptr = threshold.to(scores.device), ptr.to(scores.device)
    if len(level) > 1:  # a single one broadcasts
        level = torch.repeat_interleave(level, ptr.diff(), output_size=len(scores))
    kept = scores >= level
    # Each segment has at least `count` scores at or above its threshold, so equal totals mean no surplus tie.
    if int(kept.count_nonzero()) > int(counts.sum()):
        _drop_surplus_ties(kept, scores == level, ptr, counts.to(scores.device))
    return kept


def _thresholds(scores: Tensor, ptr: Tensor, sizes: Tensor, counts: Tensor) -> Tensor:
    """The ``counts[i]``-th highest score of each segment (``inf`` where nothing is kept)."""
    threshold = torch.full((len(sizes),), torch.inf, dtype=scores.dtype)
    trivial = (counts == sizes) & (sizes > 0)
    threshold[trivial] = -torch.inf
    order = torch.argsort(sizes, descending=True, stable=True)
    order = order[((counts > 0) & ~trivial)[order]]
    ordered = sizes[order]
    ascending = ordered.flip(0).contiguous()
    begin = 0
    while begin < len(order):
        # Segments come largest first: one matrix holds those that fill more than half a row, up to _CHUNK.
        width = int(ordered[begin])
        alike = len(order) - int(torch.searchsorted(ascending, width // 2, right=True)) - begin
        rows = order[begin : begin + min(alike, max(1, _CHUNK // width))]
        matrix = _padded(scores, ptr[rows], sizes[rows], width)
        threshold[rows] = _nth_smallest(matrix, sizes[rows] - counts[rows]).to(threshold)
        begin += len(rows)
    return threshold


def _padded(scores: Tensor, starts: Tensor, sizes: Tensor, width: int) -> Tensor:
    """A fresh ``(rows, width)`` matrix of segments, filled up with ``inf`` after their end."""
    if len(starts) == 1:
        return scores[int(starts) : int(starts) + width].clone().unsqueeze(0)
    column = torch.arange(width, device=scores.device)
    index = starts.to(scores.device)[:, None] + column
    matrix = scores[index.clamp_(max=len(scores) - 1)]
    if int(sizes.min()) < width:
        matrix.masked_fill_(column >= sizes.to(scores.device)[:, None], torch.inf)
    return matrix


def _nth_smallest(matrix: Tensor, nth: Tensor) -> Tensor:
    """The value at ascending rank ``nth[i]`` (from 0) of row ``i``; the matrix is used up."""
    if matrix.device.type == "cpu":
        # numpy sorts values alone, vectorised: 4 times faster than torch.sort, which carries positions along.
        # Widening half and bfloat16 is exact.
        array = (matrix if matrix.dtype == torch.float64 else matrix.float()).numpy()
        if len(array) == 1:
            array[0].partition(int(nth))
        else:
            array.sort(axis=1)
        ranked = torch.from_numpy(array)
    else:
        ranked = matrix.sort(dim=1).values
    return ranked.gather(1, nth.to(ranked.device)[:, None]).squeeze(1)


def _drop_surplus_ties(kept: Tensor, tied: Tensor, ptr: Tensor, counts: Tensor) -> None:
    """Drop, in place, the last of the scores tied with their threshold until the counts are exact."""
    surplus = torch.searchsorted(kept.nonzero().squeeze(1), ptr).diff() - counts
    positions = tied.nonzero().squeeze(1)
    ends = torch.searchsorted(positions, ptr)[1:]
    rank = torch.arange(len(positions), device=positions.device)
    segment = torch.searchsorted(ends, rank, right=True)
    kept[positions[rank >= (ends - surplus)[segment]]] = False


def _checked_scores(scores: Tensor) -> Tensor:
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating point, got {scores.dtype}")
    if scores.ndim != 1:
        raise ValueError(f"scores must have one dimension, got shape {tuple(scores.shape)}")
    scores = scores.detach()
    if bool(scores.isnan().any()):
        first = int(scores.isnan().nonzero()[0])
        raise ValueError(f"scores[{first}] is NaN: a NaN has no rank; mend the scores first")
    return scores


def _checked_segments(segments: Tensor | None, length: int) -> Tensor:
    if segments is None:
        return torch.tensor([0, length])
    if segments.is_floating_point() or segments.dtype == torch.bool:
        raise TypeError(f"segments must be integer offsets, got {segments.dtype}")
    ptr = segments.detach().to("cpu", torch.long)
    if ptr.ndim != 1 or len(ptr) == 0 or int(ptr[0]) != 0 or int(ptr[-1]) != length or bool((ptr.diff() < 0).any()):
        raise ValueError(f"segments must be offsets that rise from 0 to the number of scores, {length}")
    return ptr


def _checked_counts(keep: Tensor | int, sizes: Tensor) -> Tensor:
    counts = torch.as_tensor(keep).detach().cpu()
    if counts.is_floating_point() or counts.dtype == torch.bool:
        raise TypeError(f"keep must be integer counts, got {counts.dtype}")
    if counts.ndim > 1 or (counts.ndim == 1 and len(counts) != len(sizes)):
        raise ValueError(
            f"keep must be one count or one for each of the {len(sizes)} segments, got {tuple(counts.shape)}"
        )
    counts = counts.long().expand(len(sizes))
    wrong = ((counts < 0) | (counts > sizes)).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"keep[{first}] = {int(counts[first])} is outside [0, {int(sizes[first])}], the segment's size"
        )
    return counts
