"""Drawings of graphs with what tickets keep of them."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch_geometric.data import Data

from graphprune.graphs import PackedGraphs
from graphprune.report.drawings import KEPT, REMOVED, drawable, drawings

# Benzene with an ammonium group, a hydroxyl group and a double and a triple bond on a chain, as OGB has features.
BONDS = {(a, (a + 1) % 6): 3 for a in range(6)} | {(0, 6): 0, (1, 7): 0, (2, 8): 0, (8, 9): 1, (9, 10): 0, (10, 11): 2}
ATOMS = [6, 6, 6, 6, 6, 6, 7, 8, 6, 6, 6, 6]
REMOVED_BONDS = [(0, 6), (8, 9)]


def molecule() -> PackedGraphs:
    arcs = [(*pair, kind) for bond, kind in BONDS.items() for pair in (bond, bond[::-1])]
    x = torch.zeros(len(ATOMS), 9, dtype=torch.long)
    x[:, 0], x[:, 3] = torch.tensor(ATOMS) - 1, 5
    x[6, 3] = 6  # the charge of the ammonium
    index = torch.tensor([arc[:2] for arc in arcs]).t()
    features = torch.tensor([[arc[2], 0, 0] for arc in arcs])
    return PackedGraphs.of([Data(x=x, edge_index=index, edge_attr=features, y=torch.zeros(1, 1))])


def drawn(atoms: bool = True) -> Figure:
    graphs = molecule()
    gone = {pair for bond in REMOVED_BONDS for pair in (bond, bond[::-1])}
    keep = torch.tensor([tuple(arc) not in gone for arc in graphs[0].edge_index.t().tolist()])
    return drawings(graphs, [keep], [0], atoms)


def lines(figure: Figure, colour: str) -> int:
    return sum(to_hex(line.get_color()) == colour.lower() for line in figure.axes[0].lines)


@pytest.mark.parametrize("rdkit", [True, False])
def test_molecules_have_atoms_and_bonds(rdkit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not rdkit:
        monkeypatch.setitem(sys.modules, "rdkit", None)
    figure = drawn()
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["N+", "O"]
    assert axes.get_title() == "test graph 0: 2 of 12 removed"
    # Six aromatic bonds of two lines each, four single ones, a double and a triple one; a single and the double one go.
    assert lines(figure, REMOVED) == 1 + 2
    assert lines(figure, KEPT) == 6 * 2 + 3 + 3
    if rdkit:
        lengths = [np.hypot(*np.diff(line.get_xydata(), axis=0)[0]) for line in axes.lines]
        assert min(lengths) > 0.7 * max(lengths)  # bonds of one length, but for second lines
        # The dotted lines of aromatic bonds lie in their ring.
        kept = [line for line in axes.lines if to_hex(line.get_color()) == KEPT.lower()]
        middles = {line: line.get_xydata().mean(0) for line in kept}
        dotted = [line for line in kept if line.get_linestyle() != "-"]
        ring = np.mean([middles[line] for line in dotted], axis=0)
        inner, outer = (
            [np.hypot(*(middles[line] - ring)) for line in kept if (line in dotted) is one] for one in (True, False)
        )
        assert len(inner) == 6 and max(inner) < min(outer)


def test_other_graphs_have_nodes_and_single_lines() -> None:
    figure = drawn(atoms=False)
    assert not figure.axes[0].texts
    assert len(figure.axes[0].lines) == len(BONDS)
    assert lines(figure, REMOVED) == len(REMOVED_BONDS)


def test_connected_graphs_of_readable_size_are_drawn() -> None:
    ring = torch.stack([torch.arange(10), torch.arange(1, 11) % 10])
    whole = Data(x=torch.zeros(10, 1), edge_index=torch.cat([ring, ring.flip(0)], 1), y=torch.zeros(1, 1))
    broken = Data(x=torch.zeros(11, 1), edge_index=whole.edge_index, y=torch.zeros(1, 1))
    small = Data(x=torch.zeros(3, 1), edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), y=torch.zeros(1, 1))
    graphs = PackedGraphs.of([broken, whole, small, whole, whole])
    assert drawable(graphs) == [1, 3, 4]
    assert drawable(graphs, 2) == [1, 3]
