"""The picture of the README: three test graphs of planted-motif, and the edges that GICP leaves of them.

python benchmarks/readme_picture.py --threads 1 --json benchmarks/results/readme_picture.json

One seed. The first test graph of each class is drawn, before anything is known of what the predictor makes of it; true
edges are never seen in training. Dense network and network without edges stand beside it, trained as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import networkx as nx
import torch
from common import parser, report
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch_geometric.data import Data

import graphprune as gp

Edges = dict[tuple[int, int], bool]

KINDS = {  # label: colour, width, dashes
    "kept, of the motif": ("#d55e00", 3.0, "solid"),
    "kept, not of the motif": ("#0072b2", 3.0, "solid"),
    "removed": ("#b0b0b0", 1.0, "dashed"),
    "removed, of the motif": ("#d55e00", 1.5, "dotted"),
}


def edges(graph: Data) -> Edges:
    """The undirected edges, and whether they are of the motif."""
    truth = graph.edge_truth.tolist()
    return {(u, v): is_true for (u, v), is_true in zip(graph.edge_index.T.tolist(), truth, strict=True) if u < v}


def share(graphs: Sequence[tuple[Edges, Edges]], of_motif: bool) -> float:
    """How many of the motifs' edges, or of all others, are left, over full and pruned graphs."""
    before, after = (sum(list(pair[i].values()).count(of_motif) for pair in graphs) for i in (0, 1))
    return after / before


def draw(axes: Axes, full: Data, sparse: Data) -> None:
    """One graph: where all of its edges were, and which are left."""
    everything, left = edges(full), edges(sparse)
    graph = nx.Graph(list(everything))
    places = nx.kamada_kawai_layout(graph)
    nx.draw_networkx_nodes(graph, places, ax=axes, node_size=26, node_color="#404040")
    for label, (colour, width, style) in KINDS.items():
        of_motif = label.endswith("of the motif") and "not" not in label
        chosen = [e for e in everything if (e in left) == label.startswith("kept") and everything[e] == of_motif]
        if label == "removed":
            chosen = [e for e in everything if e not in left and not everything[e]]
        nx.draw_networkx_edges(graph, places, chosen, ax=axes, edge_color=colour, width=width, style=style)
    axes.set_title(f"{len(left)} of {len(everything)} edges, {sum(left.values())} of the motif's 6", fontsize=12)
    axes.axis("off")


def main() -> None:
    """Train, prune, draw and report."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--out", default="docs/images/planted_motif.png")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    data = gp.data.load("planted-motif")
    torch.manual_seed(args.seed)
    model = gp.models.GIN.for_data(data, hidden=32, layers=3)
    predictor = gp.EdgePredictor.for_data(data, hidden=32, score="bilinear", walks=16)
    fit = gp.train.Fit(epochs=args.epochs, batch_size=64, lr=5e-3, seed=args.seed)
    steps = args.epochs * -(-len(data.train) // fit.batch_size)
    gicp = gp.GICP(predictor=predictor, densities=(0.75, 0.5, 0.25), weight_density=0.2, stop=int(0.6 * steps))
    *_, ticket = gicp.rounds(model, data, fit)
    (dense,) = gp.Dense().rounds(model, data, fit)
    (without,) = gp.NoEdges().rounds(model, data, fit)

    labels = [int(graph.y) for graph in data.test]
    shown = [data.test[labels.index(label)] for label in sorted(set(labels))]
    figure = Figure(figsize=(10, 3.7), dpi=100, layout="constrained")
    for axes, graph in zip(figure.subplots(1, len(shown)), shown, strict=True):
        draw(axes, graph, ticket.prune_graph(graph))
    lines = [Line2D([], [], color=colour, lw=width, ls=style) for colour, width, style in KINDS.values()]
    figure.legend(lines, list(KINDS), loc="outside lower center", ncols=len(KINDS), frameon=False, fontsize=12)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, metadata={"Software": None})

    left = [(edges(graph), edges(ticket.prune_graph(graph))) for graph in data.test]
    report(
        "readme_picture",
        args,
        {
            "test_accuracy": ticket.row["test_metric"],
            "dense_test_accuracy": dense.row["test_metric"],
            "no_edges_test_accuracy": without.row["test_metric"],
            "summary": str(ticket.summary()),
            "motif_edges_kept": share(left, True),
            "other_edges_kept": share(left, False),
            "motif_edges_kept_by_class": [
                share([pair for pair, of in zip(left, labels, strict=True) if of == label], True)
                for label in sorted(set(labels))
            ],
        },
    )


if __name__ == "__main__":
    main()
