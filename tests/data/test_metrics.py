"""Metrics: OGB's evaluator and torchmetrics agree with counting by hand; what cannot be computed is said."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune import data
from graphprune.data import metrics
from graphprune.data.metrics import evaluate


def auc_by_pairs(truth, score):
    pairs = [
        (p, n) for p, t in zip(score, truth, strict=True) if t == 1 for n, u in zip(score, truth, strict=True) if u == 0
    ]
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(-60, 60)), min_size=2, max_size=30))
def test_rocauc_counts_ordered_pairs(rows):
    truth, score = [0.0, 1.0] + [t for t, _ in rows], [3, 4] + [s for _, s in rows]
    y, out = torch.tensor(truth)[:, None], torch.tensor(score, dtype=torch.float32)[:, None]
    expected = auc_by_pairs(truth, score)
    assert evaluate("rocauc", y, out, where="here") == pytest.approx(expected)
    assert evaluate("rocauc", y, out, where="here", ogb_name="ogbg-molhiv") == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["rocauc", "ap", "rmse"])
def test_torchmetrics_agrees_with_ogb_over_tasks_and_missing_labels(metric):
    name = {"rocauc": "ogbg-moltox21", "ap": "ogbg-molmuv", "rmse": "ogbg-molesol"}[metric]
    tasks = {"rocauc": 12, "ap": 17, "rmse": 1}[metric]
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 2, (40, tasks)).astype(np.float32))
    y[torch.from_numpy(rng.random((40, tasks)) < 0.3)] = float("nan")
    if metric != "rmse":
        y[:, 3] = 1.0  # a task without negatives is left out by both
    out = torch.from_numpy(rng.normal(size=(40, tasks)).astype(np.float32)) * 50
    ours = evaluate(metric, y, out, where="here")
    assert ours == pytest.approx(evaluate(metric, y, out, where="here", ogb_name=name), rel=1e-6)


def test_accuracy_takes_the_largest_output():
    mutag = data.load("MUTAG")
    y = torch.tensor([0, 1, 1, 0])
    out = torch.tensor([[2.0, 1], [1, 2], [2, 1], [-1, -2]])
    assert mutag.evaluate(y, out) == 0.75
    assert mutag.higher_is_better and not data.load("ogbg-molesol").higher_is_better


@given(st.lists(st.tuples(st.sampled_from([0, 2, 3]), st.integers(0, 4)), min_size=1, max_size=20))
def test_balanced_accuracy_is_the_mean_over_the_classes_there_are(rows):
    right = {label: [told == true for true, told in rows if true == label] for label, _ in rows}
    out = torch.nn.functional.one_hot(torch.tensor([told for _, told in rows]), 5).float()
    y = torch.tensor([true for true, _ in rows])
    expected = sum(sum(found) / len(found) for found in right.values()) / len(right)
    assert evaluate("balanced-accuracy", y, out, where="here") == pytest.approx(expected)


def test_mean_absolute_error_leaves_missing_labels_out():
    y = torch.tensor([[1.0, float("nan")], [2.0, 4.0], [float("nan"), float("nan")]])
    out = torch.tensor([[1.5, 9.0], [2.0, 1.0], [7.0, 7.0]])
    assert evaluate("mae", y, out, where="here") == pytest.approx((0.25 + 3) / 2)
    assert not metrics.METRICS["mae"].higher_is_better and metrics.default_metric("regression") == "rmse"


@pytest.mark.parametrize("ogb_name", ["", "ogbg-molbace"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_is_an_error_that_names_the_split(ogb_name, label):
    with pytest.raises(ValueError, match=r"molbace, val split: rocauc is undefined.*labels of one class"):
        evaluate(
            "rocauc",
            torch.full((5, 1), label),
            torch.rand(5, 1),
            where="molbace, val split",
            ogb_name=ogb_name,
        )


def test_the_split_is_named_by_the_data_set():
    bace = data.load("ogbg-molbace")
    with pytest.raises(ValueError, match="ogbg-molbace, test split"):
        bace.evaluate(torch.zeros(4, 1), torch.rand(4, 1), split="test")
    with pytest.raises(ValueError, match=r"ogbg-molbace, test split: y_true \(4,\)"):
        bace.evaluate(torch.zeros(4), torch.rand(4, 1), split="test")
    with pytest.raises(ValueError, match="nothing to evaluate"):
        bace.evaluate(torch.zeros(0, 1), torch.rand(0, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["MUTAG", "ogbg-molbace", "ogbg-molesol"])
def test_predictions_that_are_not_finite_give_nan(name, bad):
    loaded = data.load(name)
    y = loaded.val.graph["y"]
    out = torch.rand(len(y), loaded.num_outputs)
    out[3] = bad
    assert np.isnan(loaded.evaluate(y, out))


def test_ogb_is_imported_without_its_update_check():
    program = (
        "import sys, threading, warnings; warnings.simplefilter('ignore');"
        "from graphprune.data.metrics import ogb_evaluator;"
        "assert 'ogb' not in sys.modules; before = threading.active_count();"
        "ogb_evaluator('ogbg-molhiv');"
        "assert 'ogb' in sys.modules and 'outdated' not in sys.modules;"
        "assert threading.active_count() == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_missing_ogb_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ogb", None)
    monkeypatch.setitem(sys.modules, "ogb.graphproppred", None)
    metrics.ogb_evaluator.cache_clear()
    bace = data.load("ogbg-molbace")
    with pytest.raises(ImportError, match=r"ogbg-molbace needs the package ogb: pip install 'graphprune\[ogb\]'"):
        bace.evaluate(bace.val.graph["y"], torch.rand(len(bace.val), 1))


@pytest.mark.parametrize("metric", ["rocauc", "ap", "f1", "rmse"])
def test_labels_that_are_all_missing_are_an_error(metric):
    with pytest.raises(ValueError, match="here: nothing to evaluate, it has no labels"):
        evaluate(metric, torch.full((3, 2), float("nan")), torch.zeros(3, 2), where="here")
