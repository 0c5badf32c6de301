"""Labels that are sequences of words: vocabulary, targets, references, and the metric that compares words."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch_geometric.data import Data

import graphprune as gp
from graphprune.data import from_graphs, from_pyg, store_graphs
from graphprune.data.sequences import by_position, encoded, subtoken_f1
from graphprune.methods.core.loss import mean_loss
from tests.train.tiny import task_loss

WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=7)
SPLITS = st.fixed_dictionaries({part: st.lists(WORDS, min_size=1, max_size=6) for part in ("train", "val", "test")})


def named(*words):
    return Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]), y=list(words))


@given(SPLITS, st.integers(1, 9), st.integers(1, 6))
def test_references_give_the_words_back_and_targets_the_known_ones(splits, size, positions):
    labels, known = encoded(splits, size, positions)
    trained = [word for words in splits["train"] for word in words]
    assert len(known) == min(size, len({*trained})) and {*known} <= {*trained}
    counts = [trained.count(word) for word in known]
    assert counts == sorted(counts, reverse=True)
    assert all(trained.count(word) <= counts[-1] for word in {*trained} - {*known})
    unknown, end = len(known), len(known) + 1
    numbers = {}
    for part, rows in splits.items():
        for words, target, reference in zip(
            rows, labels[part]["y"].tolist(), labels[part]["words"].tolist(), strict=True
        ):
            expected = [known.index(word) if word in known else unknown for word in words[:positions]]
            assert target == expected + [end] * (positions - len(words))
            assert reference[len(words) :] == [end] * (len(reference) - len(words))
            for word, number in zip(words, reference, strict=False):
                assert numbers.setdefault(word, number) == number != unknown
    assert len({*numbers.values()}) == len(numbers)


@given(SPLITS, st.integers(1, 5), st.integers(0, 1000))
def test_the_metric_compares_sets_of_words(splits, size, seed):
    from ogb.graphproppred import Evaluator

    labels, known = encoded(splits, size, 4)
    rows = splits["test"]
    out = torch.randn(len(rows), 4, len(known) + 2, generator=torch.Generator().manual_seed(seed))
    said = []
    for row in out.argmax(2).tolist():
        words = [(*known, "(other)", "")[number] for number in row]
        said.append(words[: words.index("")] if "" in words else words)
    expected = Evaluator("ogbg-code2").eval({"seq_ref": rows, "seq_pred": said})["F1"]
    assert subtoken_f1(labels["test"]["words"], out) == pytest.approx(expected)


def test_the_loss_is_the_mean_over_positions_of_each_heads():
    out, y = torch.randn(6, 3 * 5, requires_grad=True), torch.randint(5, (6, 3))
    total, count = task_loss("sequence", out, y)
    expected = sum(functional.cross_entropy(out[:, 5 * n : 5 * n + 5], y[:, n]) for n in range(3)) / 3
    torch.testing.assert_close(total / count, expected)
    torch.testing.assert_close(mean_loss(lambda _: out, (None, y)), expected)
    smooth, _ = task_loss("sequence", out, y, 0.1)
    rows, labels = by_position(out, y)
    torch.testing.assert_close(smooth, functional.cross_entropy(rows, labels, reduction="sum", label_smoothing=0.1))
    with pytest.raises(ValueError, match=r"shape \(6, 14\) for 6 sequences, expected \(6, 3 \* classes\)"):
        task_loss("sequence", out[:, :14], y)


def test_graphs_of_ones_own_with_words():
    train = [named("get", "name"), named("set", "name"), named("get", "odd", "name", "of", "it")]
    mine = from_graphs(
        train, train[:1], [named("new", "name")], name="mine", task="sequence", vocabulary=3, positions=2
    )
    assert (mine.num_classes, mine.num_tasks, mine.num_outputs, mine.metric) == (5, 2, 10, "subtoken-f1")
    assert list(mine.vocabulary) == ["name", "get", "set"]
    assert mine.train.graph["y"].tolist() == [[1, 0], [2, 0], [1, 3]] and mine.test.graph["y"].tolist() == [[3, 0]]
    assert mine.train.graph["words"].shape == (3, 5)
    right = torch.zeros(1, 2, 5)
    right[0, 0, 3], right[0, 1, 0] = 1, 1  # some other word, then "name": of two words one is said, and one is wrong
    assert mine.evaluate(mine.labels(mine.test), right.view(1, 10)) == pytest.approx(0.5)
    assert train[0].y == ["get", "name"]
    others = [[named("new", "name")], [named("some", "other", "name")]]
    again = from_pyg([train, *others], task="sequence", name="mine")
    assert again.num_tasks == 5 and "all words" in (gp.data.GraphData.labels.__doc__ or "")


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("y", [["get", "name"], "get", ("get",)])
def test_words_are_no_classes_or_numbers(task, y):
    bad = named()
    bad.y = y
    with pytest.raises(ValueError, match=f"mine, train graph 0: y of a {task} task must be a label; words are of"):
        from_graphs([bad], [bad], [bad], name="mine", task=task)


@pytest.mark.parametrize("y", [torch.tensor([1]), "get", [], ["get", 1], ["get", ""], 3])
def test_classes_are_no_words(y):
    bad = named()
    bad.y = y
    with pytest.raises(ValueError, match="val graph 0: y of a sequence task must be a list of words, got"):
        from_graphs([named("a")], [bad], [named("a")], name="mine", task="sequence")


def test_what_makes_no_sequence_task_is_refused(tmp_path):
    one = [named("a")]
    with pytest.raises(ValueError, match="a sequence is said of a graph, got level='node'"):
        from_graphs(one, one, one, name="mine", task="sequence", level="node")
    with pytest.raises(ValueError, match="vocabulary=0"):
        from_graphs(one, one, one, name="mine", task="sequence", vocabulary=0)
    with pytest.raises(ValueError, match="metric of a sequence task must be subtoken-f1, got 'accuracy'"):
        from_graphs(one, one, one, name="mine", task="sequence", metric="accuracy")
    with pytest.raises(ValueError, match="words of a stream make no vocabulary"):
        store_graphs(tmp_path / "set", one, one, one, name="mine", task="sequence")
    mine = from_graphs(one, one, one, name="mine", task="sequence")
    with pytest.raises(ValueError, match=r"found \(1,\), "):
        mine.with_splits(val=mine.val.with_graph(y=torch.tensor([0])))
