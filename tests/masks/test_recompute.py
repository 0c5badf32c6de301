"""Forward passes that are not run again: checkpoints become plain in a block, in one thread, and are back behind it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed._composable import checkpoint as composable
from torch.utils import checkpoint as library
from torch.utils.checkpoint import checkpoint

from graphprune.masks import recompute

X = torch.ones(2, 3, requires_grad=True)


class Counted(nn.Linear):
    """Counts its runs."""

    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return super().forward(x)


def runs(reentrant: bool) -> int:
    """How often a checkpointed layer runs in a forward and a backward pass."""
    layer = Counted(3, 3)
    checkpoint(layer, X, use_reentrant=reentrant).square().sum().backward()
    return layer.runs


@pytest.mark.parametrize("reentrant", [True, False])
def test_plain_in_the_block_and_back_behind_it(reentrant: bool) -> None:
    names = (library._checkpoint_hook, library.CheckpointFunction.apply)
    assert runs(reentrant) == 2
    with recompute.once(nn.Identity(), ()):
        assert runs(reentrant) == 1
        with recompute.once(nn.Identity(), ()):
            assert runs(reentrant) == 1
        assert runs(reentrant) == 1
    assert runs(reentrant) == 2
    with pytest.raises(KeyboardInterrupt), recompute.once(nn.Identity(), ()):
        raise KeyboardInterrupt
    assert runs(reentrant) == 2
    assert names == (library._checkpoint_hook, library.CheckpointFunction.apply)


@pytest.mark.parametrize("reentrant", [True, False])
def test_other_threads_checkpoint_as_ever(reentrant: bool) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = recompute.once(nn.Identity(), ())
        pool.submit(first.__enter__).result()
        with recompute.once(nn.Identity(), ()):
            pool.submit(first.__exit__, None, None, None).result()
            assert runs(reentrant) == 1  # though the block that was first is left
            assert pool.submit(runs, reentrant).result() == 2
    assert runs(reentrant) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_layer_that_torch_checkpoints_by_hooks() -> None:
    layer = Counted(3, 3)
    composable(layer)
    with recompute.once(layer, ()):
        out = layer(X)
    out.square().sum().backward()
    assert layer.runs == 1


def test_checkpoints_of_another_torch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = library._checkpoint_hook
    monkeypatch.delattr(library, "_checkpoint_hook")

    class Renamed(original):  # type: ignore[misc]
        pass

    def hiding() -> None:
        with Renamed(library._CheckpointFrame(lambda x: x, True, None, None)):
            X.square().sum()

    hiding()
    with recompute.once(nn.Identity(), ()), pytest.raises(RuntimeError, match="another way than graphprune knows"):
        hiding()
    hiding()
