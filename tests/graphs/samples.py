"""Small graphs for the tests, and slow, obvious references for what is done to them."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.graphs.encoders import ATOM_FEATURES, BOND_FEATURES
from graphprune.graphs.sparsifiers import SCORERS


class Given(nn.Module):
    """Scores that the graphs carry themselves, as ``edge_score``."""

    def forward(self, data):
        return data.edge_score


@st.composite
def arcs(draw, max_nodes=6, max_arcs=14, min_nodes=0):
    """(number of nodes, list of arcs) with self-loops, several equal arcs and arcs without partner."""
    nodes = draw(st.integers(min_nodes, max_nodes))
    if nodes == 0:
        return 0, []
    node = st.integers(0, nodes - 1)
    found = draw(st.lists(st.tuples(node, node), max_size=max_arcs))
    if draw(st.booleans()):
        found = draw(st.permutations(found + [(v, u) for u, v in found]))
    return nodes, found


def to_index(found):
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2).t().contiguous()


def random_graph(seed, nodes=7, edges=9, columns=4, loops=False, one_way=False):
    """A random graph with features, bond-like attributes and weights; undirected unless ``one_way``."""
    rng = torch.Generator().manual_seed(seed)
    source = torch.randint(nodes, (edges,), generator=rng)
    step = torch.randint(1, nodes, (edges,), generator=rng) if nodes > 1 else torch.zeros(edges, dtype=torch.int64)
    target = (source + step) % nodes
    if loops:
        target[::3] = source[::3]
    pairs = torch.stack([source, target])
    index = pairs if one_way else torch.cat([pairs, pairs.flip(0)[:, pairs[0] != pairs[1]]], 1)
    index = index[:, torch.randperm(index.size(1), generator=rng)]
    return Data(
        x=torch.randn(nodes, columns, generator=rng),
        edge_index=index,
        edge_attr=torch.randn(index.size(1), 3, generator=rng),
        y=torch.tensor([seed % 2]),
    )


def molecule(seed, nodes=8, edges=9):
    """A random graph with OGB's kinds of features."""
    data, rng = random_graph(seed, nodes, edges), torch.Generator().manual_seed(seed)
    data.x = torch.stack([torch.randint(size, (nodes,), generator=rng) for size in ATOM_FEATURES], 1)
    data.edge_attr = torch.stack([torch.randint(size, (data.num_edges,), generator=rng) for size in BOND_FEATURES], 1)
    return data


def shake(module, seed=0):
    """Weights and batch-norm statistics as after some training; evaluation mode."""
    rng = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=rng) * 0.4)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return module.eval()


def units_by_hand(found, unit):
    """List of lists of arc positions that fall together, in the order of their first arc; self-loops are in none."""
    units, open_units = [], []
    for position, (u, v) in enumerate(found):
        if u == v:
            continue
        partner = next((i for i, (first, arc) in enumerate(open_units) if arc == (v, u)), None)
        if unit == "pair" and partner is not None:
            open_units.pop(partner)[0].append(position)
        else:
            units.append([position])
            open_units.append((units[-1], (u, v)))
    return units


def best(scores, keep):
    """Numbers of the ``keep`` highest scores; the earlier of equals first."""
    return sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:keep])


def prune_by_hand(found, score, rates, unit="pair", count="cumulative"):
    """Positions of the arcs that are left after every round, arc scores being the same in each."""
    left, rounds, density = list(range(len(found))), [], 1.0
    original = len(units_by_hand(found, unit))
    for rate in rates:
        density *= 1 - rate
        units = [[left[i] for i in each] for each in units_by_hand([found[i] for i in left], unit)]
        if count == "floor":
            keep = len(units) - math.floor(len(units) * rate)
        else:
            keep = min(len(units), round(original * density))
        kept = best([sum(score[i] for i in each) / len(each) for each in units], keep)
        loops = [i for i in left if found[i][0] == found[i][1]]
        left = sorted(loops + [i for number in kept for i in units[number]])
        rounds.append(left)
    return rounds


class Net(nn.Module):
    """Any callable of (x, edge_index) inside a module that takes a graph."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, data: Data) -> Tensor:
        return self.body(data.x, data.edge_index)


# Without those that tests of plug-ins bring along.
RULES = {name: kind for name, kind in SCORERS.items() if kind.__module__.startswith("graphprune.")}


def braid(nodes: int) -> Data:
    """A ring whose every node is joined to the next three: few arcs, and soon very many walks."""
    ring = torch.arange(nodes)
    return Data(edge_index=torch.cat([torch.stack([ring, ring.roll(k)]) for k in (1, 2, 3)], 1), num_nodes=nodes)
