import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv, global_add_pool

from graphprune.graphs import EdgePredictor
from graphprune.graphs.adjacency import Adjacency
from graphprune.graphs.conv import BagLinear, GATLayer, GCNLayer, GINLayer, SAGELayer
from graphprune.graphs.gated_gcn import GatedGCNLayer
from graphprune.graphs.pna import PNALayer
from graphprune.measure.macs import Macs, count_macs
from graphprune.models import GAT, GCN, GIN, SAGE, LeNet5, ResNet20
from tests.measure.nets import masked, mlp, nets

NODES, IN, OUT, HEADS = 7, 5, 4, 2
ARCS = torch.tensor([[0, 1, 1, 2, 2, 3, 4, 5, 0], [1, 0, 2, 1, 3, 2, 5, 4, 6]])  # no self-loops
EDGES = ARCS.size(1)
LOOPED = EDGES + NODES


class Of(nn.Module):
    """A function of the inputs and of a weight, as a module."""

    def __init__(self, function: Callable[..., Tensor], weight: Tensor | None = None) -> None:
        super().__init__()
        self.function = function
        self.weight = None if weight is None else nn.Parameter(weight)

    def forward(self, *inputs: Any) -> Tensor:
        return self.function(*inputs) if self.weight is None else self.function(*inputs, self.weight)


class Sorted(nn.Module):
    """One of the package's layers as a network over ``x`` and ``edge_index``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.layer(x, Adjacency(edge_index, x.size(0)))


@given(nets(), st.integers(0, 5))
def test_products_and_their_weights_that_are_not_zero(net: Any, rows: int) -> None:
    model, masks = net
    found = count_macs(model, torch.zeros(rows, model[0].in_features))
    assert (found.transformation, found.nonzero) == (rows * masks.total, rows * masks.kept)
    assert (found.aggregation, found.readout, found.uncounted) == (0, 0, {})


def test_a_masked_network_has_the_macs_of_the_small_one() -> None:
    large, small, x = mlp(4, 6, 3), mlp(4, 2, 3), torch.ones(8, 4)
    with torch.no_grad():
        large[0].weight[2:] = 0
        large[2].weight[:, 2:] = 0
    assert count_macs(large, x).nonzero == count_macs(small, x).transformation == 8 * (4 * 2 + 2 * 3)
    assert count_macs(large, x).transformation == 8 * (4 * 6 + 6 * 3)


W = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])  # three of six


@pytest.mark.parametrize(
    ("function", "shapes", "macs", "nonzero"),
    [
        (lambda x, w: x @ w.t(), [(5, 3)], 30, 15),
        (lambda x, w: w @ x, [(3, 5)], 30, 15),
        (lambda x, w: w @ x, [(3,)], 6, 3),
        (lambda x, w: torch.addmv(x[:2], w, x), [(3,)], 6, 3),
        (lambda x, w: x @ w[0], [(3,)], 3, 2),
        (lambda x, w: x @ w.t().contiguous(), [(5, 3)], 30, 15),
        (lambda x, w: x @ torch.cat([w, w]).t(), [(5, 3)], 60, 30),
        (lambda x, w: x @ (w * w).t(), [(5, 3)], 30, 15),
        (lambda x, w: torch.einsum("bik,ok->bio", x, w), [(2, 5, 3)], 60, 30),
        (lambda x, w: torch.bmm(x, w.t().expand(2, 3, 2)), [(2, 5, 3)], 60, 30),
        (lambda x, w: torch.baddbmm(x[..., :2], x, w.t().expand(2, 3, 2)), [(2, 5, 3)], 60, 30),
        (lambda x, w: x @ (w @ w.t()), [(5, 2)], 5 * 4 + 2 * 3 * 2, 5 * 4 + (2 + 1 + 1 + 1)),
        (lambda x, w: (x.relu() @ x.t()) * w[0, 0], [(5, 3)], 75, 75),  # no weight in the product
        (lambda x, w: x.relu() + x.sum() * w.mean(), [(5, 3)], 0, 0),
    ],
)
def test_products_by_hand(function: Any, shapes: Any, macs: int, nonzero: int) -> None:
    found = count_macs(Of(function, W), *[torch.ones(shape) for shape in shapes])
    assert found == Macs(transformation=macs, nonzero=nonzero)


@pytest.mark.parametrize("kernel, stride, padding, groups", [(3, 1, 1, 1), (3, 2, 1, 2), (1, 1, 0, 4), (2, 3, 0, 1)])
def test_convolutions(kernel: int, stride: int, padding: int, groups: int) -> None:
    conv = nn.Conv2d(4, 8, kernel, stride, padding, groups=groups)
    masks = masked(conv, 0.5)
    size = (9 + 2 * padding - kernel) // stride + 1
    found = count_macs(conv, torch.ones(3, 4, 9, 9))
    assert found.transformation == 3 * size * size * kernel * kernel * (4 // groups) * 8
    assert found.nonzero == 3 * size * size * masks.kept


def test_transposed_convolution() -> None:
    found = count_macs(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), torch.ones(2, 4, 5, 5))
    assert found == Macs(transformation=2 * 25 * 4 * 3 * 9, nonzero=2 * 25 * 4 * 3 * 9)


def _gin() -> nn.Linear:
    return nn.Linear(IN, OUT)


# Attention: both ends' logits are elementwise; maximum, denominator and sum go over arcs and loops.
ATTENTION = LOOPED * (HEADS + HEADS + HEADS * OUT)
LAYERS = [
    (Sorted(GCNLayer(IN, OUT)), NODES * IN * OUT, LOOPED * OUT + LOOPED),
    (GCNConv(IN, OUT), NODES * IN * OUT, LOOPED * OUT + LOOPED),
    (Sorted(GINLayer(_gin())), NODES * IN * OUT, EDGES * IN),
    (GINConv(_gin(), train_eps=True), NODES * IN * OUT, EDGES * IN),
    (Sorted(SAGELayer(IN, OUT)), 2 * NODES * IN * OUT, EDGES * IN),
    (SAGEConv(IN, OUT), 2 * NODES * IN * OUT, EDGES * IN + EDGES),  # PyG also sums ones, for the mean
    (SAGEConv(IN, OUT, aggr="max"), 2 * NODES * IN * OUT, EDGES * IN),
    (Sorted(GATLayer(IN, OUT, HEADS)), NODES * IN * HEADS * OUT, ATTENTION),
    (GATConv(IN, OUT, HEADS), NODES * IN * HEADS * OUT, ATTENTION),
    # Four maps of the nodes; the sums of messages and of their weights.
    (Sorted(GatedGCNLayer(IN, reads=False, norm=None)), 4 * NODES * IN * IN, 2 * EDGES * IN),
    # Both ends, the node itself and four aggregates for three scalers; two means and two extremes.
    (Sorted(PNALayer(IN, 1.0)), (3 + 3 * 4) * NODES * IN * IN, 4 * EDGES * IN),
]


@pytest.mark.parametrize("layer, transformation, aggregation", LAYERS, ids=lambda each: type(each).__name__)
def test_graph_convolutions(layer: nn.Module, transformation: int, aggregation: int) -> None:
    expected = Macs(transformation=transformation, aggregation=aggregation, nonzero=transformation)
    assert count_macs(layer, torch.randn(NODES, IN), ARCS) == expected


@pytest.mark.parametrize("layer", [GCNConv(IN, OUT), SAGEConv(IN, OUT, aggr="sum"), GINConv(_gin())])
def test_edge_index_of_pyg(layer: nn.Module) -> None:
    x = torch.randn(NODES, IN)
    order = EdgeIndex(ARCS, sparse_size=(NODES, NODES)).sort_by("col")[0]
    assert count_macs(layer, x, order) == count_macs(layer, x, ARCS)


def _csr(edge_index: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that CSR is beta
        return torch.sparse_coo_tensor(edge_index, values, size).coalesce().to_sparse_csr()


def test_adjacency_matrices() -> None:
    matrix = _csr(ARCS.flip(0), torch.ones(EDGES), (NODES, NODES))
    expected = Macs(transformation=NODES * IN * OUT, aggregation=EDGES * IN, nonzero=NODES * IN * OUT)
    assert count_macs(GINConv(_gin()), torch.randn(NODES, IN), matrix) == expected
    coo = matrix.to_sparse_coo()
    assert count_macs(Of(torch.sparse.mm), coo, torch.randn(NODES, IN)) == Macs(aggregation=EDGES * IN)


def test_sparse_matrices_of_weights() -> None:
    class SparseLinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("values", torch.tensor([1.0, 2.0, 0.0, 3.0]))
            self.register_buffer("rows", torch.tensor([0, 2, 4]))
            self.register_buffer("columns", torch.tensor([0, 2, 1, 2]))

        def forward(self, x: Tensor) -> Tensor:
            size = (2, 3)
            weight = torch.sparse_csr_tensor(self.rows, self.columns, self.values, size, check_invariants=False)
            return (weight @ x.t()).t()

    _csr(ARCS, torch.ones(EDGES), (NODES, NODES))
    assert count_macs(SparseLinear(), torch.randn(5, 3)) == Macs(transformation=20, nonzero=15)


def test_sparse_features() -> None:
    x = torch.zeros(6, 40)
    x[0, 3] = x[0, 7] = x[4, 3] = 1.0
    layer = BagLinear(40, 4)
    with torch.no_grad():
        layer.weight[1:, 3] = 0
    expected = Macs(transformation=3 * 4, nonzero=1 + 4 + 1)
    assert count_macs(layer, x) == expected
    features = _csr(x.nonzero().t(), torch.ones(3), (6, 40))
    assert count_macs(Of(lambda x, w: x @ w, layer.weight.detach().t()), features) == expected


def test_embedding_tables() -> None:
    table = nn.EmbeddingBag(5, 3, mode="sum")
    with torch.no_grad():
        table.weight[0, 0] = 0
    assert count_macs(table, torch.tensor([[0, 1], [0, 4]])) == Macs(transformation=4 * 3, nonzero=4 * 3 - 2)
    assert count_macs(nn.Embedding(5, 3), torch.tensor([0, 1])) == Macs()  # a lookup sums nothing


def test_readout_is_no_aggregation_though_there_are_as_many_nodes_as_arcs() -> None:
    arcs, x = ARCS[:, :NODES], torch.randn(NODES, IN)

    class Net(nn.Module):
        def forward(self, data: Data) -> Tensor:
            near = torch.zeros_like(data.x).index_add(0, data.edge_index[1], data.x[data.edge_index[0]])
            return global_add_pool(near, data.batch, size=1)

    data = Data(x=x, edge_index=arcs, batch=torch.zeros(NODES, dtype=torch.int64))
    assert count_macs(Net(), data) == Macs(aggregation=NODES * IN, readout=NODES * IN)


@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter:UserWarning")  # deprecated, but used
@pytest.mark.parametrize(
    "function",
    [
        lambda x, arcs: x.new_zeros(NODES, IN).scatter_add_(0, arcs[1][:, None].expand(-1, IN), x[arcs[0]]),
        lambda x, arcs: x.new_zeros(NODES, IN).scatter_reduce(0, arcs[1][:, None].expand(-1, IN), x[arcs[0]], "amax"),
        lambda x, arcs: x.new_zeros(NODES, IN).scatter(0, arcs[1][:, None].expand(-1, IN), x[arcs[0]], reduce="add"),
        lambda x, arcs: x.new_zeros(NODES, IN).index_put_((arcs[1],), x[arcs[0]], accumulate=True),
        lambda x, arcs: torch.segment_reduce(x[arcs[0]], "sum", lengths=arcs[1].bincount(minlength=NODES)),
    ],
)
def test_sums_over_arcs(function: Any) -> None:
    assert count_macs(Of(function), torch.randn(NODES, IN), ARCS) == Macs(aggregation=EDGES * IN)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, arcs: x.new_zeros(NODES, IN).scatter_(0, arcs[1][:, None].expand(-1, IN), x[arcs[0]]),
        lambda x, arcs: x.clone().index_put_((arcs[1],), x[arcs[0]]),
        lambda x, arcs: x[arcs[0]].relu_().masked_fill_(arcs[0][:, None] > 1, 0),
    ],
)
def test_writing_at_places_is_no_sum(function: Any) -> None:
    assert count_macs(Of(function), torch.randn(NODES, IN), ARCS) == Macs()


def _molecules() -> Batch:
    x, bonds = torch.zeros(NODES, 9, dtype=torch.int64), torch.zeros(EDGES, 3, dtype=torch.int64)
    return Batch.from_data_list(
        [Data(x=x, edge_index=ARCS, edge_attr=bonds), Data(x=x, edge_index=ARCS[:, :0], edge_attr=bonds[:0])]
    )


def test_molecules() -> None:
    width, layers = 8, 3
    found = count_macs(GIN("ogb-mol", 1, width, layers, bonds=True), _molecules())
    # All atoms are of one kind and all bonds too; a message is the sum of a node's and a bond's vector.
    dense = 2 * NODES * 2 * width * width * layers + 2 * width + 9 * width + 3 * width * layers
    assert (found.transformation, found.readout) == (dense, 2 * NODES * width)
    assert found.aggregation == EDGES * width * layers * (2 + 1)


def test_real_columns_of_edges() -> None:
    batch, width, layers, columns = _molecules(), 8, 3, 5
    batch.edge_attr = torch.randn(EDGES, columns)
    network = GIN("ogb-mol", 1, width, layers, bonds=True, edge_features=columns)
    more = (
        count_macs(network, batch).transformation - count_macs(GIN("ogb-mol", 1, width, layers), batch).transformation
    )
    assert more == EDGES * columns * width * layers


@pytest.mark.parametrize("model", [GIN, GCN, SAGE, GAT])
def test_nothing_of_our_networks_is_uncounted(model: Any) -> None:
    found = count_macs(model("ogb-mol", 2, 8, 2, jk="cat"), _molecules())
    assert not found.uncounted
    assert min(found.transformation, found.aggregation, found.readout) > 0


@pytest.mark.parametrize("encoder", ["gcn", "gin", "gat", "mlp"])
def test_edge_predictors(encoder: Any) -> None:
    found = count_macs(EdgePredictor("ogb-mol", 8, encoder=encoder), _molecules())
    assert not found.uncounted
    assert (found.aggregation > 0) == (encoder != "mlp")
    reading = count_macs(
        EdgePredictor("ogb-mol", 8, encoder=encoder, edges=True, edge_features="ogb-mol"), _molecules()
    )
    assert not reading.uncounted
    assert reading.transformation > found.transformation


@pytest.mark.parametrize("model, macs", [(LeNet5((1, 28, 28), 10), 2_293_000), (ResNet20((3, 32, 32), 10), 40_551_040)])
def test_image_networks(model: nn.Module, macs: int) -> None:
    x = torch.zeros(2, *model.shape)  # type: ignore[misc]
    assert count_macs(model, x).transformation == 2 * macs
    assert not count_macs(model, x).uncounted


@torch.library.custom_op("graphprune_tests::mix", mutates_args=())
def mix(x: Tensor) -> Tensor:
    return x.flip(0) * 2


def test_what_has_no_rule_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Of(lambda x: mix(mix(x))))
    expected = Macs(transformation=36, nonzero=36, uncounted={"graphprune_tests.mix": 2})
    assert count_macs(model, torch.zeros(4, 3)) == expected
    assert list(count_macs(nn.LSTM(3, 2), torch.zeros(4, 1, 3)).uncounted)
    assert count_macs(Of(mix), torch.zeros(4, dtype=torch.int64)) == Macs()  # no real numbers


def test_inference_mode() -> None:
    class Net(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            with torch.inference_mode():
                return super().forward(input)

    assert count_macs(Net(3, 2), torch.zeros(4, 3)) == Macs(transformation=24, nonzero=24)


def test_compiled_networks() -> None:
    compiled = torch.compile(nn.Linear(3, 2), backend="eager")
    compiled(torch.zeros(4, 3))
    assert count_macs(compiled, torch.zeros(4, 3)) == Macs(transformation=24, nonzero=24)


def test_precision_does_not_matter() -> None:
    model, x = mlp(3, 4, 2), torch.zeros(5, 3)
    masked(model, 0.5)
    expected = count_macs(model, x)
    assert expected.nonzero < expected.transformation
    assert count_macs(copy.deepcopy(model).double(), x.double()) == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert count_macs(model, x) == expected


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 1))
    model[1].eval()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    count_macs(model, torch.randn(4, 3, generator=torch.Generator()))
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
