"""A ticket that was saved and loaded, pickled or copied is the same ticket."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

import graphprune as gp
from tests.contract import counting
from tests.contract.runs import Ran, fit
from tests.contract.snapshots import same_bits


def same(one: gp.Ticket, two: gp.Ticket) -> bool:
    """Whether two tickets hold the same, to the last bit."""
    for name in ("masks", "rewind", "trained", "last"):
        first, second = getattr(one, name), getattr(two, name)
        if list(first) != list(second) or not all(same_bits(first[key], second[key]) for key in first):
            return False
    # NaN is NaN here.
    about = ("method", "round", "row", "history", "provenance")
    return all(repr(_plain(getattr(one, name))) == repr(_plain(getattr(two, name))) for name in about)


def _plain(value: object) -> object:
    """Tuples are lists in a file."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def test_files_copies_and_pickles(ran: Ran, tmp_path: Path) -> None:
    for ticket in ran.tickets[-1:]:
        path = tmp_path / f"round-{ticket.round}"
        ticket.save(path)
        loaded = gp.Ticket.load(path)
        copies = [loaded, copy.copy(ticket), copy.deepcopy(ticket), pickle.loads(pickle.dumps(ticket))]
        assert all(same(each, ticket) for each in copies)
        loaded.save(tmp_path / f"again-{ticket.round}")
        for file in path.iterdir():
            assert (tmp_path / f"again-{ticket.round}" / file.name).read_bytes() == file.read_bytes()
        for each in (loaded, copies[2]) if ran.network.edges else ():
            assert [counting.arcs(graph) for graph in each.prune(list(ran.data.train))] == counting.left(
                ticket, ran.data, "train"
            )
            graph = ran.data.test[0]
            assert counting.arcs(each.prune_graph(graph)) == counting.arcs(ticket.prune_graph(graph))


def answer(ran: Ran, ticket: gp.Ticket, network: torch.nn.Module) -> torch.Tensor:
    """What a network makes of the test split as the ticket prunes it."""
    samples = ran.data.test
    inputs = (
        Batch.from_data_list(list(ticket.prune(list(samples)))) if ran.network.edges else samples.batch([0, 1, 2]).x
    )
    return network.eval()(inputs)


def test_the_built_network(ran: Ran) -> None:
    for ticket in ran.tickets[-1:]:
        model = ran.of(ticket)
        built = ticket.build(model)
        expected = answer(ran, ticket, built)
        for twin in (ticket.build(copy.deepcopy(model)), copy.deepcopy(built), pickle.loads(pickle.dumps(built))):
            assert torch.equal(answer(ran, ticket, twin), expected)
            assert list(twin.state_dict()) == list(model.state_dict())
        # It is a network of its own: to write it writes neither the user's nor the ticket's.
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with torch.no_grad():
            for value in built.state_dict().values():
                value.add_(1)
        assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())
        assert torch.equal(answer(ran, ticket, ticket.build(model)), expected)


def test_behind_the_last_ticket_there_is_nothing_to_do(ran: Ran) -> None:
    for ticket in ran.tickets[-1:]:
        assert list(ran.method.rounds(ran.model, ran.data, fit(), after=ticket)) == []
        with pytest.raises(ValueError, match="another architecture"):
            ticket.build(torch.nn.Linear(3, 2))
