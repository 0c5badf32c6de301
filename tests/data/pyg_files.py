"""Small raw files in the formats of torch_geometric's data sets, which its own code processes."""

import pickle

import torch
from torch_geometric.data import HeteroData
from torch_geometric.datasets import ZINC, GNNBenchmarkDataset, LRGBDataset, MalNetTiny, TUDataset

PARTS = ("train", "val", "test")
COUNTS = {"train": 12, "val": 5, "test": 6}


def ring(size):
    nodes = torch.arange(size)
    pairs = torch.stack([nodes, nodes.roll(-1)])
    return torch.cat([pairs, pairs.flip(0)], 1)


def zinc(root):
    """Three data sets, the second molecule of each split left out by its index."""
    raw, draw = root / "raw", torch.Generator().manual_seed(0)
    raw.mkdir(parents=True)
    for part, count in COUNTS.items():
        molecules = []
        for _ in range(count + 1):
            size = int(torch.randint(4, 8, (), generator=draw))
            bonds = torch.zeros(size, size, dtype=torch.uint8)
            kinds = torch.randint(1, 4, (size,), dtype=torch.uint8, generator=draw)
            for atom in range(size):
                bonds[atom, atom - 1] = bonds[atom - 1, atom] = kinds[atom]
            atoms = torch.randint(28, (size,), dtype=torch.int8, generator=draw)
            molecules.append(
                {"atom_type": atoms, "bond_type": bonds, "logP_SA_cycle_normalized": kinds.float().mean()[None]}
            )
        (raw / f"{part}.pickle").write_bytes(pickle.dumps(molecules))
        (raw / f"{part}.index").write_text(",".join(map(str, [0, *range(2, count + 1)])) + "\n")
    return [ZINC(str(root), subset=True, split=part) for part in PARTS]


def _benchmark(root, name, graph):
    """A set of GNNBenchmarkDataset from ``graph(number, generator)``."""
    raw, draw = root / name / "raw", torch.Generator().manual_seed(0)
    raw.mkdir(parents=True)
    graphs = [[graph(number, draw) for number in range(count)] for count in COUNTS.values()]
    torch.save(graphs, raw / f"{name}_v2.pt")
    return [GNNBenchmarkDataset(str(root), name, split=part) for part in PARTS]


def superpixels(root, name="MNIST"):
    def graph(number, draw):
        size = 9 + number % 3
        arcs = ring(size)
        return {
            "x": torch.rand(size, 1 if name == "MNIST" else 3, generator=draw),
            "pos": torch.rand(size, 2, generator=draw),
            "edge_index": arcs,
            "edge_attr": torch.rand(arcs.size(1), generator=draw),
            "y": torch.tensor([number % 10]),
        }

    return _benchmark(root, name, graph)


def blocks(root, name="CLUSTER"):
    """Labels at nodes."""
    classes, columns = {"CLUSTER": (6, 7), "PATTERN": (2, 3)}[name]

    def graph(number, draw):
        size = 12 + number
        x = torch.nn.functional.one_hot(torch.randint(columns, (size,), generator=draw), columns)
        return {"x": x.float(), "edge_index": ring(size), "y": torch.arange(size) % classes}

    return _benchmark(root, name, graph)


def peptides(root, kind="func"):
    raw, draw = root / f"peptides-{kind}" / "raw", torch.Generator().manual_seed(0)
    raw.mkdir(parents=True)
    for part, count in COUNTS.items():
        graphs = []
        for number in range(count):
            size = 6 + number % 4
            arcs = ring(size)
            sizes = (119, 5, 12, 12, 10, 6, 6, 2, 2), (5, 6, 2)
            x, bonds = (
                torch.stack([torch.randint(size, (rows,), generator=draw) for size in columns], 1)
                for columns, rows in zip(sizes, (size, arcs.size(1)), strict=True)
            )
            y = (torch.arange(10)[None] + number) % 2 if kind == "func" else torch.randn(1, 11, generator=draw)
            graphs.append((x, bonds, arcs, y.float()))
        torch.save(graphs, raw / f"{part}.pt")
    return [LRGBDataset(str(root), f"Peptides-{kind}", split=part) for part in PARTS]


def malnet(root):
    """Bare graphs of five families, in one data set if no split is asked for."""
    raw = root / "raw"
    for part, count in COUNTS.items():
        lines = []
        for number in range(count):
            name = f"kind{number % 5}/{part}{number}"
            file = raw / "malnet-graphs-tiny" / f"{name}.edgelist"
            file.parent.mkdir(parents=True, exist_ok=True)
            arcs = ring(5 + number + 20 * PARTS.index(part)).t().tolist()
            file.write_text("# a\n" * 5 + "".join(f"{u} {v}\n" for u, v in arcs))
            lines.append(name + "\n")
        folder = raw / "split_info_tiny" / "type"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{part}.txt").write_text("".join(lines))
    return [MalNetTiny(str(root), split=part) for part in (*PARTS, None)]


def tu(root, name="SMALL", graphs=30):
    """Two classes, three node labels, a real label of an edge."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    text = {"A": "", "graph_indicator": "", "graph_labels": "", "node_labels": "", "edge_attributes": ""}
    first = 1
    for number in range(graphs):
        size = 4 + number % 3
        for u, v in sorted(ring(size).t().tolist()):
            text["A"] += f"{first + u}, {first + v}\n"
            text["edge_attributes"] += f"{u / 8}\n"
        for node in range(size):
            text["graph_indicator"] += f"{number + 1}\n"
            text["node_labels"] += f"{(node + number) % 3}\n"
        text["graph_labels"] += f"{number % 2}\n"
        first += size
    for kind, lines in text.items():
        (raw / f"{name}_{kind}.txt").write_text(lines)
    return TUDataset(str(root), name, use_edge_attr=True)


def hetero():
    data = HeteroData()
    data["a"].x, data["b"].x = torch.ones(2, 1), torch.ones(3, 1)
    data["a", "to", "b"].edge_index = torch.tensor([[0, 1], [1, 2]])
    return data
