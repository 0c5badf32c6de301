from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from graphprune.measure.memory import bytes_of, file_bytes, peak_bytes
from tests.measure.nets import mlp

FLOAT = 4


def test_a_known_sequence() -> None:
    def call() -> None:
        a = torch.zeros(100)  # 100
        b = a + 1  # 200
        del a  # 100
        c = torch.cat([b, b, b])  # 400, the peak
        del b
        c.add_(1)  # 300
        c = c[:50].clone()  # 350

    assert peak_bytes(call) == 400 * FLOAT


def test_what_is_freed_is_no_longer_counted() -> None:
    def call() -> None:
        for _ in range(10):
            torch.zeros(100)

    assert peak_bytes(call) == 100 * FLOAT


def test_views_are_one_storage() -> None:
    held: list[Tensor] = []

    def call() -> None:
        a = torch.zeros(10, 10)
        held.extend([a.t(), a[2:], a.view(-1), a.expand(5, 10, 10)])

    assert peak_bytes(call) == bytes_of(held) == 100 * FLOAT


def test_a_view_keeps_its_storage_alive() -> None:
    def call() -> None:
        a = torch.zeros(100)[:1]
        a + torch.zeros(50)  # 100, 50 and 50

    assert peak_bytes(call) == 200 * FLOAT


def test_weights_and_inputs_are_not_counted() -> None:
    model, x = mlp(3, 40, 2), torch.zeros(10, 3)
    with torch.no_grad():
        found = peak_bytes(lambda: model(x), [*model.parameters(), x])
        # The first layer's output beside the activation's.
        assert found == 2 * 10 * 40 * FLOAT
        assert peak_bytes(lambda: model(x), model.parameters()) == found + 10 * 3 * FLOAT


def test_a_storage_that_grows() -> None:
    def call() -> None:
        out = torch.empty(0)
        torch.add(torch.zeros(100), 1, out=out)

    assert peak_bytes(call) == 200 * FLOAT


def test_a_layer_as_large_as_its_parts() -> None:
    wide, narrow, x = mlp(4, 64, 2), mlp(4, 16, 2), torch.zeros(9, 4)
    with torch.no_grad():
        peaks = [peak_bytes(lambda model=model: model(x), [*model.parameters(), x]) for model in (wide, narrow)]
    assert peaks[0] == 4 * peaks[1]


def test_sparse_tensors() -> None:
    matrix = torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 1]]), torch.ones(2), (5, 5))
    assert bytes_of([matrix]) == 2 * FLOAT + 4 * 8


def test_the_size_of_the_file(tmp_path: Path) -> None:
    model = mlp(5, 7, 3)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert file_bytes(model) == (tmp_path / "model.safetensors").stat().st_size


def test_shared_weights_are_saved_once() -> None:
    alone, shared = nn.Linear(50, 50, bias=False), nn.ModuleList([nn.Linear(50, 50, bias=False) for _ in range(3)])
    for layer in shared:
        layer.weight = shared[0].weight
    assert 0 <= file_bytes(shared) - file_bytes(alone) < 100
