"""Labels that are sequences of words, such as the names of ogbg-code2's functions.

A network has one head of classes a position: the words of a vocabulary, one class for every other word, and the end.
They are learnt as the targets ``y``, ``(G, positions)``. What the words were, however many and rare, is kept in
``words``, ``(G, length)``, because the metric compares words: one that no head can say is a miss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

# As OGB's baseline for ogbg-code2 has them (examples/graphproppred/code2/main_pyg.py).
VOCABULARY, POSITIONS = 5000, 5

Words = Sequence[Sequence[str]]


def encoded(
    sequences: Mapping[str, Words], vocabulary: int, positions: int
) -> tuple[dict[str, dict[str, Tensor]], tuple[str, ...]]:
    """Targets and references of each split, and the vocabulary, which only training makes.

    Args:
        sequences: the words of every graph of each split; those of ``"train"`` make the vocabulary.
        vocabulary: how many words it has at most, the most frequent ones; of equal ones those that come first.
        positions: of the targets; later words are only references.

    Returns:
        Of each split ``y`` and ``words``, int64 ``(G, positions)`` and ``(G, length)``. The words of the vocabulary are
        numbered from 0 on; then comes any other word, as a target, and the end, which fills up the rest; as references
        other words have numbers of their own from there on.
    """
    counts = Counter(chain.from_iterable(sequences["train"]))
    known = [word for word, _ in counts.most_common(vocabulary)]
    unknown, end = len(known), len(known) + 1
    number = {word: place for place, word in enumerate(known)}
    for word in chain.from_iterable(chain.from_iterable(sequences.values())):
        number.setdefault(word, len(number) + 2)  # past the two classes that are no words
    length = max((len(words) for split in sequences.values() for words in split), default=0)
    labels = {}
    for split, rows in sequences.items():
        numbers = np.full((len(rows), max(length, positions)), end)
        for row, words in enumerate(rows):
            numbers[row, : len(words)] = [number[word] for word in words]
        words_of_split = torch.from_numpy(numbers)
        y = words_of_split[:, :positions]
        labels[split] = {"y": torch.where(y > end, unknown, y), "words": words_of_split}
    return labels, tuple(known)


def check_sequences(
    labels: Mapping[str, Tensor], graphs: int, positions: int, classes: int, vocabulary: Sequence[str], where: str
) -> None:
    """Raise ValueError unless there are targets and references of so many graphs, and classes for a vocabulary."""
    y, words = (labels.get(name, torch.empty(0)) for name in ("y", "words"))
    fits = y.shape == (graphs, positions) and words.shape[:1] == (graphs,) and words.dim() == 2
    if not fits or y.is_floating_point() or words.is_floating_point() or classes != len(vocabulary) + 2:
        raise ValueError(
            f"{where}: a sequence task needs targets y of shape ({graphs}, {positions}), all words beside them, and "
            f"two classes more than its vocabulary has words; found {tuple(y.shape)}, {tuple(words.shape)}, and "
            f"{classes} classes of {len(vocabulary)} words"
        )


def by_position(out: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of all heads as rows of classes, and their labels: ``(B * positions, classes)``, ``(B * positions,)``.

    Args:
        out: shape ``(B, positions * classes)``, one head after the other.
        y: targets, shape ``(B, positions)``.

    Raises:
        ValueError: outputs that are not as many for each position.
    """
    rows, positions = y.shape
    if out.dim() != 2 or len(out) != rows or out.size(1) % positions:
        raise ValueError(
            f"the model returned shape {tuple(out.shape)} for {rows} sequences, expected "
            f"({rows}, {positions} * classes)"
        )
    return out.reshape(rows * positions, -1), y.reshape(-1)


def f1_lists(references: Tensor, out: Tensor) -> tuple[list[list[str]], list[list[str]]]:
    """What was to be said and what was, as OGB's ``Evaluator`` reads them: lists of words, called by their numbers.

    Args:
        references: ``words``, shape ``(n, length)``.
        out: shape ``(n, positions, classes)``; the last class is the end, after which a head says nothing.

    Raises:
        ValueError: targets in place of references.
    """
    end = out.size(2) - 1
    if bool((references == end - 1).any()):
        raise ValueError("the references are targets (y), in which all unknown words are one: take data.labels(graphs)")
    return _until(references, end), _until(out.argmax(2), end)


def subtoken_f1(references: Tensor, out: Tensor) -> float:
    """The mean over graphs of F1 between the set of words said and the set of those to be said, as OGB defines it."""
    scores = []
    for reference, said in zip(*f1_lists(references, out), strict=True):
        both = len({*reference} & {*said})
        scores.append(2 * both / (len({*reference}) + len({*said})) if both else 0.0)
    return sum(scores) / len(scores)


def _until(numbers: Tensor, end: int) -> list[list[str]]:
    return [list(map(str, row[: row.index(end)] if end in row else row)) for row in numbers.tolist()]
