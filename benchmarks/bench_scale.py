"""What stored data sets cost: generated sets of many small graphs, and of graphs of 100,000 nodes.

python benchmarks/bench_scale.py --threads 1 --json benchmarks/results/scale.json

Each size is written by one fresh process, at once and (up to 5.4 million arcs) graph by graph, and used by another:
opened with every file read (which the system has been asked to drop before) and without, read in one epoch of shuffled
batches, its edges scored, and 5 % of them pruned. Seconds are given by the clock and, for a machine that others use
too, as those of the process's CPU. Memory is given as the process's peak (``ru_maxrss``, with the pages of mapped
files, which the system takes back when it needs them), and as the anonymous memory that each step needs on top of
what was there before it (sampled every 20 ms), which it cannot take back. Slopes are those of log(CPU seconds) over
log(arcs), over all sizes of a kind and over its two largest.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, report

from graphprune import EdgePredictor
from graphprune.data import GraphData
from graphprune.data.disk.open import open_stored
from graphprune.data.disk.write import store, store_graphs
from graphprune.graphs import EdgeRound, EdgeRule, PackedGraphs
from graphprune.graphs.prune import keep_arcs
from graphprune.graphs.rule import in_chunks, original_units

# Nodes and undirected edges of a graph, graphs of a batch, and training graphs of each size.
KINDS = {
    "small": (25, 27, 128, (10_000, 100_000, 1_000_000)),
    "large": (100_000, 500_000, 1, (3, 10, 30)),
}
COLUMNS, CLASSES = 8, 10
STREAMED = 5_400_000  # arcs; a set of more is written at once only
PPA_ARCS = 3.6e8


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--hidden", type=int, default=16, help="width of the edge predictor")
    options.add_argument("--largest", type=float, default=1e9, help="leave out sets of more arcs")
    options.add_argument("--folder", type=Path, help="where the sets are written (default: a temporary folder)")
    options.add_argument("--job", nargs=3, metavar=("JOB", "KIND", "GRAPHS"), help="internal: one process's work")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    if args.job:
        job, kind, graphs = args.job
        print(json.dumps(_STEPS[job](args, kind, int(graphs), args.folder)))
        return
    del args.job
    rows: dict[str, Any] = {}
    for kind, (_, edges, _, sizes) in KINDS.items():
        runs = [
            run(args, kind, graphs)
            for graphs in sizes
            for _ in range(args.repeats)
            if 2 * edges * graphs <= args.largest
        ]
        rows |= {f"{kind}_{entry['graphs']}": entry for entry in runs} | {f"{kind}_growth": growth(runs)}
    rows["ogbg_ppa"] = extrapolated(list(rows.values()))
    args.folder = args.folder and str(args.folder)
    report("scale", args, rows)


def run(args: Any, kind: str, graphs: int) -> dict[str, Any]:
    """One size: two processes, one behind the other."""
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        row: dict[str, Any] = {"graphs": graphs}
        for job in _STEPS:
            command = [sys.executable, __file__, "--folder", folder, "--job", job, kind, str(graphs)]
            command += [f"--{name}={getattr(args, name)}" for name in ("seed", "threads", "hidden")]
            row |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(row, file=sys.stderr)
        return row


# ---------------------------------------------------------------------- the two processes


def write(args: Any, kind: str, graphs: int, folder: Path) -> dict[str, Any]:
    """Generate and store."""
    few = max(graphs // 100, 1)
    train, val, test = (generated(kind, count, args.seed + number) for number, count in enumerate((graphs, few, few)))
    data = GraphData(
        train=train,
        val=val,
        test=test,
        name=kind,
        task="multiclass",
        metric="accuracy",
        features=COLUMNS,
        num_classes=CLASSES,
    )
    meter = Meter()
    if train.num_edges <= STREAMED:
        streams = (iter(part) for part in (train, val, test))
        meter.step("stream", lambda: store_graphs(folder / "streamed", *streams, name=kind, task="multiclass"))
    meter.step("store", lambda: store(data, folder / "set"))
    size = sum(file.stat().st_size for file in (folder / "set").iterdir())
    return {"bytes_on_disk": size, **meter.rows}


def use(args: Any, kind: str, graphs: int, folder: Path) -> dict[str, Any]:
    """Open, read, score and prune."""
    for file in (folder / "set").iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    torch.manual_seed(args.seed)
    meter = Meter()
    meter.step("open", lambda: open_stored(folder / "set"))
    data = meter.step("open_unverified", lambda: open_stored(folder / "set", verify=False))
    train: PackedGraphs = data.train
    order = torch.Generator().manual_seed(args.seed)
    batches = train.loader(KINDS[kind][2], shuffle=True, generator=order)
    meter.step("epoch_of_batches", lambda: sum(batch.num_graphs for batch in batches))
    predictor = EdgePredictor.for_data(data, hidden=args.hidden).eval()
    rule = EdgeRule()
    units = meter.step("count_edges", lambda: original_units(train, rule))
    stage = EdgeRound(predictor, 0.05, 0.95)
    keep, _ = meter.step("score_and_select", lambda: keep_arcs(in_chunks(train, rule), stage, rule, units))
    pruned = meter.step("prune", lambda: train.keep_edges(keep))
    return {
        "arcs": train.num_edges,
        "nodes": train.num_nodes,
        "arcs_kept": pruned.num_edges,
        **meter.rows,
        "use_peak_rss_mib": meter.peak(),
    }


_STEPS: dict[str, Callable[[Any, str, int, Path], dict[str, Any]]] = {"write": write, "use": use}


def generated(kind: str, graphs: int, seed: int) -> PackedGraphs:
    """Rings with random chords, random features and a random class, both arcs of an edge side by side."""
    nodes, edges, _, _ = KINDS[kind]
    rng = torch.Generator().manual_seed(seed)
    chords = torch.randint(nodes, (graphs, edges - nodes), generator=rng)
    step = torch.randint(2, nodes - 1, chords.shape, generator=rng)
    ring = torch.arange(nodes).expand(graphs, -1)
    source = torch.cat([ring, chords], 1).flatten()
    target = torch.cat([(ring + 1) % nodes, (chords + step) % nodes], 1).flatten()
    return PackedGraphs(
        torch.full((graphs,), nodes),
        torch.full((graphs,), 2 * edges),
        torch.stack([torch.stack([source, target], 1), torch.stack([target, source], 1)]).view(2, -1),
        node={"x": torch.randn(graphs * nodes, COLUMNS, generator=rng)},
        graph={"y": torch.randint(CLASSES, (graphs,), generator=rng)},
    )


class Meter:
    """Seconds and memory of steps."""

    def __init__(self) -> None:
        self.rows: dict[str, float] = {}

    def step(self, name: str, job: Callable[[], Any]) -> Any:
        """Do it, and note its seconds and its peak of anonymous memory above what was there before, in MiB."""
        before = highest = _anonymous()
        done = threading.Event()

        def watch() -> None:
            nonlocal highest
            while not done.wait(0.02):
                highest = max(highest, _anonymous())

        watcher = threading.Thread(target=watch)
        watcher.start()
        begin, cpu = time.perf_counter(), time.process_time()
        try:
            result = job()
        finally:
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            done.set()
            watcher.join()
        self.rows |= {f"{name}_s": seconds, f"{name}_cpu_s": cpu, f"{name}_mib": max(highest, _anonymous()) - before}
        return result

    @staticmethod
    def peak() -> float:
        """Highest resident memory of the process, mapped files included, in MiB."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _anonymous() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system does not tell anonymous memory")


# ---------------------------------------------------------------------- what follows from the numbers


def growth(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Slopes of log(CPU seconds) over log(arcs), of what every size did."""
    if len(runs) < 2:
        return {}
    arcs = np.log([entry["arcs"] for entry in runs])
    slopes = {}
    for name in [name for name in runs[-1] if name.endswith("_cpu_s")]:
        seconds = np.log([entry[name] for entry in runs])
        step = name.removesuffix("_cpu_s")
        slopes[f"{step}_slope"] = float(np.polyfit(arcs, seconds, 1)[0])
        slopes[f"{step}_slope_of_largest"] = float(np.diff(seconds[-2:])[0] / np.diff(arcs[-2:])[0])
    return slopes


def extrapolated(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the arcs of ogbg-ppa would take, in proportion to the set of the most arcs; nothing of this was measured.

    Too much where something does not grow with the arcs, as most of the memory.
    """
    largest = max((row for row in rows if "arcs" in row), key=lambda row: row["arcs"])
    factor = PPA_ARCS / largest["arcs"]
    names = [name for name in largest if name.endswith("_s") or name == "bytes_on_disk"]
    names += [name for name in largest if name.endswith("_mib") and "peak" not in name]
    return {"arcs": math.trunc(PPA_ARCS), "extrapolated_from_arcs": largest["arcs"]} | {
        name: largest[name] * factor for name in names
    }


if __name__ == "__main__":
    main()
