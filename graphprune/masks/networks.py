"""What is handed in as a network, and what comes out of one: or an error that says how to make it one."""

from __future__ import annotations

import inspect

from torch import Tensor, nn

from graphprune.checks import instance


class TrainingDiverged(ArithmeticError, RuntimeError):
    """A loss, a metric, gradients or weights are no longer finite; rounds finished before are untouched."""


# Arguments that may be left out, and are attributes of every PyG batch.
_OPTIONAL = ("edge_attr", "edge_weight", "pos", "batch")


def check_network(model: object) -> None:
    """Raise TypeError unless this is a network; a class in place of an instance is named."""
    instance("model", model, nn.Module, "a torch.nn.Module, such as graphprune.models.GIN.for_data(data)")


def check_forward(model: nn.Module) -> None:
    """Make sure that a network can be called as it is here: ``model(batch)`` of graphs, ``model(x)`` of images.

    Raises:
        TypeError: no network, or one whose forward needs other arguments; the text has the lines that wrap it.
    """
    check_network(model)
    own = getattr(getattr(model, "signature", None), "param_dict", ())  # of torch_geometric's Sequential
    try:
        given = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in own]
        signature = inspect.Signature(given) if given else inspect.signature(model.forward)
    except (TypeError, ValueError):  # written in C, or scripted
        return
    try:
        signature.bind(None)
    except TypeError:
        taken = signature.parameters.values()
        needed = [each.name for each in taken if each.default is each.empty and each.kind is not each.VAR_POSITIONAL]
        optional = [each.name for each in taken if each.name in _OPTIONAL and each.name not in needed]
        words = [f"data.{name}" for name in needed] + [f"{name}=data.{name}" for name in optional]
        raise TypeError(
            f"{type(model).__name__}.forward{signature} is called with one batch of graphs here, model(data): hand in "
            f"a subclass (or a module around it) whose forward(self, data) returns super().forward({', '.join(words)})"
        ) from None


def logits_of(model: nn.Module, found: object) -> Tensor:
    """What a network returned, if it is a tensor.

    Raises:
        TypeError: a tuple, a dict or anything else; the text says what to return.
    """
    if isinstance(found, Tensor):
        return found
    first = f"[{next(iter(found), 'logits')!r}]" if isinstance(found, dict) else "[0]"
    raise TypeError(
        f"{_name(model)} returns a {type(found).__name__}, expected its logits alone, a tensor of shape (B, outputs): "
        f"hand in a subclass (or a module around it) whose forward(self, data) returns super().forward(data){first}"
    )


def _name(model: nn.Module) -> str:
    """The class of a network, within the wrappers of this package, of torch and of Fabric."""
    inner = getattr(model, "module", getattr(model, "model", None))
    wrapper = type(model).__module__.partition(".")[0] in ("graphprune", "torch", "lightning_fabric")
    return _name(inner) if wrapper and isinstance(inner, nn.Module) else type(model).__name__
