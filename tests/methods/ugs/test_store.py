"""The flat store of edge masks against torch's own Adam, one dense parameter a graph."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from graphprune.graphs import PackedGraphs, edge_units, number_units
from graphprune.methods.ugs.store import EdgeStore
from tests.methods.graphs import random_graph

L1, LR, DECAY = 0.05, 0.02, 0.01


def pull(gates: Tensor, target: Tensor) -> Tensor:
    """A loss with a gradient of its own for every gate."""
    return ((gates - target) ** 2).sum() + (gates * target.sin()).sum()


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    visits=st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=12),
    seed=st.integers(0, 999),
)
def test_lazy_steps_are_those_of_a_dense_adam_for_each_graph(
    sizes: list[int], visits: list[set[int]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = 1 + 0.1 * torch.rand(sum(sizes), generator=generator)
    store = EdgeStore(start, L1)
    dense = [torch.nn.Parameter(part.clone()) for part in start.split(sizes)]
    optimizers = [torch.optim.Adam([part], lr=LR, weight_decay=DECAY) for part in dense]
    numbers = torch.arange(sum(sizes)).split(sizes)
    for step, visit in enumerate(visits):
        present = sorted(visit & set(range(len(sizes))))
        if not present:
            continue
        target = torch.randn(sum(sizes), generator=generator)
        batch = torch.cat([numbers[graph] for graph in present])
        pull(store(batch), target[batch]).backward()
        store.step(LR, DECAY)
        for graph in present:
            optimizers[graph].zero_grad()
            loss = pull(dense[graph].abs(), target[numbers[graph]]) + L1 * dense[graph].abs().sum()
            loss.backward()
            optimizers[graph].step()
        torch.testing.assert_close(store.value, torch.cat([part.detach() for part in dense]), rtol=1e-5, atol=1e-6)
        assert step < len(visits)


def test_absent_edges_do_not_move_and_gone_ones_stay_gone() -> None:
    store = EdgeStore(torch.tensor([1.0, 0.0, 1.0, 1.0]), L1)
    for _ in range(3):
        store(torch.tensor([0, 1, 1, -1])).mul(torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
        store.step(LR)
    assert store.value[1] == 0 and torch.equal(store.value[2:], torch.ones(2))
    assert store.value[0] < 1


def test_both_arcs_of_a_pair_share_a_value_and_loops_are_open() -> None:
    store = EdgeStore(torch.tensor([0.5, 0.25]))
    assert store(torch.tensor([1, 0, -1, 0])).tolist() == [0.25, 0.5, 1.0, 0.5]
    store.eval()
    assert store(torch.tensor([-1, 1])).tolist() == [1.0, 0.25]
    assert store(torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_several_backward_passes_make_one_step_and_a_forward_alone_makes_none() -> None:
    numbers, weight = torch.tensor([0, 1]), torch.tensor([1.0, -2.0])
    once, twice = EdgeStore(torch.ones(2)), EdgeStore(torch.ones(2))
    (once(numbers) * 2 * weight).sum().backward()
    for _ in range(2):
        (twice(numbers) * weight).sum().backward()
    for store in (once, twice):
        store(numbers)  # never differentiated
        store.step(LR)
        assert store.trained
    assert torch.equal(once.value, twice.value)
    idle = EdgeStore(torch.ones(2))
    idle(numbers)
    idle.step(LR)
    assert not idle.trained and torch.equal(idle.value, torch.ones(2))


def test_a_store_carries_its_values_and_nothing_else_in_its_state() -> None:
    assert list(EdgeStore(torch.ones(3)).state_dict()) == ["value"]


def test_units_are_numbered_over_all_graphs() -> None:
    generator = torch.Generator().manual_seed(0)
    graphs = [random_graph(generator, 5, pairs) for pairs in (4, 0, 6)]
    graphs[0].edge_index = torch.cat([graphs[0].edge_index, torch.tensor([[2], [2]])], 1)
    packed = number_units(PackedGraphs.of(graphs), "pair")
    total = 0
    for graph, numbered in zip(graphs, packed, strict=True):
        units = edge_units(graph.edge_index, 5, "pair")
        expected = [-1 if unit < 0 else unit + total for unit in units.unit.tolist()]
        assert numbered.edge_unit.tolist() == expected
        total += units.first.numel()


def test_a_self_loop_touches_no_edge() -> None:
    store = EdgeStore(torch.ones(3), l1=0.5)
    gates = store(torch.tensor([-1, 2, -1, 2]))
    gates.sum().backward()
    store.step(0.1)
    assert gates.tolist() == [1, 1, 1, 1] and store.steps.tolist() == [0, 0, 1]
    store(torch.tensor([-1, -1])).sum().backward()
    store.step(0.1)
    assert store.steps.tolist() == [0, 0, 1] and store.value[:2].tolist() == [1, 1]


def test_gradients_that_overflowed_move_nothing() -> None:
    """As in a step that a gradient scaler has the optimiser skip; the next one starts anew."""
    store = EdgeStore(torch.ones(3), l1=0.1)
    (store(torch.arange(3)) * torch.tensor([1.0, float("inf"), 1.0])).sum().backward()
    store.step(0.1)
    assert store.value.tolist() == [1, 1, 1] and not store.trained
    store(torch.arange(2)).sum().backward()
    store.step(0.1)
    assert store.steps.tolist() == [1, 1, 0] and bool(store.value.isfinite().all())
