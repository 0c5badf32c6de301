import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from graphprune.compaction import SparseLinear, compact
from graphprune.compaction.kernels import REPEATS, choose_kernels_


def sparse(layer: nn.Linear, density: float) -> nn.Linear:
    layer.weight.data[torch.rand(layer.weight.shape) >= density] = 0
    return layer


def ticking(*steps: float) -> Callable[[], float]:
    """A clock that runs at one pace for each layer that is timed."""
    paces = [pace for pace in steps for _ in range(REPEATS)]
    ticks = itertools.chain.from_iterable((0.0, pace) for pace in paces)
    return lambda: next(ticks)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 5, 7), (0, 7)])
def test_a_sparse_layer_is_the_same_map(bias: bool, shape: tuple[int, ...]) -> None:
    layer = sparse(nn.Linear(7, 4, bias=bias), 0.2)
    x = torch.randn(shape)
    torch.testing.assert_close(SparseLinear(layer)(x), layer(x))


def test_a_sparse_layer_has_an_ordinary_state() -> None:
    layer = sparse(nn.Linear(7, 4), 0.2)
    one, other = SparseLinear(layer), SparseLinear(layer)
    other.values.zero_()
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(torch.ones(2, 7)), one(torch.ones(2, 7)))
    assert "7, out_features=4" in str(one)


def test_a_missing_kernel_falls_back_to_the_dense_product(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = sparse(nn.Linear(7, 4), 0.2)
    one, x = SparseLinear(layer), torch.randn(3, 7)
    product = Tensor.__matmul__

    def missing(self: Tensor, other: Tensor) -> Tensor:
        if self.layout == torch.sparse_csr:
            raise NotImplementedError("no such kernel here")
        return product(self, other)

    monkeypatch.setattr(Tensor, "__matmul__", missing)
    torch.testing.assert_close(one(x), layer(x))


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 1.2), ["0"]), ((1.0, 1.05), []), ((2.0, 1.0), [])])
def test_the_faster_kernel_is_taken_if_it_wins_by_a_tenth(seconds: tuple[float, float], chosen: list[str]) -> None:
    model = nn.Sequential(sparse(nn.Linear(7, 4), 0.2), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(3, 7)
    before = model(x)
    assert choose_kernels_(model, (x,), ticking(*seconds)) == chosen
    assert isinstance(model[0], SparseLinear) == bool(chosen)
    torch.testing.assert_close(model(x), before)


def test_sparse_kernels_alone_make_a_model_that_counts() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(sparse(nn.Linear(2048, 2048), 0.004), nn.ReLU(), nn.Linear(2048, 2))
    model[0].weight.data.fill_diagonal_(1.0)
    x = torch.randn(256, 2048)
    with pytest.raises(ValueError, match="nothing to remove"):
        compact(model, x)
    small = compact(model, x, kernels="measured")
    assert isinstance(small[0], SparseLinear)
    with pytest.raises(ValueError, match="kernels"):
        compact(model, x, kernels="fast")
