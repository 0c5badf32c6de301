"""Neither batch-mates nor the size of a batch decide over an edge, and over a metric by rounding alone."""

import pytest
import torch
from torch_geometric.loader import DataLoader

from tests.contract import counting
from tests.contract.methods import KINDS, Case, units
from tests.contract.runs import Ran, run

SMALL = 5  # graphs a batch: 12 of them are two whole batches and a part


def test_a_graph_loses_the_same_edges_alone_and_in_any_company(ran: Ran) -> None:
    for ticket in ran.tickets:
        if not ran.network.edges or not counting.alone(ticket):  # under the published protocol batch-mates do decide
            continue
        graphs = list(ran.data.test)
        expected = counting.left(ticket, ran.data, "test")
        assert [counting.arcs(graph) for graph in ticket.prune(graphs)] == expected
        order = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(2)).tolist()
        for company in (order, order[:7], [4, 4, 4]):
            assert [counting.arcs(graph) for graph in ticket.prune([graphs[number] for number in company])] == [
                expected[number] for number in company
            ]


def test_what_a_training_was_given_along_with_a_graph_changes_nothing(ran: Ran) -> None:
    """Graphs out of a training are pruned as the bare ones are."""
    for ticket in ran.tickets[-1:]:
        if not ran.network.edges or not counting.alone(ticket):
            continue
        for carrying, bare in zip(ran.seen.test, ran.data.test, strict=True):
            if counting.arcs(carrying) == counting.arcs(bare):
                assert counting.arcs(ticket.prune_graph(carrying)) == counting.arcs(ticket.prune_graph(bare))


def test_outputs_do_not_depend_on_the_batch(ran: Ran) -> None:
    for ticket in ran.tickets[-1:]:
        built, samples = ticket.build(ran.of(ticket)).eval(), ran.data.test
        if ran.network.edges:
            pruned = list(ticket.prune(list(samples)))
            outputs = [torch.cat([built(batch) for batch in DataLoader(pruned, size)]) for size in (12, SMALL, 1)]
        else:
            pixels = (samples.x / 255 - 0.3) / 0.3
            outputs = [torch.cat([built(part) for part in pixels.split(size)]) for size in (len(samples), SMALL, 1)]
        for output in outputs[1:]:
            torch.testing.assert_close(output, outputs[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["gin", pytest.param("user", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KINDS)
def test_evaluation_in_other_batches_finds_the_same_ticket(name: str, network: str) -> None:
    case = Case(name, "clean", units(KINDS[name])[0], network)
    usual, other = run(case), run(case, eval_batch_size=SMALL)
    assert len(other.tickets) == len(usual.tickets) and (other.refusal is None) == (usual.refusal is None)
    for one, two in zip(usual.tickets, other.tickets, strict=True):
        assert counting.left(one, usual.data, "test") == counting.left(two, usual.data, "test")
        assert one.masks.digest() == two.masks.digest()
        for metric in ("val_metric", "test_metric"):
            assert two.row[metric] == pytest.approx(one.row[metric], abs=1e-6)
