"""Encodings of a data set, counted: random walks of up to 16 steps, and of 4, beside matrices of all pairs of nodes.

python benchmarks/bench_encodings.py --json benchmarks/results/encodings.json

``molhiv``: the 41,127 graphs of ogbg-molhiv; ``molecules``: 4,110 of them, as many as NCI1 has; ``superpixels``: 1,000
graphs of 150 points in the plane, each with arcs to and from its 8 nearest; ``communities``: 200 graphs of 500 nodes
with 1,250 edges; ``one_large``: 10^4 nodes, 5 * 10^4 edges, for which matrices would take 0.8 GB each and are left out.
"""

from __future__ import annotations

import torch
from common import own_time, parser, report, take_turns
from torch_geometric.data import Data

from graphprune import Encodings, data
from graphprune.graphs import PackedGraphs, walks

STEPS, FEW = 16, 4


def superpixels(count: int, nodes: int = 150, near: int = 8) -> PackedGraphs:
    """Points in the plane and their nearest ones."""
    graphs = []
    for _ in range(count):
        place = torch.rand(nodes, 2)
        found = torch.cdist(place, place).topk(near + 1, largest=False).indices[:, 1:]
        arcs = torch.stack([torch.arange(nodes).repeat_interleave(near), found.flatten()])
        graphs.append(Data(edge_index=torch.cat([arcs, arcs.flip(0)], 1).unique(dim=1), num_nodes=nodes))
    return PackedGraphs.of(graphs)


def random_graphs(count: int, nodes: int, edges: int) -> PackedGraphs:
    """Edges between any two nodes."""
    ends = (torch.randint(nodes, (2, edges)) for _ in range(count))
    return PackedGraphs.of([Data(edge_index=torch.cat([arcs, arcs.flip(0)], 1), num_nodes=nodes) for arcs in ends])


def main() -> None:
    """Measure and report."""
    args = parser(__doc__, repeats=3).parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    molhiv = data.load("ogbg-molhiv")
    sets = {
        "molhiv": list(molhiv.splits.values()),
        "molecules": [molhiv.train.select(range(4110))],
        "superpixels": [superpixels(1000)],
        "communities": [random_graphs(200, 500, 1250)],
        "one_large": [random_graphs(1, 10_000, 50_000)],
    }
    found, ways = {}, (walks._SMALL, walks._FEW)

    def count(graphs: list[PackedGraphs], steps: int, matrices: bool) -> None:
        walks._SMALL, walks._FEW = (walks.LARGEST, -1) if matrices else ways
        for part in graphs:
            Encodings(steps).counted(part)

    for steps in (STEPS, FEW):
        jobs = {f"{name}_s": (lambda g=graphs, s=steps: count(g, s, matrices=False)) for name, graphs in sets.items()}
        for name in ("superpixels", "communities") if steps == STEPS else ("molhiv", "molecules", "superpixels"):
            jobs[f"{name}_matrices_s"] = lambda g=sets[name], s=steps: count(g, s, matrices=True)
        seconds = take_turns(jobs, args.repeats, warmup=0, clock=own_time())
        found |= {f"{steps}_steps_{name}": value for name, value in seconds.items()}
    report("encodings", args, found)


if __name__ == "__main__":
    main()
