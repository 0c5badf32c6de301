"""ogbl-collab's files, written here in OGB's format: links read without unpickling, scored by OGB's Evaluator."""

import gzip

import numpy as np
import pytest
import torch

from graphprune import data


def links(edges, **others):
    edges = np.array(edges, dtype=np.int64).reshape(-1, 2)
    entries = {"edge": edges, "weight": np.ones(len(edges)), "year": np.full(len(edges), 2017)}
    return entries | {key: np.array(value) for key, value in others.items()}


SPLITS = {
    "train": links([[0, 1], [1, 0], [2, 3], [3, 3]], year=[2001, 2002, 2003, 2003]),
    "valid": links([[1, 2]], edge_neg=[[0, 3], [1, 3], [0, 2]], weight=[2.0]),
    "test": links([[0, 4], [4, 1]], edge_neg=[[2, 4], [3, 4]]),
}


def write(folder, *, archive=True, **changes):
    """Five authors; papers of 0 and 1 in two years, of 2 and 3 in one, and a pair of 3 with itself."""
    texts = {
        "raw/num-node-list": "5\n",
        "raw/num-edge-list": "4\n",
        "raw/edge": "0,1\n1,0\n2,3\n3,3\n",
        "raw/edge_weight": "2\n3\n1\n7\n",
        "raw/edge_year": "2001\n2002\n2003\n2003\n",
        "raw/node-feat": "".join(f"0.5,{n}\n" for n in range(5)),
    }
    for name, text in (texts | {name: changes[name] for name in texts if name in changes}).items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_bytes(gzip.compress(text.encode()))
    for name, content in (SPLITS | {name: changes[name] for name in SPLITS if name in changes}).items():
        path = folder / "split" / "time" / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path, _use_new_zipfile_serialization=archive)
    return folder


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "before torch 1.6"])
def test_the_graph_of_training_links_and_the_official_split(tmp_path, archive):
    loaded = data.load_links("ogbl-collab", root=write(tmp_path, archive=archive))
    assert loaded.graph.edge_index.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    assert loaded.graph.edge["edge_weight"].tolist() == [5, 5, 1, 1]
    assert loaded.graph[0].x.tolist() == [[0.5, n] for n in range(5)]
    assert loaded.train.edges.tolist() == [[0, 1], [1, 0], [2, 3], [3, 3]] and loaded.train.negatives.shape == (0, 2)
    assert loaded.train.year.tolist() == [2001, 2002, 2003, 2003]
    assert loaded.val.negatives.tolist() == [[0, 3], [1, 3], [0, 2]] and loaded.val.weight.tolist() == [2]
    assert loaded.test.edges.tolist() == [[0, 4], [4, 1]] and loaded.test.edges.dtype == torch.int64
    assert loaded.metric == "hits@50" and loaded.provenance["split"] == "OGB's time split"


def test_arrays_stored_by_column(tmp_path):
    edges = np.asfortranarray([[1, 2], [0, 4], [3, 1]])
    loaded = data.load_links("ogbl-collab", root=write(tmp_path, train=links(edges)))
    assert loaded.train.edges.tolist() == [[1, 2], [0, 4], [3, 1]]


def test_hits_are_counted_as_ogb_counts(tmp_path):
    loaded = data.load_links("ogbl-collab", root=write(tmp_path))
    generator = torch.Generator().manual_seed(0)
    positive, negative = torch.randn(40, generator=generator), torch.randn(300, generator=generator) - 1
    hits = loaded.evaluate(positive, negative)
    assert hits == pytest.approx(float((positive > negative.sort().values[-50]).float().mean())) and 0 < hits < 1
    assert np.isnan(loaded.evaluate(torch.tensor([1.0, float("nan")]), negative))
    with pytest.raises(ValueError, match=r"ogbl-collab: negative scores have shape \(2, 2\), expected one a link"):
        loaded.evaluate(positive, torch.zeros(2, 2))
    with pytest.raises(ValueError, match="positive scores"):
        loaded.evaluate(torch.zeros(0), negative)


def test_links_are_no_set_for_load(tmp_path):
    with pytest.raises(ValueError, match=r"ogbl-collab has links to predict.*load_links\('ogbl-collab'\)"):
        data.load("ogbl-collab", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"), [("OGBL-collab", "did you mean ogbl-collab"), ("Cora", "there is ogbl-collab")]
)
def test_other_names(tmp_path, name, hint):
    with pytest.raises(ValueError, match=f"unknown link prediction set '{name}': {hint}"):
        data.load_links(name, root=tmp_path)


COMMAND = b"\x80\x02cos\nsystem\nU\2ls\x85R."
FAULTS = {
    "a command": ({"train": COMMAND}, r"train\.pt is (refused: it names os\.system|damaged)"),
    "tensors": (
        {"test": {"edge": torch.ones(2, 2)}},
        r"test\.pt is refused: it names torch\._utils\._rebuild_tensor_v2",
    ),
    "half a file": ({"test": b"PK\3\4"}, r"test\.pt is (damaged|no whole file)"),
    "a list": ({"valid": [1, 2]}, r"valid\.pt: expected a dictionary"),
    "no negatives": ({"valid": links([[1, 2]])}, r"valid\.pt: expected a dictionary with an array .* 'edge_neg'"),
    "no edges": ({"train": {"year": np.ones(3)}}, r"train\.pt: expected a dictionary with an array .* 'edge'"),
    "no array": ({"train": links([]) | {"year": [1]}}, r"train\.pt: expected a dictionary with an array .* 'year'"),
    "node outside": ({"train": links([[0, 5]])}, r"train\.pt: edge has something else than the nodes 0 to 4"),
    "negative node": (
        {"test": SPLITS["test"] | {"edge_neg": -np.eye(2, dtype=int)}},
        r"test\.pt: edge_neg has something",
    ),
    "fractions": ({"train": links([]) | {"edge": np.ones((4, 2))}}, r"train\.pt: edge has something else"),
    "three columns": ({"train": links([]) | {"edge": np.ones((4, 3), int)}}, r"train\.pt: edge has shape \(4, 3\)"),
    "few years": (
        {"train": SPLITS["train"] | {"year": np.ones(2)}},
        r"train\.pt: year has shape \(2,\), expected \(4,\)",
    ),
    "NaN": ({"valid": SPLITS["valid"] | {"weight": np.array([np.nan])}}, r"valid\.pt: .* finite numbers 'weight'"),
    "raw edge outside": ({"raw/edge": "0,1\n1,5\n2,3\n3,3\n"}, r"edge\.csv\.gz line 2: edge \[1, 5\] points outside"),
    "few weights": ({"raw/edge_weight": "2\n"}, r"edge_weight\.csv\.gz has 1 lines, but .* make it 4"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_files_are_named(tmp_path, fault):
    changes, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        data.load_links("ogbl-collab", root=write(tmp_path, **changes))


@pytest.mark.parametrize("name", ["raw/edge_weight", "raw/node-feat", "valid"])
def test_missing_files_are_named(tmp_path, name):
    write(tmp_path, **{name: None})
    with pytest.raises(FileNotFoundError, match=f"{name.rsplit('/')[-1]}.* is missing"):
        data.load_links("ogbl-collab", root=tmp_path)


def test_nothing_of_a_split_file_is_run(tmp_path):
    class Owned:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    write(tmp_path, train={"edge": Owned()})
    with pytest.raises(ValueError, match=r"train\.pt is refused: it names (__builtin__|builtins)\.exec"):
        data.load_links("ogbl-collab", root=tmp_path)
    assert not (tmp_path / "owned").exists()
