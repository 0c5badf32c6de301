"""Builds `planted-motif.npz`: random graphs, three classes, told apart only by the motif that was attached.

    python datasets/scripts/build_planted_motif.py --out datasets

A base graph is a random tree grown by preferential attachment (Barabasi-Albert with one edge a new node, 15
to 25 nodes) with a tenth as many random extra edges, so that the base has cycles too. The same base is used
three times, once a class, with a motif joined to the same base node by one edge:

    class 0 house       a square with a triangle on top
    class 1 butterfly   two triangles that share a node
    class 2 K(2,3)      two nodes, each joined to the same three

All have 5 nodes and 6 edges (house and K(2,3) the same degrees as well), so neither size nor density tells
the class. Nodes are renumbered at random and edges sorted, so position tells nothing either. The three graphs
of one base always fall into the same split.
"""

import argparse
from pathlib import Path

import numpy as np

MOTIFS = (
    ((0, 1), (1, 2), (2, 3), (0, 3), (0, 4), (1, 4)),
    ((0, 1), (1, 2), (0, 2), (0, 3), (3, 4), (0, 4)),
    ((0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)),
)
MOTIF_NODES = 5
BASES = {0: 400, 1: 50, 2: 50}  # split -> base graphs; three times as many graphs
SEED = 0


def base_graph(rng: np.random.Generator) -> tuple[int, set[tuple[int, int]]]:
    """Number of nodes and edges (u < v) of one base graph."""
    nodes = int(rng.integers(15, 26))
    edges, ends = {(0, 1)}, [0, 1]
    for new in range(2, nodes):
        old = ends[rng.integers(len(ends))]
        edges.add((old, new))
        ends += [old, new]
    tree = len(edges)
    while len(edges) < tree + round(0.1 * nodes):
        u, v = sorted(rng.choice(nodes, size=2, replace=False).tolist())
        edges.add((u, v))
    return nodes, edges


def planted(rng: np.random.Generator, nodes: int, base: set[tuple[int, int]], anchor: int, label: int) -> np.ndarray:
    """Rows (u, v, truth) of one graph: the base, one motif, the edge between them; numbering shuffled."""
    truth = {(nodes + u, nodes + v): 1 for u, v in MOTIFS[label]}
    bridge = {(anchor, nodes + int(rng.integers(MOTIF_NODES))): 0}
    name = rng.permutation(nodes + MOTIF_NODES)
    rows = [(*sorted((name[u], name[v])), flag) for (u, v), flag in (dict.fromkeys(base, 0) | bridge | truth).items()]
    return np.array(sorted(rows), dtype=np.uint8)


def main() -> None:
    """Command line: the folder to write to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent)
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    graphs, sizes, labels, splits = [], [], [], []
    for split, bases in BASES.items():
        for _ in range(bases):
            nodes, base = base_graph(rng)
            anchor = int(rng.integers(nodes))
            for label in rng.permutation(len(MOTIFS)).tolist():
                graphs.append(planted(rng, nodes, base, anchor, label))
                sizes.append(nodes + MOTIF_NODES)
                labels.append(label)
                splits.append(split)
    table = np.concatenate(graphs)
    np.savez_compressed(
        options.out / "planted-motif.npz",
        bonds=table[:, :2],
        bond_truth=table[:, 2],
        num_nodes=np.array(sizes, dtype=np.uint8),
        num_bonds=np.array([len(graph) for graph in graphs], dtype=np.uint8),
        y=np.array(labels, dtype=np.uint8),
        split=np.array(splits, dtype=np.uint8),
    )
    print(f"planted-motif: {len(graphs)} graphs, {sum(sizes)} nodes, {len(table)} edges")


if __name__ == "__main__":
    main()
