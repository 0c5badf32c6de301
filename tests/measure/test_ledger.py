import json
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from graphprune.data.images import Images
from graphprune.graphs import EdgePredictor, PackedGraphs, PruneEdges, RandomEdges
from graphprune.graphs.prune import EdgeRound
from graphprune.masks import MaskSet
from graphprune.measure.costs import Weights
from graphprune.measure.latency import break_even
from graphprune.measure.ledger import report
from graphprune.models import GCN, GIN
from tests.measure.nets import masked, mlp


def graph(nodes: int) -> Data:
    """A cycle, both ways."""
    ring = torch.arange(nodes)
    arcs = torch.stack([ring, (ring + 1) % nodes])
    return Data(
        x=torch.ones(nodes, 3), edge_index=torch.cat([arcs, arcs.flip(0)], 1), y=torch.zeros(1, dtype=torch.int64)
    )


GRAPHS = [graph(nodes) for nodes in range(4, 14)]
PACKED = PackedGraphs.of(GRAPHS)


class Clock:
    """A second passes between any two readings."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_graph_network_by_hand() -> None:
    model = GIN(3, 2, hidden=4, layers=1)
    found = report(model, PACKED, repeats=4, clock=Clock())
    nodes, arcs = sum(range(4, 14)), 2 * sum(range(4, 14))
    assert (found.samples, found.available, found.batch_size) == (10, 10, 10)
    assert (found.nodes, found.arcs) == (nodes / 10, arcs / 10)
    assert found.macs.transformation == nodes * (3 * 4 + 2 * 4 * 4) + 10 * 4 * 2
    assert (found.macs.aggregation, found.macs.readout) == (arcs * 4, nodes * 4)
    assert (found.latency.median, found.latency.repeats, found.throughput) == (1.0, 4, 10.0)
    # Encoder 3 -> 4 and its norm, eps, two layers and two norms, head.
    total = (6 + 12) + 1 + 2 * (16 + 4) + 2 * 8 + 10
    zero = sum(int((parameter == 0).sum()) for parameter in model.parameters())  # norms' biases and eps
    assert found.weights == Weights(total=total, nonzero=total - zero, prunable=12 + 32 + 8, kept=12 + 32 + 8)
    assert found.state_bytes == 4 * (total + 2 * (3 + 4 + 4)) + 3 * 8  # running means and variances; batches seen
    assert found.scoring is None


def test_graphs_in_whatever_form() -> None:
    model = GCN(3, 2, hidden=4, layers=1)
    forms = [PACKED, GRAPHS, Batch.from_data_list(GRAPHS), PACKED.batch(range(10))]
    found = [report(model, form, repeats=1) for form in forms]
    assert len({each.macs.total for each in found}) == 1
    assert {(each.samples, each.nodes, each.arcs) for each in found} == {(10, 8.5, 17.0)}
    assert report(model, GRAPHS[3], repeats=1).arcs == 14


def test_samples_are_evenly_spread_over_whole_batches() -> None:
    seen: list[list[int]] = []

    class Watch(nn.Module):
        def forward(self, data: Data) -> Tensor:
            seen.append(data.x[data.ptr[:-1], 0].int().tolist())
            return data.x

    many = PackedGraphs.of(
        [Data(x=torch.full((1, 1), float(number)), edge_index=torch.zeros(2, 0).long()) for number in range(600)]
    )
    found = report(Watch(), many, batch_size=2, repeats=1)
    assert (found.samples, found.available, found.batch_size) == (256, 600, 2)
    assert seen[:128] == seen[128:256]
    numbers = [number for batch in seen[:128] for number in batch]
    assert numbers == sorted(set(numbers)) and len(numbers) == 256
    assert all(later - earlier in (2, 3) for earlier, later in pairwise(numbers))
    assert report(Watch(), PACKED, batch_size=4, repeats=1).samples == 8
    assert report(Watch(), many, batch_size=10_000, repeats=1).batch_size == 600


def test_images_and_tensors() -> None:
    images = Images(
        torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64), mean=[0.0], std=[1.0]
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    for samples in (images, torch.zeros(5, 1, 2, 2)):
        found = report(model, samples, repeats=1)
        assert (found.samples, found.macs.transformation) == (5, 5 * 12)
        assert (found.nodes, found.arcs) == (None, None)
        assert "samples/s" in found.describe()
        assert found.batch_bytes == 5 * 4 * 4


def test_masks_are_read_given_or_those_of_the_larger_network() -> None:
    model, x = mlp(4, 6, 2), torch.zeros(3, 4)
    masks = masked(model, 0.4)
    for given in (None, masks):
        found = report(model, x, masks=given, repeats=1)
        assert (found.weights.prunable, found.weights.kept) == (36, masks.kept)
        assert (found.macs.transformation, found.macs.nonzero) == (3 * 36, 3 * masks.kept)
    small = report(mlp(4, 2, 2), x, masks=masks, repeats=1)
    assert (small.weights.total, small.weights.prunable, small.weights.kept) == (16, 36, masks.kept)


def test_lost_masks_are_an_error() -> None:
    model = mlp(4, 6, 2)
    masks = masked(model, 0.4)
    with torch.no_grad():
        model[0].weight.fill_(1)
    with pytest.raises(RuntimeError, match="masks were lost"):
        report(model, torch.zeros(3, 4), masks=masks, repeats=1)


def test_a_network_without_weights() -> None:
    found = report(nn.Sequential(nn.ReLU()), torch.zeros(3, 4), repeats=1)
    assert found.weights == Weights(0, 0, 0, 0)
    assert found.describe()


def test_edge_scorers() -> None:
    predictor = EdgePredictor(3, hidden=4, encoder="mlp", layers=2)
    found = report(GIN(3, 2, hidden=4, layers=1), PACKED, scorer=predictor, repeats=2, clock=Clock())
    assert found.scoring is not None and found.arcs == found.scoring.arcs_before
    joined = 2 * 4 * 4 + 2 * 4  # the last map and its bias join the head, once a batch
    assert found.scoring.macs.transformation == 85 * (3 * 4 + 4 * 4 + 4 * 2) + joined
    assert found.scoring.latency.median == 1.0
    assert "edge scorer" in found.describe()


def test_the_edges_of_a_ticket_prune_what_the_network_sees() -> None:
    model = GIN(3, 2, hidden=4, layers=1)
    full = report(model, PACKED, repeats=1)
    for batch_size in (10, 1):
        edges = PruneEdges((EdgeRound(RandomEdges(), 0.5, 0.5), EdgeRound(EdgePredictor(3, 4), 0.5, 0.25)))
        found = report(model, PACKED, scorer=edges, batch_size=batch_size, repeats=1)
        left = edges.prune(PACKED).num_edges
        assert found.scoring is not None
        assert (found.scoring.arcs_before, found.arcs) == (17.0, left / 10)
        assert found.macs.aggregation == left * 4 < full.macs.aggregation
        assert found.macs.transformation == full.macs.transformation
        assert found.scoring.macs.aggregation > 0 and not found.scoring.macs.uncounted
        assert break_even(found.scoring.latency.median, 2.0, 1.0) == found.scoring.latency.median


def test_rows_are_plain_data() -> None:
    edges = PruneEdges((EdgeRound(EdgePredictor(3, 4), 0.5, 0.5),))
    row = report(GIN(3, 2, hidden=4, layers=1), GRAPHS, scorer=edges, repeats=1).as_row()
    assert json.loads(json.dumps(row)) == row
    assert row["macs_transformation"] * 10 == pytest.approx(85 * (3 * 4 + 2 * 4 * 4) + 10 * 4 * 2)
    assert row["arcs"] < row["arcs_before"]


def test_what_is_not_counted_is_printed() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.LSTM(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)[0]

    found = report(Net(), torch.zeros(3, 1, 4), repeats=1)
    (name,) = found.macs.uncounted
    assert f"NOT COUNTED {name}" in " ".join(found.describe().split())


def test_everything_is_given_back() -> None:
    model, scorer, before = GIN(3, 2, hidden=4, layers=1, dropout=0.5), EdgePredictor(3, 4), torch.get_num_threads()
    model.norms[0].eval()
    random = torch.get_rng_state()
    found = report(model, PACKED, scorer=scorer, threads=before + 1, repeats=1)
    assert (found.threads, torch.get_num_threads()) == (before + 1, before)
    assert model.training and scorer.training and not model.norms[0].training
    assert torch.equal(torch.get_rng_state(), random)
    assert f"{before + 1} thread" in str(found)


def test_bad_input() -> None:
    model = GIN(3, 2, hidden=4, layers=1)
    with pytest.raises(ValueError, match="batch_size"):
        report(model, PACKED, batch_size=0)
    with pytest.raises(ValueError, match="no samples"):
        report(model, [])
    with pytest.raises(TypeError, match="samples must be"):
        report(model, 3)
    with pytest.raises(TypeError, match="must hold Data"):
        report(model, [torch.zeros(3)])
    with pytest.raises(TypeError, match="only graphs have edges"):
        report(model, torch.zeros(3, 3), scorer=PruneEdges())
    with pytest.raises(ValueError, match="lazy"):
        report(nn.LazyLinear(3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="repeats"):
        report(model, PACKED, repeats=0)


def test_masked_weights_stay_nonzero_macs_of_a_density() -> None:
    model = GIN(3, 2, hidden=16, layers=2)
    dense = MaskSet.dense(model)
    scores = {name: torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) for name, mask in dense.items()}
    masks = dense.tighten(scores, 0.2)
    masks.apply_(model)
    found = report(model, PACKED, masks=masks, repeats=1)
    assert found.weights.kept == math.floor(0.2 * masks.total + 0.5)
    by_layer = [row.kept * (10 if row.name.startswith("head") else 85) for row in masks.ledger]
    assert found.macs.nonzero == sum(by_layer)


def test_masks_of_another_model_are_refused() -> None:
    net, other = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"neither this model's nor those of a larger one.*0.weight"):
        report(net, torch.randn(5, 4), masks=MaskSet.dense(other), repeats=1)
    larger = MaskSet.dense(nn.Linear(9, 3))
    assert report(net, torch.randn(5, 4), masks=larger, repeats=1).weights.prunable == 27
