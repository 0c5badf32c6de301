"""Folds: the same as scikit-learn's, a partition, balanced."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.data.splits import fold_split, stratified_folds

LABELS = st.lists(st.integers(0, 3), min_size=40, max_size=80)


@given(LABELS, st.integers(0, 5))
def test_folds_equal_scikit_learns(labels, seed):
    selection = pytest.importorskip("sklearn.model_selection")
    labels = np.array([*range(4)] * 3 + labels)  # each class at least as often as there are folds
    folds = stratified_folds(labels, 3, seed)
    splitter = selection.StratifiedKFold(3, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(splitter.split(labels, labels)):
        assert np.array_equal(np.flatnonzero(folds == fold), test)


@given(LABELS, st.integers(0, 9))
def test_split_is_a_partition_with_every_class_spread(labels, fold):
    labels = np.array(labels)
    parts = fold_split(labels, fold)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    for kind in np.unique(labels):
        share = (labels == kind).sum() / 10
        assert abs((labels[parts["test"]] == kind).sum() - share) < 1


def test_ten_folds_test_every_graph_once():
    labels = np.arange(57) % 3
    tested = np.concatenate([fold_split(labels, fold)["test"] for fold in range(10)])
    assert sorted(tested.tolist()) == list(range(57))


@pytest.mark.parametrize("fold", [-1, 10, "0", None])
def test_a_fold_that_does_not_exist_is_refused(fold):
    with pytest.raises(ValueError, match="fold must be 0 to 9"):
        fold_split(np.zeros(50), fold)


def test_too_few_graphs_are_refused():
    with pytest.raises(ValueError, match="11 graphs are too few"):
        fold_split(np.zeros(11), 0)
