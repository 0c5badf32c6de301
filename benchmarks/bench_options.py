"""What bfloat16 and torch.compile gain and change: a training, an ICPG round, and passes without gradients.

python benchmarks/bench_options.py --threads 1 --json benchmarks/results/options.json

``Fit(precision="bf16-mixed")`` is compared with single precision over several seeds: CPU seconds, and the best
validation metric, whose mean may move by ``METRIC``. Passes (autocast to bfloat16; torch.compile with
``dynamic=True``, as every batch has another size) may move an output by ``OUTPUT`` of the largest, and compiled steps a
gradient by as much as single precision moves it from double. Nothing compiled is taken from a cache. What fails is told
with its error. ``breaks`` are the graph breaks of the first pass, by the first line of their reason.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch._inductor.config
from common import parser, report, take_turns
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional

from graphprune import ICPG, EdgePredictor, MaskSet, data, models, prunable
from graphprune.graphs import EdgeRound, EdgeRule
from graphprune.methods import FitJob
from graphprune.methods.core.joint import JointNetwork
from graphprune.train import Fit

METRIC = 0.01  # of the metric's unit, such as ROC-AUC
OUTPUT = {"bf16": 0.02, "compiled": 1e-5}  # of the largest output; bfloat16 has 8 bits: 0.004 a rounding

Rows = dict[str, Any]
cpu = time.process_time


def half() -> AbstractContextManager[Any]:
    """Products in bfloat16."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


def told(name: str, job: Callable[[], Rows]) -> Rows:
    """What a job finds, or the error that it ends with."""
    try:
        found = job()
    except Exception as error:  # whatever does not work is a result here
        found = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"}
    print(name, found, flush=True)
    return {f"{name}: {key}": value for key, value in found.items()}


def trained(kind: str, graphs: data.GraphData, args: Any) -> Rows:
    """Trainings in both precisions, in turns; the first pair is not counted."""
    seconds: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
    metrics: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
    for seed in (args.seed, *range(args.seed, args.seed + args.repeats)):
        for precision in ("32-true", "bf16-mixed"):
            torch.manual_seed(seed)
            model = models.MODELS[kind].for_data(graphs, hidden=args.width)  # type: ignore[attr-defined]
            job = FitJob(model, graphs, MaskSet.dense(model, prunable(exclude=("head.*",))))
            fit = Fit(epochs=args.epochs, seed=seed, precision=precision)
            begin = time.process_time()
            metrics[precision].append(fit(job).val_metric)
            seconds[precision].append(time.process_time() - begin)
    return compared(seconds, metrics)


def searched(graphs: data.GraphData, args: Any) -> Rows:
    """ICPG rounds in both precisions as above, and the share of removed edges that both remove."""
    seconds: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
    metrics: dict[str, list[float]] = {"32-true": [], "bf16-mixed": []}
    agreed = []
    for seed in (args.seed, *range(args.seed, args.seed + args.repeats)):
        gone = []
        for precision in ("32-true", "bf16-mixed"):
            torch.manual_seed(seed)
            model = models.GIN.for_data(graphs, hidden=args.width)
            icpg = ICPG(rounds=1, seed=seed, predictor=EdgePredictor.for_data(graphs, hidden=64))
            fit = Fit(epochs=args.epochs, seed=seed, precision=precision)
            begin = time.process_time()
            (ticket,) = icpg.rounds(model, graphs, fit)
            seconds[precision].append(time.process_time() - begin)
            metrics[precision].append(ticket.row["val_metric"])
            gone.append(~ticket.edges.mask(graphs.train).keep)
        agreed.append(int((gone[0] & gone[1]).sum()) / int(gone[0].sum()))
    return compared(seconds, metrics) | {"removed edges in common": statistics.mean(agreed[1:])}


def compared(seconds: dict[str, list[float]], metrics: dict[str, list[float]]) -> Rows:
    """Speed and metric in bfloat16 beside those in single precision, without the first training of each."""
    single, mixed = metrics["32-true"][1:], metrics["bf16-mixed"][1:]
    change = statistics.mean(mixed) - statistics.mean(single)
    return {
        "faster": statistics.median(seconds["32-true"][1:]) / statistics.median(seconds["bf16-mixed"][1:]),
        "metric": statistics.mean(single),
        "metric, spread of seeds": statistics.stdev(single) if len(single) > 1 else 0.0,
        "metric, change": change,
        "within tolerance": abs(change) <= METRIC,
    }


@torch.no_grad()
def through(
    model: Callable[..., Any], batches: Sequence[Any], context: Callable[[], AbstractContextManager[Any]]
) -> Tensor:
    """All outputs."""
    with context():
        return torch.cat([model(batch).float() for batch in batches])


def passed(
    model: nn.Module, other: Callable[..., Any], batches: Sequence[Any], option: str, context: Any, args: Any
) -> Rows:
    """Passes without gradients; the first of the other side is counted apart, as it compiles."""
    begin = time.perf_counter()
    counters.clear()
    got = through(other, batches, context)
    breaks = dict(counters["graph_break"])
    first, want = time.perf_counter() - begin, through(model, batches, nullcontext)
    jobs = {"one": partial(through, model, batches, nullcontext), "two": partial(through, other, batches, context)}
    seconds = take_turns(jobs, args.repeats, clock=cpu)
    change = float((got - want).abs().max() / want.abs().max())
    rows: Rows = {
        "faster": seconds["one"] / seconds["two"],
        "largest change of an output": change,
        "within tolerance": change <= OUTPUT[option],
    }
    if option == "compiled":
        rows |= {"first pass, s": first, "breaks": {why.splitlines()[0]: count for why, count in breaks.items()}}
    return rows


def step(model: Callable[..., Any], batch: Any) -> None:
    """Gradients of a training step."""
    functional.binary_cross_entropy_with_logits(model(batch), batch.y).backward()


def gradients(model: nn.Module, call: Callable[..., Any], batch: Any) -> dict[str, Tensor]:
    """Of a model's parameters that have any, from a step called in one way or the other."""
    model.zero_grad()
    step(call, batch)
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two gradients over the largest element of the second."""
    assert one.keys() == other.keys(), "other parameters have gradients"
    largest = max(float(value.abs().max()) for value in other.values())
    return max(float((one[name] - other[name]).abs().max()) for name in other) / largest


def stepped(model: nn.Module, batches: Sequence[Any], args: Any) -> Rows:
    """Training steps without the optimiser, compiled and not."""
    compiled = torch.compile(model.train(), dynamic=True)

    def epoch(one: Callable[..., Any]) -> None:
        for batch in batches:
            step(one, batch)

    begin = time.perf_counter()
    epoch(compiled)
    first = time.perf_counter() - begin
    exact, change, rounding = copy.deepcopy(model).double(), 0.0, 0.0
    for batch in batches:
        got, want = gradients(model, compiled, batch), gradients(model, model, batch)
        twice = copy.copy(batch)
        twice.y = batch.y.double()
        change = max(change, apart(got, want))
        rounding = max(rounding, apart(want, gradients(exact, exact, twice)))
    seconds = take_turns({"one": partial(epoch, model), "two": partial(epoch, compiled)}, args.repeats, clock=cpu)
    return {
        "faster": seconds["one"] / seconds["two"],
        "first epoch, s": first,
        "largest change of a gradient": change,
        "the same from double to single precision": rounding,
        "within tolerance": change <= rounding,
    }


def main() -> None:
    """Measure and report."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--data", default="ogbg-molbace")
    options.add_argument("--width", type=int, default=128)
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--models", nargs="+", default=["gin", "gcn", "sage", "gat"])
    options.add_argument("--compiled", nargs="*", default=["gin"], help="networks that are also compiled")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch._inductor.config.force_disable_caches = True
    graphs = data.load(args.data)
    assert isinstance(graphs, data.GraphData)
    batches = list(graphs.train.loader(args.batch))
    rows: Rows = {"tolerance of the metric": METRIC, "tolerance of outputs": OUTPUT}
    rows |= told("ICPG round, gin, bf16", lambda: searched(graphs, args))
    for kind in args.models:
        rows |= told(f"training, {kind}, bf16", partial(trained, kind, graphs, args))
        torch.manual_seed(args.seed)
        model = models.MODELS[kind].for_data(graphs, hidden=args.width).eval()  # type: ignore[attr-defined]
        rows |= told(f"passes, {kind}, bf16", partial(passed, model, model, batches, "bf16", half, args))
        if kind in args.compiled:
            torch.compiler.reset()
            small = torch.compile(model, dynamic=True)
            rows |= told(
                f"passes, {kind}, compiled", partial(passed, model, small, batches, "compiled", nullcontext, args)
            )
            rows |= told(f"training, {kind}, compiled", partial(stepped, model, batches, args))
    predictor = EdgePredictor.for_data(graphs, hidden=64)
    joint = JointNetwork(
        models.GIN.for_data(graphs, hidden=args.width),
        predictor,
        EdgeRound(predictor, 0.05, 0.95),
        EdgeRule(),
        graphs.train,
    )
    rows |= told("search, gin, compiled", partial(stepped, joint, batches, args))
    report("options", args, rows)


if __name__ == "__main__":
    main()
