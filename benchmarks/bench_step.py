"""Training steps and a whole round of this tree, of an older checkout and of plain PyG, which take turns.

git worktree add ../before COMMIT
python benchmarks/bench_step.py --before ../before --json benchmarks/results/step.json
python benchmarks/bench_step.py --measures round NCI1/gcn-128/128/joint --json benchmarks/results/step_measures.json

Each tree runs in a process of its own, with one thread, and counts its CPU seconds; a turn is one job in one of them. A
step makes its batch from the packed storage. ``plain`` has PyG's layers and its DataLoader, ``plain_net`` PyG's layers
on our batches. A round is ICPG's on NCI1 with the authors' network (width 128, predictor 64, batches of 128): so many
epochs of search and of ticket.
"""

from __future__ import annotations

import copy
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import parser, report
from pyg_twin import PlainJoint, PlainPyG
from torch import nn
from torch.nn import functional
from torch_geometric.loader import DataLoader

from graphprune import ICPG, EdgePredictor, data, models
from graphprune.graphs import EdgeRound, EdgeRule
from graphprune.methods.core.joint import JointNetwork
from graphprune.train import Fit

MEASURES = {
    "kinds": "rows of features once a kind",
    "arcs": "arcs sorted and paired once for both networks",
    "fold": "the predictor's last map in its head",
    "messages": "GIN's first map on its few messages",
    "copies": "no copies of batches and of the predictor",
    "dropout": "dropout from words of 16 bits",
}

NETWORKS: dict[str, tuple[str, int, float]] = {
    "gin-64": ("gin", 64, 0.0),
    "gin-64-dropout": ("gin", 64, 0.5),
    "gcn-128": ("gcn", 128, 0.0),
    "paper-gcn-128": ("paper-gcn", 128, 0.0),
}


def leave_out(measure: str) -> None:
    """Turn off one of the measures that make a step faster, in this process."""
    from graphprune.graphs import adjacency, batches, pairs, scorers
    from graphprune.graphs.conv import GINLayer
    from graphprune.methods.core import joint
    from graphprune.models import blocks, classifier

    if measure == "kinds":  # each batch sorts its own categories, and rows of real numbers are all different ones
        batches._tell = lambda *_: None
    elif measure == "arcs":
        adjacency.once = pairs.once = lambda _tensor, _key, make: make()
    elif measure == "fold":
        EdgePredictor._to_ends = lambda _: None  # type: ignore[method-assign]
    elif measure == "messages":
        GINLayer._begins_linear = False
    elif measure == "copies":  # of copies no kinds are known
        EdgePredictor.leaves_data = False
        joint.JointNetwork._prepared = lambda self: scorers.prepared(self.predictor, self._rule)
    elif measure == "dropout":
        classifier.drop = blocks.drop = functional.dropout


class Jobs:
    """What a process can measure, by name."""

    def __init__(self, root: str | None, epochs: int, graphs: int, seed: int) -> None:
        self.root, self.epochs, self.graphs, self.seed = root, epochs, graphs, seed
        self.sets: dict[str, Any] = {}
        self.made: dict[str, Callable[[], None]] = {}

    def seconds(self, name: str) -> float:
        """CPU seconds of one run."""
        if name not in self.made:
            self.made[name] = self.round() if name == "round" else self.steps(*name.split("/"))
        begin = time.process_time()
        self.made[name]()
        return time.process_time() - begin

    def data(self, name: str) -> Any:
        """A data set, read once."""
        if name not in self.sets:
            self.sets[name] = data.load(name, **({"root": self.root} if name == "NCI1" and self.root else {}))
        return self.sets[name]

    def round(self) -> Callable[[], None]:
        """A whole round, from the dense network to the trained ticket."""
        graphs = self.data("NCI1")
        torch.manual_seed(self.seed)
        model = models.PaperGCN.for_data(graphs, hidden=128)
        icpg = ICPG(rounds=1, predictor=EdgePredictor.for_data(graphs, hidden=64))
        fit = Fit(epochs=self.epochs, batch_size=128, seed=self.seed)
        return lambda: list(icpg.rounds(model, graphs, fit)) and None

    def steps(self, source: str, network: str, batch: str, kind: str) -> Callable[[], None]:
        """A pass of Adam steps over the first graphs, all steps of the same size."""
        whole, (name, hidden, dropout) = self.data(source), NETWORKS[network]
        size = int(batch)
        graphs = whole.train.select(range(max(self.graphs // size, 2) * size))
        torch.manual_seed(self.seed)
        options = {"dropout": dropout} if dropout else {}
        model: nn.Module = models.MODELS[name].for_data(whole, hidden=hidden, **options)  # type: ignore[attr-defined]
        loader: Any = graphs.loader(size)
        if kind == "plain":
            loader = DataLoader(list(graphs), size)
        if kind == "joint":
            predictor = EdgePredictor.for_data(whole, hidden=64)
            model = JointNetwork(model, predictor, EdgeRound(predictor, 0.05, 0.95), EdgeRule(), graphs)
        elif kind.startswith("plain"):
            model = PlainJoint(copy.deepcopy(model)) if kind.endswith("joint") else PlainPyG(copy.deepcopy(model))  # type: ignore[arg-type]
        if kind == "plain_joint":
            loader = DataLoader(list(graphs), size)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        task_loss = functional.cross_entropy if source == "NCI1" else functional.binary_cross_entropy_with_logits

        def run() -> None:
            model.train()
            for one in loader:
                optimizer.zero_grad()
                task_loss(model(one), one.y).backward()
                optimizer.step()

        return run


class Worker:
    """A process that measures what it is asked for with the package of one tree."""

    def __init__(self, tree: Path, words: list[str]) -> None:
        paths = os.pathsep.join([str(tree), str(Path(__file__).parent)])
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, *words, "--worker"],
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def seconds(self, job: str) -> float:
        """CPU seconds of one run of a job there."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(job, file=self.process.stdin, flush=True)
        while not (line := self.process.stdout.readline()).startswith("seconds "):
            if not line:
                raise RuntimeError(f"the process that measures {job} has ended")
        return float(line.split()[1])


def compared(workers: dict[str, tuple[Worker, str]], repeats: int) -> dict[str, float]:
    """Median seconds of one job a worker, in turns after a first run each."""
    taken: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(repeats + 1):
        for name, (worker, job) in workers.items():
            seconds = worker.seconds(job)
            if turn:
                taken[name].append(seconds)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--before", help="root of another checkout; without: no ratio to it")
    options.add_argument("--root", help="where NCI1.zip lies; default: where data.load looks")
    options.add_argument("--networks", nargs="*", default=["gin-64", "gin-64-dropout", "gcn-128"], choices=NETWORKS)
    options.add_argument("--sets", nargs="*", default=["ogbg-molhiv", "NCI1"])
    options.add_argument("--batches", nargs="*", type=int, default=[32, 128, 512])
    options.add_argument("--kinds", nargs="*", default=["dense", "joint"])
    options.add_argument("--graphs", type=int, default=512, help="graphs a turn; at least two steps")
    options.add_argument("--epochs", type=int, default=2, help="of search and of ticket in a round; 0: no round")
    options.add_argument("--no-plain", action="store_true")
    options.add_argument("--measures", nargs="*", help="jobs, such as round: what each measure gives, and nothing else")
    options.add_argument("--without", choices=MEASURES, help="(for the processes)")
    options.add_argument("--worker", action="store_true", help="measure what stdin names (for the processes)")
    args = options.parse_args()
    if args.worker:
        torch.set_num_threads(1)
        if args.without:
            leave_out(args.without)
        jobs = Jobs(args.root, args.epochs, args.graphs, args.seed)
        for line in sys.stdin:
            print("seconds", jobs.seconds(line.strip()), flush=True)
        return
    here, words, found = Path(__file__).resolve().parents[1], sys.argv[1:], dict[str, float]()
    if args.measures:
        sides = {"after": Worker(here, words)} | {name: Worker(here, [*words, "--without", name]) for name in MEASURES}
        for job in args.measures:
            seconds = compared({name: (worker, job) for name, worker in sides.items()}, args.repeats)
            rows = {
                f"{job} without {name}": value / seconds["after"] for name, value in seconds.items() if name in MEASURES
            }
            print(job, f"{seconds['after']:.4f}", {name: round(value, 3) for name, value in rows.items()}, flush=True)
            found |= {f"{job} after_s": seconds["after"]} | rows
        report("step_measures", args, found)
        for worker in sides.values():
            worker.process.terminate()
        return
    trees = {"after": here} | ({"before": Path(args.before).resolve()} if args.before else {})
    workers = {name: Worker(tree, words) for name, tree in trees.items()}
    rows: dict[str, Any] = {}

    def measure(name: str, jobs: dict[str, tuple[Worker, str]]) -> None:
        seconds = compared(jobs, args.repeats)
        rows.update({f"{name} {side}_s": value for side, value in seconds.items()})
        over = {f"{name} {side}/after": value / seconds["after"] for side, value in seconds.items() if side != "after"}
        rows.update(over)
        print(name, " ".join(f"{side} {value:.4f}" for side, value in seconds.items()), flush=True)
        print("    " + " ".join(f"{key.split()[-1]} {value:.2f}" for key, value in over.items()), flush=True)

    if args.epochs:
        measure("round", {name: (worker, "round") for name, worker in workers.items()})
    for source in args.sets:
        for network in args.networks:
            for size in args.batches:
                for kind in args.kinds:
                    job = f"{source}/{network}/{size}/"
                    sides = {name: (worker, job + kind) for name, worker in workers.items()}
                    if not args.no_plain and not network.startswith("paper"):
                        ending = "_joint" if kind == "joint" else ""
                        sides |= {side: (workers["after"], job + side + ending) for side in ("plain", "plain_net")}
                    measure(job + kind, sides)
    report("step", args, rows)
    for worker in workers.values():
        worker.process.terminate()


if __name__ == "__main__":
    main()
