"""A training step with FGGP attached beside the plain one and other pruners, and what one update of the masks costs.

python benchmarks/bench_fggp.py --json benchmarks/results/fggp.json
python benchmarks/bench_fggp.py --quick

All networks see batches of noise, by SGD with Nesterov momentum and decay. ``dense`` is FGGP before its first update,
when all masks are full, ``sparse`` between updates at 90 % sparsity; ``plain_again`` is ``plain`` once more, and its
ratio says how far to trust the others. An update is one of ten that lead from dense to 90 % along the cubic schedule:
the mean over all ten, and the first, which has the most weights to rank; the optimiser step that it belongs to is in
its time, except for torch-pruning's.

The peers:

* ``torch_prune``: ``torch.nn.utils.prune.global_unstructured`` by L1 in a hand-written loop over the same schedule.
* ``torch_ao``: ``torch.ao.pruning``'s WeightNormSparsifier, single weights, on its own cubic schedule (CubicSL). Its
  masks are matrices, it rejects the weights of convolutions: it is measured where all layers are linear. The same
  sparsity in each layer.
* ``torch_pruning``: torch-pruning's MagnitudePruner, global, ten steps to 90 % of the channels, if that package is
  installed. It cuts whole channels out, so its updates do another thing, and behind them is a smaller network, whose
  step compares with nothing here: only its updates are measured.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from common import parser, report, take_turns
from torch import Tensor, nn
from torch.ao.pruning import CubicSL, WeightNormSparsifier
from torch.nn.utils import prune
from torch.nn.utils.parametrize import is_parametrized

import graphprune as gp
from graphprune import models
from graphprune.masks import Cubic, MaskSet

DENSITY, UPDATES = 0.1, 10
NEVER = 10_000  # more steps than any measurement takes


@dataclass(frozen=True)
class Case:
    """A network to measure: steps timed as one, so that short ones are timed well, and its share of the repeats."""

    model: Callable[[tuple[int, int, int], int], nn.Module]
    shape: tuple[int, int, int]
    burst: int
    share: float


CASES = {
    "lenet-300-100": Case(models.LeNet300, (1, 28, 28), burst=20, share=1.0),
    "lenet-5": Case(models.LeNet5, (1, 28, 28), burst=2, share=1.0),
    "resnet-20": Case(models.ResNet20, (3, 32, 32), burst=1, share=0.4),
    "vgg-19": Case(models.VGG19, (3, 32, 32), burst=1, share=0.2),
    "resnet-50": Case(models.ResNet50, (3, 32, 32), burst=1, share=0.1),
}


class Training:
    """A network in training, that nothing prunes; what does comes in subclasses."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor) -> None:
        self.model, self.x, self.y = copy.deepcopy(model), x, y
        self.prepare()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        self.begin()

    def prepare(self) -> None:
        """Before there is an optimiser."""

    def begin(self) -> None:
        """Behind that."""

    def backward(self) -> None:
        """Gradients of the batch."""
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(self.x), self.y).backward()

    def step(self) -> None:
        """A training step between updates."""
        self.backward()
        self.optimizer.step()

    def update(self) -> None:
        """The optimiser's step, and an update of the masks; gradients are there."""
        self.optimizer.step()

    def density(self) -> float:
        """Share of the weights that are not zero; biases and norms are not counted."""
        weights = [module.weight for module in self.model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        return sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


class DenseFGGP(Training):
    """FGGP, long before its first update."""

    def begin(self) -> None:
        gp.FGGP(density=DENSITY, start=NEVER, stop=NEVER + UPDATES, every=1).attach(self.model, self.optimizer)


class SparseFGGP(Training):
    """FGGP that updates at each of the first steps, and no more behind these."""

    def begin(self) -> None:
        gp.FGGP(density=DENSITY, start=0, stop=UPDATES, every=1).attach(self.model, self.optimizer)


class TorchPrune(Training):
    """`torch.nn.utils.prune`, and a cubic schedule by hand."""

    def begin(self) -> None:
        self.weights = [
            (module, "weight") for module in self.model.modules() if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        self.total = sum(module.weight.numel() for module, _ in self.weights)
        self.schedule, self.done = Cubic(1.0, DENSITY, 0, UPDATES, 1), 0

    def update(self) -> None:
        super().update()
        before, after = (round(self.schedule.density(self.done + more) * self.total) for more in (0, 1))
        prune.global_unstructured(self.weights, prune.L1Unstructured, amount=before - after)
        self.done += 1


class TorchAO(Training):
    """`torch.ao.pruning`, for networks of linear layers."""

    def prepare(self) -> None:
        self.sparsifier = WeightNormSparsifier(sparsity_level=1 - DENSITY, sparse_block_shape=(1, 1), norm=1)
        self.sparsifier.prepare(self.model, [{"tensor_fqn": name} for name in MaskSet.dense(self.model)])
        if not any(is_parametrized(module) for module in self.model.modules()):
            raise AssertionError("torch.ao.pruning holds no masks")
        self.schedule = CubicSL(self.sparsifier, init_sl=0.0, init_t=-1, delta_t=1, total_t=UPDATES)

    def update(self) -> None:
        super().update()
        self.sparsifier.step()
        self.schedule.step()  # for the next update, hence init_t


class TorchPruning(Training):
    """torch-pruning, which cuts channels out of the network."""

    def begin(self) -> None:
        import torch_pruning

        self.pruner = torch_pruning.pruner.MagnitudePruner(
            self.model,
            self.x[:1],
            importance=torch_pruning.importance.MagnitudeImportance(p=1),
            global_pruning=True,
            pruning_ratio=1 - DENSITY,
            iterative_steps=UPDATES,
            ignored_layers=[self.model.head],
        )

    def update(self) -> None:
        self.pruner.step()


def measured(case: Case, batch: int, repeats: int) -> Iterator[tuple[str, float]]:
    """Numbers of one network."""
    model = case.model(case.shape, 10)
    problem = (model, torch.randn(batch, *case.shape), torch.randint(10, (batch,)))
    peers: dict[str, type[Training]] = {"fggp_sparse": SparseFGGP, "torch_prune": TorchPrune}
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        peers["torch_ao"] = TorchAO
    turns = max(3, round(case.share * repeats))

    trainings = {name: kind(*problem) for name, kind in peers.items()}
    for training in trainings.values():
        descend(training)
        if abs(training.density() - DENSITY) > 1e-3:
            raise AssertionError(f"{type(training).__name__} leaves {training.density():.4f} of the weights")
    unpruned = {"plain": Training, "plain_again": Training, "fggp_dense": DenseFGGP}
    trainings = {name: kind(*problem) for name, kind in unpruned.items()} | trainings
    jobs = {name: steps(training, case.burst) for name, training in trainings.items()}
    seconds = {name: value / case.burst for name, value in take_turns(jobs, turns, warmup=1).items()}
    plain = seconds.pop("plain")
    yield "plain/step_ms", 1e3 * plain
    for name, value in seconds.items():
        yield f"{name}/step_over_plain", value / plain

    if find_spec("torch_pruning"):
        peers["torch_pruning"] = TorchPruning
    rounds = [{name: descend(kind(*problem)) for name, kind in peers.items()} for _ in range(max(2, turns // 4))]
    for name in peers:
        for which, value in (
            ("update", statistics.median(statistics.mean(taken[name]) for taken in rounds)),
            ("first_update", statistics.median(taken[name][0] for taken in rounds)),
        ):
            yield f"{name}/{which}_ms", 1e3 * value
            yield f"{name}/{which}_over_step", value / plain


def steps(training: Training, number: int) -> Callable[[], None]:
    """So many training steps."""

    def run() -> None:
        for _ in range(number):
            training.step()

    return run


def descend(training: Training) -> list[float]:
    """Seconds of all the updates from dense to sparse."""
    training.backward()
    seconds = []
    for _ in range(UPDATES):
        begin = time.perf_counter()
        training.update()
        seconds.append(time.perf_counter() - begin)
    return seconds


def settings() -> argparse.Namespace:
    """The command line."""
    options = parser(__doc__, repeats=40)
    options.add_argument("--networks", default=",".join(CASES), help="names with commas (default: %(default)s)")
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--quick", action="store_true", help="the two LeNets, a few repeats")
    args = options.parse_args()
    if vars(args).pop("quick"):  # the report's command then says what was run
        args.networks, args.repeats = "lenet-300-100,lenet-5", 8
    unknown = set(args.networks.split(",")) - CASES.keys()
    if unknown:
        options.error(f"unknown networks {sorted(unknown)}: choose from {', '.join(CASES)}")
    return args


def main() -> None:
    """Measure and report."""
    args = settings()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rows = {
        f"{name}/{key}": value
        for name in args.networks.split(",")
        for key, value in measured(CASES[name], args.batch, args.repeats)
    }
    report("fggp", args, rows)


if __name__ == "__main__":
    main()
