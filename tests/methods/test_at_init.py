import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import graphprune as gp
from graphprune.data import from_graphs, load
from graphprune.masks import MaskSet
from graphprune.masks.distribution import erk, uniform
from graphprune.methods.at_init import SNIP, AtInit, GraSP, MagnitudeAtInit, RandomAtInit, SynFlow
from tests.methods.graphs import plain_fit, random_graph, small_data

METHODS: tuple[type[AtInit], ...] = (RandomAtInit, MagnitudeAtInit, SNIP, GraSP, SynFlow)
Pair = tuple[Tensor, Tensor]


def network(seed: int = 0) -> nn.Module:
    """Convolution, batch norm, dropout and linear layers, with gradients and statistics of an earlier pass."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 8), nn.ReLU()
    )
    model.append(nn.Linear(8, 3))
    model(torch.randn(4, 1, 6, 6)).sum().backward()
    model[1].eval()
    model[7].bias.requires_grad_(False)
    return model


def batches(sizes: tuple[int, ...] = (6, 4), shape: tuple[int, ...] = (1, 6, 6)) -> list[Pair]:
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(n, *shape, generator=generator), torch.randint(3, (n,), generator=generator)) for n in sizes]


def mlp(*widths: int, seed: int = 0, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for one, other in pairwise(widths):
        layers += [nn.Linear(one, other, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def best(scores: dict[str, Tensor], density: float) -> dict[str, Tensor]:
    """The highest scores of all layers by one stable sort."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    order = torch.sort(flat, descending=True, stable=True).indices[: round(density * len(flat))]
    kept = torch.zeros(len(flat), dtype=torch.bool)
    kept[order] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def everything(model: nn.Module) -> list[Any]:
    """All that a model and the random state consist of."""
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters()), torch.get_rng_state()]
    flags = [module.training for module in model.modules()] + [p.requires_grad for p in model.parameters()]
    return [None if tensor is None else tensor.clone() for tensor in tensors] + flags


def same(one: list[Any], other: list[Any]) -> bool:
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(one, other, strict=True))


# ------------------------------------------------------------------ all methods


@pytest.mark.parametrize("method", METHODS)
def test_exact_count_and_an_untouched_model(method: type[AtInit]) -> None:
    model = network()
    before = everything(model)
    masks = method(density=0.13, protect="0.*").masks(model, batches())
    assert same(before, everything(model))
    assert list(masks) == ["5.weight", "7.weight"]
    assert masks.kept == round(0.13 * masks.total)
    assert masks == method(density=0.13, protect="0.*").masks(copy.deepcopy(model), iter(batches()))


@pytest.mark.parametrize("method", METHODS)
def test_density_of_one_keeps_everything(method: type[AtInit]) -> None:
    assert method(density=1.0).masks(network(), batches()).density == 1


@pytest.mark.parametrize("method", METHODS)
def test_tied_weights_are_masked_once(method: type[AtInit]) -> None:
    model = mlp(4, 4, 4, 4)
    model[2].weight = model[0].weight
    masks = method(density=0.5).masks(model, batches(shape=(4,)))
    assert list(masks) == ["0.weight", "4.weight"]
    assert masks.kept == 16


@pytest.mark.parametrize("method", METHODS)
def test_one_training_hands_out_one_ticket(method: type[AtInit]) -> None:
    data = small_data()
    model = gp.models.GCN.for_data(data, hidden=8, layers=2)
    made = method(density=0.2, seed=4)
    (ticket,) = made.rounds(model, data, plain_fit())
    assert ticket.masks.kept == round(0.2 * ticket.masks.total)
    assert ticket.masks == made.replace(protect="head.*").masks(model, made.batches(data.train))
    assert ticket.row["weight_sparsity"] == pytest.approx(0.8, abs=0.01)
    assert ticket.row["edge_sparsity_train"] == 0 and ticket.row["epochs_search"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_bad_input(method: type[AtInit]) -> None:
    for density in (0.0, -0.5, 1.01, float("nan")):
        with pytest.raises(ValueError, match=r"density must lie in \(0, 1\]"):
            method(density=density)
    model = network()
    model[5].weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"\['5.weight'\] are frozen"):
        method(density=0.5).masks(model, batches())
    with pytest.raises(ValueError, match="nothing to prune"):
        method(density=0.5).masks(nn.ReLU(), batches())
    assert method(density=0.5, protect="5.*").masks(model, batches()).density == 0.5


@pytest.mark.parametrize("method", [SNIP, GraSP, SynFlow])
def test_methods_that_read_data_need_some(method: type[AtInit]) -> None:
    with pytest.raises(ValueError, match="no batches"):
        method(density=0.5).masks(network(), iter(()))


@pytest.mark.parametrize("method", [SNIP, GraSP])
def test_derivatives_must_be_finite(method: type[AtInit]) -> None:
    x, y = batches()[0]
    with pytest.raises(ValueError, match="is not finite"):
        method(density=0.5).masks(network(), [(x * torch.inf, y)])


# ------------------------------------------------------------------ each method


def test_random_ignores_weights_and_data_and_follows_its_seed() -> None:
    one, other = (RandomAtInit(density=0.3, seed=1).masks(network(seed)) for seed in (0, 1))
    assert one == other
    assert one != RandomAtInit(density=0.3, seed=2).masks(network())


@pytest.mark.parametrize(("name", "counts"), [("erk", erk), ("uniform", uniform)])
def test_random_with_exact_counts_a_layer(name: Any, counts: Callable[..., dict[str, int]]) -> None:
    masks = RandomAtInit(density=0.1, distribution=name).masks(network())
    assert {row.name: row.kept for row in masks.ledger} == counts({row.name: row.shape for row in masks.ledger}, 0.1)


def test_magnitude_keeps_the_largest_of_all_layers() -> None:
    model = network()
    magnitudes = {name: model.get_parameter(name).detach().abs() for name in MaskSet.dense(model)}
    assert MagnitudeAtInit(density=0.2).masks(model) == MaskSet.of(best(magnitudes, 0.2))


def test_snip_keeps_what_the_loss_would_miss() -> None:
    model, data = mlp(5, 7, 3).double(), [(x.double(), y) for x, y in batches((5, 2), (5,))]
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    # The definition: the derivative of the loss with respect to a factor at each weight.
    factors = {name: torch.ones_like(mask, dtype=torch.float64) for name, mask in MaskSet.dense(model).items()}
    for factor in factors.values():
        factor.requires_grad_()
    scaled = {name: model.get_parameter(name).detach() * factor for name, factor in factors.items()}
    functional.cross_entropy(torch.func.functional_call(model, scaled, x), y).backward()
    expected = {name: factor.grad.abs() for name, factor in factors.items() if factor.grad is not None}
    assert SNIP(density=0.3).masks(model, data) == MaskSet.of(best(expected, 0.3))


def test_grasp_by_the_whole_hessian() -> None:
    model, data = mlp(4, 5, 3).double(), [(x.double(), y) for x, y in batches((6, 3), (4,))]
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    names = list(MaskSet.dense(model))
    start = torch.cat([model.get_parameter(name).detach().flatten() for name in names])
    sizes = [model.get_parameter(name).numel() for name in names]

    def shaped(flat: Tensor) -> dict[str, Tensor]:
        parts = zip(names, flat.split(sizes), strict=True)
        return {name: part.view_as(model.get_parameter(name)) for name, part in parts}

    def loss(flat: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(model, shaped(flat), x) / 200, y)

    gradient = torch.func.grad(loss)(start)
    scores = shaped(start * (torch.func.hessian(loss)(start) @ gradient))
    assert any((score < 0).any() for score in scores.values())
    assert GraSP(density=0.4).masks(model, data) == MaskSet.of(best(scores, 0.4))


def test_synflow_by_a_plain_loop() -> None:
    model = mlp(6, 8, 5, 3)
    first, second, third = (model[i].weight.detach().double().abs() for i in (0, 2, 4))
    alive = {name: torch.ones_like(mask) for name, mask in MaskSet.dense(model).items()}
    for k in range(1, 31):
        a, b, c = (w * alive[name] for w, name in zip((first, second, third), alive, strict=True))
        flow_in = [torch.ones(6).double(), a.sum(1), b @ a.sum(1)]
        flow_out = [(c @ b).sum(0), c.sum(0), torch.ones(3).double()]
        scores = {
            name: weight * back[:, None] * ahead[None, :]
            for name, weight, ahead, back in zip(alive, (a, b, c), flow_in, flow_out, strict=True)
        }
        dead = {name: score.masked_fill(~alive[name], -1) for name, score in scores.items()}
        alive = best(dead, 0.1 ** (k / 30))
    found = SynFlow(density=0.1, iterations=30).masks(model, batches((2,), (6,)))
    assert found == MaskSet.of(alive)


@given(st.lists(st.integers(2, 12), min_size=3, max_size=6), st.integers(0, 3), st.booleans(), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_synflow_empties_no_layer_that_can_keep_a_weight(widths: list[int], more: int, bias: bool, seed: int) -> None:
    model = mlp(*widths, seed=seed, bias=bias)
    layers = len(widths) - 1
    density = (layers + more) / MaskSet.dense(model).total
    masks = SynFlow(density=min(density, 1.0)).masks(model, [(torch.randn(2, widths[0]), torch.zeros(2).long())])
    assert masks.collapsed == ()


def test_synflow_reads_one_shape_and_no_label() -> None:
    x, y = batches()[0]
    method = SynFlow(density=0.2, iterations=5)
    assert method.masks(network(), [(x, y)]) == method.masks(network(), [(x * torch.nan, y)])


def test_synflow_says_where_nothing_flows() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.fill_(1.0)  # all features alike, of which a layer norm leaves nothing
    with pytest.raises(ValueError, match=r"no signal flows through Sequential.*layer norm"):
        SynFlow(density=0.5).masks(model, batches(shape=(4,)))


# ------------------------------------------------------------------ data sets


def test_the_examples_of_a_run_follow_the_seed() -> None:
    train = small_data(graphs=40).train
    state = torch.get_rng_state()
    (one,), (again,), (other,) = (SNIP(density=0.5, examples=10, seed=seed).batches(train) for seed in (0, 0, 1))
    assert one.num_graphs == 10 and torch.equal(one.x, again.x) and not torch.equal(one.x, other.x)
    assert SNIP(density=0.5).batches(train)[0].num_graphs == 40  # all that there are
    assert torch.equal(state, torch.get_rng_state())
    assert MagnitudeAtInit(density=0.5).batches(train) == ()


def test_a_regression_is_pruned_by_its_own_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    graphs = [random_graph(generator, 5, 6) for _ in range(8)]
    for number, graph in enumerate(graphs):
        graph.y = torch.tensor([[10.0 * number]])
    data = from_graphs(graphs, graphs, graphs, name="numbers", task="regression", metric="rmse")
    model = gp.models.GCN.for_data(data, hidden=8, layers=2)
    seen: list[MaskSet] = []

    def fit(job: gp.methods.FitJob) -> gp.methods.FitResult:
        seen.append(job.masks)
        track = job.track()
        track.epoch(val=1.0)
        return track.result()

    method = SNIP(density=0.3)
    next(iter(method.rounds(model, data, fit)))

    def squares(net: nn.Module, batch: Any) -> Tensor:
        return functional.mse_loss(net(batch), batch.y)

    assert seen == [method.replace(protect="head.*").masks(model, method.batches(data.train), squares)]


def test_grasp_refuses_messages_without_second_derivatives() -> None:
    data = load("ogbg-molbace")
    model = gp.models.GIN.for_data(data, hidden=8, layers=2)
    with pytest.raises(ValueError, match=r"GIN cannot be differentiated twice.*SNIP or SynFlow"):
        GraSP(density=0.5).masks(model, [data.train.batch(range(10))])


@pytest.mark.parametrize("method", [SNIP, SynFlow])
def test_molecules_with_bonds(method: type[AtInit]) -> None:
    data = load("ogbg-molbace")
    model = gp.models.GIN.for_data(data, hidden=8, layers=2)
    masks = method(density=0.1).masks(model, [data.train.batch(range(10))])
    assert masks.kept == round(0.1 * masks.total) and not masks.collapsed


def test_synflow_names_what_no_signal_reaches():
    class Difference(nn.Module):
        """Ones at all inputs cancel out in one of the branches."""

        def __init__(self):
            super().__init__()
            self.plain, self.differing = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.plain(x) + self.differing(x - x.mean(1, keepdim=True))

    batches = [(torch.randn(3, 4), torch.tensor([0, 1, 1]))]
    with pytest.raises(ValueError, match=r"no signal flows through \['differing.weight'\]"):
        SynFlow(density=0.5).masks(Difference(), batches)
    assert SynFlow(density=0.5, protect="differing.*").masks(Difference(), batches).kept == 4
