"""Which encodings of a node's place are worth having: a dense GIN on NCI1 that reads each kind beside its features.

python benchmarks/encoding_kinds.py --root NCI1.zip --threads 1 --json benchmarks/results/encoding_kinds.json

``degree``: log(1 + degree); ``walks``: with it the return probabilities of walks (``gp.Encodings``); ``rings``: how
many of a node's edges lie in a shortest ring of 3, 4, ..., 8 nodes; ``laplacian``: absolute entries of the eigenvectors
of the eight lowest eigenvalues above the first, of the normalised Laplacian (signs, and bases of equal eigenvalues, are
arbitrary).
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import networkx as nx
import torch
from common import parser, report
from torch import Tensor
from torch_geometric.data import Data

import graphprune as gp

LONGEST = 8


def rings(graph: Data) -> Tensor:
    """Of each node, how many of its edges have a shortest ring of each length."""
    network = nx.Graph(graph.edge_index.t().tolist())
    found = torch.zeros(graph.num_nodes, LONGEST - 2)
    for u, v in list(network.edges):
        network.remove_edge(u, v)
        if nx.has_path(network, u, v) and (length := nx.shortest_path_length(network, u, v) + 1) <= LONGEST:
            found[[u, v], length - 3] += 1
        network.add_edge(u, v)
    return found


def laplacian(graph: Data, columns: int = 8) -> Tensor:
    """Absolute entries of the lowest eigenvectors but the first."""
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    adjacency[graph.edge_index[0], graph.edge_index[1]] = 1
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    vectors = torch.linalg.eigh(torch.eye(graph.num_nodes) - scale[:, None] * adjacency * scale)[1]
    found = torch.zeros(graph.num_nodes, columns)
    found[:, : min(columns, graph.num_nodes - 1)] = vectors[:, 1 : columns + 1].abs().float()
    return found


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--root", help="NCI1's raw files; else they are downloaded")
    options.add_argument("--epochs", type=int, default=30)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    data = gp.data.load("NCI1", root=args.root)
    walks = {split: gp.Encodings(16).counted(part).node["encodings"] for split, part in data.splits.items()}
    ring, eigen = (
        {split: torch.cat([of(graph) for graph in part]) for split, part in data.splits.items()}
        for of in (rings, laplacian)
    )
    kinds = {
        "none": [],
        "degree": [{split: found[:, :1] for split, found in walks.items()}],
        "walks of 8": [{split: found[:, :8] for split, found in walks.items()}],
        "walks of 16": [walks],
        "rings": [ring],
        "walks of 16, rings": [walks, ring],
        "laplacian": [eigen],
        "walks of 16, laplacian": [walks, eigen],
    }
    rows = {}
    for name, parts in kinds.items():
        splits = {
            split: graphs.with_node(x=torch.cat([graphs.node["x"], *(part[split] for part in parts)], 1))
            for split, graphs in data.splits.items()
        }
        read = replace(data, features=splits["train"].node["x"].size(1), **splits)
        found, started = {"val": [], "test": []}, time.process_time()
        for seed in range(args.seed, args.seed + args.repeats):
            torch.manual_seed(seed)
            model = gp.models.GIN.for_data(read, hidden=64, layers=3, readout="sum")
            fit = gp.train.Fit(epochs=args.epochs, lr=1e-3, seed=seed, batch_size=64)
            (ticket,) = gp.Dense().rounds(model, read, fit)
            for split, values in found.items():
                values.append(ticket.row[f"{split}_metric"])
        rows[name] = {split: {"mean": statistics.mean(values), "runs": values} for split, values in found.items()}
        rows[name]["seconds"] = time.process_time() - started
        print(name, rows[name], flush=True)
    report("encoding_kinds", args, rows)


if __name__ == "__main__":
    main()
