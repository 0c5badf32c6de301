"""What a network of fewer channels is likely to be worth, without training it, and what it costs."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.compaction import compact
from graphprune.compaction.shrink import fold_norms_
from graphprune.compaction.tape import recorded
from graphprune.graphs import EdgeRule, PackedGraphs
from graphprune.masks import MaskSet
from graphprune.measure import count_macs, peak_bytes
from graphprune.measure.macs import tensors_of
from graphprune.measure.memory import bytes_of
from graphprune.measure.modes import using_threads
from graphprune.measure.samples import tensors_in
from graphprune.methods.core.fit import AnyData, derive_seed
from graphprune.methods.core.norms import recalibrate_, strided_parts
from graphprune.methods.core.prepare import EXAMPLES, inputs
from graphprune.methods.hamp.genes import Genes

Objective = Literal["latency", "peak", "params", "macs"]
Point = tuple[int, ...]

BATCH = 128  # samples a batch of what only runs forward, at most
WARMUP = 5
# Of a compacted network's outputs: norms of hardly any variance, of few samples, blow rounding up.
TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Proxy:
    """The error of a point: the dense weights with its masks, batch norms counted again, on samples held out.

    Attributes:
        model: with dense weights, on the device.
        genes: what a point means.
        data: all three splits are the samples held out of the training split.
        calibration: training samples that batch norms are counted on.
        rule: of edges.
        scorer: of edges; None: edges stay.
        threads: of the CPU.
        device: where it computes.
        frozen: names of norms that the dense training has left alone, and so are not counted again.
    """

    model: nn.Module
    genes: Genes
    data: AnyData
    calibration: Any
    rule: EdgeRule
    scorer: nn.Module | None
    threads: int
    device: str
    frozen: frozenset[str] = frozenset()

    def network(self, point: Sequence[int]) -> tuple[nn.Module, MaskSet]:
        """A masked copy of the model with batch norms counted again."""
        masks, model = self.genes.masks(self.model, point), copy.deepcopy(self.model)
        masks.apply_(model)
        samples = self.pruned(self.calibration, point)
        recalibrate_(model, [self._inputs(samples.batch(part)) for part in strided_parts(samples, BATCH)], self.frozen)
        return model, masks

    def judge(self, points: Sequence[Point]) -> list[tuple[float, nn.Module]]:
        """Error and compacted network of each point; a function of the point alone."""
        with using_threads(self.threads):
            return [self._judged(point) for point in points]

    def _judged(self, point: Point) -> tuple[float, nn.Module]:
        held_out, (model, _) = self.pruned(self.data.val, point), self.network(point)
        try:
            small = compacted(model, self.inputs(held_out, EXAMPLES))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"the network of {self.genes.space.named(point)} cannot be compacted: {error}") from error
        with torch.no_grad():
            outputs = torch.cat([small(self._inputs(batch)).cpu() for batch in held_out.loader(BATCH)])
        metric = self.data.evaluate(self.data.labels(held_out), outputs, split="held out")
        return (1 - metric if self.data.higher_is_better else metric), small

    def pruned(self, samples: Any, point: Sequence[int]) -> Any:
        """Samples without the edges that a point removes."""
        edges = self.genes.edges(point, self.scorer, self.rule)
        return edges.prune(samples) if edges.rounds and isinstance(samples, PackedGraphs) else samples

    def inputs(self, samples: Any, size: int) -> Any:
        """A batch of so many samples that are evenly spread over all, as a network takes it."""
        size = min(size, len(samples))
        return self._inputs(samples.batch([place * len(samples) // size for place in range(size)]))

    def _inputs(self, batch: Any) -> Any:
        return inputs(batch.to(self.device))


@dataclass(frozen=True, eq=False)
class Reference:
    """A network that others are timed beside, in turns, so that a machine's changing speed hits both alike.

    Attributes:
        network: the dense one.
        inputs: a batch of full graphs or images.
        seconds: that it takes.
    """

    network: nn.Module
    inputs: Any
    seconds: float


@dataclass(frozen=True)
class Meter:
    """Measures what a network costs.

    Attributes:
        objectives: which costs.
        threads: of the CPU.
        repeats: of a timed pass.
    """

    objectives: tuple[Objective, ...]
    threads: int
    repeats: int

    def __call__(self, small: nn.Module, inputs: Any, reference: Reference | None = None) -> dict[str, float]:
        """Seconds of a batch (with quartiles), bytes at once (state and tensors), parameters, MACs a batch."""
        state = list(tensors_of(small))
        found: dict[str, float] = {"params": sum(parameter.numel() for parameter in small.parameters())}
        with using_threads(self.threads), torch.no_grad():
            if "macs" in self.objectives:
                found["macs"] = count_macs(small, inputs).total
            if "peak" in self.objectives:
                known = [*state, *tensors_in(inputs)]
                found["peak"] = bytes_of(state) + peak_bytes(partial(small, inputs), known)
            if "latency" in self.objectives:
                low, median, high = self._seconds(small, inputs, state[0].device, reference)
                found |= {"latency": median, "latency_low": low, "latency_high": high}
        return found

    def _seconds(
        self, small: nn.Module, inputs: Any, device: torch.device, reference: Reference | None
    ) -> tuple[float, float, float]:
        """Quartiles of a pass; beside a reference, of its share of the reference's time, times what that takes."""
        # What else the machine does delays a thread, and costs it less of its own time.
        clock = time.thread_time if device.type == "cpu" and self.threads == 1 else time.perf_counter

        def timed(network: nn.Module, batch: Any) -> float:
            begin = clock()
            network(batch)
            torch.get_device_module(device).synchronize()
            return clock() - begin

        pairs = []
        for number in range(WARMUP + self.repeats):
            other = timed(reference.network, reference.inputs) if reference else 1.0
            seconds = timed(small, inputs)
            if number >= WARMUP:
                pairs.append((seconds, other))
        unit = reference.seconds if reference else 1.0
        low, median, high = np.quantile(
            [unit * seconds / other for seconds, other in pairs], (0.25, 0.5, 0.75)
        ).tolist()
        return low, median, high


def compacted(model: nn.Module, example: Any) -> nn.Module:
    """The small network; of one that keeps everything a copy with folded norms, as the small ones have."""
    try:
        return compact(model, example, atol=TOLERANCE)
    except ValueError as error:
        if "nothing to remove" not in str(error):
            raise
    whole = copy.deepcopy(model).eval()
    tape, _ = recorded(copy.deepcopy(whole), example)
    with torch.no_grad():
        fold_norms_(whole, tape)
    return whole


def held_out(data: AnyData, share: float, seed: int) -> tuple[Any, Any]:
    """What is held out of the training split, and the rest.

    Raises:
        ValueError: the one is empty, or the other has fewer than the two samples that norms need.
    """
    size = len(data.train)
    held = round(share * size)
    if not 0 < held < size - 1:
        raise ValueError(f"holdout={share} of {size} training samples leaves nothing to judge or to train on")
    order = _shuffled(size, seed, "holdout")
    return _plain(data.train.select(order[:held])), data.train.select(order[held:].sort().values)


def random_samples(samples: Any, size: int, seed: int) -> Any:
    """So many of them, or all."""
    return _plain(samples.select(_shuffled(len(samples), seed, "batches")[:size].sort().values))


def _shuffled(size: int, seed: int, what: str) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(derive_seed(seed, what)))


def _plain(samples: Any) -> Any:
    """As they are judged: images are not augmented."""
    return samples.with_augment(None) if getattr(samples, "augment", None) is not None else samples
