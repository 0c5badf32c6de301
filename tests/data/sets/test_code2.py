"""ogbg-code2 in OGB's format: features, arcs and words of OGB's baseline, its evaluator, and a network that learns."""

import gzip
import json
from collections import Counter
from itertools import pairwise

import pytest
import torch

import graphprune as gp
from graphprune import data
from graphprune.data import open_stored, store
from graphprune.data.evaluation import predict
from graphprune.graphs import PackedGraphs
from graphprune.sealed import seal

NAMES = ["get", "set", "read", "write", "line", "name", "all"]
TRAIN, VAL, TEST = range(40), range(40, 50), range(50, 60)


def trees():
    """Sixty trees as plain lists: parents, types, attributes, depths, which nodes are tokens, the name's words."""
    draw = torch.Generator().manual_seed(0)

    def number(limit):
        return int(torch.randint(limit, (), generator=draw))

    found = []
    for count in range(60):
        size = [1, 2, 30][count] if count < 3 else 4 + number(8)
        parents = [node - 1 if size == 30 else number(node) for node in range(1, size)]
        depth = [0]
        for parent in parents:
            depth.append(depth[parent] + 1)
        kind = count % len(NAMES)
        types = [kind if node == 0 else 7 + number(91) for node in range(size)]
        words = [NAMES[kind], *(NAMES[kind + 1 : kind + 1 + number(3)])]
        if count in (5, 55):
            words = [f"rare{count}", "r", "get", "line", "name", "all", "beyond"]
        found.append(
            (parents, types, [number(10030) for _ in range(size)], depth, [number(2) for _ in range(size)], words)
        )
    return found


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    return write(tmp_path_factory.mktemp("code"))


def write(folder, **changes):
    made = trees()
    files = {
        "raw/num-node-list": [len(types) for _, types, *_ in made],
        "raw/num-edge-list": [len(parents) for parents, *_ in made],
        "raw/edge": [f"{u},{v}" for parents, *_ in made for v, u in enumerate(parents, start=1)],
        "raw/node-feat": [
            f"{a},{b}" for _, types, attributes, *_ in made for a, b in zip(types, attributes, strict=True)
        ],
        "raw/node_depth": [row for *_, depth, _, _ in made for row in depth],
        "raw/node_is_attributed": [row for *_, tokens, _ in made for row in tokens],
        "raw/node_dfs_order": [row for _, types, *_ in made for row in range(len(types))],
        "raw/graph-label": [" ".join(words) for *_, words in made],
        "split/project/train": TRAIN,
        "split/project/valid": VAL,
        "split/project/test": TEST,
    }
    for name, lines in (files | {key.replace("__", "/"): rows for key, rows in changes.items()}).items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return folder


def baseline_arcs(parents, tokens):
    """What OGB's augment_edge does to one graph: arcs with their two columns."""
    tree = [(u, v) for v, u in enumerate(parents, start=1)]
    marked = [node for node, token in enumerate(tokens) if token]
    following = list(pairwise(marked))
    rows = []
    for kind, arcs in ((0, tree), (1, following)):
        rows += [((u, v), (kind, 0)) for u, v in arcs] + [((v, u), (kind, 1)) for u, v in arcs]
    return rows


def test_graphs_are_those_of_ogbs_baseline(code):
    loaded, made = data.load("ogbg-code2", root=code), trees()
    assert (loaded.features, loaded.edge_features, loaded.task) == ([98, 10030, 21], [2, 2], "sequence")
    assert (loaded.metric, loaded.ogb_name, loaded.num_tasks) == ("subtoken-f1", "ogbg-code2", 5)
    for part, numbers in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        graphs = loaded.splits[part]
        assert len(graphs) == len(numbers)
        for graph, number in zip(graphs, numbers, strict=True):
            parents, types, attributes, depth, tokens, _ = made[number]
            expected = [[a, b, min(c, 20)] for a, b, c in zip(types, attributes, depth, strict=True)]
            assert graph.x.tolist() == expected and graph.x.dtype == torch.int64
            arcs = zip(map(tuple, graph.edge_index.t().tolist()), map(tuple, graph.edge_attr.tolist()), strict=True)
            assert list(arcs) == baseline_arcs(parents, tokens)
    assert max(row for _, _, _, depth, *_ in made for row in depth) == 29  # so that one is capped


def test_the_vocabulary_is_of_the_training_graphs_and_ranked(code):
    loaded, made = data.load("ogbg-code2", root=code), trees()
    counts = Counter(word for number in TRAIN for word in made[number][-1])
    first = list(counts)
    assert list(loaded.vocabulary) == sorted(counts, key=lambda word: (-counts[word], first.index(word)))
    assert loaded.num_classes == len(counts) + 2 and loaded.num_outputs == 5 * loaded.num_classes
    known, unknown, end = list(loaded.vocabulary), len(counts), len(counts) + 1
    for part, numbers in (("train", TRAIN), ("test", TEST)):
        for row, number in zip(loaded.splits[part].graph["y"].tolist(), numbers, strict=True):
            words = made[number][-1][:5]
            found = [known.index(word) if word in known else unknown for word in words]
            assert row == found + [end] * (5 - len(words))


def test_the_metric_is_ogbs_on_words(code):
    from ogb.graphproppred import Evaluator

    loaded, made = data.load("ogbg-code2", root=code), trees()
    out = torch.randn(len(TEST), loaded.num_outputs, generator=torch.Generator().manual_seed(1))
    own = loaded.test.graph["y"]
    out.view(len(TEST), 5, -1)[:6].scatter_add_(2, own[:6, :, None], torch.full((6, 5, 1), 9.0))  # some right ones
    said = []
    for row in out.view(len(TEST), 5, -1).argmax(2).tolist():
        words = [(*loaded.vocabulary, "__UNK__", "__EOS__")[number] for number in row]
        said.append(words[: words.index("__EOS__")] if "__EOS__" in words else words)
    expected = Evaluator("ogbg-code2").eval({"seq_ref": [made[n][-1] for n in TEST], "seq_pred": said})["F1"]
    assert 0.3 < expected < 1
    assert loaded.evaluate(loaded.labels(loaded.test), out) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"the references are targets \(y\)"):
        loaded.evaluate(loaded.test.graph["y"], out)


@pytest.mark.parametrize("method", ["icpg", "gicp", "pg-explainer"])
def test_a_small_network_learns_the_names_and_is_pruned(code, method, tmp_path):
    loaded = data.load("ogbg-code2", root=code)
    torch.manual_seed(0)
    model = gp.models.GIN.for_data(loaded, hidden=16, layers=1, readout="sum")
    predictor = gp.EdgePredictor.for_data(loaded, hidden=8, layers=1, edges=True)
    made = {
        "icpg": lambda: gp.ICPG(predictor=predictor, rounds=1, edge_rate=0.3, weight_rate=0.1),
        "gicp": lambda: gp.GICP(predictor=predictor, densities=(0.7,), stop=3),
        "pg-explainer": lambda: gp.methods.METHODS["pg-explainer"](predictor=predictor, rounds=1, edge_rate=0.3),
    }[method]()
    *_, ticket = made.rounds(model, loaded, gp.train.Fit(epochs=30, lr=0.02, batch_size=8))
    built = ticket.build(model)
    pruned = ticket.prune(loaded.train)
    assert loaded.evaluate(loaded.labels(pruned), predict(built, pruned)) > 0.5
    assert ticket.row["val_metric"] > 0.1
    ticket.save(tmp_path / "ticket")
    again = gp.Ticket.load(tmp_path / "ticket")
    graph = loaded.test[2]
    assert torch.equal(again.prune_graph(graph).edge_index, ticket.prune(loaded.test)[2].edge_index)


def test_it_is_stored_and_comes_back(code, tmp_path):
    loaded = data.load("ogbg-code2", root=code)
    store(loaded, tmp_path / "set")
    again = open_stored(tmp_path / "set")
    assert again.digest() == loaded.digest() and list(again.vocabulary) == list(loaded.vocabulary)
    assert torch.equal(again.labels(again.test), loaded.labels(loaded.test))
    document = tmp_path / "set" / "stored.json"
    described = json.loads(document.read_text())
    described["data"]["vocabulary"] = ["get"]
    document.write_text(json.dumps(seal(described)))
    with pytest.raises(ValueError, match="two classes more than its vocabulary"):
        open_stored(tmp_path / "set")
    described["data"]["vocabulary"] = [1]
    document.write_text(json.dumps(seal(described)))
    with pytest.raises(ValueError, match=r"does not describe a stored set: .*vocabulary is"):
        open_stored(tmp_path / "set")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw__node-feat": ["98,0"] * 2}, "node-feat.csv.gz has 2 lines"),
        ({"raw__node_depth": [0, 1]}, "node_depth.csv.gz has 2 lines"),
        ({"raw__graph-label": ["get"] * 59}, "graph-label.csv.gz has 59 lines"),
        ({"raw__graph-label": ["get"] * 3 + [" "] + ["set"] * 56}, "graph-label.csv.gz line 4: the label is missing"),
        ({"split__project__test": [*range(50, 59), 3]}, "test.csv.gz line 10: graph 3 is in the train split already"),
    ],
)
def test_bad_files_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        data.load("ogbg-code2", root=write(tmp_path, **changes))


def test_values_out_of_their_range_are_named(tmp_path):
    made = trees()
    nodes = sum(len(types) for _, types, *_ in made)
    rows = ["0,0"] * nodes
    with pytest.raises(ValueError, match=r"node-feat.csv.gz line 5: .*outside its categories"):
        data.load("ogbg-code2", root=write(tmp_path, **{"raw__node-feat": [*rows[:4], "98,0", *rows[5:]]}))
    with pytest.raises(ValueError, match=r"node_depth.csv.gz line 2: node_depth is negative"):
        data.load("ogbg-code2", root=write(tmp_path, raw__node_depth=[0, -1, *range(nodes - 2)]))
    edges = [f"{u},{v}" for parents, *_ in made for v, u in enumerate(parents, start=1)]
    with pytest.raises(ValueError, match="points outside its 2 nodes"):
        data.load("ogbg-code2", root=write(tmp_path, raw__edge=["0,2", *edges[1:]], raw__node_depth=[0] * nodes))


def test_of_any_graphs_the_packed_arcs_are_those_of_each_alone(code):
    loaded = data.load("ogbg-code2", root=code)
    whole = PackedGraphs.of([*loaded.train, *loaded.val, *loaded.test])
    assert whole.num_edges == sum(len(baseline_arcs(parents, tokens)) for parents, *_, tokens, _ in trees())
