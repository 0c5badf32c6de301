import pytest
import torch
from hypothesis import given

from graphprune.graphs import edge_units
from tests.graphs.samples import arcs, to_index, units_by_hand


@pytest.mark.parametrize("unit", ["pair", "arc"])
@given(arcs(max_nodes=4, max_arcs=16))
def test_units_are_those_of_a_plain_loop(unit, graph):
    nodes, found = graph
    units = edge_units(to_index(found), nodes, unit)
    expected = units_by_hand(found, unit)
    assert units.first.tolist() == [each[0] for each in expected]
    assert (1 + (units.first != units.second)).tolist() == [len(each) for each in expected]
    number = {position: i for i, each in enumerate(expected) for position in each}
    assert units.unit.tolist() == [number.get(position, -1) for position in range(len(found))]


@given(arcs(max_nodes=4, max_arcs=10))
def test_arcs_beside_their_reverse_pair_as_anywhere(graph):
    nodes, found = graph
    beside = [arc for u, v in found for arc in ((u, v), (v, u))]
    units = edge_units(to_index(beside), nodes)
    number = {position: i for i, each in enumerate(units_by_hand(beside, "pair")) for position in each}
    assert units.unit.tolist() == [number.get(position, -1) for position in range(len(beside))]


@pytest.mark.parametrize("unit", ["pair", "arc"])
@given(arcs(max_nodes=4))
def test_means_and_their_values_at_arcs(unit, graph):
    nodes, found = graph
    units = edge_units(to_index(found), nodes, unit)
    values = torch.arange(len(found)).double() ** 2
    means = [sum(float(values[i]) for i in each) / len(each) for each in units_by_hand(found, unit)]
    assert units.mean(values).tolist() == means
    at_arcs = units.at_arcs(units.mean(values), -5.0).tolist()
    for (u, v), own, number in zip(found, at_arcs, units.unit.tolist(), strict=True):
        assert own == (-5.0 if u == v else means[number])
    assert units.at_arcs(units.mean(values) < 0, True).tolist() == [u == v for u, v in found]


def test_the_order_is_that_of_the_first_arc():
    units = edge_units(to_index([(3, 1), (0, 2), (2, 0), (1, 3), (1, 0)]), 4)
    assert units.unit.tolist() == [0, 1, 1, 0, 2]
    assert units.first.tolist() == [0, 1, 4]
    assert (1 + (units.first != units.second)).tolist() == [2, 2, 1]


def test_equal_arcs_pair_up_in_order():
    # 0-1 twice and a third 0->1 that has no partner.
    units = edge_units(to_index([(0, 1), (0, 1), (1, 0), (0, 1), (1, 0)]), 2)
    assert units.unit.tolist() == [0, 1, 0, 2, 1]


@given(arcs(min_nodes=1), arcs(min_nodes=1))
def test_units_of_a_batch_are_those_of_its_graphs(one, other):
    (n, found), (m, more) = one, other
    both = edge_units(torch.cat([to_index(found), to_index(more) + n], 1), n + m)
    first, second = edge_units(to_index(found), n), edge_units(to_index(more), m)
    shifted = torch.where(second.unit >= 0, second.unit + first.first.numel(), -1)
    assert both.unit.tolist() == first.unit.tolist() + shifted.tolist()


def test_node_numbers_of_a_large_batch_do_not_overflow():
    nodes = 3_000_000_000  # nodes squared is just below 2 ** 63
    units = edge_units(torch.tensor([[nodes - 1, nodes - 2, 0], [nodes - 2, nodes - 1, nodes - 1]]), nodes)
    assert units.unit.tolist() == [0, 0, 1]
