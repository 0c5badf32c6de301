"""Running a model with other tensors in the place of some of its parameters, for one forward pass at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from graphprune.masks import recompute
from graphprune.masks.passes import sites

# Which of a module's own parameters are shadowed: two owners of one parameter must not gate it at the same time.
_SHADOWED: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


class Shadow:
    """Gates at work on one model; made by `Gates.attach` and usable as a context manager.

    Around each forward pass of the model the gated tensors stand in the owning modules' ``__dict__``, where Python
    looks before it asks the module for its parameter of that name. Parameters, their names, the ``state_dict`` and
    optimisers stay as they are, and what a parameter's several owners share stays shared. Outside of the block
    the model is the dense one, and so is a copy that is made inside of it.

    Inside of the block the model runs as a whole: a part that is run by itself would see dense weights, and raises
    RuntimeError. Activation checkpointing saves no memory meanwhile, see :func:`graphprune.masks.recompute.once`.
    """

    def __init__(
        self, model: nn.Module, names: Iterable[str], gated: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    ) -> None:
        _refuse(model)
        self._model: nn.Module | None = model
        self._gated, self._depth = gated, 0
        self._pass = ExitStack()  # what is undone after a forward pass
        self._sites = sites(model, names)
        for name, places in self._sites.items():
            if any(attribute in _SHADOWED.get(module, ()) for module, attribute in places):
                raise ValueError(f"the parameter {name!r} is gated already: detach the gates that are attached to it")
        self._owners = {owner for owner, _ in self._flat()}
        for module, attribute in self._flat():
            _SHADOWED.setdefault(module, set()).add(attribute)
        self._hooks = (
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._behind, always_call=True),
            *(owner.register_forward_pre_hook(self._guard) for owner in self._owners - {model}),
        )
        self._attached = True

    @property
    def running(self) -> bool:
        """Whether a forward pass is under way."""
        return self._depth > 0

    def detach(self) -> None:
        """Leave the model dense. Doing it twice is harmless.

        Raises:
            RuntimeError: in the middle of a forward pass.
        """
        if self.running:
            raise RuntimeError("gates cannot be detached in the middle of a forward pass")
        if self._attached:
            self._attached = False
            for hook in self._hooks:
                hook.remove()
            for module, attribute in self._flat():
                _SHADOWED[module].discard(attribute)

    def __enter__(self) -> Shadow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def __reduce__(self) -> tuple[Callable[[], Shadow], tuple[()]]:
        """Copies and pickles of a model carry its hooks along; theirs do nothing."""
        return _inert, ()

    def _flat(self) -> Iterable[tuple[nn.Module, str]]:
        return (site for places in self._sites.values() for site in places)

    def _before(self, module: nn.Module, _args: Any) -> None:
        if self._model is None:
            return
        if module is not self._model:
            raise RuntimeError("gates do not follow replicas of nn.DataParallel: use DistributedDataParallel")
        if torch.compiler.is_compiling():
            raise RuntimeError("torch.compile would freeze the gates' choices: call gated models uncompiled")
        if self._depth == 0:
            # From _parameters, as another tensor may stand before them.
            weights = {name: _own(*places[0]) for name, places in self._sites.items()}
            for name, tensor in self._gated(weights).items():
                for owner, attribute in self._sites[name]:
                    owner.__dict__[attribute] = tensor
            owners = [(name, owner) for name, owner in module.named_modules() if owner in self._owners]
            self._pass.enter_context(recompute.once(module, owners))
        self._depth += 1

    def _guard(self, _module: nn.Module, _args: Any) -> None:
        if self._model is not None and not self.running:
            raise RuntimeError("while gates are attached the model runs as a whole: its parts cannot be run alone")

    def _behind(self, module: nn.Module, _args: Any, _out: Any) -> None:
        # Called without its partner if another hook, or the gating itself, failed before.
        if self._model is None or self._depth == 0:
            return
        self._depth -= 1
        if self._depth == 0:
            self._pass.close()
            for owner, attribute in self._flat():
                owner.__dict__.pop(attribute, None)


def _inert() -> Shadow:
    shadow = Shadow.__new__(Shadow)
    shadow._model, shadow._depth, shadow._attached = None, 0, False
    return shadow


def _own(module: nn.Module, attribute: str) -> nn.Parameter:
    parameter = module._parameters[attribute]
    assert parameter is not None, "a gated parameter was taken out of its module"
    return parameter


def _refuse(model: nn.Module) -> None:
    """Wrappers behind which the gates would not be seen."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise TypeError(f"attach gates to the module inside of {type(model).__name__}, not to the wrapper")
    for name, module in model.named_modules():
        if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None:
            raise TypeError(
                f"{name or 'the model'} is compiled, and would keep the choices of its first run: gate it uncompiled"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(f"{name or 'the model'} is a TorchScript module, whose weights cannot be gated")
