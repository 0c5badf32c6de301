"""Doing something before each forward pass of a model or a part of it; copies of the model know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

Sites = dict[str, list[tuple[nn.Module, str]]]


class Passes:
    """Calls ``before(names)`` ahead of each forward pass of a model, and of its modules that own named parameters.

    Before the model runs, and before its ``state_dict`` is read, all names are given; before an owner runs (its parts
    are called alone, or recomputed by activation checkpointing), those that it owns. What a compiled model does is
    traced into its graph; of a model that was compiled and run earlier, passes go unseen.

    Attributes:
        seen: names of the parameters ahead of which a pass was seen since this was last emptied.
        ever: those ahead of which one was seen at all.
    """

    def __init__(self, model: nn.Module, sites: Sites, before: Callable[[Iterable[str]], None]) -> None:
        self.before = before
        self.seen: set[str] = set()
        self.ever: set[str] = set()
        owned: dict[nn.Module, list[str]] = {}
        for name, places in sites.items():
            for owner, _ in places:
                owned.setdefault(owner, []).append(name)
        owned[model] = list(sites)
        hooks = {module: Hook(self, module, names) for module, names in owned.items() if _hookable(module)}
        self._handles = [module.register_forward_pre_hook(hook) for module, hook in hooks.items()]
        if model in hooks:
            self._handles.append(model.register_state_dict_pre_hook(hooks[model].saving))

    def remove(self) -> None:
        """Do nothing from now on."""
        self.before = _nothing  # graphs that were compiled meanwhile do not ask whether a hook is still there
        for handle in self._handles:
            handle.remove()


class Hook:
    """A hook on one module; a copy or pickle of it does nothing."""

    def __init__(self, passes: Passes | None, module: nn.Module | None, names: list[str]) -> None:
        self._passes, self._module, self._names = passes, module, names

    def __call__(self, module: nn.Module, _args: Any) -> None:
        """Before a forward pass."""
        # nn.DataParallel runs replicas, which have weights of their own.
        if self._passes is not None and module is self._module and not _recorded():
            self._passes.seen.update(self._names)
            self._passes.ever.update(self._names)
            # Whoever counts operations counts those of the model alone.
            with _disable_current_modes() if _watched() else nullcontext():
                self._passes.before(self._names)

    def saving(self, _module: nn.Module, _prefix: str, _keep_vars: bool) -> None:
        """Before the ``state_dict`` is read."""
        if self._passes is not None:
            self._passes.before(self._names)

    def __reduce__(self) -> tuple[type[Hook], tuple[None, None, list[str]]]:
        return Hook, (None, None, [])


def sites(model: nn.Module, names: Iterable[str]) -> Sites:
    """All modules that own a parameter, and under which attribute, for each of the names."""
    own = dict(model.named_parameters(remove_duplicate=False))
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            found.setdefault(id(parameter), []).append((module, attribute))
    return {name: found[id(own[name])] for name in names}


def forget_passes_(copied: nn.Module) -> None:
    """Take the hooks out of a copy of a model, where they do nothing anyway."""
    for module in copied.modules():
        for hooks in (module._forward_pre_hooks, module._state_dict_pre_hooks):
            for key in [key for key, hook in hooks.items() if of_passes(hook)]:
                del hooks[key]


def of_passes(hook: object) -> bool:
    """Whether a hook is one of these."""
    return isinstance(getattr(hook, "__self__", hook), Hook)


def _nothing(_names: Iterable[str]) -> None:
    pass


def _hookable(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


def _watched() -> bool:
    return not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() > 0


def _recorded() -> bool:
    """Whether the pass becomes an exported graph, in which nothing but the model has a place."""
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # new in torch 2.7
    return bool(torch.jit.is_tracing() or exporting())  # type: ignore[attr-defined, no-untyped-call]


def sparse_embeddings(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Those of a model's parameters whose gradients are sparse: of ``nn.Embedding(sparse=True)``."""
    return [
        name
        for name, places in sites(model, names).items()
        if any(isinstance(owner, nn.Embedding | nn.EmbeddingBag) and owner.sparse for owner, _ in places)
    ]
