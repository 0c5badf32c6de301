"""Layers that read edge features, gated means and principal neighbourhoods, over any arcs."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import nn as pyg

from graphprune.graphs import PackedGraphs
from graphprune.graphs.adjacency import Adjacency
from graphprune.graphs.conv import GATLayer, GCNLayer, SAGELayer
from graphprune.graphs.encoders import Kinds
from graphprune.graphs.gated_gcn import GatedGCNLayer
from graphprune.graphs.norms import RowNorm
from graphprune.graphs.pna import PNALayer, mean_log_degree
from tests.graphs.samples import arcs, random_graph, shake, to_index

WIDTH = 4
LOG = 0.9

Arc = tuple[int, int]


class Both(nn.Module):
    """A gated layer whose result holds nodes and arcs; to be told from others by what it gives."""

    def __init__(self, layer: GatedGCNLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, adjacency: Adjacency, table: Tensor, kinds: Kinds) -> Tensor:
        nodes, edges = self.layer(x, adjacency, table, kinds)
        # Of arcs only a sum over those that are there: the others have no reader.
        near = edges.new_zeros(nodes.shape).index_add(
            0, adjacency.arcs.target, edges if adjacency.gate is None else edges * adjacency.gate[:, None]
        )
        return torch.cat([nodes, near], 1)


def gated(norm: nn.Module | None = None) -> nn.Module:
    return Both(GatedGCNLayer(WIDTH, reads=True, norm=norm or nn.Identity(), residual=True))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gcn": lambda: GCNLayer(WIDTH, WIDTH, edges=True),
    "sage": lambda: SAGELayer(WIDTH, WIDTH),
    "sage sum": lambda: SAGELayer(WIDTH, WIDTH, aggr="sum"),
    "gat": lambda: GATLayer(WIDTH, WIDTH // 2, heads=2, edge_dim=WIDTH),
    "pna": lambda: PNALayer(WIDTH, LOG),
    "pna edges": lambda: PNALayer(WIDTH, LOG, edges=True),
    "gated": gated,
    "gated batch norm": lambda: gated(RowNorm(WIDTH)),
}
READS = [name for name in LAYERS if name != "pna"]


def layer(name: str) -> nn.Module:
    return shake(LAYERS[name]().double(), seed=5)


def drawn(nodes: int, found: list[Arc], seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors of nodes, arcs as an index, and a table of edge vectors with more rows than arcs need."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, WIDTH, generator=rng, dtype=torch.double)
    table = torch.randn(3, WIDTH, generator=rng, dtype=torch.double)
    which = torch.randint(3, (len(found),), generator=rng)
    return x, to_index(found), table, which


def run(
    name: str, module: nn.Module, x: Tensor, index: Tensor, table: Tensor, which: Tensor, gate: Tensor | None = None
) -> Tensor:
    adjacency = Adjacency(index, x.size(0), gate, dtype=x.dtype)
    if name == "pna":
        return module(x, adjacency)
    return module(
        x, adjacency, table, Kinds(table.new_zeros(len(table), 1).long(), which).ordered(adjacency.arcs.order)
    )


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [False, True])
@settings(max_examples=20)
@given(graph=arcs(), seed=st.integers(0, 99), data=st.data())
def test_gates_of_zero_and_one_remove_edges(
    name: str, training: bool, graph: tuple[int, list[Arc]], seed: int, data: st.DataObject
) -> None:
    """Outputs, and gradients of nodes, tables and weights, are those of the arcs that are left."""
    nodes, found = graph
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))), dtype=torch.bool)
    results = []
    for gate in (keep.double().requires_grad_(), None):
        module = layer(name).train(training)
        x, index, table, which = drawn(nodes, found, seed)
        if gate is None:
            index, which = index[:, keep], which[keep]
        leaves = [x.requires_grad_(), table.requires_grad_(), *module.parameters()]
        out = run(name, module, leaves[0], index, leaves[1], which, gate)
        (out**2).sum().backward()
        grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
        results.append([out, *grads, *(buffer.double() for buffer in module.buffers())])
        assert gate is None or gate.grad is None or gate.grad.isfinite().all()
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=15)
@given(graph=arcs(max_nodes=4, max_arcs=6), seed=st.integers(0, 9))
def test_gradients_of_nodes_tables_and_gates_are_right(name: str, graph: tuple[int, list[Arc]], seed: int) -> None:
    nodes, found = graph
    # Of equal arcs, whose messages are equal, no single one is the largest.
    found = list(dict.fromkeys(found))
    module = layer(name).train()
    for inner in module.modules():
        if isinstance(inner, RowNorm):
            inner.momentum = 0.0  # the same function however often it is called
    x, index, table, which = drawn(nodes, found, seed)
    gate = torch.rand(len(found), generator=torch.Generator().manual_seed(seed), dtype=torch.double) * 0.8 + 0.1
    if found:
        leaves = [value.requires_grad_() for value in (x, table, gate)]
        assert torch.autograd.gradcheck(lambda x, table, gate: run(name, module, x, index, table, which, gate), leaves)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.SyncBatchNorm, nn.LazyBatchNorm1d])
@pytest.mark.parametrize("tracks", [True, False])
def test_a_norm_in_which_removed_arcs_have_a_say_is_refused(norm: type[nn.Module], tracks: bool) -> None:
    """In training, and in evaluation without statistics of its own; not without gates, nor with norms of each arc."""
    x, index, table, which = drawn(3, [(0, 1), (1, 0), (2, 0)], 0)
    sizes = [] if norm is nn.LazyBatchNorm1d else [WIDTH]
    module, gate = gated(norm(*sizes, track_running_stats=tracks)).double(), torch.tensor([1.0, 0.0, 1.0])
    text = f"norm is a {norm.__name__}, in which arcs with a gate of 0 would have a say"
    with pytest.raises(TypeError, match=text):
        run("gated", module, x, index, table, which, gate)
    if norm is nn.BatchNorm1d:
        run("gated", module, x, index, table, which)
        if tracks:
            run("gated", module.eval(), x, index, table, which, gate)
        else:
            with pytest.raises(TypeError, match=text):
                run("gated", module.eval(), x, index, table, which, gate)
    run("gated", gated(nn.LayerNorm(WIDTH)).double(), x, index, table, which, gate)


def by_arc(nodes: int, index: Tensor) -> list[list[int]]:
    """The arcs that end at each node."""
    return [(index[1] == node).nonzero().flatten().tolist() for node in range(nodes)]


@settings(max_examples=25)
@given(graph=arcs(min_nodes=1), seed=st.integers(0, 99))
def test_gcn_with_edge_features_is_ogb_s(graph: tuple[int, list[Arc]], seed: int) -> None:
    nodes, found = graph
    module, (x, index, table, which) = layer("gcn"), drawn(nodes, found, seed)
    z, out = x @ module.lin.weight.t(), []
    proper = [[arc for arc in found if index[0, arc] != node] for node, found in enumerate(by_arc(nodes, index))]
    degree = [1 + len(arcs_in) for arcs_in in proper]
    for node, arcs_in in enumerate(proper):
        total = (z[node] + module.loop[0]).relu() / degree[node]
        for arc in arcs_in:
            source = int(index[0, arc])
            total = total + (z[source] + table[which[arc]]).relu() * (degree[node] * degree[source]) ** -0.5
        out.append(total + module.bias)
    torch.testing.assert_close(run("gcn", module, x, index, table, which), torch.stack(out))


@settings(max_examples=25)
@given(graph=arcs(min_nodes=1), seed=st.integers(0, 99))
def test_sage_with_edge_features_is_a_mean_of_messages(graph: tuple[int, list[Arc]], seed: int) -> None:
    nodes, found = graph
    module, (x, index, table, which) = layer("sage"), drawn(nodes, found, seed)
    near = torch.zeros_like(x)
    for node, arcs_in in enumerate(by_arc(nodes, index)):
        if arcs_in:
            near[node] = torch.stack([(x[index[0, arc]] + table[which[arc]]).relu() for arc in arcs_in]).mean(0)
    torch.testing.assert_close(run("sage", module, x, index, table, which), module.lin_l(near) + module.lin_r(x))


def alike(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    """Equal outputs and gradients."""
    probe = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    torch.testing.assert_close(ours, theirs)
    one, other = (torch.autograd.grad((out * probe).sum(), leaves, allow_unused=True) for out in (ours, theirs))
    for mine, their in zip(one, other, strict=True):
        torch.testing.assert_close(mine, their)


@settings(max_examples=25)
@given(graph=arcs(min_nodes=1), seed=st.integers(0, 99))
def test_gat_with_edge_features_is_that_of_torch_geometric(graph: tuple[int, list[Arc]], seed: int) -> None:
    nodes, found = graph
    module, (x, index, table, which) = layer("gat"), drawn(nodes, found, seed)
    theirs = pyg.GATConv(WIDTH, WIDTH // 2, heads=2, edge_dim=WIDTH).double()
    theirs.load_state_dict(module.state_dict())
    leaves = [x.requires_grad_(), table.requires_grad_()]
    alike(run("gat", module, x, index, table, which), theirs(x, index, table[which]), leaves)


@pytest.mark.parametrize("name", ["pna", "pna edges"])
@settings(max_examples=25)
@given(graph=arcs(min_nodes=1), seed=st.integers(0, 99))
def test_pna_is_that_of_torch_geometric(name: str, graph: tuple[int, list[Arc]], seed: int) -> None:
    nodes, found = graph
    module, (x, index, table, which) = layer(name), drawn(nodes, found, seed)
    theirs = pyg.PNAConv(
        *(WIDTH, WIDTH, ["mean", "std", "max", "min"], ["identity", "amplification", "attenuation"]),
        deg=torch.tensor([1, 2]),
        edge_dim=WIDTH if module.edge else None,
    ).double()
    with torch.no_grad():
        theirs.aggr_module.avg_deg_log.fill_(LOG)
        first, last = theirs.pre_nns[0][0], theirs.post_nns[0][0]
        first.weight[:, : 2 * WIDTH] = torch.cat([module.own.weight, module.near.weight], 1)
        first.bias.copy_(module.own.bias)
        if module.edge:  # torch_geometric maps edge features twice
            first.weight[:, 2 * WIDTH :] = torch.eye(WIDTH)
            theirs.edge_encoder.weight.copy_(module.edge.weight)
            theirs.edge_encoder.bias.zero_()
        maps = (module.root, module.same, module.amplified, module.attenuated)
        last.weight.copy_(torch.cat([each.weight for each in maps], 1))
        last.bias.copy_(module.root.bias)
        theirs.lin.weight.copy_(torch.eye(WIDTH))
        theirs.lin.bias.zero_()
    leaves = [x.requires_grad_(), table.requires_grad_()]
    alike(run(name, module, x, index, table, which), theirs(x, index, table[which] if module.edge else None), leaves)


@settings(max_examples=25)
@given(graph=arcs(min_nodes=1), seed=st.integers(0, 99))
def test_gated_means_are_two_sums_of_torch_geometric_s_gated_convolution(
    graph: tuple[int, list[Arc]], seed: int
) -> None:
    nodes, found = graph
    module, (x, index, table, which) = (
        GatedGCNLayer(WIDTH, reads=True, norm=nn.Identity()).double(),
        drawn(nodes, found, seed),
    )
    shake(module, seed=5)
    x, table = x.requires_grad_(), table.requires_grad_()
    theirs = pyg.ResGatedGraphConv(WIDTH, WIDTH, edge_dim=WIDTH, bias=False).double()
    with torch.no_grad():
        for key, maps in (("lin_key", module.D), ("lin_query", module.E), ("lin_value", module.B)):
            getattr(theirs, key).weight.copy_(torch.cat([maps.weight, torch.zeros(WIDTH, WIDTH)], 1))
            getattr(theirs, key).bias.copy_(maps.bias)
        theirs.lin_query.weight[:, WIDTH:] = module.C.weight
        theirs.lin_query.bias += module.C.bias
        theirs.lin_skip.weight.zero_()
    total = theirs(x, index, table[which])
    with torch.no_grad():
        theirs.lin_value.weight.zero_()
        theirs.lin_value.bias.fill_(1.0)
    weight = theirs(x, index, table[which])
    adjacency = Adjacency(index, nodes, dtype=torch.double)
    kinds = Kinds(torch.zeros(3, 1).long(), which).ordered(adjacency.arcs.order)
    ours, edges = module(x, adjacency, table, kinds)
    torch.testing.assert_close(ours, module.A(x) + total / (weight + 1e-6))
    expected = module.D(x)[index[1]] + module.E(x)[index[0]] + module.C(table[which])
    torch.testing.assert_close(edges, expected[adjacency.arcs.order].relu())


def test_what_has_no_second_derivatives_says_so() -> None:
    for name in ("pna", "gated"):
        x, index, table, which = drawn(4, [(0, 1), (1, 0), (2, 1)], 0)
        x.requires_grad_()
        out = run(name, layer(name), x, index, table, which)
        with pytest.raises(RuntimeError, match="no second derivatives"):
            torch.autograd.grad((out**2).sum(), x, create_graph=True)


@pytest.mark.parametrize("name", LAYERS)
def test_mixed_precision(name: str) -> None:
    module = layer(name).float()
    x, index, table, which = drawn(3, [(0, 1), (1, 0), (2, 0), (2, 1), (1, 1)], 0)
    x, table, gate = x.float().requires_grad_(), table.float(), torch.rand(5).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = run(name, module, x, index, table, which, gate)
    torch.testing.assert_close(out.float(), run(name, module, x, index, table, which, gate), rtol=0.2, atol=0.2)
    out.float().sum().backward()
    assert x.grad.isfinite().all() and gate.grad.isfinite().all()


def test_mean_log_degree_is_that_of_torch_geometric() -> None:
    graphs = [random_graph(seed, nodes=4 + seed) for seed in range(4)]
    histogram = pyg.PNAConv.get_degree_histogram(graphs)
    theirs = pyg.aggr.DegreeScalerAggregation("mean", "amplification", histogram).init_avg_deg_log
    assert mean_log_degree(PackedGraphs.of(graphs)) == pytest.approx(theirs, rel=1e-6)
