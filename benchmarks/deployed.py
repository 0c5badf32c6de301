"""Trained tickets in use, accuracy and speed in one row: from raw graphs to predictions, scoring of edges included.

graphprune bench benchmarks/deployed/nci1.yaml --out runs/deployed/nci1
python benchmarks/deployed.py runs/deployed --threads 1 --json benchmarks/results/deployed.json

Each grid below the folder holds one data set and network: ``dense``, and tickets of as many epochs that prune channels,
edges, or both. The metric is the mean over all runs of a cell, its difference to dense paired over them with a 95 %
interval. Measured is the last ticket of the first run, as ``gp.deploy`` makes it, on raw test graphs that are each seen
once: ``list`` is from a list of ``Data`` (collating is part of it), ``batch`` from batches that are collated already,
``onnx`` one program for everything in ONNX Runtime, a graph at a time. ``plain PyG`` is a network of the dense one's
sizes in PyG's layers and its collating. All sides take turns; seconds are the CPU's where one thread computes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import onnx_session, own_time, parser, report, take_turns
from pyg_twin import PlainPyG
from torch import nn
from torch_geometric.data import Batch, Data

import graphprune as gp
from graphprune.files import below, read_json
from graphprune.measure import count_macs, file_bytes, peak_bytes
from graphprune.report.stats import compare
from graphprune.runs.trained import Trained
from graphprune.ticket.models import model_of

ONE, MANY = 64, 512  # graphs that go through one at a time, and in batches


@dataclass(frozen=True)
class Way:
    """From raw graphs to predictions."""

    of_list: Callable[[list[Data], int], object]
    of_batch: Callable[[Batch], object]
    network: nn.Module  # over what it is given after pruning
    prune: Callable[[Batch], Batch]
    program: Callable[[Batch], object] | None = None


def cells(grid: Path) -> dict[str, list[Path]]:
    """The finished runs of each method, by its label, first seeds or folds first."""
    found: dict[str, list[Path]] = {}
    for file in below(grid, "results.json"):
        if read_json(file):
            found.setdefault(file.parent.relative_to(grid).parts[2], []).append(file.parent)
    return found


def metrics(runs: list[Path], name: str) -> dict[str, float]:
    """The last round's, by seed or fold."""
    return {run.name: read_json(run / "results.json")[-1][name] for run in runs}


def told(own: Mapping[str, float], dense: Mapping[str, float], higher: bool) -> dict[str, Any]:
    """Mean and spread, and the difference to dense."""
    values = torch.tensor(list(own.values()), dtype=torch.float64)
    made = {"mean": float(values.mean()), "runs": len(values)} | (
        {"sd": float(values.std())} if len(values) > 1 else {}
    )
    if own is not dense and own.keys() & dense.keys():
        found = compare(own, dense, higher_is_better=higher)
        interval = found.difference
        made |= {"less_dense": [interval.mean, interval.low, interval.high], "verdict": found.text}
    return made


def plain(network: nn.Module, encoded: Callable[[Batch], Batch]) -> Way:
    """A network of the dense one's sizes as PyG's users write it, which has its encodings counted as fast as ours."""
    twin = PlainPyG(network).eval()  # type: ignore[arg-type]

    def of_batch(batch: Batch) -> object:
        return twin(encoded(batch))

    def of_list(graphs: list[Data], size: int) -> None:
        for start in range(0, len(graphs), size):
            of_batch(Batch.from_data_list(graphs[start : start + size]))

    return Way(of_list, of_batch, twin, encoded)


def ours(deployed: gp.Deployed, folder: Path, example: list[Data]) -> Way:
    """A deployed ticket, and its program if it can be one."""

    def of_list(graphs: list[Data], size: int) -> None:
        if size == 1:
            for graph in graphs:
                deployed(graph)
        else:
            deployed(graphs, batch_size=size)

    def left(batch: Batch) -> Batch:
        return deployed.edges.left(batch)  # type: ignore[return-value]

    return Way(of_list, deployed, deployed.network, left, program(deployed, folder, example))


def program(deployed: gp.Deployed, folder: Path, example: list[Data]) -> Callable[[Batch], object] | None:
    """One ONNX program for all of it; None: the ticket has what no program can hold."""
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    try:
        names = deployed.export(path, example)
    except (ValueError, RuntimeError) as error:
        print(f"no program: {error}")
        return None
    session = onnx_session(path, torch.get_num_threads())

    def run(batch: Batch) -> object:
        batch = deployed.edges.encoded(batch)  # type: ignore[assignment]
        return session.run(None, {name: batch[name].numpy() for name in names})

    return run


def raw(data: gp.data.GraphData, number: int) -> list[Data]:
    """Test graphs that bring along nothing but their features and arcs."""
    names = ("x", "edge_index", "edge_attr")
    graphs = (data.test[index] for index in range(min(number, len(data.test))))
    return [Data(**{name: graph[name] for name in names if name in graph}) for graph in graphs]


def timed(ways: Mapping[str, Way], graphs: list[Data], repeats: int) -> dict[str, dict[str, float]]:
    """Microseconds a graph of each way, one at a time and in batches of 256."""
    one, size = graphs[:ONE], min(256, len(graphs))
    single = [Batch.from_data_list([graph]) for graph in one]
    batches = [Batch.from_data_list(graphs[start : start + size]) for start in range(0, len(graphs), size)]
    rows: dict[str, dict[str, float]] = {name: {} for name in ways}
    jobs: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
    for name, way in ways.items():
        jobs[name, "list_1"] = (lambda way=way: way.of_list(one, 1)), len(one)
        jobs[name, "list_256"] = (lambda way=way: way.of_list(graphs, size)), len(graphs)
        jobs[name, "batch_1"] = (lambda way=way: [way.of_batch(batch) for batch in single]), len(one)
        jobs[name, "batch_256"] = (lambda way=way: [way.of_batch(batch) for batch in batches]), len(graphs)
        if way.program is not None:
            jobs[name, "onnx_1"] = (lambda run=way.program: [run(batch) for batch in single]), len(one)
    for kind in dict.fromkeys(kind for _, kind in jobs):
        mine = {name: job for (name, each), (job, _) in jobs.items() if each == kind}
        seconds = take_turns(mine, repeats, clock=own_time())
        for name, value in seconds.items():
            rows[name][f"{kind}_us"] = 1e6 * value / jobs[name, kind][1]
    return rows


def sizes(way: Way, graphs: list[Data]) -> dict[str, float]:
    """What does not depend on the machine."""
    batch = Batch.from_data_list(graphs)
    pruned = way.prune(batch)
    known = [*way.network.parameters(), *way.network.buffers(), *(v for _, v in batch if isinstance(v, torch.Tensor))]
    return {
        "parameters": sum(p.numel() for p in way.network.parameters()),
        "file_bytes": file_bytes(way.network),
        "arcs_a_graph": pruned.num_edges / len(graphs),
        "mega_macs_a_graph": count_macs(way.network, pruned).total / len(graphs) / 1e6,
        "peak_bytes": peak_bytes(lambda: way.of_batch(batch), known),
    }


@torch.no_grad()
def measured(grid: Path, repeats: int) -> dict[str, Any]:
    """The rows of one data set and network."""
    found = cells(grid)
    first = {label: Trained.at(runs[0]) for label, runs in found.items()}
    data = first["dense"].data({})
    assert isinstance(data, gp.data.GraphData)
    model = model_of(first["dense"].ticket.provenance["model"], len(first["dense"].ticket.trained))
    graphs = raw(data, MANY)
    with tempfile.TemporaryDirectory() as folder:
        made = {
            label: gp.deploy(trained.ticket, model, trained.data({}), edges=bool(trained.ticket.edges.rounds))
            for label, trained in first.items()
        }
        ways = {"plain PyG": plain(model, made["dense"].edges.encoded)}  # type: ignore[arg-type]
        ways |= {label: ours(deployed, Path(folder), graphs[:8]) for label, deployed in made.items()}
        rows: dict[str, Any] = timed(ways, graphs, repeats)
        for label, way in ways.items():
            rows[label] |= sizes(way, graphs[:256])
    dense = {split: metrics(found["dense"], f"{split}_metric") for split in ("val", "test")}
    for label, runs in found.items():
        row = read_json(runs[0] / "results.json")[-1]
        rows[label] |= {
            split: told(metrics(runs, f"{split}_metric"), dense[split], data.higher_is_better)
            for split in ("val", "test")
        }
        rows[label] |= {name: row[name] for name in ("edge_sparsity_test", "weight_sparsity", "epochs_trained")}
    return {"data": data.name, "metric": data.metric, "rows": rows}


def main() -> None:
    """Measure every grid below the folder, and report."""
    options = parser(__doc__, repeats=9)
    options.add_argument("runs", type=Path, help="folder with one folder a grid")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    grids = sorted(folder for folder in args.runs.iterdir() if (folder / "cells.json").exists())
    report("deployed", args, {grid.name: measured(grid, args.repeats) for grid in grids})


if __name__ == "__main__":
    main()
