"""The text format of Xu et al.: the graphs that TU's own files give, the ten folds, and what is wrong with a file."""

import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune import data


def text(graphs):
    """Graphs as (class, tags, lists of neighbours)."""
    lines = [str(len(graphs))]
    for label, tags, lists in graphs:
        lines.append(f"{len(tags)} {label}")
        lines += [" ".join(map(str, (tag, len(ends), *ends))) for tag, ends in zip(tags, lists, strict=True)]
    return "\n".join(lines) + "\n"


def tu_files(graphs):
    """The same graphs in TU's files, by the end of their names."""
    arcs, indicator, first = [], [], 1
    for number, (_, tags, lists) in enumerate(graphs):
        arcs += [(first + node, first + end) for node, ends in enumerate(lists) for end in ends]
        indicator += [number + 1] * len(tags)
        first += len(tags)
    return {
        "A": "".join(f"{u}, {v}\n" for u, v in arcs),
        "graph_indicator": "".join(f"{number}\n" for number in indicator),
        "graph_labels": "".join(f"{label}\n" for label, _, _ in graphs),
        "node_labels": "".join(f"{tag}\n" for _, tags, _ in graphs for tag in tags),
    }


# Twenty paths of three nodes, two classes, two tags.
PATHS = [(3 + 4 * (number % 2), [0, 5, 0], [[1], [0, 2], [1]]) for number in range(20)]


def write(folder, graphs=PATHS, name="TOY"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(text(graphs) if isinstance(graphs, list) else graphs)
    return folder


def folds(folder, of=lambda graph: graph // 2, graphs=20):
    (folder / "10fold_idx").mkdir()
    for fold in range(10):
        for part, wanted in (("test", True), ("train", False)):
            members = [graph for graph in range(graphs) if (of(graph) == fold) == wanted]
            path = folder / "10fold_idx" / f"{part}_idx-{fold + 1}.txt"
            path.write_text("".join(f"{graph}\n" for graph in members))
    return folder


@given(st.data())
def test_both_formats_give_the_same_graphs(tmp_path_factory, draw):
    graphs = []
    for _ in range(draw.draw(st.integers(12, 16))):
        nodes = draw.draw(st.integers(0, 5))
        ends = st.lists(st.integers(0, max(nodes - 1, 0)), max_size=6)
        lists = [draw.draw(ends) for _ in range(nodes)]
        graphs.append((draw.draw(st.integers(-1, 2)), [draw.draw(st.integers(0, 2)) for _ in range(nodes)], lists))
    folder = write(tmp_path_factory.mktemp("gin"), graphs)
    other = tmp_path_factory.mktemp("tu")
    for kind, content in tu_files(graphs).items():
        (other / f"TOY_{kind}.txt").write_text(content)
    ours, theirs = (data.load("TOY", root=place) for place in (folder, other))
    assert ours.digest() == theirs.digest()
    assert ours.provenance["removed"] == theirs.provenance["removed"]


@pytest.mark.parametrize("layout", ["folder", "folder above", "archive"])
def test_every_layout_is_found(tmp_path, layout):
    folder, places = write(tmp_path / "TOY"), {"folder": tmp_path / "TOY", "folder above": tmp_path}
    if layout == "archive":
        folds(folder)
        with zipfile.ZipFile(tmp_path / "any.zip", "w") as archive:
            for path in folder.rglob("*.txt"):
                archive.write(path, f"TOY/{path.relative_to(folder)}")
        places["archive"] = tmp_path / "any.zip"
    loaded = data.load("TOY", root=places[layout], features="raw")
    assert loaded.train[0].x.tolist() == [[1, 0], [0, 1], [1, 0]] and loaded.num_classes == 2
    assert loaded.train[0].edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert ("as 10fold_idx has them" in loaded.provenance["fold"]) == (layout == "archive")


def test_tu_files_come_first(tmp_path):
    write(tmp_path, "not a number\n")
    for kind, content in tu_files(PATHS).items():
        (tmp_path / f"TOY_{kind}.txt").write_text(content)
    assert sum(map(len, data.load("TOY", root=tmp_path).splits.values())) == 20


def test_bare_graphs_get_a_constant_and_degrees(tmp_path):
    star = (0, [0] * 3001, [list(range(1, 3001)), *([0] for _ in range(3000))])
    loaded = data.load("REDDIT-X", root=write(tmp_path, [star] * 14, "REDDIT-X"))
    assert loaded.num_features == 1 + 1 + 11  # however large the hub
    hub, leaf = loaded.train[0].x[:2].tolist()
    assert hub == [1, 3000, *[0] * 10, 1] and leaf == [1, 1, 0, 1, *[0] * 9]


@pytest.mark.parametrize("fold", [0, 9])
def test_the_ten_folds_are_those_of_the_files(tmp_path, fold):
    graphs = [(number % 2, [0] * (number + 1), [[] for _ in range(number + 1)]) for number in range(20)]
    loaded = data.load("TOY", root=folds(write(tmp_path, graphs)), fold=fold)
    sizes = {split: set((part.node_count - 1).tolist()) for split, part in loaded.splits.items()}
    assert sizes["test"] == {2 * fold, 2 * fold + 1}
    assert sizes["train"] | sizes["val"] == set(range(20)) - sizes["test"] and not sizes["train"] & sizes["val"]
    assert loaded.provenance["fold"] == f"{fold} of 10, as 10fold_idx has them, validation by seed 12345"


def test_self_loops_are_dropped_and_counted(tmp_path):
    graphs = [(0, [0, 0], [[0, 1], [0]])] * 15
    loaded = data.load("TOY", root=write(tmp_path, graphs))
    assert loaded.provenance["removed"] == "15 self-loops, 0 repeated arcs"
    assert torch.equal(loaded.train[0].edge_index, torch.tensor([[0, 1], [1, 0]]))


HEAD = "15\n2 0\n0 1 1\n0 1 0\n"
FAULTS = {
    "empty": ("", "line 1: expected the number of graphs, found 0 numbers"),
    "no number of graphs": ("15 3\n", "line 1: expected the number of graphs, found 2 numbers"),
    "no graphs": ("0\n", "line 1: expected the number of graphs, found 0"),
    "no int64": ("9" * 20 + "\n", "line 1: 9{20} is beyond int64"),
    "a tag beyond int64": (f"1\n1 0\n{2**63 + 1} 0\n", "line 3: 9223372036854775809 is beyond int64"),
    "a class beyond int64": (f"1\n1 {-(2**63) - 1}\n0 0\n", "line 2: -9223372036854775809 is beyond int64"),
    "truncated between graphs": (HEAD, "line 4: the file ends before graph 2 of 15: truncated"),
    "truncated within a graph": ("1\n5 0\n0 0\n", "line 3: the file ends within graph 1: truncated"),
    "truncated within a line": (HEAD + "2 0\n0 1", "line 6: the file ends before graph 3 of 15|line 6: 0 numbers"),
    "too many lines": ("1\n1 0\n0 0\n1 0\n0 0\n", "line 4: more lines than the 1 graphs of line 1 have"),
    "no graph line": ("2\n1 0\n0 0\n0 0 0\n0 0\n", "line 4: expected the number of nodes and the class of graph 2"),
    "negative size": ("1\n-1 0\n", "line 2: expected the number of nodes and the class of graph 1"),
    "few neighbours": ("1\n2 0\n0 2 1\n0 1 0\n", "line 3: 1 numbers follow where the line says 2 neighbours"),
    "attributes": ("1\n1 0\n0 0 5\n", "line 3: 1 numbers follow .*node attributes are not read"),
    "no node": ("1\n1 0\n7\n", "line 3: expected a node: its tag, its number of neighbours"),
    "a word": ("1\n2 0\n0 1 one\n0 1 0\n", "line 3: expected integers, found '0 1 one'"),
    "a number for Python only": ("1\n1_0 0\n0 0\n", "holds something that is no plain integer"),
    "a fraction": ("1\n1 0\n0.5 0\n", "line 3: expected integers, found '0.5 0'"),
    "outside": ("1\n2 0\n0 1 2\n0 1 0\n", "line 3: neighbour 2 of a graph with 2 nodes"),
    "negative": ("1\n2 0\n0 1 1\n0 1 -1\n", "line 4: neighbour -1 of a graph with 2 nodes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named_with_the_line(tmp_path, fault):
    content, message = FAULTS[fault]
    with pytest.raises(ValueError, match=rf"TOY\.txt ({message})"):
        data.load("TOY", root=write(tmp_path, content))


FOLD_FAULTS = {
    "missing": ("test_idx-4.txt", None, FileNotFoundError, r"test_idx-4\.txt is missing"),
    "outside": ("test_idx-4.txt", "6\n20\n", ValueError, r"test_idx-4\.txt line 2: graph 20 of 20"),
    "twice": ("test_idx-4.txt", "6\n1\n", ValueError, r"test_idx-4\.txt line 2: graph 1 is in fold 1 already"),
    "a word": ("test_idx-4.txt", "6\nx\n", ValueError, r"test_idx-4\.txt line 2: expected 1 integer, found 'x'"),
    "train": (
        "train_idx-4.txt",
        "1\n",
        ValueError,
        r"train_idx-4\.txt is not the list of all graphs that .*test_idx-4",
    ),
}


@pytest.mark.parametrize("fault", FOLD_FAULTS)
def test_bad_folds_are_named(tmp_path, fault):
    file, content, error, message = FOLD_FAULTS[fault]
    path = folds(write(tmp_path)) / "10fold_idx" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(error, match=message):
        data.load("TOY", root=tmp_path)


def test_a_graph_in_no_fold_is_named(tmp_path):
    folds(write(tmp_path), graphs=19)
    with pytest.raises(ValueError, match=r"graph 19 is in none of the ten test folds|is not the list of all graphs"):
        data.load("TOY", root=tmp_path)
    for path in tmp_path.rglob("train_idx*"):
        path.unlink()
    with pytest.raises(ValueError, match="10fold_idx: graph 19 is in none of the ten test folds"):
        data.load("TOY", root=tmp_path)


def test_without_either_format_both_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"COLLAB_A\.txt not found; looked in .*nor is COLLAB\.txt there"):
        data.load("COLLAB", root=tmp_path)


def test_the_largest_integers_are_two_kinds(tmp_path):
    graphs = [(number % 2, [2**63 - 1, -(2**63)], [[1], [0]]) for number in range(20)]
    loaded = data.load("TOY", root=write(tmp_path, graphs), features="raw")
    assert loaded.train.node["x"][:2].tolist() == [[0, 1], [1, 0]]
