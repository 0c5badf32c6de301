"""Keeps a forward pass from being run again in the backward pass, where gates and masks are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint

_ADVICE = (
    "if that is a memory-saving wrapper of your own, which would run it again in the backward pass without its gates, "
    "switch the wrapper off for this training; if it is to have no gradient, detach() its output instead of no_grad()"
)


@contextmanager
def once(model: nn.Module, gated: Iterable[tuple[str, nn.Module]]) -> Iterator[None]:
    """Around a forward pass with gates, so that its gradients are those of what has been computed.

    Activation checkpointing throws intermediate results away, and computes them again in the backward pass. By then
    gates and masks are gone, and gradients would be those of another network. Inside of the block ``torch.utils``'
    checkpoints of this thread run their functions plainly, and so do torch_geometric's invertible modules of this
    model: the same numbers, in more memory. Other threads checkpoint as ever. Blocks may be nested.

    Args:
        model: which runs.
        gated: name and module of its parts that have gates or masked weights.

    Raises:
        RuntimeError: such a part runs without gradients in a pass that has them, as in a wrapper's own
            ``autograd.Function``; or, under a torch whose checkpoints are unlike those known, a checkpoint runs.
    """
    with ExitStack() as stack:
        stack.enter_context(_plain_checkpoints())
        for module in model.modules():
            if _invertible(module) and not module.disable:
                module.disable = True  # type: ignore[assignment]
                stack.callback(setattr, module, "disable", False)
        if torch.is_grad_enabled():
            for name, module in gated:
                stack.callback(module.register_forward_pre_hook(_guard(name), prepend=True).remove)
        yield


def owners(model: nn.Module, names: Iterable[str]) -> list[tuple[str, nn.Module]]:
    """Name and module of all that own one of these parameters."""
    chosen = {id(model.get_parameter(name)) for name in names}
    return [
        (name, module)
        for name, module in model.named_modules()
        if any(id(parameter) in chosen for parameter in module.parameters(recurse=False))
    ]


def _guard(name: str) -> Callable[[nn.Module, Any], None]:
    def check(module: nn.Module, _args: Any) -> None:
        if not torch.is_grad_enabled():
            raise RuntimeError(
                f"{name or 'the model'} ({type(module).__name__}) runs without gradients while it is trained with "
                f"gates: {_ADVICE}"
            )

    return check


def _invertible(module: nn.Module) -> bool:
    # By name, so that this floor works without torch_geometric.
    return any(
        cls.__name__ == "InvertibleModule" and cls.__module__.startswith("torch_geometric.")
        for cls in type(module).__mro__
    )


# ---------------------------------------------------------------------- torch's checkpoints


class _Here(threading.local):
    depth = 0  # of the blocks that this thread is in


_HERE = _Here()
_LOCK = threading.Lock()
_threads = 0  # blocks of all threads
_restore = ExitStack()


@contextmanager
def _plain_checkpoints() -> Iterator[None]:
    """Makes ``torch.utils.checkpoint`` call its functions, in this thread."""
    global _threads
    with _LOCK:
        if not _threads:
            _replace(_restore)
        _threads += 1
    _HERE.depth += 1
    try:
        with _refused():
            yield
    finally:
        _HERE.depth -= 1
        with _LOCK:
            _threads -= 1
            if not _threads:
                _restore.close()


def _replace(restore: ExitStack) -> None:
    """Put switches before what both kinds of checkpoints are made of.

    User code has imported ``checkpoint`` by name, so that it is what it looks up itself that can be replaced.
    """
    hook: Callable[[Any], AbstractContextManager[Any]] | None = getattr(checkpoint, "_checkpoint_hook", None)
    if hook is not None:  # it hides what the forward pass saves, use_reentrant=False
        original = hook
        _set(restore, checkpoint, "_checkpoint_hook", lambda frame: nullcontext() if _HERE.depth else original(frame))
    function = getattr(checkpoint, "CheckpointFunction", None)
    if function is not None:  # use_reentrant=True
        apply = function.apply

        def switch(run: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
            return run(*args) if _HERE.depth else apply(run, preserve_rng_state, *args)

        function.apply = staticmethod(switch)
        restore.callback(delattr, function, "apply")  # its own is inherited


def _set(restore: ExitStack, owner: Any, name: str, value: object) -> None:
    restore.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _refused() -> AbstractContextManager[Any]:
    """Refuses checkpoints that could not be made plain; those with ``use_reentrant=True`` are seen by the guards."""
    if hasattr(checkpoint, "_checkpoint_hook"):
        return nullcontext()
    return torch.autograd.graph.disable_saved_tensors_hooks(
        f"torch {torch.__version__} checkpoints activations in another way than graphprune knows, and would recompute "
        "them without gates: switch activation checkpointing off for this training"
    )
