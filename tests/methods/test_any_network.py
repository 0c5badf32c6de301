"""Networks of any of torch_geometric's layers: searched with gates, pruned exactly, and as good as evaluated apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric import nn as pyg
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import DataLoader
from torch_geometric.utils import degree, to_torch_csr_tensor

import graphprune as gp
from graphprune.data import METRICS, GraphData, MetricInfo
from graphprune.methods import METHODS, FitJob, FitResult
from tests.methods.graphs import small_data

WIDTH = 8
EPOCHS, BATCH = 2, 64
RATE = 0.3


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What was evaluated, call by call, by a metric that is accuracy and notes outputs."""
    outputs: list[Tensor] = []

    def accuracy(y_true: Tensor, y_pred: Tensor) -> float:
        outputs.append(y_pred)
        return float((y_pred.argmax(1) == y_true).double().mean())

    monkeypatch.setattr(METRICS, "_own", dict(METRICS._own))
    METRICS["noted"] = MetricInfo("noted", label="accuracy", task="multiclass", compute=accuracy)
    return outputs


@pytest.fixture
def data(seen: list[Tensor]) -> GraphData:
    """MUTAG with its bonds as one-hot edge features."""
    return replace(gp.data.load("MUTAG", features="raw"), metric="noted")


def degrees(data: GraphData) -> Tensor:
    """How many nodes of the training graphs have each degree, as PNA reads them."""
    counts = [degree(graph.edge_index[1], graph.num_nodes, torch.long).bincount(minlength=8) for graph in data.train]
    return torch.stack(counts).sum(0)


def mlp(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))


def pna(data: GraphData, bonds: int) -> nn.Module:
    several = ["mean", "min", "max", "std"], ["identity", "amplification", "attenuation"]
    return pyg.PNAConv(WIDTH, WIDTH, *several, deg=degrees(data), edge_dim=bonds)


# From the data and the columns of edge_attr; what reads these says so.
READS_BONDS: dict[str, Callable[[GraphData, int], nn.Module]] = {
    "gated-gcn": lambda data, bonds: pyg.ResGatedGraphConv(WIDTH, WIDTH, edge_dim=bonds),
    "gen": lambda data, bonds: pyg.GENConv(WIDTH, WIDTH, edge_dim=bonds),
    "pna": pna,
    "transformer": lambda data, bonds: pyg.TransformerConv(WIDTH, WIDTH // 2, heads=2, edge_dim=bonds),
    "gps": lambda data, bonds: pyg.GPSConv(WIDTH, pyg.GINEConv(mlp(WIDTH), edge_dim=bonds), heads=2),
}
READS_NODES: dict[str, Callable[[], nn.Module]] = {
    "sage-max": lambda: pyg.SAGEConv(WIDTH, WIDTH, aggr="max"),
    "graph": lambda: pyg.GraphConv(WIDTH, WIDTH),
    "tag": lambda: pyg.TAGConv(WIDTH, WIDTH, K=2),
    "cheb": lambda: pyg.ChebConv(WIDTH, WIDTH, K=3),
    "edge": lambda: pyg.EdgeConv(mlp(2 * WIDTH)),
}


class Net(nn.Module):
    """Two layers of a kind, with what a user puts around them."""

    def __init__(self, kind: str, data: GraphData) -> None:
        super().__init__()
        self.kind, bonds = kind, data.train[0].edge_attr.size(1)
        self.start = nn.Linear(data.num_features, WIDTH)
        if kind in READS_BONDS:
            layers = [READS_BONDS[kind](data, bonds) for _ in range(2)]
        else:
            layers = [READS_NODES[kind]() for _ in range(2)]
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in range(2))
        self.head = nn.Linear(2 * WIDTH, data.num_outputs)

    def forward(self, batch: Any) -> Tensor:
        x = self.start(batch.x)
        more = {"edge_attr": batch.edge_attr} if self.kind in READS_BONDS else {}
        if self.kind == "gps":
            more["batch"] = batch.batch
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x, batch.edge_index, **more)).relu()
        pooled = [pyg.global_mean_pool(x, batch.batch), pyg.global_max_pool(x, batch.batch)]
        return self.head(torch.cat(pooled, dim=1))


def network(kind: str, data: GraphData, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(kind, data)


def searcher(method: str, data: GraphData) -> Any:
    torch.manual_seed(1)
    predictor = gp.EdgePredictor.for_data(data, hidden=8)
    if method == "gicp":
        return gp.GICP(densities=(1 - RATE,), stop=4, every=1, weight_density=0.8, predictor=predictor)
    own = {"unseen": "random"} if method == "ugs" else {"predictor": predictor}
    return METHODS[method](rounds=1, edge_rate=RATE, weight_rate=0.2, **own)


class Watched:
    """A training that notes by how much the weights, or masks, that score edges have moved in a search."""

    def __init__(self) -> None:
        self.fit = gp.train.Fit(epochs=EPOCHS, lr=0.01, batch_size=BATCH)
        self.moved: dict[str, float] = {}

    def __call__(self, job: FitJob) -> FitResult:
        start = {name: value.detach().clone() for name, value in job.model.state_dict().items()}
        result = self.fit(job)
        if job.phase == "search":
            learned = {name for name, _ in job.model.named_parameters() if name.startswith("predictor.")}
            scoring = learned or {"edges.value"} & start.keys()  # none in the dense training of PGExplainer
            self.moved = {name: float((result.last[name] - start[name]).abs().max()) for name in scoring}
        return result


@torch.no_grad()
def logits(net: nn.Module, graphs: list[Data]) -> Tensor:
    """By torch_geometric alone."""
    return torch.cat([net.eval()(batch) for batch in DataLoader(graphs, batch_size=7)])


def undirected(graph: Data) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in graph.edge_index.t().tolist() if pair[0] != pair[1]}


METHOD_NAMES = ["icpg", "gicp", "ugs", "gsat", "pg-explainer"]
KINDS = [*READS_BONDS, *READS_NODES]
GRID = [
    pytest.param(method, kind, id=f"{method}-{kind}", marks=() if place % 5 == number else pytest.mark.slow)
    for place, kind in enumerate(KINDS)
    for number, method in enumerate(METHOD_NAMES)
]


@pytest.mark.parametrize(("method", "kind"), GRID)
def test_the_test_metric_is_that_of_physically_pruned_graphs(
    method: str, kind: str, data: GraphData, seen: list[Tensor]
) -> None:
    model, made, fit = network(kind, data), searcher(method, data), Watched()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (ticket,) = made.rounds(model, data, fit)
    evaluated = [outputs for outputs in seen if len(outputs) == len(data.test)][-1]

    # The last bias of a predictor may stay: it changes no rank.
    assert fit.moved and min(moved for name, moved in fit.moved.items() if not name.endswith("bias")) > 1e-3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert ticket.masks.kept == round(0.8 * ticket.masks.total)

    whole = [data.test[place] for place in range(len(data.test))]
    sparse = [ticket.prune_graph(graph) for graph in whole]
    pairs = list(zip(whole, sparse, strict=True))
    if method == "ugs":  # whose masks are those of the training graphs
        pairs += zip(data.train, ticket.prune(data.train), strict=True)
    for graph, left in pairs:
        edges = undirected(graph)
        assert undirected(left) < edges and len(undirected(left)) == round(len(edges) * (1 - RATE))
        assert left.edge_index.size(1) == 2 * len(undirected(left)) == len(left.edge_attr)

    fresh = network(kind, data, seed=9)
    fresh.load_state_dict(ticket.trained)
    labels = torch.cat([graph.y for graph in whole])
    for net in (fresh, ticket.build(model)):
        found = logits(net, sparse)
        torch.testing.assert_close(found, evaluated, rtol=1e-4, atol=1e-5)
        assert float((found.argmax(1) == labels).double().mean()) == ticket.row["test_metric"]
        assert (found - logits(net, whole)).abs().max() > 1e-3  # edges matter


class OneLayer(nn.Module):
    """A convolution that is given the graph in some way."""

    def __init__(self, conv: nn.Module, how: Callable[[Any], tuple[Any, Any]]) -> None:
        super().__init__()
        self.conv, self.how, self.head = conv, how, nn.Linear(WIDTH, 2)

    def forward(self, batch: Any) -> Tensor:
        return self.head(pyg.global_mean_pool(self.conv(*self.how(batch)), batch.batch))


OTHER_EDGES: dict[str, tuple[Callable[[Any], tuple[Any, Any]], str]] = {
    "sparse": (lambda b: (b.x, to_torch_csr_tensor(b.edge_index).t()), "conv: soft edges .*not a torch.sparse_csc"),
    "edge index": (lambda b: (b.x, EdgeIndex(b.edge_index, sparse_size=(b.num_nodes,) * 2)), "not EdgeIndex"),
    "bipartite": (lambda b: ((b.x, b.x), b.edge_index), "conv: soft edges do not gate bipartite message passing"),
}


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:Converting sparse tensor")
@pytest.mark.parametrize(("how", "message"), OTHER_EDGES.values(), ids=OTHER_EDGES)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_other_than_plain_edges_are_refused_before_anything_is_trained(method: str, how: Any, message: str) -> None:
    data = small_data()
    with pytest.raises(TypeError, match=message):
        next(searcher(method, data).rounds(OneLayer(pyg.SAGEConv(3, WIDTH), how), data, Watched()))


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_relations_between_two_types_of_nodes_are_refused(method: str) -> None:
    data, kinds = small_data(), [("a", "to", "b"), ("b", "to", "a")]
    conv = pyg.HeteroConv({kind: pyg.SAGEConv((3, 3), WIDTH) for kind in kinds})

    class Typed(OneLayer):
        def forward(self, batch: Any) -> Tensor:
            found = self.conv({"a": batch.x, "b": batch.x}, dict.fromkeys(kinds, batch.edge_index))
            return self.head(pyg.global_mean_pool(found["b"], batch.batch))

    with pytest.raises(TypeError, match=r"conv.convs.<a___to___b>: soft edges do not gate bipartite"):
        next(searcher(method, data).rounds(Typed(conv, lambda batch: (batch, None)), data, Watched()))


def test_graphs_of_several_types_are_refused() -> None:
    graph = HeteroData(y=torch.tensor([0]))
    graph["a"].x = torch.ones(3, 2)
    graph["a", "to", "a"].edge_index = torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(TypeError, match="mine, train graph 0 is a HeteroData, expected"):
        gp.data.from_graphs([graph] * 2, [graph], [graph], name="mine", task="multiclass")
    with pytest.raises(TypeError, match="mine is a HeteroData"):
        gp.data.from_nodes(graph, name="mine")
