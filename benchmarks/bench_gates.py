"""A training step with Gumbel gates beside the dense step and ``torch.nn.functional.gumbel_softmax``: LeNet-300-100.

python benchmarks/bench_gates.py --json benchmarks/results/gates.json

``direct`` is the usual way: two logits a weight, a hard sample of torch's function, and the sampled mean as penalty.
``gate_*`` is the sampling of one layer of 784 x 300 gated weights alone, forward and backward. Bytes count parameters,
gates, their gradients and Adam's moments.

All networks see the same batches of noise, another one each step, and are trained by the fused Adam, as in the loop of
this package. Steps are timed in bursts, as they come in a training: between steps of other networks the dense step
starts with cold caches, is slower, and the ratio to it lower. ``dense_again`` is ``dense`` once more: its ratio says
how far to trust the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle, islice

import torch
from common import parser, report, take_turns
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim import Adam

from graphprune import models
from graphprune.masks import MaskSet, prunable
from graphprune.masks.gates import GumbelGates

SHAPE, CLASSES = (1, 28, 28), 10
BURSTS = {"dense": 20, "gated": 20, "dense_again": 20, "direct": 2}  # steps that are timed as one


class Direct(nn.Module):
    """Weights times hard samples of `torch.nn.functional.gumbel_softmax` over two logits each."""

    def __init__(self, net: nn.Module, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature
        self.names = list(MaskSet.dense(net))
        self.logits = nn.ParameterList(torch.randn(*net.get_parameter(name).shape, 2) * 0.01 for name in self.names)

    def forward(self, x: Tensor) -> Tensor:
        gated = {
            name: self.net.get_parameter(name) * functional.gumbel_softmax(pair, self.temperature, hard=True)[..., 0]
            for name, pair in zip(self.names, self.logits, strict=True)
        }
        out: Tensor = functional_call(self.net, gated, (x,))
        return out

    def penalty(self) -> Tensor:
        flat = torch.cat([pair.flatten(0, -2) for pair in self.logits])
        return functional.gumbel_softmax(flat, 1.0, hard=True)[:, 0].mean()


class Bare(nn.Module):
    """A weight, and nothing that is done with it."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        return self.weight


class Training:
    """A network in training.

    Args:
        net: in training mode.
        parameters: of the network, and of its gates.
        penalty: what is added to the loss.
        batches: images and labels, by step.
    """

    def __init__(
        self,
        net: nn.Module,
        parameters: Iterable[nn.Parameter],
        penalty: Callable[[], Tensor],
        batches: Sequence[tuple[Tensor, Tensor]],
    ) -> None:
        self.net, self.penalty, self.batches = net, penalty, cycle(batches)
        self.optimizer = Adam(parameters, fused=True)

    def steps(self, number: int) -> None:
        """So many steps."""
        for x, y in islice(self.batches, number):
            loss = functional.cross_entropy(self.net(x), y) + self.penalty()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def held(optimizer: Adam) -> int:
    """Bytes of parameters, gradients and moments."""
    owned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = [value for state in optimizer.state.values() for value in state.values()]
    return sum(t.numel() * t.element_size() for t in (*owned, *(p.grad for p in owned), *states))


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=40)
    options.add_argument("--batch", type=int, default=256)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    batches = [(torch.randn(args.batch, *SHAPE), torch.randint(CLASSES, (args.batch,))) for _ in range(16)]
    dense, again, gated = (models.LeNet300(SHAPE, CLASSES) for _ in range(3))
    direct = Direct(models.LeNet300(SHAPE, CLASSES), temperature=3.0)
    gates = GumbelGates(gated, density=0.0015)
    trainings = {
        "dense": Training(dense, dense.parameters(), lambda: torch.zeros(()), batches),
        "gated": Training(gated, [*gated.parameters(), *gates.parameters()], gates.penalty, batches),
        "dense_again": Training(again, again.parameters(), lambda: torch.zeros(()), batches),
        "direct": Training(direct, direct.parameters(), direct.penalty, batches),
    }
    bare = Bare(torch.randn(300, 784))
    alone = GumbelGates(bare, density=0.5, select=prunable(include=["weight"]))
    pair = torch.randn(*bare.weight.shape, 2, requires_grad=True)
    upstream = torch.randn_like(bare.weight)
    jobs: dict[str, Callable[[], None]] = {
        name: partial(training.steps, BURSTS[name]) for name, training in trainings.items()
    }
    jobs["gate_fused"] = lambda: bare().backward(upstream)
    jobs["gate_direct"] = lambda: (bare.weight * functional.gumbel_softmax(pair, 3.0, hard=True)[..., 0]).backward(
        upstream
    )
    with gates.attach(gated), alone.attach(bare):
        seconds = {
            name: value / BURSTS.get(name, 1) for name, value in take_turns(jobs, args.repeats, warmup=2).items()
        }
    size = {name: held(training.optimizer) for name, training in trainings.items()}
    report(
        "gates",
        args,
        {f"{name}_ms": 1e3 * value for name, value in seconds.items()}
        | {
            "gated_over_dense": seconds["gated"] / seconds["dense"],
            "dense_again_over_dense": seconds["dense_again"] / seconds["dense"],
            "direct_over_gated": seconds["direct"] / seconds["gated"],
            "gate_direct_over_fused": seconds["gate_direct"] / seconds["gate_fused"],
            "gated_bytes_over_dense": size["gated"] / size["dense"],
            "direct_bytes_over_dense": size["direct"] / size["dense"],
        },
    )


if __name__ == "__main__":
    main()
