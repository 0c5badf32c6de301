"""Graphs in files: the same bits as graphs in memory, and what does not fit is said."""

import errno
import resource
from io import BytesIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from graphprune import EdgePredictor
from graphprune.graphs import EdgeRound, EdgeRule, PackedGraphs, PruneEdges, packed, stored
from graphprune.graphs.stored import StoredGraphs, mapped, room, write
from tests.graphs.samples import random_graph, shake, to_index

DTYPES = (torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float32)


@pytest.fixture
def in_files(monkeypatch):
    """Everything that pruning leaves goes to files, in steps of a few arcs."""
    monkeypatch.setattr(stored, "LARGE", 0)
    monkeypatch.setattr(packed, "STEP", 3)


def same_graphs(folder, graphs):
    return StoredGraphs(folder, **graphs._fields())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (0,), (0, 3), (2, 3, 4)])
def test_a_tensor_comes_back_from_its_file(tmp_path, dtype, shape):
    values = (torch.randn(shape) * 10).to(dtype)
    with open(tmp_path / "values", "w+b") as file:
        write(file, [values[:1], values[1:]])
        file.flush()
        back = mapped(file, dtype, shape)
    assert back.dtype == dtype and back.shape == values.shape and torch.equal(back, values)


def test_bytes_are_little_endian_and_row_major():
    file = BytesIO()
    write(file, [torch.tensor([[1, 2], [3, 256]], dtype=torch.int16).t()])
    assert file.getvalue() == bytes([1, 0, 3, 0, 2, 0, 0, 1])


def test_another_byte_order_is_refused(monkeypatch):
    monkeypatch.setattr("sys.byteorder", "big")
    with pytest.raises(ValueError, match="little-endian"):
        write(BytesIO(), [torch.ones(1)])


def test_changes_in_place_never_reach_the_file(tmp_path):
    path = tmp_path / "values"
    path.write_bytes(bytes(8))
    with path.open("rb") as file:
        values = mapped(file, torch.int32, (2,))
    values += 1
    assert values.tolist() == [1, 1] and path.read_bytes() == bytes(8)


def test_more_than_any_memory_is_mapped(tmp_path):
    size = 1 << 40
    with open(tmp_path / "sparse", "w+b") as file:
        file.truncate(size)
        file.seek(size - 8)
        file.write(b"12345678")
        file.flush()
        values = mapped(file, torch.uint8, (size,))
        assert bytes(values[-9:].tolist()) == b"\x0012345678"


@given(st.integers(0, 10_000), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_steps_change_nothing(seed, step):
    rng = torch.Generator().manual_seed(seed)
    sizes = torch.randint(0, 7, (5,), generator=rng).tolist()
    graphs = PackedGraphs.of(
        [random_graph(seed + i, nodes=4, edges=size) if size else empty(seed) for i, size in enumerate(sizes)]
    )
    keep = torch.rand(graphs.num_edges, generator=rng) < 0.6
    whole = graphs.keep_edges(keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "STEP", step)
        assert PackedGraphs(**graphs._fields()).keep_edges(keep).digest() == whole.digest()


def empty(seed):
    return Data(
        x=torch.zeros(seed % 3, 4), edge_index=to_index([]), edge_attr=torch.zeros(0, 3), y=torch.tensor([seed % 2])
    )


@pytest.mark.parametrize("bad", [0, 4, 8])
def test_an_arc_outside_its_graph_is_found_in_any_step(monkeypatch, bad):
    monkeypatch.setattr(packed, "STEP", 2)
    index = torch.zeros(2, 9, dtype=torch.int64)
    index[1, bad] = 2
    number = bad // 3
    with pytest.raises(ValueError, match=rf"graph {number}: edge_index \[0, 2\] points outside its 2 nodes"):
        PackedGraphs(torch.tensor([2, 2, 2]), torch.tensor([3, 3, 3]), index)


def test_pruned_again_and_again_as_in_memory(tmp_path, in_files):
    graphs = PackedGraphs.of([random_graph(seed, edges=3 + seed, loops=True) for seed in range(9)])
    mine, theirs, rng = same_graphs(tmp_path, graphs), graphs, torch.Generator().manual_seed(0)
    for _ in range(4):
        keep = torch.rand(mine.num_edges, generator=rng) < 0.7
        mine, theirs = mine.keep_edges(keep), theirs.keep_edges(keep)
        assert isinstance(mine, StoredGraphs) and mine.digest() == theirs.digest()
    nothing = mine.keep_edges(torch.zeros(mine.num_edges, dtype=torch.bool))
    assert nothing.num_edges == 0 and nothing[3].edge_attr.shape == (0, 3)
    assert list(tmp_path.iterdir()) == [], "the files have no names"


def test_small_remainders_stay_in_memory(tmp_path):
    graphs = same_graphs(tmp_path / "does-not-exist", PackedGraphs.of([random_graph(0)]))
    assert graphs.keep_edges(torch.ones(graphs.num_edges, dtype=torch.bool)).digest() == graphs.digest()


@pytest.mark.parametrize("budget", ["graph", "global"])
@pytest.mark.parametrize("scoring", ["eval", "batch"])
def test_scores_decide_as_in_memory(tmp_path, in_files, budget, scoring):
    graphs = PackedGraphs.of([random_graph(seed, edges=12) for seed in range(20)])
    scorer = shake(EdgePredictor(4, hidden=8))
    rule = EdgeRule(budget=budget, scoring=scoring)
    stages = [EdgeRound(scorer, 0.3, 0.7, threshold=0.1), EdgeRound(scorer, 0.3, 0.49, threshold=0.2)]
    prune = PruneEdges(stages, rule)
    assert prune.prune(same_graphs(tmp_path, graphs)).digest() == prune.prune(graphs).digest()


def test_a_scratch_folder_that_cannot_be_used_is_named(tmp_path, in_files):
    gone = tmp_path / "gone"
    graphs = same_graphs(gone, PackedGraphs.of([random_graph(0)]))
    with pytest.raises(ValueError, match=f"cannot write to {gone}: No such file or directory; open the set with ano"):
        graphs.keep_edges(torch.ones(graphs.num_edges, dtype=torch.bool))


def test_no_room_for_what_pruning_leaves(tmp_path, in_files):
    graphs = same_graphs(tmp_path, PackedGraphs.of([random_graph(seed, edges=40) for seed in range(20)]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # a file that may not grow further fails as on a disk
    try:
        with pytest.raises(ValueError, match=f"cannot write to {tmp_path}: no space left; open the set with another"):
            graphs.keep_edges(torch.ones(graphs.num_edges, dtype=torch.bool))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so(tmp_path, code):
    with pytest.raises(ValueError, match="no space left; try again"), room(tmp_path, "try again"):
        raise OSError(code, "whatever the system says")
