"""TU raw files: every layout people have them in, PyG's reader as the reference, and what is wrong with a file."""

import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.io import read_tu_data

from graphprune import data
from graphprune.data.sets.bundled import path_of


@pytest.fixture
def mutag(tmp_path):
    """The published files of MUTAG in tmp_path/MUTAG."""
    with zipfile.ZipFile(path_of("MUTAG.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "MUTAG"


def as_it_is(mutag):
    return mutag.parent


def pyg_layout(mutag):
    mutag.rename(mutag.parent / "files")
    mutag.mkdir()
    (mutag.parent / "files").rename(mutag / "raw")
    return mutag.parent


def doubled_slashes(mutag):
    with zipfile.ZipFile(mutag.parent / "MUTAG.zip", "w") as archive:
        for file in mutag.iterdir():
            archive.write(file, f"MUTAG//{file.name}")
            file.unlink()
    return mutag.parent


LAYOUTS = {
    "folder above": as_it_is,
    "folder itself": lambda mutag: mutag,
    "as PyG keeps it": pyg_layout,
    "archive in a folder": doubled_slashes,
    "archive itself": lambda mutag: doubled_slashes(mutag) / "MUTAG.zip",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_embedded_graphs(mutag, layout):
    root = LAYOUTS[layout](mutag)
    assert data.load("MUTAG", root=root).digest() == data.load("MUTAG").digest()
    assert data.load("MUTAG", root=str(root), fold=3).digest() == data.load("MUTAG", fold=3).digest()


def test_the_same_graphs_as_pyg(mutag):
    whole, slices, sizes = read_tu_data(str(mutag), "MUTAG")
    ours = data.load("MUTAG", root=mutag, features="raw")
    assert ours.num_features == sizes["num_node_labels"] and ours.edge_features == sizes["num_edge_labels"]
    theirs = {}
    for number in range(188):
        nodes, arcs = (slice(int(slices[key][number]), int(slices[key][number + 1])) for key in ("x", "edge_index"))
        label = int(whole.y[number])
        entry = (
            whole.edge_index[:, arcs].tolist(),
            whole.x[nodes].tolist(),
            whole.edge_attr[arcs].tolist(),
            label,
        )
        theirs[repr(entry)] = theirs.get(repr(entry), 0) + 1
    for part in ours.splits.values():
        for graph in part:
            entry = (graph.edge_index.tolist(), graph.x.tolist(), graph.edge_attr.tolist(), int(graph.y))
            theirs[repr(entry)] -= 1
    assert not any(theirs.values())


# ---------------------------------------------------------------------------- small written sets


def write(folder, name="TOY", **files):
    folder.mkdir(exist_ok=True)
    for kind, text in files.items():
        (folder / f"{name}_{kind}.txt").write_text(text)
    return folder


def toy(graphs=20, **changes):
    """``graphs`` paths of three nodes, the classes 3 and 7 in turn."""
    arcs = [(3 * g + a, 3 * g + b) for g in range(graphs) for a, b in ((1, 2), (2, 1), (2, 3), (3, 2))]
    files = {
        "A": "".join(f"{u}, {v}\n" for u, v in arcs),
        "graph_indicator": "".join(f"{g + 1}\n" for g in range(graphs) for _ in range(3)),
        "graph_labels": "".join(f"{(3, 7)[g % 2]}\n" for g in range(graphs)),
    }
    return files | changes


def test_bare_graphs_get_a_constant_and_degrees(tmp_path):
    loaded = data.load("TOY", root=write(tmp_path, **toy()))
    assert (loaded.num_features, loaded.num_classes, loaded.task, loaded.metric) == (
        103,
        2,
        "multiclass",
        "accuracy",
    )
    assert loaded.train[0].x[:, :2].tolist() == [[1, 1], [1, 2], [1, 1]]
    assert data.load("TOY", root=tmp_path, features="raw").train[0].x.tolist() == [[1]] * 3


def test_attributes_come_before_labels(tmp_path):
    files = toy(node_attributes="0.5, -1\n" * 60, node_labels="4, 0\n5, 0\n9, 1\n" * 20)
    files |= {"edge_attributes": "2.5\n" * 80, "edge_labels": "1\n1\n0\n0\n" * 20}
    loaded = data.load("TOY", root=write(tmp_path, **files), features="raw")
    assert loaded.train[0].x.tolist()[1] == [0.5, -1, 0, 1, 0, 1, 0]
    assert loaded.train[0].edge_attr.tolist() == [[2.5, 0, 1], [2.5, 0, 1], [2.5, 1, 0], [2.5, 1, 0]]
    assert loaded.edge_features == 3 and loaded.train[0].edge_attr.shape == (4, 3)


@pytest.mark.parametrize("base", ["deg+odeg100", "deg+odeg10", "raw"])
def test_edge_labels_become_categories(mutag, base):
    """The numbers of PyG's one-hot columns, beside the same node features as without."""
    ours, bare = (data.load("MUTAG", root=mutag, features=base + end) for end in ("+edges", ""))
    assert ours.edge_features == [4] and ours.num_features == bare.num_features
    columns = data.load("MUTAG", root=mutag, features="raw")
    for split, part in ours.splits.items():
        assert part.edge["edge_attr"].dtype == torch.int64
        assert torch.equal(part.edge["edge_attr"][:, 0], columns.splits[split].edge["edge_attr"].argmax(1))
        assert torch.equal(part.node["x"], bare.splits[split].node["x"])
        assert torch.equal(part.edge_index, bare.splits[split].edge_index)
    assert data.load("MUTAG", features=base + "+edges").digest() == ours.digest()
    assert "edge categories (4 of them" in ours.provenance["edge_attr"]


def test_several_labels_an_edge_and_those_that_no_training_graph_has(tmp_path):
    labels = ["7, -1\n"] * 80
    for arc in range(4):
        labels[arc] = "2, 5\n"  # in graph 0 alone
    root = write(tmp_path, **toy(edge_labels="".join(labels)))
    for fold in range(10):
        loaded = data.load("TOY", root=root, fold=fold, features="raw+edges")
        assert loaded.edge_features == [2, 2]
        trained = {tuple(row) for row in loaded.train.edge["edge_attr"].tolist()}
        assert (1, 0) in trained
        assert ("no training graph has 0 in column 0, 1 in column 1" in loaded.provenance["edge_attr"]) == (
            (0, 1) not in trained
        )
    assert trained == {(1, 0), (0, 1)}


def test_with_edge_attributes_there_are_columns_beside_degrees(tmp_path):
    files = toy(edge_attributes="2.5, -1\n" * 80, edge_labels="1\n1\n0\n0\n" * 20)
    loaded = data.load("TOY", root=write(tmp_path, **files), features="deg+odeg10+edges")
    assert loaded.edge_features == 4 and loaded.num_features == 1 + 1 + 11
    assert loaded.train[0].edge_attr.tolist() == [[2.5, -1, 0, 1]] * 2 + [[2.5, -1, 1, 0]] * 2
    (tmp_path / "TOY_edge_labels.txt").unlink()
    assert data.load("TOY", root=tmp_path, features="raw+edges").edge_features == 2


def test_sets_without_anything_of_edges_say_so(tmp_path):
    with pytest.raises(ValueError, match=r"TOY has neither edge labels nor edge attributes: leave out \+edges"):
        data.load("TOY", root=write(tmp_path, **toy()), features="raw+edges")
    with pytest.raises(ValueError, match=r"features must be one of .*, with or without \+edges behind it"):
        data.load("TOY", root=tmp_path, features="deg+edges")


def test_social_networks_get_short_degree_columns(tmp_path):
    assert data.load("REDDIT-X", root=write(tmp_path, "REDDIT-X", **toy())).num_features == 1 + 1 + 11
    assert data.load("DD", root=write(tmp_path, "DD", **toy(node_labels="1\n2\n2\n" * 20))).num_features == 2 + 1 + 11


def test_self_loops_and_repeated_arcs_are_dropped_and_counted(tmp_path):
    files = toy()
    files["A"] = "2, 1\n1, 1\n" + files["A"]
    loaded = data.load("TOY", root=write(tmp_path, **files))
    assert loaded.provenance["removed"] == "1 self-loops, 1 repeated arcs"
    assert sum(part.num_edges for part in loaded.splits.values()) == 80


def test_graphs_without_nodes_or_edges_are_kept_and_counted(tmp_path):
    files = toy()
    files["A"] = "\n".join(files["A"].splitlines()[4:])  # graph 1 loses its edges
    files["graph_labels"] += "3\n7\n"  # two graphs without nodes
    loaded = data.load("TOY", root=write(tmp_path, **files))
    counts = loaded.empty.values()
    assert sum(map(len, loaded.splits.values())) == 22
    assert sum(count["no_nodes"] for count in counts) == 2
    assert sum(count["no_edges"] for count in counts) == 3


def test_real_valued_graph_attributes_make_a_regression(tmp_path):
    files = toy(graph_attributes="".join(f"{g}, 0.5\n" for g in range(20)))
    del files["graph_labels"]
    loaded = data.load("TOY", root=write(tmp_path, **files))
    assert (loaded.task, loaded.metric, loaded.num_tasks, loaded.num_outputs) == ("regression", "rmse", 2, 2)
    values = torch.cat([part.graph["y"] for part in loaded.splits.values()])
    assert sorted(values[:, 0].tolist()) == list(range(20))


@given(st.data())
def test_any_graphs_survive_the_file_format(tmp_path_factory, draw):
    sizes = draw.draw(st.lists(st.integers(0, 4), min_size=12, max_size=16))
    arcs, first = [], [sum(sizes[:g]) for g in range(len(sizes))]
    for start, size in zip(first, sizes, strict=True):
        node = st.integers(1, max(size, 1))
        pairs = draw.draw(st.lists(st.tuples(node, node), max_size=6)) if size else []
        arcs += [(start + u, start + v) for u, v in pairs]
    arcs = draw.draw(st.permutations(arcs))
    labels = draw.draw(st.lists(st.integers(-2, 2), min_size=len(sizes), max_size=len(sizes)))
    folder = write(
        tmp_path_factory.mktemp("toy"),
        A="".join(f"{u},{v}\r\n" for u, v in arcs),
        graph_indicator="".join(f"{g + 1}\n" for g, size in enumerate(sizes) for _ in range(size)),
        graph_labels="".join(f"{label}\n" for label in labels),
        node_attributes="".join(f"{n}\n" for n in range(sum(sizes))),
    )
    loaded = data.load("TOY", root=folder, features="raw")
    found = set()
    for part in loaded.splits.values():
        for graph in part:
            found |= {tuple(graph.x[arc, 0].int().tolist()) for arc in graph.edge_index.T}
    assert found == {(u - 1, v - 1) for u, v in arcs if u != v}
    assert sum(part.num_edges for part in loaded.splits.values()) == len(found)


# ---------------------------------------------------------------------------- faults


@pytest.mark.parametrize("missing", ["A", "graph_indicator", "graph_labels"])
def test_a_missing_file_is_named(tmp_path, missing):
    files = toy()
    del files[missing]
    with pytest.raises(FileNotFoundError, match=f"TOY_{missing}.txt"):
        data.load("TOY", root=write(tmp_path, **files))


FAULTS = {
    "node outside": ({"A": "1, 2\n1, 61\n"}, r"TOY_A.txt line 2: arc \[1, 61\] outside the 60 nodes"),
    "node zero": ({"A": "0, 1\n"}, r"TOY_A.txt line 1: arc \[0, 1\]"),
    "between graphs": ({"A": "1, 2\n3, 4\n"}, r"TOY_A.txt line 2: arc \[3, 4\] joins the graphs 1 and 2"),
    "half a line": ({"A": "1, 2\n2,"}, r"TOY_A.txt line 2: expected 2 integers, found '2,'"),
    "one column": ({"A": "1, 2\n2\n"}, "TOY_A.txt line 2: expected 2 integers, found '2'"),
    "three columns": ({"A": "1, 2, 3\n"}, "TOY_A.txt line 1: expected 2 integers"),
    "words": ({"A": "1, 2\n2, x\n"}, "TOY_A.txt line 2: expected 2 integers, found '2, x'"),
    "an empty line": ({"A": "1, 2\n\n2, 1\n"}, "TOY_A.txt line 2: expected 2 integers, found ''"),
    "no graph": ({"graph_labels": "\n"}, "TOY_graph_labels.txt is empty"),
    "labels cut off": (
        {"graph_labels": "3\n" * 19},
        "TOY_graph_indicator.txt line 58: graph 20, but .*19 graphs",
    ),
    "indicator cut off": ({"graph_indicator": "1\n1\n1\n"}, "TOY_A.txt line 5: .*outside the 3 nodes"),
    "indicator falls": ({"graph_indicator": "2\n1\n" + "3\n" * 58}, "TOY_graph_indicator.txt line 2"),
    "fractional label": (
        {"graph_labels": "3\n1.5\n" * 10},
        "TOY_graph_labels.txt line 2: expected 1 integer",
    ),
    "label beyond int64": (
        {"node_labels": "1\n" * 30 + f"{2**63 + 1}\n{2**64 - 1}\n" + "1\n" * 28},
        "TOY_node_labels.txt line 31: 9223372036854775809 is beyond int64",
    ),
    "few node labels": (
        {"node_labels": "1\n" * 59},
        "TOY_node_labels.txt has 59 lines, but there are 60 nodes",
    ),
    "few edge labels": (
        {"edge_labels": "1\n" * 79},
        "TOY_edge_labels.txt has 79 lines, but there are 80 edges",
    ),
    "NaN": (
        {"node_attributes": "1\n2\nnan\n" + "1\n" * 57},
        "TOY_node_attributes.txt line 3: .*NaN or infinite",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named_with_the_line(tmp_path, fault):
    files, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        data.load("TOY", root=write(tmp_path, **toy(**files)))


def test_a_truncated_archive_is_named(tmp_path):
    content = path_of("MUTAG.zip").read_bytes()
    (tmp_path / "MUTAG.zip").write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"MUTAG\.zip is not a readable zip archive"):
        data.load("MUTAG", root=tmp_path)
    (tmp_path / "MUTAG.zip").write_bytes(content[:3000] + b"\0" * 500 + content[3500:])
    with pytest.raises(
        ValueError, match=r"MUTAG_\w+\.txt is damaged or truncated|MUTAG\.zip is not a readable zip archive"
    ):
        data.load("MUTAG", root=tmp_path)


def test_a_folder_without_the_set_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"NCI1_A.txt not found; looked in .*NCI1\.zip"):
        data.load("NCI1", root=tmp_path)


def test_unknown_features_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"features must be one of deg\+odeg100.*got 'degree'"):
        data.load("MUTAG", features="degree")
