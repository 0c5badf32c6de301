"""What a ticket's row says is what is gone: counted anew from graphs and weights, in plain Python."""

import math

import pytest
from torch_geometric.loader import DataLoader

from graphprune.methods import IterativeMethod, OneTraining
from tests.contract import counting
from tests.contract.runs import Ran
from tests.contract.snapshots import same_bits


def test_each_round_has_its_ticket_or_the_setting_is_refused(ran: Ran) -> None:
    if ran.refusal is None:
        assert [ticket.round for ticket in ran.tickets] == list(range(1, ran.method.last_round + 1))
    else:
        assert not ran.tickets and not ran.folder.exists()


def test_edges(ran: Ran) -> None:
    before: dict[str, list[set[int]]] = {}
    for ticket in ran.tickets:
        for split, samples in ran.data.splits.items():
            if not ran.network.edges:
                assert ticket.row[f"edge_sparsity_{split}"] == 0
                continue
            assert counting.edges_as_asked(ran.method, ticket, ran.data, split)
            numbers = [
                {number for *_, number in counting.proper(arcs)} for arcs in counting.left(ticket, ran.data, split)
            ]
            total = sum(len(counting.proper(counting.arcs(graph))) for graph in samples)
            assert ticket.row[f"edge_sparsity_{split}"] == 1 - sum(map(len, numbers)) / total
            if isinstance(ran.method, IterativeMethod):  # later rounds go on from what earlier ones left
                assert all(now <= then for now, then in zip(numbers, before.get(split, numbers), strict=True))
            before[split] = numbers


def test_weights(ran: Ran) -> None:
    for ticket in ran.tickets:
        model = ran.of(ticket)
        own = dict(model.named_parameters())
        gone = sum(entry is False for mask in ticket.masks.values() for entry in mask.flatten().tolist())
        there = sum(math.prod(mask.shape) for mask in ticket.masks.values())
        assert there and all(mask.shape == own[name].shape for name, mask in ticket.masks.items())
        assert ticket.row["weight_sparsity"] == pytest.approx(gone / there, abs=1e-12)
        assert ticket.row["params_total"] == sum(math.prod(parameter.shape) for parameter in own.values())
        assert ticket.row["params_kept"] == ticket.row["params_total"] - gone
        empty = [name for name, mask in ticket.masks.items() if not any(mask.flatten().tolist())]
        assert ticket.row["collapsed"] == empty
        assert counting.pruned_to_zero(ticket, model)
        if ran.case.unit is not None:
            kept, total = counting.weight_units(ticket.masks, ran.case.unit, ran.network.together)
            asked = counting.asked_weights(ran.method, ticket, total)
            assert asked in (None, kept)
            weights = {name for name, value in own.items() if value.dim() > 1}
            assert weights - {*ran.network.heads, *ran.network.protected} <= {*ticket.masks}


def test_the_metrics_are_those_of_the_built_network_on_the_pruned_graphs(ran: Ran) -> None:
    for ticket in ran.tickets:
        built = ticket.build(ran.of(ticket)).eval()
        for split in ("val", "test"):
            samples = ran.data.splits[split]
            if ran.network.edges:
                graphs = ticket.prune([samples[number] for number in range(len(samples))])
                (batch,) = DataLoader(list(graphs), len(graphs))
                logits, labels = built(batch), batch.y
            else:
                pixels = (samples.x.double() / 255 - 0.3) / 0.3
                logits, labels = built(pixels.float()), samples.y
            share = (logits.detach().numpy().argmax(1) == labels.numpy()).mean()
            said = ticket.row[f"{split}_metric"]
            if split == "val" and ran.method.protocol.select == "test":
                assert math.isnan(said)
            else:
                assert said == pytest.approx(share, abs=1e-6)


def test_what_is_trained_anew_starts_from_the_users_weights(ran: Ran) -> None:
    """To the last bit; searches that go on from a dense training start from that."""
    state = ran.model.state_dict()
    for ticket in ran.tickets if isinstance(ran.method, IterativeMethod | OneTraining) else ():
        if ticket.row["params_total"] == sum(math.prod(value.shape) for value in ran.model.parameters()):
            assert all(same_bits(value, state[name]) for name, value in ticket.rewind.items())
            pruned = ticket.rewound(ran.model).state_dict()
            assert all(not pruned[name][~mask].any() for name, mask in ticket.masks.items())
