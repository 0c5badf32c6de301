"""Controls control: without edges there is none, dense is whole, and small is as large as it says."""

import math

import pytest
import torch

import graphprune as gp
from graphprune.methods import FitJob, FitResult
from tests.contract import counting
from tests.contract.data import graph_data, image_data
from tests.contract.methods import KINDS, Case, units
from tests.contract.nets import NETWORKS
from tests.contract.runs import fit, made, run

GRAPHS = [name for name, network in NETWORKS.items() if network.edges]


def watched(case: Case) -> tuple[list[gp.Ticket], list[FitJob], gp.data.GraphData]:
    """Tickets of a control, and the trainings that it asked for."""
    method, model, data = made(case)
    train, jobs = fit(), list[FitJob]()

    def watching(job: FitJob) -> FitResult:
        jobs.append(job)
        return train(job)

    return list(method.rounds(model, data, watching)), jobs, data


@pytest.mark.parametrize("network", GRAPHS)
@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_without_edges_there_is_none_in_any_graph(protocol: str, network: str) -> None:
    (ticket,), jobs, data = watched(Case("no-edges", protocol, "weight", network))
    for split, graphs in data.splits.items():
        assert any(counting.proper(counting.arcs(graph)) for graph in graphs)
        for pruned in (ticket.prune(list(graphs)), map(ticket.prune_graph, graphs), jobs[-1].data.splits[split]):
            assert [counting.proper(counting.arcs(graph)) for graph in pruned] == [[] for _ in range(len(graphs))]
        assert ticket.row[f"edge_sparsity_{split}"] == 1
    assert ticket.row["weight_sparsity"] == 0 and all(mask.all() for mask in ticket.masks.values())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("protocol", ["clean", "paper"])
@pytest.mark.parametrize("unit", units(KINDS["dense"]))
def test_dense_is_whole(unit: str, protocol: str, network: str) -> None:
    (ticket,), (job,), data = watched(Case("dense", protocol, unit, network))
    assert ticket.row["weight_sparsity"] == 0 and all(mask.all() for mask in ticket.masks.values())
    assert ticket.row["params_kept"] == ticket.row["params_total"]
    for split, samples in data.splits.items():
        assert ticket.row[f"edge_sparsity_{split}"] == 0
        if NETWORKS[network].edges:
            full = [counting.arcs(graph) for graph in samples]
            assert [counting.arcs(graph) for graph in ticket.prune(list(samples))] == full
            if split != "val":  # under the published protocol the test split stands there
                assert [counting.arcs(graph) for graph in job.data.splits[split]] == full


def sizes(model: torch.nn.Module, most: int) -> dict[int, int]:
    """Parameters of a network by its width, up to the first that has too many."""
    found, width = {}, 1
    while not found or found[width - 1] <= most:
        with torch.device("meta"):
            found[width] = sum(math.prod(value.shape) for value in model.resized(width).parameters())
        width += 1
    return found


def node_model(kind: type[torch.nn.Module], hidden: int = 32) -> torch.nn.Module:
    return kind(4, 2, hidden)


RESIZED = {
    **{
        kind.__name__: lambda kind=kind: kind.for_data(graph_data(), hidden=32, layers=2)
        for kind in (gp.models.GCN, gp.models.GIN, gp.models.SAGE, gp.models.GAT, gp.models.PaperGCN)
    },
    **{kind.__name__: lambda kind=kind: node_model(kind) for kind in (gp.models.NodeGCN, gp.models.NodeGIN)},
    "NodeGAT": lambda: node_model(gp.models.NodeGAT),
    "a wide NodeGCN": lambda: node_model(gp.models.NodeGCN, 1024),
    "LeNet300": lambda: gp.models.LeNet300.for_data(image_data(), hidden=60),
}


@pytest.mark.parametrize("share", [0.5, 0.15])
@pytest.mark.parametrize("name", RESIZED)
def test_small_dense_is_the_widest_network_that_fits(name: str, share: float) -> None:
    model = RESIZED[name]()
    total = sum(math.prod(value.shape) for value in model.parameters())
    budget = round(share * total)
    small = KINDS["small-dense"](params=budget).small(model)
    found = sum(math.prod(value.shape) for value in small.parameters())
    fitting = [size for size in sizes(model, budget).values() if size <= budget]
    assert found == max(fitting, default=min(sizes(model, budget).values()))


@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_small_dense_says_the_size_that_it_trains(protocol: str) -> None:
    ran = run(Case("small-dense", protocol, "weight", "gin"))
    (ticket,) = ran.tickets
    there = sum(math.prod(value.shape) for value in ticket.trained.values() if value.is_floating_point())
    buffers = sum(math.prod(value.shape) for name, value in ran.of(ticket).named_buffers() if value.is_floating_point())
    assert ticket.row["params_kept"] == ticket.row["params_total"] == there - buffers
    kept = "" if protocol == "paper" else "head.weight"  # what leaves the network stays, in the ticket that it matches
    weights = [value for name, value in ran.model.named_parameters() if value.dim() > 1 and name != kept]
    prunable = sum(math.prod(value.shape) for value in weights)
    rest = sum(math.prod(value.shape) for value in ran.model.parameters()) - prunable
    budget = rest + round(ran.method.density * prunable)
    assert ticket.row["params_kept"] == max(size for size in sizes(ran.model, budget).values() if size <= budget)
    assert all(mask.all() for mask in ticket.masks.values())
