"""What a weight is worth: scorers over whole trees of parameters. Higher is kept."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


class Scorer(Protocol):
    """Scores every masked parameter at once, so that a score may depend on all of them."""

    def __call__(self, params: Tensors, grads: Tensors, masks: Tensors) -> dict[str, Tensor]:
        """Score the parameters named by ``masks``.

        Args:
            params: values by name; more than the masked ones may be there.
            grads: gradients by name, of the same shapes; a scorer that needs none accepts an empty mapping.
            masks: the present masks; their names say what is to be scored.

        Returns:
            A floating tensor of the parameter's shape for each name of ``masks``; larger is worth more.
        """


def magnitude(params: Tensors, grads: Tensors, masks: Tensors) -> dict[str, Tensor]:
    """``|w|``; gradients are not needed. Raises KeyError for a parameter that is missing."""
    return {name: _of(params, name, "parameter").abs() for name in masks}


def gradient(params: Tensors, grads: Tensors, masks: Tensors) -> dict[str, Tensor]:
    """``|g|``, at pruned entries too, for regrowing. Raises KeyError for a missing gradient."""
    return {name: _of(grads, name, "gradient").abs() for name in masks}


def saliency(params: Tensors, grads: Tensors, masks: Tensors) -> dict[str, Tensor]:
    """``|w * g|`` (SNIP, Lee et al., 2019). Raises KeyError for a missing parameter or gradient."""
    return {name: (_of(params, name, "parameter") * _of(grads, name, "gradient")).abs() for name in masks}


def random(seed: int) -> Scorer:
    """A scorer of independent uniform scores.

    The same seed gives a parameter the same scores in every round, on every device and whatever other
    parameters are scored with it, so random masks are nested over rounds and agree across ranks.
    """
    return _Random(seed)


@dataclass(frozen=True)
class _Random:
    seed: int

    def __call__(self, params: Tensors, grads: Tensors, masks: Tensors) -> dict[str, Tensor]:
        return {name: self._draw(name, mask) for name, mask in masks.items()}

    def _draw(self, name: str, mask: Tensor) -> Tensor:
        text = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(text[:7], "big"))
        # 53 random bits: among float32's 24, ties would favour early positions in layers of a few thousand
        # weights.
        return torch.rand(mask.shape, generator=generator, dtype=torch.float64).to(mask.device)


def _of(tensors: Tensors, name: str, what: str) -> Tensor:
    found = tensors.get(name)
    if found is None:
        raise KeyError(f"no {what} for {name!r}: this score needs one for every masked parameter")
    return found.detach()
