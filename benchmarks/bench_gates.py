"""A training step with Gumbel gates beside the dense step and ``torch.nn.functional.gumbel_softmax``: LeNet-300-100.

python benchmarks/bench_gates.py --json benchmarks/results/gates.json

``direct`` is the usual way: two logits a weight, a hard sample of torch's function, and the sampled mean as penalty.
``gate_*`` is the sampling of one layer of 784 x 300 gated weights alone, forward and backward. Bytes count parameters,
gates, their gradients and Adam's moments. All networks see the same batch of noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from common import parser, report, take_turns
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim import Adam

from graphprune import models
from graphprune.masks import MaskSet
from graphprune.masks.gates import GumbelGates

SHAPE, CLASSES = (1, 28, 28), 10


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


def step(
    net: nn.Module, parameters: Iterable[nn.Parameter], penalty: Callable[[], Tensor], x: Tensor, y: Tensor
) -> tuple[Callable[[], None], Adam]:
    """One Adam step on one batch."""
    optimizer = Adam(parameters)

    def run() -> None:
        loss = functional.cross_entropy(net(x), y) + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run, optimizer


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
    x, y = torch.randn(args.batch, *SHAPE), torch.randint(CLASSES, (args.batch,))
    dense, gated = models.LeNet300(SHAPE, CLASSES), models.LeNet300(SHAPE, CLASSES)
    direct = Direct(models.LeNet300(SHAPE, CLASSES), temperature=3.0)
    gates = GumbelGates(gated, density=0.0015)
    steps = {
        "dense": step(dense, dense.parameters(), lambda: torch.zeros(()), x, y),
        "gated": step(gated, [*gated.parameters(), *gates.parameters()], gates.penalty, x, y),
        "direct": step(direct, direct.parameters(), direct.penalty, x, y),
    }
    layer = models.LeNet300(SHAPE, CLASSES).first
    alone = GumbelGates(nn.Sequential(layer), density=0.5)
    pair = torch.randn(*layer.weight.shape, 2, requires_grad=True)
    upstream = torch.randn_like(layer.weight)
    jobs = {name: job for name, (job, _) in steps.items()} | {
        "gate_fused": lambda: alone.trained("0.weight", layer.weight).backward(upstream),
        "gate_direct": lambda: (layer.weight * functional.gumbel_softmax(pair, 3.0, hard=True)[..., 0]).backward(
            upstream
        ),
    }
    with gates.attach(gated):
        seconds = take_turns(jobs, args.repeats, warmup=5)
    size = {name: held(optimizer) for name, (_, optimizer) in steps.items()}
    report(
        "gates",
        args,
        {f"{name}_ms": 1e3 * value for name, value in seconds.items()}
        | {
            "gated_over_dense": seconds["gated"] / seconds["dense"],
            "direct_over_gated": seconds["direct"] / seconds["gated"],
            "gate_direct_over_fused": seconds["gate_direct"] / seconds["gate_fused"],
            "gated_bytes_over_dense": size["gated"] / size["dense"],
            "direct_bytes_over_dense": size["direct"] / size["dense"],
        },
    )


if __name__ == "__main__":
    main()
