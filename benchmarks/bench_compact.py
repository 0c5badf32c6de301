"""What a ticket gains in use: the dense network in plain PyG layers, ours, masked, and compacted, on pruned graphs.

python benchmarks/bench_compact.py --json benchmarks/results/compact.json

Channels are pruned at random with all that belongs to them, as many in each layer (the head and the encoder stay), and
random edges of every graph: what is measured does not depend on which. Biases and norms are random, as if trained.
``14/49`` are the sparsities of edges and weights after three of ICPG's
rounds, ``43/91`` after eleven, ``64/99`` after twenty. Graphs: ogbg-molhiv's test molecules, and graphs as edge-rich as
COLLAB's (75 nodes, 65 arcs a node). All sides take the same batches, collated before, in turns.

``faster`` is the throughput of compacted networks on pruned graphs over that of plain PyG on full ones; ``by MACs``
what the multiply-accumulates alone would give; ``edges alone`` our dense network on full over pruned graphs.
Seconds are the CPU's where one thread computes, else by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from common import as_trained, own_time, parser, report, take_turns
from pyg_twin import PlainPyG
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune import MaskSet, compact, data, models, prunable
from graphprune.compaction import coupled_channels
from graphprune.graphs import PackedGraphs
from graphprune.masks import random
from graphprune.measure import count_macs, file_bytes, peak_bytes

TICKETS = {"14/49": 3, "43/91": 11, "64/99": 20}  # rounds of 5 % of the edges and 20 % of the weights
COLLAB = {"nodes": 75, "degree": 65, "graphs": 512}  # of COLLAB: 74.5 nodes and 65.97 arcs a node


def edge_rich(seed: int) -> data.GraphData:
    """Random graphs with as many edges as COLLAB's."""
    generator = torch.Generator().manual_seed(seed)
    nodes, chance = COLLAB["nodes"], COLLAB["degree"] / (COLLAB["nodes"] - 1)
    graphs = []
    for number in range(COLLAB["graphs"]):
        upper = torch.rand(nodes, nodes, generator=generator).triu(1) > 1 - chance
        arcs = upper.nonzero().T
        x = torch.randn(nodes, 16, generator=generator)
        graphs.append(Data(x=x, edge_index=torch.cat([arcs, arcs.flip(0)], 1), y=torch.tensor([number % 3])))
    return data.from_graphs(graphs[:-128], graphs[-128:-64], graphs[-64:], name="edge-rich", task="multiclass")


def pruned(model: nn.Module, example: Any, density: float, seed: int) -> MaskSet:
    """Masks that keep a share of the channels of each layer between encoder and head."""
    select = prunable(exclude=("head.*", "node_encoder.*"))
    unit = coupled_channels(model, example, select)
    masks = MaskSet.dense(model, select, unit=unit)
    counts = {name: max(1, round(density * size)) for name, size in masks.sizes(unit).items()}
    return masks.keep(random(seed)({}, {}, masks), counts, unit=unit)


def thinned(graphs: PackedGraphs, share: float, seed: int) -> PackedGraphs:
    """Graphs without a share of their edges, both arcs of a pair at a time."""
    source, target = graphs.edge_index
    low, high = torch.minimum(source, target), torch.maximum(source, target)
    graph = torch.repeat_interleave(torch.arange(len(graphs)), graphs.edge_count)
    pair = torch.stack([graph, low, high]).unique(dim=1, return_inverse=True)[1]
    keep = torch.rand(int(pair.max()) + 1, generator=torch.Generator().manual_seed(seed)) >= share
    return graphs.keep_edges(keep[pair])


def passes(model: nn.Module, batches: Sequence[Any]) -> Callable[[], None]:
    """Forward passes over all batches, without gradients."""
    model.eval()

    @torch.no_grad()
    def run() -> None:
        for batch in batches:
            model(batch)

    return run


def macs(model: nn.Module, batches: Sequence[Any]) -> float:
    """Multiply-accumulates of all batches."""
    return float(sum(count_macs(model, batch).total for batch in batches))


def setting(kind: str, graphs: data.GraphData, args: Any, batch: int, seed: int) -> dict[str, Any]:
    """All tickets of one network at one batch size."""
    torch.manual_seed(seed)
    full = graphs.test.select(range(min(len(graphs.test), args.graphs if batch > 1 else args.single)))
    model = as_trained(models.MODELS[kind].for_data(graphs, hidden=args.width))  # type: ignore[attr-defined]
    plain = PlainPyG(model)
    split = partial(in_batches, size=batch)
    dense_batches = split(full)
    jobs = {"plain PyG": passes(plain, dense_batches), "dense": passes(model, dense_batches)}
    work = {"plain PyG": macs(plain.eval(), dense_batches)}
    rows: dict[str, Any] = {}
    for ticket, rounds in TICKETS.items():
        left = thinned(full, 1 - 0.95**rounds, seed)
        batches = split(left)
        masked = models.MODELS[kind].for_data(graphs, hidden=args.width)  # type: ignore[attr-defined]
        masked.load_state_dict(model.state_dict())
        masks = pruned(masked.eval(), batches[0], 0.8**rounds, seed)
        masks.apply_(masked)
        small = compact(masked, batches[0])
        jobs |= {
            f"{ticket}: dense, edges pruned": passes(model, batches),
            f"{ticket}: masked": passes(masked, batches),
            f"{ticket}: compacted": passes(small, batches),
        }
        work[ticket] = macs(small, batches)
        rows |= {
            f"{ticket}: edges removed": 1 - left.num_edges / full.num_edges,
            f"{ticket}: weights removed": masks.sparsity,
            f"{ticket}: parameters": sum(p.numel() for p in small.parameters()),
            f"{ticket}: file, share of dense": file_bytes(small) / file_bytes(model),
            f"{ticket}: peak memory, share of dense": _peak(small, batches) / _peak(model, dense_batches),
        }
    seconds = take_turns(jobs, args.repeats, clock=own_time())
    rows |= {f"{name}, graphs/s": len(full) / value for name, value in seconds.items()}
    for ticket in TICKETS:
        rows |= {
            f"{ticket}: faster": seconds["plain PyG"] / seconds[f"{ticket}: compacted"],
            f"{ticket}: by MACs": work["plain PyG"] / work[ticket],
            f"{ticket}: masked": seconds["plain PyG"] / seconds[f"{ticket}: masked"],
            f"{ticket}: compacted over our dense": seconds["dense"] / seconds[f"{ticket}: compacted"],
            f"{ticket}: edges alone": seconds["dense"] / seconds[f"{ticket}: dense, edges pruned"],
        }
    return rows


def in_batches(graphs: PackedGraphs, size: int) -> list[Any]:
    """Batches of so many graphs, in order."""
    return [graphs.batch(part) for part in torch.arange(len(graphs)).split(size)]


def _peak(model: nn.Module, batches: Sequence[Any]) -> int:
    model.eval()
    with torch.no_grad():
        return peak_bytes(lambda: model(batches[0]), _tensors(model, batches[0]))


def _tensors(model: nn.Module, batch: Any) -> list[Tensor]:
    own = [value for _, value in batch if isinstance(value, Tensor)]
    return [*model.parameters(), *model.buffers(), *own]


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=9)
    options.add_argument("--graphs", type=int, default=512, help="graphs a pass")
    options.add_argument("--single", type=int, default=32, help="graphs a pass one by one")
    options.add_argument("--width", type=int, default=128)
    options.add_argument("--models", nargs="+", default=["gin", "gcn", "sage", "gat"])
    options.add_argument("--batches", type=int, nargs="+", default=[1, 256])
    options.add_argument("--all-threads", type=int, nargs="+", default=[1, 2])
    args = options.parse_args()
    sets = {"ogbg-molhiv": data.load("ogbg-molhiv"), "edge-rich": edge_rich(args.seed)}
    rows: dict[str, Any] = {}
    for threads in args.all_threads:
        torch.set_num_threads(threads)
        for name, graphs in sets.items():
            for kind in args.models:
                for batch in args.batches:
                    found = setting(kind, graphs, args, batch, args.seed)
                    title = f"{name}, {kind}, batch {batch}, {threads} threads"
                    rows |= {f"{title}: {key}": value for key, value in found.items()}
                    print(
                        title, {k: round(v, 2) for k, v in found.items() if "faster" in k or "by MACs" in k}, flush=True
                    )
    report("compact", args, rows)


if __name__ == "__main__":
    main()
