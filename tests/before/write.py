"""Writes small files of every kind that the package writes, and what they hold, for test_before.py to read.

Those in ``files.tar.gz`` were written by commit e84033c, the last one before the code was arranged as it is now::

    git worktree add ../before e84033c
    PYTHONPATH=../before python tests/before/write.py tests/before/files.tar.gz

It runs with any version. What says on which machine it ran is taken out, and so are pages and pictures.
"""

import json
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import graphprune as gp
from graphprune.cli import main
from graphprune.compaction import restored
from graphprune.data import GraphData, from_graphs, load, open_stored, store
from graphprune.models import MODELS

FEATURES = "deg+odeg10"
GRAPHS = (
    *("--data", "MUTAG", "--features", FEATURES, "--model", "gin", "--hidden", "4", "--layers", "1"),
    *("--epochs", "2", "--batch-size", "8", "--lr", "0.02"),
)
PREDICTOR = ("--predictor.hidden", "4", "--predictor.layers", "1")
IMAGES = ("--data", "digits", "--limit", "200", "--epochs", "2", "--batch-size", "20", "--lr", "0.02")
LENET = (*IMAGES, "--model", "lenet-300-100", "--hidden", "12")
RESNET = (*IMAGES, "--model", "resnet-20", "--hidden", "1")
RATES = ("--rounds", "2", "--edge-rate", "0.2", "--weight-rate", "0.3")
SEARCH = (
    *("--budget", "8", "--population", "4", "--members", "2", "--objectives", "params"),
    *("--holdout", "0.25", "--batches", "1", "--cost-batch", "8"),
)

RUNS = {
    "icpg": ("icpg", *RATES, *GRAPHS, *PREDICTOR),
    "icpg-paper": ("icpg", *RATES, *GRAPHS, *PREDICTOR, "--protocol", "paper"),
    "gicp": (
        *("gicp", "--densities", "0.8,0.5", "--weight-density", "0.5", "--stop", "12", "--every", "3"),
        *(*GRAPHS, "--predictor.hidden", "4", "--predictor.layers", "1"),
    ),
    "ugs": ("ugs", *RATES, *GRAPHS, "--unseen", "random"),
    "degree": ("sparsifier", *RATES, *GRAPHS, "--edges", "degree"),
    "fggp": ("fggp", "--density", "0.3", "--stop", "12", "--every", "3", *LENET),
    "gumbel": ("gumbel", "--density", "0.5", "--stop", "12", *LENET),
    "clad": ("clad", "--target", "0.8", "--criterion-epochs", "1", "--learner-hidden", "4", *RESNET),
    "hamp": ("hamp", *SEARCH, *GRAPHS),
    "dense": ("dense", *GRAPHS),
    "small-dense": ("small-dense", "--density", "0.5", *GRAPHS),
}
# Those that end between two tickets, as their processes die; others are cut by the tests, which delete a round.
KILLED = {"icpg": 2, "gicp": 2, "hamp": 1}

GRID = f"""\
common: {{fit: {{epochs: 1, batch_size: 8, lr: 0.02}}, predictor: {{hidden: 4, layers: 1}}}}
data: [{{name: MUTAG, features: {FEATURES}}}]
models: [{{name: gin, hidden: 4, layers: 1}}]
"""
GRIDS = {
    "grid": f"{GRID}methods: [icpg, imp]\nsparsity: [{{rounds: 2, edge_rate: 0.2, weight_rate: 0.3}}]\nseeds: [0, 1]\n",
    "joint": f"{GRID}methods: [icpg]\njoint: {{rounds: 1, edge_rate: [0.0, 0.2], weight_rate: [0.0, 0.3]}}\n",
}
UNFINISHED = "grid/MUTAG/gin/icpg,edge_rate=0.2,weight_rate=0.3/seed-1"


def command(*words: str) -> None:
    """Runs a command of the command line."""
    sys.argv = ["graphprune", *words]
    if main(words) != 0:
        sys.exit(f"graphprune {' '.join(words)}: failed")


def killed(number: int, *words: str) -> None:
    """Runs a command in a process that dies in the middle of saving the ticket of a round."""
    process = os.fork()
    if process == 0:
        save = gp.Ticket.save

        def dying(self: gp.Ticket, path: Any) -> None:
            if self.round == number:
                half = path.with_name(f".{path.name}.0123456789abcdef.tmp")
                half.mkdir()
                (half / "ticket.safetensors").write_bytes(b"half of it")
                os._exit(9)
            save(self, path)

        gp.Ticket.save = dying  # type: ignore[method-assign]
        command(*words)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 9:
        sys.exit(f"graphprune {' '.join(words)}: was not stopped")


def runs() -> None:
    """Every run to its end, and some that were killed."""
    for name, words in RUNS.items():
        command("run", *words, "--out", f"runs/{name}")
    for name, number in KILLED.items():
        killed(number, "run", *RUNS[name], "--out", f"cut/{name}")
    for file in ("cut/icpg/metrics.jsonl", "cut/hamp/search/evaluations.jsonl"):  # in the middle of a line
        lines = Path(file).read_text().splitlines(keepends=True)
        Path(file).write_text("".join(lines[:-1]) + lines[-1][:20])


def grids() -> None:
    """Two grids; of one, a cell has lost its last round."""
    for name, text in GRIDS.items():
        Path(f"{name}.yaml").write_text(text)
        command("bench", f"{name}.yaml", "--out", name, "--workers", "1")
    shutil.rmtree(f"{UNFINISHED}/round-2")


def small() -> None:
    """What commands make of tickets: pruned graphs, and small networks."""
    command("prune-graphs", "runs/icpg/round-2", "--out", "pruned/icpg")
    command("prune-graphs", "runs/degree", "--out", "pruned/degree")
    command("compact", "runs/clad/round-1", "--out", "small/clad")
    command("compact", "runs/hamp", "--out", "small/hamp")


def sets() -> None:
    """A stored set of a few graphs, and a mask of arcs."""
    graphs = list(load("MUTAG", features=FEATURES).train.select(range(12)))
    few = from_graphs(graphs[:8], graphs[8:10], graphs[10:], name="few", task="multiclass", num_classes=2)
    store(few, "stored")
    torch.manual_seed(0)
    starts = torch.nn.functional.pad(few.train.edge_count.cumsum(0), (1, 0))
    gp.EdgeMask(torch.rand(few.train.num_edges) < 0.7, starts).save("edges.npy")


# ---------------------------------------------------------------------- what they hold


def network(ticket: gp.Ticket) -> nn.Module:
    """The network that a ticket names, with its trained weights."""
    told = ticket.provenance["model"]
    (kind,) = (kind for kind in MODELS.values() if f"{kind.__module__}.{kind.__qualname__}" == told["class"])
    return ticket.build(kind(**told["config"])).eval()


def outputs(model: nn.Module, data: Any) -> list[float]:
    """What a network says of the first test samples."""
    batch = data.test.batch(range(4))
    with torch.no_grad():
        values: list[float] = model(batch if isinstance(data, GraphData) else batch.x).flatten().tolist()
    return values


def told(folder: Path, data: Any) -> dict[str, Any]:
    """What a ticket does, in numbers."""
    ticket = gp.Ticket.load(folder)
    found: dict[str, Any] = {"outputs": outputs(network(ticket), data), "weights": ticket.masks.kept}
    if isinstance(data, GraphData):
        found["arcs"] = {split: ticket.edge_mask(graphs).kept for split, graphs in data.splits.items()}
        found["pruned"] = ticket.prune_graph(data.test[0]).edge_index[0].tolist()
        try:
            found["scores"] = ticket.score_edges(data.test[0]).tolist()
        except ValueError:  # of those that prune no edges
            found["scores"] = None
    return found


def rows(run: Path) -> list[dict[str, Any]]:
    """The results of a run without what depends on the clock."""
    found = json.loads((run / "results.json").read_text())
    of_time = ("ticket", "digest")
    return [{n: value for n, value in row.items() if "seconds" not in n and n not in of_time} for row in found]


def losses(run: Path) -> list[float]:
    """The loss of every epoch of a run."""
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def data_of(run: str) -> Any:
    """What the runs of this name were trained on."""
    return load("digits", limit=200) if run in ("fggp", "gumbel", "clad") else load("MUTAG", features=FEATURES)


def everything() -> dict[str, Any]:
    """What the files in this folder hold."""
    tickets = sorted(Path(file).parent for file in Path("runs").glob("*/round-*/ticket.json"))
    few, mask = open_stored("stored"), gp.EdgeMask.load("edges.npy")
    return {
        "tickets": {folder.as_posix(): told(folder, data_of(folder.parts[1])) for folder in tickets},
        "rows": {name: rows(Path("runs", name)) for name in RUNS},
        "losses": {name: losses(Path("runs", name)) for name in RUNS},
        "cells": {file.parent.as_posix(): rows(file.parent) for file in sorted(Path().glob("*/MUTAG/**/results.json"))},
        "pruned": {name: gp.EdgeMask.load(f"pruned/{name}/test.npy").kept for name in ("icpg", "degree")},
        "small": {name: outputs(small_network(name), data_of(name)) for name in ("clad", "hamp")},
        "set": {"digest": few.digest(), "arcs": few.test[1].edge_index.tolist(), "mask": mask.keep.nonzero().tolist()},
    }


def small_network(name: str) -> nn.Module:
    """A network that ``graphprune compact`` made small."""
    last = max(Path("runs", name).glob("round-*"))
    return restored(network(gp.Ticket.load(last)), load_file(f"small/{name}/weights.safetensors")).eval()


def brief(value: Any) -> Any:
    """Nested values with numbers of seven digits, as many as float32 has."""
    if isinstance(value, dict):
        return {name: brief(each) for name, each in value.items()}
    if isinstance(value, list):
        return [brief(each) for each in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def reports() -> None:
    """A report on all runs and one on each grid."""
    for file in Path().rglob("provenance.json"):
        entries = json.loads(file.read_text())
        for entry in entries:
            entry["machine"] = {"system": "Linux", "processor": "any", "cpus": 2, "gpu": None}
        file.write_text(json.dumps(entries, indent=2) + "\n")
    for name in ("runs", *GRIDS):
        command("report", name)
    for file in (*Path().rglob("report.html"), *Path().rglob("*.pt2"), *Path().rglob(".lock")):
        file.unlink()
    for folder in Path().rglob("figures"):
        shutil.rmtree(folder)


def nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive without its owner and time."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    out, home = Path(sys.argv[1]).absolute(), os.getcwd()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        for step in (runs, grids, small, sets, reports):
            step()
        Path("held.json").write_text(json.dumps(brief(everything())) + "\n")
        with tarfile.open(out, "w:gz") as archive:
            for entry in sorted(Path().iterdir()):
                archive.add(entry, filter=nobody)
        os.chdir(home)
