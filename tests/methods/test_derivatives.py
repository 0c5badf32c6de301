import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Batch, Data

import graphprune as gp
from graphprune.masks import MaskSet
from graphprune.methods.at_init.derivatives import Flow, Sensitivity
from graphprune.methods.core.loss import mean_loss
from tests.methods.graphs import small_data

Pair = tuple[Tensor, Tensor]


def mlp(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()


def conv(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ).double()


def pairs(*sizes: int, shape: tuple[int, ...] = (4,)) -> list[Pair]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, *shape, generator=generator, dtype=torch.float64),
            torch.randint(3, (size,), generator=generator),
        )
        for size in sizes
    ]


def graphs() -> list[Batch]:
    train = small_data().train
    real = train.with_node(x=train.node["x"].double())
    return [real.batch([0, 1, 2, 3, 4]), real.batch([5, 6, 7])]


def gnn(kind: type[Any]) -> nn.Module:
    torch.manual_seed(0)
    return kind.for_data(small_data(), hidden=4, layers=2).double()  # type: ignore[no-any-return]


CASES: dict[str, tuple[Callable[[], nn.Module], Sequence[Any]]] = {
    "mlp": (mlp, pairs(5, 2)),
    "conv": (conv, pairs(5, 4, shape=(2, 6, 6))),
    **{
        kind.__name__: (lambda kind=kind: gnn(kind), graphs())  # type: ignore[misc]
        for kind in (gp.models.GCN, gp.models.GIN, gp.models.SAGE, gp.models.GAT)
    },
}
each_case = pytest.mark.parametrize(("make", "batches"), CASES.values(), ids=CASES.keys())


def names_of(model: nn.Module) -> list[str]:
    return list(MaskSet.dense(model))


def gradient_by_backward(model: nn.Module, batches: Sequence[Any], temperature: float = 1.0) -> dict[str, Tensor]:
    """One backward pass a batch, of the sum of the losses, divided by all examples."""
    model = copy.deepcopy(model).train()
    total = 0
    for batch in batches:
        x, y = batch if isinstance(batch, tuple) else (batch, batch.y)
        functional.cross_entropy(model(x) / temperature, y, reduction="sum").backward()
        total += len(y)
    return {name: p.grad / total for name, p in model.named_parameters() if p.grad is not None}


def moved(model: nn.Module, vector: dict[str, Tensor], by: float) -> nn.Module:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in vector:
                parameter.add_(vector[name], alpha=by)
    return model


@each_case
@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_gradients_equal_a_backward_pass(
    make: Callable[[], nn.Module], batches: Sequence[Any], temperature: float
) -> None:
    model = make()
    expected = gradient_by_backward(model, batches, temperature)
    found = Sensitivity(model, names_of(model), batches).gradients(temperature)
    assert list(found) == names_of(model)
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name])


@each_case
def test_hessian_product_equals_a_difference_of_gradients(
    make: Callable[[], nn.Module], batches: Sequence[Any]
) -> None:
    model = make()
    vector = {name: torch.randn_like(model.get_parameter(name)) for name in names_of(model)}
    step = 1e-6
    ahead, behind = (gradient_by_backward(moved(model, vector, by), batches, 2.0) for by in (step, -step))
    found = Sensitivity(model, names_of(model), batches).hessian_product(vector, 2.0)
    for name, product in found.items():
        torch.testing.assert_close(product, (ahead[name] - behind[name]) / (2 * step), rtol=1e-4, atol=1e-6)


def test_batches_count_by_their_known_labels() -> None:
    model = mlp()
    x, _ = pairs(6)[0]
    y = torch.tensor([[1.0, 0.0, torch.nan]] * 2 + [[torch.nan] * 3] * 3 + [[0.0, 1.0, 1.0]], dtype=torch.float64)
    split = Sensitivity(model, names_of(model), [(x[:3], y[:3]), (x[3:5], y[3:5]), (x[5:], y[5:])]).gradients()
    known = ~y.isnan()
    loss = functional.binary_cross_entropy_with_logits(model(x)[known], y[known])
    expected = torch.autograd.grad(loss, [model.get_parameter(name) for name in split])
    for grad, other in zip(split.values(), expected, strict=True):
        torch.testing.assert_close(grad, other)


def test_hidden_labels_of_classes_do_not_count() -> None:
    model, (x, y) = mlp(), pairs(6)[0]
    hidden = y.clone()
    hidden[2:] = -100
    some = Sensitivity(model, names_of(model), [(x[:4], hidden[:4]), (x[4:], hidden[4:])]).gradients()
    for name, grad in Sensitivity(model, names_of(model), [(x[:2], y[:2])]).gradients().items():
        torch.testing.assert_close(some[name], grad)


def test_a_loss_of_ones_own_and_its_temperature() -> None:
    model, batches = mlp(), pairs(5)

    def squares(net: nn.Module, batch: Any) -> Tensor:
        return net(batch[0]).square().mean()  # type: ignore[no-any-return]

    plain, soft = (Sensitivity(model, names_of(model), batches, squares).gradients(t) for t in (1.0, 10.0))
    for name in plain:
        torch.testing.assert_close(soft[name], plain[name] / 100)


def test_dropout_is_drawn_alike_in_every_pass() -> None:
    model = nn.Sequential(mlp(), nn.Dropout(0.5))
    derivatives = Sensitivity(model, names_of(model), pairs(8, 8), seed=3)
    first, again = derivatives.gradients(), derivatives.gradients()
    other = Sensitivity(model, names_of(model), pairs(8, 8), seed=4).gradients()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_real_labels_may_have_another_loss() -> None:
    x = torch.tensor([[1.0], [2.0]])
    labels = torch.tensor([[3.0], [torch.nan]])
    assert float(mean_loss(nn.Identity(), (x, labels), functional.mse_loss)) == 4.0


# ------------------------------------------------------------------ flow


def test_flow_sums_over_all_paths() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    masks = {name: torch.rand_like(mask, dtype=torch.float32) < 0.7 for name, mask in MaskSet.dense(model).items()}
    first, second, third = (model.get_parameter(name).detach().double().abs() * masks[name] for name in masks)
    expected = [torch.zeros_like(w) for w in (first, second, third)]
    for i in range(3):
        for j in range(2):
            for k in range(4):
                for out in range(2):
                    path = first[j, i] * second[k, j] * third[out, k]
                    for scores, place in zip(expected, ((j, i), (k, j), (out, k)), strict=True):
                        scores[place] += path
    found = Flow(model, (torch.zeros(1, 3), torch.zeros(1))).scores(masks)
    for scores, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(scores, other)


@each_case
def test_flow_reads_shapes_and_structure_only(make: Callable[[], nn.Module], batches: Sequence[Any]) -> None:
    model, example = make().float(), copy.copy(batches[0])
    before = Flow(model, example).scores(MaskSet.dense(model))
    if isinstance(example, tuple):
        example = (torch.full_like(example[0], torch.nan), example[1])
    else:
        example.x = torch.full_like(example.x, torch.nan)
    after = Flow(model, example).scores(MaskSet.dense(model))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all((scores >= 0).all() for scores in before.values())


def test_flow_through_words_and_gates() -> None:
    words = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    assert Flow(words, (torch.tensor([[4, 1], [9, 9]]), torch.zeros(2))).scores(MaskSet.dense(words))
    model = gnn(gp.models.GCN)
    whole, cut = (Data(x=torch.rand(3, 3), edge_index=torch.tensor([[0, 1], [1, 0]])) for _ in range(2))
    cut.edge_gate = torch.zeros(2)  # an edge that is not there stays away
    masks = MaskSet.dense(model)
    assert Flow(model, whole).scores(masks)["head.weight"].sum() != Flow(model, cut).scores(masks)["head.weight"].sum()


# ------------------------------------------------------------------ bad input


class _Lost(nn.Module):
    """Has a layer that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.lost = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)  # type: ignore[no-any-return]


def test_bad_batches() -> None:
    model, (x, y) = mlp(), pairs(4)[0]
    with pytest.raises(ValueError, match="no batches"):
        Sensitivity(model, names_of(model), [])
    with pytest.raises(ValueError, match="no batch has a known label"):
        Sensitivity(model, names_of(model), [(x, torch.full_like(y, -100))])
    for batch in (x, {"x": x}, Data(x=x)):
        with pytest.raises(TypeError, match="a batch must be a pair"):
            Sensitivity(model, names_of(model), [batch])


def test_derivatives_that_are_not_there() -> None:
    (x, y), model = pairs(4)[0], mlp()
    with pytest.raises(ValueError, match=r"gradient of '0.weight' is not finite"):
        Sensitivity(model, names_of(model), [(x * torch.nan, y)]).gradients()
    with pytest.raises(ValueError, match=r"does not reach 'lost.weight'.*protect"):
        Sensitivity(_Lost(), ["lost.weight"], [(x.float(), y)]).gradients()
    line = nn.Linear(4, 1).double()

    def linear(net: nn.Module, batch: Any) -> Tensor:
        return net(batch[0]).sum()  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match=r"Linear cannot be differentiated twice.*SNIP or SynFlow"):
        Sensitivity(line, ["weight"], [(x, y)], linear).hessian_product({"weight": torch.ones(1, 4)})


def test_flow_that_stops_or_floods() -> None:
    model, example = mlp(), pairs(1)[0]
    masks = {name: torch.zeros_like(mask) for name, mask in MaskSet.dense(model).items()}
    with pytest.raises(ValueError, match="no signal flows through Sequential"):
        Flow(model, example).scores(masks)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1e200)
    with pytest.raises(ValueError, match=r"synaptic flow of '0.weight' is not finite"):
        Flow(model, example).scores(MaskSet.dense(model))
