"""Drawings of graphs with the edges that a ticket keeps and those it removes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch_geometric.data import Data

from graphprune.graphs import PackedGraphs
from graphprune.report.records import TRUTH
from graphprune.report.style import COLOURS, INK

SMALLEST, LARGEST = 8, 30  # nodes: fewer show nothing, more cannot be read at this size
KEPT, REMOVED, TRUE = INK, COLOURS[1], "#f2c94c"
# How far the lines of a bond lie from its middle, as shares of its length, by its order.
AROMATIC = 4
SHIFTS = {1: (0.0,), 2: (-0.07, 0.07), 3: (-0.12, 0.0, 0.12), AROMATIC: (0.0, 0.13)}

Places = dict[int, NDArray[np.float64]]

# By atomic number, from 1; OGB's first atom feature is the place in this list, and 118 is anything else.
_SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc
Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi
Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og *
"""
ELEMENTS = tuple(_SYMBOLS.split())


def drawable(graphs: PackedGraphs, count: int = 6) -> list[int]:
    """Numbers of the first connected graphs of a readable size: nobody picks the beautiful ones."""
    sizes = graphs.node_count
    found: list[int] = []
    for number in ((sizes >= SMALLEST) & (sizes <= LARGEST)).nonzero().flatten().tolist():
        if len(found) == count:
            break
        if nx.is_connected(_graph(graphs[number])):
            found.append(number)
    return found


def drawings(graphs: PackedGraphs, keep: Sequence[torch.Tensor], numbers: Sequence[int], atoms: bool) -> Figure:
    """Graphs in a grid: kept edges solid, removed ones dashed and in colour; molecules with atoms and bonds.

    Edges that are known to be true (``edge_truth``) lie on a broad band.

    Args:
        graphs: the full graphs.
        keep: for each drawn graph, which of its arcs stay.
        numbers: of the graphs to draw.
        atoms: whether features of atoms and bonds are OGB's.
    """
    columns = min(3, len(numbers))
    rows = -(-len(numbers) // columns)
    figure = Figure(figsize=(2.6 * columns + 0.2, 1.9 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for axes, number, mask in zip(panels, numbers, keep, strict=False):
        _draw(axes, graphs[number], mask, atoms)
        undirected = _graph(graphs[number]).number_of_edges()
        lost = undirected - _graph(graphs[number], mask).number_of_edges()
        arcs = int((~mask).sum())
        # An edge is drawn as removed where both arcs are gone; arcs may fall one by one.
        alone = "" if arcs == 2 * lost else f" ({arcs} arcs)"
        axes.set_title(f"test graph {number}: {lost} of {undirected} removed{alone}", fontsize=8)
    handles = [
        Line2D([], [], color=KEPT, linewidth=1.6, label="kept"),
        Line2D([], [], color=REMOVED, linewidth=1.8, linestyle=(0, (2, 1.5)), label="removed"),
    ]
    if TRUTH in graphs.edge:
        handles.append(Line2D([], [], color=TRUE, linewidth=6, label="true"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, data: Data, mask: torch.Tensor, atoms: bool) -> None:
    full, kept = _graph(data), _graph(data, mask)
    orders = _bond_orders(data) if atoms else {}
    places = (_as_molecule(data, orders) if atoms else None) or _lying(nx.kamada_kawai_layout(full))
    rings = nx.minimum_cycle_basis(full) if AROMATIC in orders.values() else []
    true = _graph(data, data[TRUTH]).edges if TRUTH in data else ()
    for u, v in true:
        axes.plot(*np.stack([places[u], places[v]], axis=1), color=TRUE, linewidth=6, solid_capstyle="round", zorder=0)
    for u, v in full.edges:
        stays = kept.has_edge(u, v)
        colour, width = (KEPT, 1.3) if stays else (REMOVED, 1.8)
        order = orders.get((u, v), 1)
        inside = next((ring for ring in rings if u in ring and v in ring), (u, v))
        for shift in SHIFTS[order]:
            # The second line of an aromatic bond is dotted; all lines of a removed one are dashed.
            dash: Any = (0, (2, 1.5)) if not stays else (0, (1, 1.5)) if order == AROMATIC and shift else "-"
            axes.plot(*_beside(places, u, v, shift, inside), color=colour, linewidth=width, linestyle=dash)
    if atoms:
        symbols = {node: _symbol(data.x[node]) for node in full.nodes}
        _letters(axes, places, {node: text for node, text in symbols.items() if text != "C"})
    else:
        nx.draw_networkx_nodes(full, places, ax=axes, node_size=22, node_color=KEPT)
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")


def _bond_orders(data: Data) -> dict[tuple[int, int], int]:
    """By pair of atoms, from OGB's first bond feature: single, double, triple, aromatic."""
    if data.edge_attr is None or data.edge_attr.dim() != 2:
        return {}
    orders = (1 + data.edge_attr[:, 0].long()).tolist()
    return {
        (u, v): order if order in SHIFTS else 1
        for (u, v), order in zip(data.edge_index.t().tolist(), orders, strict=True)
    }


def _symbol(atom: torch.Tensor) -> str:
    """Of OGB's atom features: its element, and its charge as chemists write it."""
    text = ELEMENTS[int(atom[0])]
    charge = int(atom[3]) - 5 if len(atom) > 3 and int(atom[3]) <= 10 else 0
    sign = "+" if charge > 0 else "−"
    return text + (f"{abs(charge) if abs(charge) > 1 else ''}{sign}" if charge else "")


def _as_molecule(data: Data, orders: Mapping[tuple[int, int], int]) -> Places | None:
    """Where RDKit would draw the atoms; None where it is not installed."""
    try:
        from rdkit import Chem
        from rdkit.Chem import rdDepictor
    except ImportError:
        return None
    molecule = Chem.RWMol()
    for number in data.x[:, 0].tolist():
        molecule.AddAtom(Chem.Atom(0 if ELEMENTS[int(number)] == "*" else int(number) + 1))
    kinds = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
    for u, v in _graph(data).edges:
        molecule.AddBond(u, v, kinds[orders.get((u, v), 1) - 1])
    molecule.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(molecule)
    rdDepictor.Compute2DCoords(molecule, canonOrient=True)
    return dict(enumerate(molecule.GetConformer().GetPositions()[:, :2]))


def _beside(places: Places, u: int, v: int, shift: float, inside: Sequence[int]) -> NDArray[np.float64]:
    """A line between two places, moved by a share of its length towards the middle of others, and shortened as much."""
    along = places[v] - places[u]
    aside = np.array([-along[1], along[0]])
    if np.mean([places[node] for node in inside], axis=0) @ aside < places[u] @ aside:
        aside = -aside
    start, end = places[u] + abs(shift) * along, places[v] - abs(shift) * along
    return np.stack([start + shift * aside, end + shift * aside], axis=1)


def _lying(places: Places) -> Places:
    """The same layout turned so that its longest side is horizontal."""
    points = np.array(list(places.values()))
    points = points - points.mean(0)
    _, _, axes = np.linalg.svd(points, full_matrices=False)
    # The signs of the axes are arbitrary: fixed, so that the same graph is always drawn the same way.
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])[:, None]
    return dict(zip(places, points @ axes.T, strict=True))


def _letters(axes: Axes, places: Places, symbols: dict[int, str]) -> None:
    """Symbols of all atoms but carbon, as chemists draw them."""
    box = {"boxstyle": "circle,pad=0.08", "facecolor": "white", "edgecolor": "none"}
    for node, text in symbols.items():
        x, y = places[node]
        axes.text(x, y, text, ha="center", va="center", fontsize=7, color=KEPT, bbox=box, zorder=5)


def _graph(data: Data, mask: torch.Tensor | None = None) -> nx.Graph:
    """Undirected; an edge stays as long as one of its arcs does."""
    graph = nx.Graph()
    graph.add_nodes_from(range(int(data.num_nodes or 0)))
    index = data.edge_index if mask is None else data.edge_index[:, mask]
    graph.add_edges_from((u, v) for u, v in index.t().tolist() if u != v)
    return graph
