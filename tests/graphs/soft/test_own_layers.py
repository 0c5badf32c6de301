"""Layers of one's own: gated where they aggregate by torch_geometric, and refused with the way out where not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric
from torch import Tensor, nn
from torch_geometric import utils
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import MessagePassing, SAGEConv, global_mean_pool
from torch_geometric.utils import add_self_loops, degree, scatter
from torch_geometric.utils import softmax as by_another_name

from graphprune.graphs.soft.check import check_removal
from graphprune.graphs.soft.soft import SoftEdges
from tests.graphs.soft.cases import CHORDS, RING, WIDTH, close, double, graph, soft, without

SHARPNESS = 1.0


class Net(nn.Module):
    """A layer that is called as ``body(x, edge_index, edge_attr)``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, data: Data) -> Any:
        return self.body(data.x, data.edge_index, data.edge_attr)


class Layer(MessagePassing):
    """Sums up linear maps of nodes and edges, as much as a score says."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"aggr": "sum", **options})
        self.lin, self.bond, self.score = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 3), nn.Linear(6, 1)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.propagate(edge_index, x=self.lin(x), edge_attr=edge_attr)

    def logits(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        return self.score(torch.cat([x_i, x_j], dim=-1)) * SHARPNESS

    def message(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor, index: Tensor, size_i: int) -> Tensor:
        return (x_j + self.bond(edge_attr)) * self.share(self.logits(x_i, x_j), index, size_i)

    def share(self, logits: Tensor, index: Tensor, nodes: int) -> Tensor:
        return torch.ones_like(logits)


class Renamed(Layer):
    def share(self, logits: Tensor, index: Tensor, nodes: int) -> Tensor:
        return by_another_name(logits, index, num_nodes=nodes)


class ByModule(Layer):
    def share(self, logits: Tensor, index: Tensor, nodes: int) -> Tensor:
        return utils.softmax(logits, index, num_nodes=nodes)


class ByPackage(Layer):
    def share(self, logits: Tensor, index: Tensor, nodes: int) -> Tensor:
        return torch_geometric.utils.softmax(logits, index, num_nodes=nodes)


def attention(logits: Tensor, index: Tensor, nodes: int) -> Tensor:
    return utils.softmax(logits, index, num_nodes=nodes) * SHARPNESS


class ByHelper(Layer):
    def share(self, logits: Tensor, index: Tensor, nodes: int) -> Tensor:
        return attention(logits, index, nodes)


class Updated(Layer):
    """Attention in edge_update, as GATConv has it."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        x = self.lin(x)
        alpha = self.edge_updater(edge_index, x=x, edge_attr=edge_attr)
        return self.propagate(edge_index, x=x, alpha=alpha)

    def edge_update(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor, index: Tensor, size_i: int) -> Tensor:
        return by_another_name(self.logits(x_i, x_j + self.bond(edge_attr)), index, num_nodes=size_i)

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:  # type: ignore[override]
        return x_j * alpha


class Normed(Layer):
    """As torch_geometric's tutorial on message passing has it."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        edge_index, _ = add_self_loops(edge_index, num_nodes=x.size(0))
        row, col = edge_index
        root = degree(col, x.size(0), dtype=x.dtype).pow(-0.5)
        root[root == float("inf")] = 0
        return self.propagate(edge_index, x=self.lin(x), norm=root[row] * root[col])

    def message(self, x_j: Tensor, norm: Tensor) -> Tensor:  # type: ignore[override]
        return norm.view(-1, 1) * x_j


class Aggregates(Layer):
    def aggregate(self, inputs: Tensor, index: Tensor, ptr: Any = None, dim_size: Any = None) -> Tensor:
        return sum(scatter(inputs, index, self.node_dim, dim_size, how) for how in ("mean", "max"))  # type: ignore


class NoPropagate(Layer):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        source, target = edge_index
        return scatter(self.lin(x)[source] + self.bond(edge_attr), target, 0, len(x), "mean")


class Pooled(Layer):
    """Adds what all nodes have on average, which no gate concerns."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return super().forward(x, edge_index, edge_attr) + global_mean_pool(self.lin(x), None)


OWN: dict[str, Callable[[], nn.Module]] = {
    "sum": Layer,
    "several": lambda: Layer(aggr=["mean", "min", "max", "std"]),
    "renamed": Renamed,
    "by module": ByModule,
    "by package": ByPackage,
    "by helper": ByHelper,
    "edge_update": Updated,
    "tutorial": Normed,
    "aggregate": Aggregates,
    "no propagate": NoPropagate,
    "pooled": Pooled,
}


def seeded(make: Callable[[], nn.Module]) -> tuple[nn.Module, Data]:
    torch.manual_seed(0)
    return Net(make()).double(), double(graph(7, RING + CHORDS))


@pytest.mark.parametrize("name", OWN)
def test_what_aggregates_by_torch_geometric_needs_nothing_more(name: str) -> None:
    net, data = seeded(OWN[name])
    kind = type(net.body)
    check_removal(net, data)
    keep = torch.arange(data.num_edges) % 3 > 0
    close(soft(net, keep.double(), data), net(without(data, keep)), 1e-10)
    assert type(net.body) is kind
    gate = (torch.rand(data.num_edges) * 0.9 + 0.05).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda g: soft(net, g, data), gate)


def test_torch_geometric_and_the_layers_module_stay_as_they_are() -> None:
    before = utils.softmax, torch_geometric.utils.softmax, by_another_name, attention, Renamed.share, ByHelper.message
    for make in (ByPackage, ByHelper):
        net, data = seeded(make)
        check_removal(net, data)
    after = utils.softmax, torch_geometric.utils.softmax, by_another_name, attention, Renamed.share, ByHelper.message
    assert all(one is other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("make", [ByHelper, ByModule])
def test_constants_of_the_layers_module_are_read_when_it_runs(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, data = seeded(make)
    ones = torch.ones(data.num_edges).double()
    check_removal(net, data)
    first = net(data)
    monkeypatch.setitem(globals(), "SHARPNESS", 3.0)
    close(soft(net, ones, data), net(data), 1e-10)
    assert not torch.allclose(net(data), first)


def by_hand(logits: Tensor, index: Tensor, nodes: int) -> Tensor:
    power = logits.exp()
    return power / power.new_zeros(nodes, 1).index_add(0, index, power)[index]


class ByHand(Layer):
    def share(self, logits: Tensor, index: Tensor, nodes: int) -> Tensor:
        return by_hand(logits, index, nodes)


class Divided(Layer):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        many = torch.bincount(edge_index[1], minlength=len(x)).clamp(min=1)
        return super().forward(x, edge_index, edge_attr) / many[:, None]


class Reduced(Layer):
    def aggregate(self, inputs: Tensor, index: Tensor, ptr: Any = None, dim_size: Any = None) -> Tensor:
        out, at = inputs.new_zeros(dim_size or 0, inputs.size(1)), index[:, None].expand_as(inputs)
        return out.scatter_reduce(0, at, inputs, "amax", include_self=False)


class NoMessagePassing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        at = edge_index[1][:, None].expand(-1, 3)
        return x.new_zeros(len(x), 3).scatter_reduce(0, at, self.lin(x)[edge_index[0]], "mean", include_self=False)


class Relations(Layer):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        some = edge_attr[:, 0] > 0
        return super().forward(x, edge_index[:, some], edge_attr[some])


class Joined(Layer):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        loops = torch.arange(len(x)).expand(2, -1)
        return super().forward(x, torch.cat([edge_index, loops], 1), torch.cat([edge_attr, x]))


class Virtual(Layer):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        everywhere = torch.zeros(len(x), dtype=torch.long)
        return super().forward(x, edge_index, edge_attr) + scatter(self.lin(x), everywhere, 0)


BY_HAND: dict[str, tuple[Callable[[], nn.Module], type[Exception], str]] = {
    "softmax": (ByHand, ValueError, r"a gate of 0 is no removed edge.*the module 'body' \(ByHand\)"),
    "degrees": (Divided, ValueError, r"a gate of 0 is no removed edge.*the module 'body' \(Divided\)"),
    "aggregate": (Reduced, RuntimeError, r"body \(Reduced\) has run without reading the gates"),
    "no message passing": (NoMessagePassing, TypeError, "found no convolution in Net"),
    "chosen edges": (Relations, ValueError, r"Relations hands a function .* edges of its own making"),
    "loops": (Joined, ValueError, r"Joined hands .* \(chosen by indexing, joined by torch.cat\).*loops"),
    "nodes": (Virtual, ValueError, "Virtual hands a function .* 7 edges .*, or what are no edges"),
}


@pytest.mark.parametrize(("make", "error", "message"), BY_HAND.values(), ids=BY_HAND)
def test_what_does_it_by_hand_is_refused_with_the_way_out(
    make: Callable[[], nn.Module], error: type[Exception], message: str
) -> None:
    net, data = seeded(make)
    with pytest.raises(error, match=f"{message}.*a parameter edge_gate"):
        check_removal(net, data)
    if isinstance(net.body, MessagePassing):  # nor is it trusted afterwards
        with pytest.raises(TypeError, match="nobody has seen"), SoftEdges(net):
            pass


def test_graphs_of_several_types_are_refused() -> None:
    data = HeteroData()
    data["a"].x = torch.ones(3, WIDTH)
    data["a", "to", "a"].edge_index = torch.tensor([[0, 1], [1, 2]])
    net = SAGEConv(WIDTH, 2)
    for given in (data, [data, data]):
        with pytest.raises(TypeError, match="a HeteroData, expected"):
            check_removal(net, given)
