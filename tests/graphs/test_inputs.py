"""What networks and predictors read of a data set's encodings, and what they say where there are none."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

import graphprune as gp
from graphprune.graphs.encoders import FeatureEncoder
from graphprune.graphs.inputs import encoding_encoder
from graphprune.models import MODELS
from tests.graphs.samples import random_graph, shake

KINDS: dict[str, Any] = {name: MODELS[name] for name in ("gcn", "gin", "sage", "gat", "paper-gcn")}
KINDS |= {"predictor": lambda features, _, **options: gp.EdgePredictor(features, 8, **options)}
NODES = ("node-gcn", "node-gin", "node-gat", "ugs-gcn", "ugs-gin", "ugs-gat")
KINDS |= {name: MODELS[name] for name in NODES}
ADD = gp.AddEncodings(walks=4)


SPEC = gp.Encodings(walks=4)


def make(kind: str, encodings: Any = SPEC) -> Any:
    torch.manual_seed(0)
    hidden = {} if kind == "predictor" else {"hidden": 8}
    return shake(KINDS[kind](4, 2, **hidden, **({} if encodings is None else {"encodings": encodings})))


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_read_and_change_what_comes_out(kind: str) -> None:
    graph, network = ADD(random_graph(0)), make(kind)
    other = graph.clone()
    other.encodings = other.encodings + 0.5
    assert not torch.allclose(network(graph), network(other))
    assert network.config()["encodings"] == {"walks": 4}
    again = type(network)(**network.config())
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(graph), network(graph))


@pytest.mark.parametrize("kind", KINDS)
def test_networks_without_are_as_ever(kind: str) -> None:
    network = make(kind, None)
    assert "encodings" not in network.config() and not [name for name in network.state_dict() if "encod" in name[8:]]
    assert torch.equal(network(random_graph(0)), network(ADD(random_graph(0))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_without_is_an_error_that_says_what_to_do(kind: str) -> None:
    network = make(kind)
    with pytest.raises(ValueError, match=r"no attribute 'encodings'.*gp\.AddEncodings\(walks=4\)\(graph\)"):
        network(random_graph(0))
    with pytest.raises(ValueError, match=r"reads encodings \(walks=4\) of shape \(7, 4\).* is torch.float32 \(7, 6\)"):
        network(gp.AddEncodings(walks=6)(random_graph(0)))
    strange = random_graph(0)
    strange.encodings = torch.ones(7, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"real numbers, and the attribute 'encodings' is torch.int64"):
        network(strange)


@settings(max_examples=15)
@given(st.integers(0, 2**20), st.sampled_from(sorted(KINDS)))
def test_relabelling_nodes_relabels_what_is_read(seed: int, kind: str) -> None:
    graph, network = random_graph(seed), make(kind).double()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    place = torch.empty(7, dtype=torch.long)
    place[order] = torch.arange(7)
    moved = Data(x=graph.x[order], edge_index=place[graph.edge_index], edge_attr=graph.edge_attr)
    one, other = (
        network(ADD(each).apply(lambda v: v.double() if v.is_floating_point() else v)) for each in (graph, moved)
    )
    torch.testing.assert_close(one[order] if kind in NODES else one, other, rtol=1e-9, atol=1e-9)


@settings(max_examples=10)
@given(st.integers(0, 2**20))
def test_batch_mates_have_no_say(seed: int) -> None:
    graphs = [ADD(random_graph(seed + number, nodes=5 + number)) for number in range(3)]
    network = make("predictor").double()
    batch = Batch.from_data_list(graphs)
    batch.x = batch.x.double()
    alone = [network(graph.clone().apply(lambda v: v.double(), "x")) for graph in graphs]
    torch.testing.assert_close(network(batch), torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_a_predictor_reads_them_beside_walks_of_its_own_and_folds() -> None:
    graph = ADD(random_graph(0))
    for options in ({}, {"walks": 3}):
        network = shake(gp.EdgePredictor(4, 8, encodings={"walks": 4}, **options)).double()
        assert isinstance(network.encoding_encoder, FeatureEncoder)
        double = graph.clone().apply(lambda v: v.double() if v.is_floating_point() else v)
        torch.testing.assert_close(network.folded()(double), network(double))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_encoder(kind: str) -> None:
    if kind in NODES:
        pytest.skip("its norm has no weights")
    network = make(kind).train()
    network(Batch.from_data_list([ADD(random_graph(seed)) for seed in range(4)])).square().sum().backward()
    assert all(bool(value.grad.any()) for value in network.encoding_encoder.parameters())


def test_bad_encodings_are_refused_when_a_network_is_made() -> None:
    for kind in KINDS:
        with pytest.raises(ValueError, match="encodings"):
            make(kind, {"walks": 1})
        with pytest.raises(ValueError, match="encodings"):
            make(kind, {"rings": 4})


def test_an_encoding_that_few_graphs_have_is_no_outlier() -> None:
    """A column of 0 but for a few nodes, as the shares of walks in triangles: whatever is there stays within units."""
    encoder = encoding_encoder({"walks": 3}, 4)
    assert encoder is not None
    rows = torch.zeros(2000, 3)
    rows[:5, 2] = 0.3
    for _ in range(200):
        encoder.norm(rows)
    assert float(encoder.norm.eval()(rows).detach().abs().max()) < 2
