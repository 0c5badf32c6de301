"""What it costs to thin graphs: every sparsifier on all of ogbg-molhiv and on one graph of 10^5 and of 10^6 arcs.

python benchmarks/sparsify.py --threads 1 --json benchmarks/results/sparsify.json

Half of the edges stay. ``drop`` keeps arcs by a coin each, with PyG's ``dropout_edge`` on one graph and by a mask on a
data set: no score, no count, and half a pair may go. ``single`` is a transform that takes 1,000 of the graphs one by
one. Seconds are those of the CPU with one thread, else of the clock. In ``NAME_1e6_over_1e5`` 10 is linear in the arcs;
``connected_over_plain`` is what a spanning forest adds.
"""

from __future__ import annotations

import torch
from common import own_time, parser, report, take_turns
from torch_geometric.data import Data
from torch_geometric.utils import dropout_edge

from graphprune import Sparsify, data
from graphprune.graphs import PackedGraphs
from graphprune.graphs.sparsifiers import SCORERS

SINGLE = 1000  # graphs that a transform takes one by one


def large(arcs: int, seed: int) -> Data:
    """A random graph of mean degree 10, both arcs of each edge."""
    nodes, rng = arcs // 10, torch.Generator().manual_seed(seed)
    low, high = torch.randint(nodes, (2, arcs), generator=rng).sort(dim=0).values
    keys = torch.unique((low * nodes + high)[low != high])
    keys = keys[torch.randperm(len(keys), generator=rng)[: arcs // 2]]
    pairs = torch.stack([keys // nodes, keys % nodes])
    return Data(edge_index=torch.cat([pairs, pairs.flip(0)], 1), num_nodes=nodes)


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--scorers", nargs="+", default=list(SCORERS))
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    thin = {
        (name, connected): Sparsify(name, keep=0.5, connected=connected)
        for name in args.scorers
        for connected in (False, True)
    }
    splits = list(data.load("ogbg-molhiv").splits.values())
    graphs = {f"1e{power}": large(10**power, args.seed) for power in (5, 6)}
    jobs = {"drop_molhiv": lambda: [coin(split) for split in splits]}
    jobs |= {f"drop_{size}": lambda graph=graph: dropout_edge(graph.edge_index, 0.5) for size, graph in graphs.items()}
    few = [splits[0][number] for number in range(SINGLE)]
    for (name, connected), transform in thin.items():
        title = f"{name}_connected" if connected else name
        jobs[f"{title}_molhiv"] = lambda transform=transform: [transform.prune(split) for split in splits]
        jobs[f"{title}_single"] = lambda transform=transform: [transform(graph) for graph in few]
        jobs |= {
            f"{title}_{size}": lambda transform=transform, graph=graph: transform(graph)
            for size, graph in graphs.items()
        }
    seconds = take_turns(jobs, args.repeats, warmup=1, clock=own_time())
    rows = {
        "molhiv_graphs": sum(map(len, splits)),
        "molhiv_arcs": sum(split.num_edges for split in splits),
        **{f"arcs_{size}": graph.num_edges for size, graph in graphs.items()},
        "graphs_single": SINGLE,
    }
    rows |= {f"{job}_s": value for job, value in seconds.items()}
    for name in args.scorers:
        for case in ("molhiv", "1e6"):
            rows[f"{name}_{case}_over_drop"] = seconds[f"{name}_{case}"] / seconds[f"drop_{case}"]
            rows[f"{name}_{case}_connected_over_plain"] = (
                seconds[f"{name}_connected_{case}"] / seconds[f"{name}_{case}"]
            )
        for title in (name, f"{name}_connected"):
            rows[f"{title}_1e6_over_1e5"] = seconds[f"{title}_1e6"] / seconds[f"{title}_1e5"]
    report("sparsify", args, rows)


def coin(graphs: PackedGraphs) -> PackedGraphs:
    """Each arc stays or goes by a coin of its own."""
    return graphs.keep_edges(torch.rand(graphs.num_edges) < 0.5)


if __name__ == "__main__":
    main()
