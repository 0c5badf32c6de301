"""Many arcs are counted where few are sorted: the same order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

import graphprune as gp
from graphprune.graphs import sums
from graphprune.graphs.sums import SortedArcs

NAMES = ("source", "target", "ptr", "order")


def both(edge_index: torch.Tensor, nodes: int) -> tuple[SortedArcs, SortedArcs]:
    made = []
    with pytest.MonkeyPatch.context() as patch:
        for many in (0, edge_index.size(1) + 1):
            patch.setattr(sums, "_MANY", many)
            arcs = SortedArcs.of(edge_index, nodes)
            arcs.transposed  # noqa: B018  # which is made now
            made.append(arcs)
    return made[0], made[1]


def check(edge_index: torch.Tensor, nodes: int) -> None:
    counted, ordered = both(edge_index, nodes)
    for name in NAMES:
        one, other = getattr(counted, name), getattr(ordered, name)
        assert one.dtype == other.dtype == torch.int64
        assert torch.equal(one, other), name
    for one, other in zip(counted.transposed, ordered.transposed, strict=True):
        assert one.dtype == other.dtype == torch.int64
        assert torch.equal(one, other)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=60))
def test_counted_and_sorted_arcs_are_in_one_order(nodes: int, arcs: list[tuple[int, int]]) -> None:
    index = torch.tensor(arcs, dtype=torch.int64).reshape(-1, 2).T % nodes
    before = index.clone()
    check(index.contiguous(), nodes)
    check(index, nodes)  # with strides
    assert torch.equal(index, before)


@pytest.mark.parametrize("wrong", [-5, 2_000, 10_000_000])
@pytest.mark.parametrize("end", [0, 1])
def test_nodes_that_are_none_are_torchs_to_refuse(wrong: int, end: int) -> None:
    index = torch.randint(0, 2_000, (2, 8_000), generator=torch.Generator().manual_seed(0))
    index[end, 5] = wrong
    network = gp.models.GCN(3, 2, hidden=4, layers=2).eval()
    with pytest.raises((RuntimeError, IndexError)):
        network(Batch.from_data_list([Data(x=torch.randn(2_000, 3), edge_index=index)]))


def test_large_batches_with_ties_and_nodes_without_arcs() -> None:
    generator = torch.Generator().manual_seed(0)
    check(torch.randint(0, 50, (2, 20_000), generator=generator), 5_000)
    with torch.inference_mode():
        check(torch.randint(0, 5_000, (2, 6_000), generator=generator), 5_000)
