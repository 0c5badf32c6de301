"""How large a part of an optimiser step the present batch is, for losses that methods add to that of a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_shares = [1.0]  # not by thread: hooks on the gradients of a GPU run in threads of autograd's own


@contextmanager
def part_of_step(share: float) -> Iterator[None]:
    """Inside, forward and backward passes are those of so large a part of a step."""
    _shares.append(share)
    try:
        yield
    finally:
        _shares.pop()


def step_share() -> float:
    """The part of a step that goes on now; 1 where nobody has said so."""
    return _shares[-1]
