"""The embedded sets: their counts, their layout and, for the planted motifs, that nothing but the motif tells."""

import hashlib
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from graphprune import data

ROOT = Path(__file__).parents[3]

# name: graphs, nodes, arcs, positive labels (None: no classes), train/val/test
COUNTS = {
    "ogbg-molhiv": (41127, 1049163, 2259376, 1443, (32901, 4113, 4113)),
    "ogbg-molbace": (1513, 51577, 111536, 691, (1210, 151, 152)),
    "ogbg-molbbbp": (2039, 49068, 105842, 1560, (1631, 204, 204)),
    "ogbg-molesol": (1128, 14991, 30856, None, (902, 113, 113)),
    "ogbg-molfreesolv": (642, 5600, 10770, None, (513, 64, 65)),
    "ogbg-mollipo": (4200, 113568, 247798, None, (3360, 420, 420)),
    "ogbg-molsider": (1427, 48006, 100912, 21868, (1141, 143, 143)),
    "ogbg-moltox21": (7831, 145459, 302190, 5862, (6264, 783, 784)),
    "MUTAG": (188, 3371, 7442, 125, (152, 17, 19)),
    "planted-motif": (1500, 37731, 84462, 500, (1200, 150, 150)),
}
# OGB's published averages: nodes and bonds a graph.
OGB_AVERAGES = {
    "ogbg-molhiv": (25.5, 27.5),
    "ogbg-molbace": (34.1, 36.9),
    "ogbg-molbbbp": (24.1, 26.0),
    "ogbg-molesol": (13.3, 13.7),
    "ogbg-molfreesolv": (8.7, 8.4),
    "ogbg-mollipo": (27.0, 29.5),
    "ogbg-molsider": (33.6, 35.4),
    "ogbg-moltox21": (18.6, 19.3),
}
# Those of many labels a molecule: how many, and how many labels are missing.
MULTI_LABEL = {"ogbg-molsider": (27, 0), "ogbg-moltox21": (12, 16026)}

# Of the bytes 0, 1, 2 (train, val, test) of the scaffold splits that were computed apart from these files: the first 16
# digits of the SHA-256.
SPLITS = {
    "ogbg-molbace": "5891fc940c887988",
    "ogbg-molesol": "19e9d47a3183b956",
    "ogbg-molfreesolv": "ed1818437be017be",
    "ogbg-mollipo": "c32c2e6408937c53",
    "ogbg-molsider": "24f2dfc593871820",
    "ogbg-moltox21": "2a77379e5f748156",
}


@pytest.fixture(scope="module", params=COUNTS)
def loaded(request):
    return data.load(request.param)


def test_counts(loaded):
    graphs, nodes, arcs, positives, sizes = COUNTS[loaded.name]
    splits = loaded.splits.values()
    assert tuple(map(len, splits)) == sizes and sum(sizes) == graphs
    assert sum(part.num_nodes for part in splits) == nodes
    assert sum(part.num_edges for part in splits) == arcs
    if positives is not None:
        assert sum(int((part.graph["y"] == 1).sum()) for part in splits) == positives
    if loaded.name in OGB_AVERAGES:
        assert (round(nodes / graphs, 1), round(arcs / 2 / graphs, 1)) == OGB_AVERAGES[loaded.name]


def test_every_embedded_set_is_counted_and_described():
    assert set(data.names()) == set(COUNTS)
    for card in data.cards():
        assert all((card.about, card.source, card.licence, card.split))


def test_arcs_come_in_pairs(loaded):
    for part in loaded.splits.values():
        graph = torch.repeat_interleave(torch.arange(len(part)), part.edge_count)
        source, target = part.edge_index
        arcs, back = ((graph * 1000 + u) * 1000 + v for u, v in ((source, target), (target, source)))
        assert torch.equal(arcs.sort().values, back.sort().values)
        assert len(arcs.unique()) == len(arcs)
        assert not bool((part.edge_index[0] == part.edge_index[1]).any())
        if loaded.name != "MUTAG":
            assert torch.equal(part.edge_index[:, 0::2], part.edge_index[:, 1::2].flip(0))


def test_features_and_labels_have_the_promised_types(loaded):
    graph = loaded.train[0]
    assert graph.x.shape == (graph.num_nodes, loaded.num_features)
    if loaded.name.startswith("ogbg-"):
        assert graph.x.dtype == graph.edge_attr.dtype == torch.int64
        tasks, gaps = MULTI_LABEL.get(loaded.name, (1, 0))
        assert graph.y.shape == (1, tasks) and graph.y.dtype == torch.float32
        assert loaded.features == loaded.edge_features == "ogb-mol" and loaded.num_outputs == tasks
        assert sum(int(part.graph["y"].isnan().sum()) for part in loaded.splits.values()) == gaps
        assert graph.edge_attr.shape == (graph.num_edges, 3)
    else:
        assert graph.x.dtype == torch.float32
        assert graph.y.shape == (1,) and graph.y.dtype == torch.int64
        assert loaded.num_outputs == loaded.num_classes
        assert loaded.edge_features is None
    assert loaded.encoder(4)(graph.x).shape == (graph.num_nodes, 4)


@pytest.mark.parametrize("name", sorted(OGB_AVERAGES))
def test_the_metric_is_that_of_ogbs_evaluator(name):
    from ogb.graphproppred import Evaluator

    loaded, official = data.load(name), Evaluator(name)
    y = loaded.labels(loaded.test)
    out = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    assert (loaded.num_tasks, loaded.metric) == (official.num_tasks, official.eval_metric)
    assert loaded.evaluate(y, out) == official.eval({"y_true": y.numpy(), "y_pred": out.numpy()})[loaded.metric]


@pytest.mark.parametrize("name", SPLITS)
def test_the_split_is_the_scaffold_split(name):
    with np.load(ROOT / "datasets" / f"{name}.npz") as file:
        assert hashlib.sha256(file["split"].tobytes()).hexdigest()[:16] == SPLITS[name]


def test_molecules_of_more_than_256_atoms_keep_their_bonds():
    # Node numbers of the peptides of SIDER need more than a byte.
    loaded = data.load("ogbg-molsider")
    assert max(int(part.node_count.max()) for part in loaded.splits.values()) == 492


def test_the_one_molecule_without_bonds_is_kept_and_counted():
    assert data.load("ogbg-molesol").empty["train"] == {"no_nodes": 0, "no_edges": 1}


def test_digest_is_of_the_content(loaded):
    assert loaded.digest() == data.load(loaded.name).digest()
    swapped = loaded.with_splits(train=loaded.val, val=loaded.train)
    assert swapped.digest() != loaded.digest()
    assert swapped.train is loaded.val and swapped.test is loaded.test


# ---------------------------------------------------------------------------- planted motifs

MOTIFS = {
    0: nx.house_graph(),
    1: nx.Graph([(0, 1), (1, 2), (0, 2), (0, 3), (3, 4), (0, 4)]),
    2: nx.complete_bipartite_graph(2, 3),
}


@pytest.fixture(scope="module")
def motifs():
    return data.load("planted-motif")


def test_true_edges_are_the_motif_of_the_class(motifs):
    for graph in [*motifs.val, *motifs.test]:
        assert graph.edge_truth.dtype == torch.bool
        true = nx.Graph(graph.edge_index[:, graph.edge_truth].T.tolist())
        assert nx.is_isomorphic(true, MOTIFS[int(graph.y)])
        whole = nx.Graph(graph.edge_index.T.tolist())
        assert nx.is_connected(whole)
        # The motif's nodes have no other edges among them, and one bridge leads to the base.
        assert whole.subgraph(true).number_of_edges() == true.number_of_edges()
        assert len(list(nx.edge_boundary(whole, true))) == 1


def test_classes_are_balanced_and_equally_large(motifs):
    for part in motifs.splits.values():
        sizes = {}
        for kind in range(3):
            mine = part.graph["y"] == kind
            sizes[kind] = torch.stack([part.node_count[mine], part.edge_count[mine]])
        # One graph of each class on every base.
        assert sizes[0].size(1) == len(part) // 3
        assert torch.equal(sizes[0], sizes[1]) and torch.equal(sizes[0], sizes[2])


def test_features_and_positions_do_not_tell_the_class(motifs):
    assert bool((motifs.train.node["x"][:, 0] == 1).all())
    assert torch.equal(motifs.recompute_degrees(motifs.train).node["x"], motifs.train.node["x"])
    position = torch.cat([torch.linspace(0, 1, graph.num_edges)[graph.edge_truth] for graph in motifs.train])
    assert abs(float(position.mean()) - 0.5) < 0.02


def test_the_committed_file_is_what_the_script_builds(tmp_path):
    script = ROOT / "datasets" / "scripts" / "build_planted_motif.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True, capture_output=True)
    built, kept = (np.load(folder / "planted-motif.npz") for folder in (tmp_path, ROOT / "datasets"))
    assert built.files == kept.files
    assert all(np.array_equal(built[name], kept[name]) for name in kept.files)
