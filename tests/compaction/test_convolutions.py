"""Attention, relations, computed weights, gates and selections: what is pruned is gone, and the rest is the same."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.data import Batch

import graphprune as gp
from graphprune.compaction import compact, coupled_channels, restored
from graphprune.masks import Coupled, MaskSet, Selector, magnitude
from tests.compaction.nets import draw, size, used
from tests.graphs.samples import random_graph

HIDDEN, RELATIONS = 12, 3


def graphs(seeds: range, nodes: int = 7, dtype: torch.dtype = torch.float64) -> Batch:
    """Random graphs with kinds of edges; the last one has no edge."""
    made = [random_graph(seed, nodes=nodes + seed % 4, columns=4) for seed in seeds]
    made[-1].edge_index, made[-1].edge_attr = made[-1].edge_index[:, :0], made[-1].edge_attr[:0]
    batch = Batch.from_data_list(made)
    batch.edge_type = torch.randint(RELATIONS, (batch.num_edges,), generator=draw(len(made)))
    batch.x, batch.edge_attr = batch.x.to(dtype), batch.edge_attr.to(dtype)
    return batch


def others(dtype: torch.dtype = torch.float64) -> list[Batch]:
    """A batch, one graph, and one without edges."""
    return [graphs(range(5, 10), 11, dtype), graphs(range(6, 8), dtype=dtype), graphs(range(9, 10), dtype=dtype)]


class Net(nn.Module):
    """Two convolutions, with a selection of nodes between them; ``given`` is what they read of edges."""

    def __init__(self, first: nn.Module, second: nn.Module, given: str = "", pool: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second, self.pool, self.given = first, second, pool, given
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, data: Batch) -> Tensor:
        x, edges, batch = data.x, data.edge_index, data.batch
        extra = [data[self.given]] if self.given else []
        x = (self.first(x) if isinstance(self.first, nn.Linear) else self.first(x, edges, *extra)).relu()
        if self.pool is not None:
            x, edges, _, batch = self.pool(x, edges, batch=batch)[:4]
        return self.head(pyg.global_mean_pool(self.second(x, edges, *extra).relu(), batch))


def weights(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, inputs * outputs))


def twice(conv: Callable[[int, int], nn.Module], given: str = "") -> Callable[[], nn.Module]:
    return lambda: Net(conv(4, HIDDEN), conv(HIDDEN, HIDDEN), given)


def pooled(pool: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Net(pyg.GraphConv(4, HIDDEN), pyg.GraphConv(HIDDEN, HIDDEN), pool=pool())


NETS: dict[str, Callable[[], nn.Module]] = {
    "transformer": twice(pyg.TransformerConv),
    "transformer-heads": twice(lambda i, o: pyg.TransformerConv(i, o // 3, heads=3)),
    "transformer-mean": twice(lambda i, o: pyg.TransformerConv(i, o, heads=2, concat=False)),
    "transformer-edges": twice(
        lambda i, o: pyg.TransformerConv(i, o // 2, heads=2, edge_dim=3, beta=True), "edge_attr"
    ),
    "rgcn": twice(lambda i, o: pyg.RGCNConv(i, o, RELATIONS), "edge_type"),
    "rgcn-bases": twice(lambda i, o: pyg.RGCNConv(i, o, RELATIONS, num_bases=2), "edge_type"),
    "rgcn-blocks": twice(lambda i, o: pyg.RGCNConv(i, o, RELATIONS, num_blocks=2), "edge_type"),
    "fast-rgcn": twice(lambda i, o: pyg.FastRGCNConv(i, o, RELATIONS), "edge_type"),
    "fast-rgcn-bases": twice(lambda i, o: pyg.FastRGCNConv(i, o, RELATIONS, num_bases=2), "edge_type"),
    "fast-rgcn-blocks": twice(lambda i, o: pyg.FastRGCNConv(i, o, RELATIONS, num_blocks=2), "edge_type"),
    "nn": twice(lambda i, o: pyg.NNConv(i, o, weights(i, o)), "edge_attr"),
    "nn-max": twice(lambda i, o: pyg.NNConv(i, o, weights(i, o), aggr="max"), "edge_attr"),
    "gated-graph": lambda: Net(nn.Linear(4, HIDDEN), pyg.GatedGraphConv(HIDDEN, 3)),
    "gated-graph-padded": lambda: Net(pyg.GatedGraphConv(8, 2), pyg.GatedGraphConv(HIDDEN, 2)),
    "top-k": pooled(lambda: pyg.TopKPooling(HIDDEN, 0.6)),
    "top-k-score": pooled(lambda: pyg.TopKPooling(HIDDEN, min_score=0.2)),
    "sag": pooled(lambda: pyg.SAGPooling(HIDDEN, 0.6)),
    "sag-gat": pooled(lambda: pyg.SAGPooling(HIDDEN, 0.6, GNN=pyg.GATConv)),
}


def network(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return used(NETS[name]()).to(dtype).eval()


def chosen(model: nn.Module) -> Selector:
    """All matrices but the head and what selects nodes: the roles of some are unknown by their names."""
    names = [name for name, value in model.named_parameters() if value.ndim > 1 and not name.endswith("comp")]
    return gp.prunable(include=[name for name in names if not name.startswith(("head", "pool"))], exclude=["head.*"])


def pruned(model: nn.Module, example: Batch, density: float) -> tuple[MaskSet, Coupled]:
    select = chosen(model)
    unit = coupled_channels(model, example, select)
    masks = MaskSet.dense(model, select, unit=unit)
    masks = masks.tighten(magnitude(dict(model.named_parameters()), {}, masks), density, unit=unit, scope="layer")
    masks.apply_(model)
    return masks, unit


@torch.no_grad()
def assert_close(model: nn.Module, small: nn.Module, data: Batch) -> None:
    expected = model(data)
    bound = 1e-10 if expected.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(small(data), expected, rtol=0, atol=bound * max(float(expected.abs().max()), 1e-3))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_coupled_channels_that_are_pruned_are_gone(name: str, dtype: torch.dtype) -> None:
    model, example = network(name, dtype), graphs(range(4), dtype=dtype)
    masks, unit = pruned(model, example, 0.4)
    small = compact(model, example)
    for data in (example, *others(dtype)):
        assert_close(model, small, data)
    left = dict(small.named_parameters())
    for group in unit.groups(masks):
        for key, layout in group.members.items():
            kept = masks[key] if key in masks else torch.ones_like(left[key])
            entries = int(kept.movedim(layout.dim, 0).flatten(1).any(1).sum() if kept.ndim > 1 else kept.sum())
            assert left[key].shape[layout.dim] <= max(entries, 1) or "padded" in name, (
                key
            )  # a state begins with the inputs
    assert size(small) < 0.5 * size(model)


@pytest.mark.parametrize("name", NETS)
def test_channels_of_one_layer_alone_are_gone_or_kept_but_never_wrong(name: str) -> None:
    for seed in range(4):
        model, example = network(name), graphs(range(4))
        for key, weight in model.named_parameters():
            if weight.ndim > 1 and not key.startswith(("head", "pool")):
                dim = int(torch.randint(weight.ndim, (), generator=draw(seed)))
                dead = torch.rand(weight.shape[dim], generator=draw(seed + 10)) < 0.5
                weight.data.movedim(dim, 0)[dead] = 0
        try:
            small = compact(model, example)
        except ValueError as error:
            assert "nothing to remove" in str(error)
        else:
            for data in others():
                assert_close(model, small, data)


@pytest.mark.parametrize("name", NETS)
def test_small_networks_are_restored_from_their_state_and_made_smaller_again(name: str) -> None:
    model, example, data = network(name), graphs(range(4)), others()[0]
    pruned(model, example, 0.6)
    small = compact(model, example)
    again = restored(network(name), small.state_dict())
    assert torch.equal(again(data), small(data))
    pruned(small, example, 0.6)
    assert_close(small, least := compact(small, example), data)
    assert size(least) < size(small)
    assert torch.equal(restored(small, least.state_dict())(data), least(data))


@pytest.mark.filterwarnings("ignore:Sparse")
def test_channels_of_clusters_go_too() -> None:
    """In single precision alone: torch_geometric's layer makes edge weights of it."""
    torch.manual_seed(0)
    model, example = used(pooled(lambda: pyg.ASAPooling(HIDDEN, 0.6))()).eval(), graphs(range(3), dtype=torch.float32)
    pruned(model, example, 0.4)
    small = compact(model, example)
    for data in others(torch.float32):
        assert_close(model, small, data)
    assert small.head.in_features == 5 and size(small) < 0.5 * size(model)


def total(layers: list[tuple[int, int]], bias: bool = True) -> int:
    return sum((inputs + bias) * outputs for inputs, outputs in layers)


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # of 12 channels 6 are left
        ("transformer", total([(4, 6)] * 4 + [(6, 6)] * 4)),
        ("transformer-heads", total([(4, 6)] * 4 + [(6, 6)] * 4)),
        ("transformer-mean", total([(4, 12)] * 3 + [(4, 6)] + [(6, 12)] * 3 + [(6, 6)])),
        ("rgcn", total([(4, 6)] * 4 + [(6, 6)] * 4, bias=False) + 2 * 6),
        ("rgcn-blocks", (RELATIONS * 2 * 2 * 3 + 4 * 6 + 6) + (RELATIONS * 2 * 3 * 3 + 6 * 6 + 6)),
        ("fast-rgcn-bases", total([(4, 6)] * 3 + [(6, 6)] * 3, bias=False) + 2 * (6 + RELATIONS * 2)),
        ("nn", total([(3, 4), (4, 4 * 6), (3, 4), (4, 6 * 6)]) + (4 * 6 + 6) + (6 * 6 + 6)),
        ("gated-graph", total([(4, 6)]) + 3 * 6 * 6 + 2 * (3 * 6 * 6 + 3 * 6)),
        ("top-k", total([(4, 6), (6, 6)]) + total([(4, 6), (6, 6)], bias=False) + 6),
    ],
)
def test_what_is_left_is_what_a_network_of_half_the_width_has(name: str, expected: int) -> None:
    model, example = network(name), graphs(range(4))
    pruned(model, example, 0.5)
    assert size(compact(model, example)) == expected + total([(6, 2)])


@pytest.mark.parametrize(
    ("name", "together"),
    [
        ("transformer-heads", [{"lin_key", "lin_query"}, {"lin_value", "lin_skip"}]),
        ("transformer-edges", [{"lin_key", "lin_query", "lin_value", "lin_edge", "lin_skip"}]),
        ("rgcn", [{"weight", "root"}]),
        ("fast-rgcn", [{"weight", "root"}]),
        ("nn", [{"nn.2", "lin"}]),
        ("gated-graph", [{"rnn.weight_ih", "rnn.weight_hh"}]),
    ],
)
def test_what_makes_the_same_channels_is_pruned_together(name: str, together: list[set[str]]) -> None:
    model, example = network(name), graphs(range(4))
    unit = coupled_channels(model, example, chosen(model))
    found = [{each.removeprefix("second.").removesuffix(".weight") for each in group} for group in unit.together]
    assert [each for each in found if not any("first" in key for key in each)] == [
        {key.removesuffix(".weight") for key in group} for group in together
    ] or name == "gated-graph"
    if name == "gated-graph":  # its state is the first layer's output
        assert {"second.rnn.weight_ih", "second.rnn.weight_hh", "first.weight"} == set(*unit.together)


def test_a_dead_head_goes_as_a_whole() -> None:
    model, example = network("transformer-heads"), graphs(range(4))
    for name, value in model.second.named_parameters():
        if "query" not in name and "key" not in name:
            value.data[4:8] = 0  # the second of three heads
    small = compact(model, example)
    assert (small.second.heads, small.second.out_channels) == (2, 4)
    assert small.second.lin_query.weight.shape == (8, HIDDEN)  # without its values nobody asks for its weights
    for data in others():
        assert_close(model, small, data)


@given(st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3), max_size=3))
def test_queries_and_values_stay_of_one_width(keys: set[int], values: set[int]) -> None:
    """The layer has written down one width for both, so the larger is kept; scores are divided by its root."""
    model, example = network("transformer-heads"), graphs(range(4))
    for part, dead in (("lin_key", keys), ("lin_query", keys), ("lin_value", values), ("lin_skip", values)):
        for value in getattr(model.second, part).parameters():
            value.data.view(3, 4, -1)[:, list(dead)] = 0
    left = max(4 - len(keys), 4 - len(values), 1)
    if left == 4 and not values:
        return
    try:
        small = compact(model, example)
    except ValueError as error:
        assert left == 4 and "nothing to remove" in str(error)
        return
    assert small.second.out_channels == left
    for data in others():
        assert_close(model, small, data)
