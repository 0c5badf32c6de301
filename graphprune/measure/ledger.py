"""One ledger of what a network costs: weights, arcs, multiply-accumulates, time, memory, file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from graphprune.graphs import PruneEdges
from graphprune.masks import MaskSet, prunable
from graphprune.masks.networks import check_forward
from graphprune.masks.targets import NothingToPrune
from graphprune.measure.costs import Costs, Scoring, Weights
from graphprune.measure.latency import Clock, Latency, time_calls
from graphprune.measure.macs import Macs, arcs_in, counted, tensors_of
from graphprune.measure.memory import bytes_of, file_bytes, peak_bytes
from graphprune.measure.modes import evaluating, using_threads
from graphprune.measure.samples import Watch, batches_of, device_of, fresh, tensors_in

WARMUP = 3  # passes that are not timed


def report(
    model: nn.Module,
    samples: Any,
    *,
    masks: MaskSet | None = None,
    scorer: nn.Module | PruneEdges | None = None,
    batch_size: int = 256,
    threads: int | None = None,
    repeats: int = 20,
    clock: Clock = time.perf_counter,
) -> Costs:
    """Measure what a network costs in use: in ``eval()`` mode, without gradients, on batches that are there already.

    Args:
        model: masked, compacted or dense; ``model(batch)`` of graphs or ``model(x)`` of images. It is left as it is,
            whatever its forward pass writes, and what it has cached of another graph is not read.
        samples: a split of a data set or a sequence of ``Data``, of which ``batch_size`` evenly spread ones are
            measured (with smaller batches as many whole batches as 256 samples fill); or one batch: a ``Data``,
            ``Batch`` or tensor.
        masks: what was pruned, of this model or of the larger one that it was compacted from; says which weights could
            be pruned and were kept.
        scorer: a module from a batch to scores of its arcs, which is measured as it is called; or the ``edges`` of a
            ticket, of which scoring and pruning in all rounds is measured, and the network sees the pruned graphs.
        batch_size: samples a batch.
        threads: of the CPU, for these measurements; None: those that torch uses anyway.
        repeats: passes over the batches that are timed, after three for warming up.
        clock: seconds.

    Raises:
        RuntimeError: pruned weights of the model that are not zero.
        TypeError: samples of another kind, edges to prune of what are no graphs, or no network that can be called so.
        ValueError: no samples, a batch size, threads or repeats below 1, uninitialised lazy parameters, weights
            that are computed from other parameters, or graphs to prune that cannot be packed.
    """
    check_forward(model)
    weights = _weights(model, masks)
    device = device_of(model)
    measured = batches_of(samples, batch_size, device, graphs=isinstance(scorer, PruneEdges))
    with using_threads(threads) as number, evaluating(model), torch.no_grad():
        scoring = None
        if isinstance(scorer, PruneEdges):
            modules = [edge_round.scorer for edge_round in scorer.rounds if edge_round.scorer is not None]
            scoring = Scoring(
                *_cost(scorer.prune, measured.graphs, modules, device, repeats, clock), measured.mean("num_edges")
            )
            measured = measured.of([scorer.prune(part) for part in measured.graphs], device)
        elif scorer is not None:
            with evaluating(scorer):
                scoring = Scoring(
                    *_cost(scorer, measured.batches, [scorer], device, repeats, clock), measured.mean("num_edges")
                )
        macs, latency = _cost(model, measured.batches, [model], device, repeats, clock)
        state = list(tensors_of(model))
        peaks = [_peak(model, state, fresh(batch)) for batch in measured.batches]
    return Costs(
        samples=measured.samples,
        available=measured.available,
        batch_size=measured.size,
        nodes=measured.mean("num_nodes"),
        arcs=measured.mean("num_edges"),
        weights=weights,
        macs=macs,
        scoring=scoring,
        latency=latency,
        threads=number,
        device=_name(device),
        peak_bytes=max(peaks),
        state_bytes=bytes_of(state),
        batch_bytes=max(bytes_of(tensors_in(batch)) for batch in measured.batches),
        file_bytes=file_bytes(model),
    )


def _cost(
    run: Callable[[Any], object],
    batches: Sequence[Any],
    modules: Sequence[nn.Module],
    device: torch.device,
    repeats: int,
    clock: Clock,
) -> tuple[Macs, Latency]:
    """The multiply-accumulates of all batches, and the time of one: a pass over all, divided by their number."""
    given = list(map(fresh, batches))

    def once() -> None:
        for batch in given:
            run(batch)
        torch.get_device_module(device).synchronize()

    def renew() -> None:
        given[:] = map(fresh, batches)

    watch = Watch(given)
    macs = counted(once, tensors_of(*modules), arcs_in(given))
    before = renew if watch.changed else lambda: None  # for a network that works in place
    return macs, time_calls(once, repeats=repeats, warmup=WARMUP, clock=clock, before=before) / len(batches)


def _peak(model: nn.Module, state: Sequence[Tensor], batch: Any) -> int:
    return peak_bytes(lambda: model(batch), [*state, *tensors_in(batch)])


def _weights(model: nn.Module, masks: MaskSet | None) -> Weights:
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise ValueError(f"uninitialised lazy parameters {lazy}: run one forward pass of the model first")
    own = dict(model.named_parameters())
    if masks is None:
        masks = _read_masks(model)
    elif all(name in own and own[name].shape == shape for name, shape in masks.shapes.items()):
        masks.verify(model)
    elif strange := [name for name, shape in masks.shapes.items() if not _cut_from(own.get(name), shape)]:
        raise ValueError(f"masks are neither this model's nor those of a larger one that it was made from: {strange}")
    total = sum(parameter.numel() for parameter in own.values())
    nonzero = sum(int(parameter.count_nonzero()) for parameter in own.values())
    return Weights(total, nonzero, masks.total, masks.kept)


def _cut_from(parameter: nn.Parameter | None, shape: tuple[int, ...]) -> bool:
    """Whether a parameter may be what is left of one of this shape."""
    if parameter is None:
        return len(shape) == 1  # of a norm that the layer before it has taken over
    if parameter.ndim != len(shape):
        return False
    return all(left <= whole for left, whole in zip(parameter.shape, shape, strict=True))


def _read_masks(model: nn.Module) -> MaskSet:
    """The zeros of what is pruned by default; no masks of a model without such weights."""
    try:
        return MaskSet.from_zeros(model, prunable())
    except NothingToPrune:
        return MaskSet.of({})


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
