"""Optimisers that write weights outside of a step that torch hooks, each from its paper's formulas."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class SAM(Optimizer):
    """Foret et al. (ICLR 2021): climb to ``w + rho g / |g|``, and step from ``w`` with the gradient found there."""

    def __init__(self, params: Iterable[nn.Parameter], base: Callable[..., Optimizer], rho: float = 0.5) -> None:
        super().__init__(params, {"rho": rho})
        self.base = base(self.param_groups)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self, zero_grad: bool = True) -> None:
        """Climb, from gradients at ``w``."""
        every = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in every]).norm()
        for p in every:
            self.state[p]["before"] = p.clone()
            p.add_(p.grad * (self.defaults["rho"] / (norm + 1e-12)))
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad: bool = True) -> None:
        """Go back, and step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p in self.state:
                    p.data = self.state[p]["before"]
        self.base.step()
        if zero_grad:
            self.zero_grad()

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        """Both, with gradients at ``w`` there and a closure for the others."""
        assert closure is not None
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()


class Lookahead(Optimizer):
    """Zhang et al. (NeurIPS 2019): every k steps ``slow += alpha (fast - slow)``, and fast weights start from there.

    Slow weights are taken when it is made; it never calls torch's own constructor, as some published ones.
    """

    def __init__(self, optimizer: Optimizer, k: int = 3, alpha: float = 0.5) -> None:
        self.optimizer, self.k, self.alpha, self.count = optimizer, k, alpha, 0
        self.param_groups = optimizer.param_groups
        self.slow = [[p.detach().clone() for p in group["params"]] for group in optimizer.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of the optimiser inside."""
        self.optimizer.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        """A fast step, and at times a slow one."""
        with torch.enable_grad():
            self.optimizer.step(closure)
        self.count += 1
        if self.count % self.k == 0:
            for group, kept in zip(self.param_groups, self.slow, strict=True):
                for p, slow in zip(group["params"], kept, strict=True):
                    slow.add_(p.data - slow, alpha=self.alpha)
                    p.data.copy_(slow)


class HookedLookahead(Lookahead):
    """The same, by torch's constructor: its step has hooks."""

    def __init__(self, optimizer: Optimizer, k: int = 3, alpha: float = 0.5) -> None:
        Optimizer.__init__(self, [dict(group) for group in optimizer.param_groups], {})
        Lookahead.__init__(self, optimizer, k, alpha)


class ScheduleFree(Optimizer):
    """Schedule-free AdamW, Defazio et al. (NeurIPS 2024): gradients at ``y = (1 - beta) z + beta x``.

    ``x`` is the mean of the ``z``; parameters hold ``y`` for training and ``x`` for evaluation.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 0.05, beta: float = 0.9, decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "decay": decay})
        self.count, self.training = 0, True

    def _each(self) -> Iterable[tuple[nn.Parameter, dict[str, Any], dict[str, Any]]]:
        return [(p, self.state[p], group) for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def eval(self) -> None:
        """From y to x."""
        if self.training:
            for p, state, group in self._each():
                if "z" in state:
                    p.lerp_(state["z"], 1 - 1 / group["beta"])
        self.training = False

    @torch.no_grad()
    def train(self) -> None:
        """From x to y."""
        if not self.training:
            for p, state, group in self._each():
                if "z" in state:
                    p.lerp_(state["z"], 1 - group["beta"])
        self.training = True

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # type: ignore[override]
        """One step, from y to y."""
        assert self.training, "call optimizer.train()"
        if closure is not None:
            with torch.enable_grad():
                closure()
        self.count += 1
        for p, state, group in self._each():
            if p.grad is None:
                continue
            z = state.setdefault("z", p.clone())
            square = state.setdefault("square", torch.zeros_like(p))
            square.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            update = p.grad / ((square / (1 - 0.999**self.count)).sqrt() + 1e-8) + group["decay"] * p
            mix = 1 / self.count
            p.lerp_(z, mix)
            p.add_(update, alpha=group["lr"] * (group["beta"] * (1 - mix) - 1))
            z.sub_(update, alpha=group["lr"])


class Average:
    """A moving average that is swapped in for evaluation, and out again."""

    def __init__(self, params: Iterable[nn.Parameter], decay: float = 0.9) -> None:
        self.params, self.decay = list(params), decay
        self.mean = [p.detach().clone() for p in self.params]

    def update(self) -> None:
        """Take in the present weights."""
        for mean, p in zip(self.mean, self.params, strict=True):
            mean.lerp_(p.detach(), 1 - self.decay)

    def swap(self) -> None:
        """Exchange average and weights."""
        for mean, p in zip(self.mean, self.params, strict=True):
            kept = p.data.clone()
            p.data.copy_(mean)
            mean.copy_(kept)
