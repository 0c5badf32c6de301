from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from graphprune.graphs import EdgeMask, PackedGraphs, PrunedDataset, drop_arcs, edges
from tests.graphs.samples import random_graph, to_index


def masked(count=5, seed=0):
    graphs = [random_graph(i, nodes=1 + i, edges=3 * i, loops=True) for i in range(count)]
    packed = PackedGraphs.of(graphs)
    keep = torch.rand(packed.num_edges, generator=torch.Generator().manual_seed(seed)) < 0.6
    return graphs, packed, EdgeMask(keep, packed.edge_ptr)


def test_a_mask_counts():
    mask = EdgeMask(torch.tensor([True, False, True, True]), torch.tensor([0, 0, 3, 4]))
    assert (len(mask), mask.kept, mask.total, mask.density) == (3, 3, 4, 0.75)
    assert [mask.graph(i).tolist() for i in range(3)] == [[], [True, False, True], [True]]


def test_no_arcs_are_all_kept():
    assert EdgeMask.full(torch.tensor([0, 0])).density == 1


@pytest.mark.parametrize(
    ("keep", "ptr", "message"),
    [
        (torch.ones(2), [0, 2], "flat bool"),
        (torch.ones(2, 1, dtype=torch.bool), [0, 2], "flat bool"),
        (torch.ones(2, dtype=torch.bool), [0, 3], "from 0 to 2"),
        (torch.ones(2, dtype=torch.bool), [1, 2], "from 0 to 2"),
        (torch.ones(2, dtype=torch.bool), [0, 3, 2], "rise from 0 to 2"),
        (torch.ones(2, dtype=torch.bool), [], "from 0 to 2"),
    ],
)
def test_masks_that_contradict_themselves(keep, ptr, message):
    with pytest.raises(ValueError, match=message):
        EdgeMask(keep, torch.tensor(ptr, dtype=torch.int64))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", ["mask", "mask.npy", "edges.train", "edges.val"])
def test_what_is_saved_is_loaded(tmp_path, monkeypatch, large, name):
    monkeypatch.setattr(edges, "LARGE", 1 if large else 1 << 28)
    _, _, mask = masked()
    mask.save(tmp_path / name)
    EdgeMask(~mask.keep, mask.ptr).save(tmp_path / "edges")  # a neighbour of a similar name
    again = EdgeMask.load(tmp_path / name)
    assert torch.equal(again.keep, mask.keep)
    assert torch.equal(again.ptr, mask.ptr)
    assert len(list(tmp_path.iterdir())) == 4
    again.keep[0] = ~again.keep[0]  # what was loaded may be changed, and the file does not
    assert torch.equal(EdgeMask.load(tmp_path / name).keep, mask.keep)


def test_a_large_mask_is_mapped_from_a_file_that_is_gone(monkeypatch, tmp_path):
    monkeypatch.setattr(edges, "LARGE", 1000)
    monkeypatch.setattr(edges.tempfile, "tempdir", str(tmp_path))
    mask = EdgeMask.full(torch.tensor([0, 400, 1000]))
    assert list(tmp_path.iterdir()) == []
    assert mask.kept == 1000
    mask.keep[::2] = False
    assert mask.graph(0).sum() == 200
    if Path("/proc/self/maps").exists():
        assert str(tmp_path) in Path("/proc/self/maps").read_text()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        EdgeMask.load(tmp_path / "nothing")


def write(file, array):
    with file.open("wb") as out:
        np.save(out, array)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "objects", "swapped"])
def test_a_broken_file_is_named(tmp_path, damage):
    file = tmp_path / "edges"
    _, _, mask = masked()
    mask.save(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other":
        write(file, np.ones(3))
    elif damage == "objects":
        write(file, np.array([{}], dtype=object))
    else:
        EdgeMask.full(torch.tensor([0, 2])).save(tmp_path / "small")
        (tmp_path / "small.ptr").rename(tmp_path / "edges.ptr")
    with pytest.raises(ValueError, match=r"edges.* hold no edge mask"):
        EdgeMask.load(file)


@given(st.integers(0, 999))
def test_a_pruned_data_set_is_the_packed_one_without_the_arcs(seed):
    graphs, packed, mask = masked(seed=seed)
    for dataset in (graphs, packed):
        pruned = PrunedDataset(dataset, mask)
        assert len(pruned) == 5
        assert PackedGraphs.of(pruned).digest() == packed.keep_edges(mask.keep).digest()
    assert PackedGraphs.of(graphs).digest() == packed.digest()


def test_loaders_read_a_pruned_data_set():
    graphs, packed, mask = masked()
    [batch] = DataLoader(PrunedDataset(graphs, mask), batch_size=5)
    expected = packed.keep_edges(mask.keep).batch(range(5))
    assert torch.equal(batch.edge_index, expected.edge_index)
    assert torch.equal(batch.edge_attr, expected.edge_attr)


def test_a_pruned_data_set_is_indexed_like_a_list():
    graphs, _, mask = masked()
    pruned = PrunedDataset(graphs, mask)
    assert torch.equal(pruned[-1].edge_index, pruned[4].edge_index)
    assert len(list(pruned)) == 5
    with pytest.raises(IndexError, match="graph 5 of 5"):
        pruned[5]


def test_masks_of_another_data_set_are_refused():
    graphs, _, mask = masked()
    with pytest.raises(ValueError, match="4 graphs, the mask 5"):
        PrunedDataset(graphs[:4], mask)
    pruned = PrunedDataset([*graphs[:3], graphs[0], graphs[4]], mask)
    with pytest.raises(ValueError, match="graph 3 has"):
        pruned[3]


def test_arcs_are_dropped_from_a_batch_as_from_its_graphs():
    graphs, packed, mask = masked()
    batch = Batch.from_data_list(graphs)
    less = drop_arcs(batch, mask.keep)
    for ours, theirs in zip(less.to_data_list(), packed.keep_edges(mask.keep), strict=True):
        assert torch.equal(ours.edge_index, theirs.edge_index)
        assert torch.equal(ours.edge_attr, theirs.edge_attr)
        assert torch.equal(ours.x, theirs.x)
    assert batch.num_edges == packed.num_edges
    assert [graph.num_edges for graph in batch.to_data_list()] == [graph.num_edges for graph in graphs]


def test_only_edge_attributes_are_sliced():
    ring = Data(
        edge_index=to_index([(0, 1), (1, 0)]),
        x=torch.tensor([[1.0], [2.0]]),
        keep=torch.tensor([7, 8]),
        edge_keep=torch.tensor([7, 8]),
        edge_label_index=torch.tensor([[0, 1, 1], [1, 0, 1]]),
        edge_note="single",
    )
    less = drop_arcs(ring, torch.tensor([False, True]))
    assert less.edge_index.tolist() == [[1], [0]]
    assert less.keep.tolist() == [7, 8]
    assert less.edge_keep.tolist() == [8]
    assert less.x.tolist() == [[1], [2]]
    assert less.edge_label_index.shape == (2, 3)
    assert less.edge_note == "single"
    assert ring.edge_index.shape == (2, 2)
