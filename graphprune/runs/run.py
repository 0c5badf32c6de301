"""One run, from its configuration to a folder of tickets and results."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

import graphprune
from graphprune.data import ImageData
from graphprune.data.labelled import LabelledData
from graphprune.graphs.stored import StoredGraphs
from graphprune.measure.costs import in_mib
from graphprune.measure.latency import processor
from graphprune.measure.memory import bytes_of
from graphprune.methods import FitJob
from graphprune.methods.hamp.journal import JOURNAL
from graphprune.runs.build import Built, build, last_round
from graphprune.runs.config import RunConfig
from graphprune.runs.folder import Row, RunFolder
from graphprune.runs.identity import OBJECT
from graphprune.runs.objects import LAST_ROUND
from graphprune.ticket import Ticket
from graphprune.train import Fit

_VERSIONED = ("torch", "torch-geometric", "numpy", "ogb", "lightning-fabric", "torchmetrics")

# What the last bits of results depend on, and where a sitting's entry has it.
_BITS = {
    "{} threads": ("threads",),
    "the processor {}": ("machine", "processor"),
    "kernels for {}": ("machine", "kernels"),
    "the GPU {}": ("machine", "gpu"),
    "torch {}": ("versions", "torch"),
}

_NAMED = 12  # tensors at the start and the end of a deep network that are told by name


class Watch:
    """Follows a run; this one shows nothing of it."""

    def started(self, config: RunConfig, finished: int) -> None:
        """The run begins, or goes on after ``finished`` rounds."""

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """An epoch is over: round, phase, epoch, loss, val_metric, seconds."""

    def ticket(self, ticket: Ticket) -> None:
        """A round is over and saved."""

    def notice(self, text: str) -> None:
        """Something a user should know."""


def run_one(config: RunConfig, out: Path | str, watch: Watch | None = None) -> list[Row]:
    """Compute the rounds that are not finished yet.

    Called again after an interruption at any point it gives the tickets that an uninterrupted run gives, bit for bit
    (on the same machine with as many threads; the recorded seconds differ, of course).

    Args:
        config: what to compute.
        out: the run's folder, see :class:`graphprune.runs.folder.RunFolder`.
        watch: follows the run; None: nobody does.

    Returns:
        The rows of all rounds.

    Raises:
        FileExistsError: ``out`` holds something else.
        ValueError: bad options or data, or a damaged finished round.
        graphprune.methods.TrainingDiverged: a training broke down; finished rounds stand.
        OSError: nothing more can be written; finished rounds stand.
    """
    watch = watch or Watch()
    folder = RunFolder(Path(out))

    def on_epoch(job: FitJob, numbers: Mapping[str, Any]) -> None:
        entry = {"round": job.round, "phase": job.phase, **numbers}
        folder.log(entry)
        watch.epoch(entry)

    last = folder.last_round(config)
    folder.check(config)
    complete = last is not None and folder.finished >= last
    built = None if complete else build(config, on_epoch)  # before anything is written: it finds most mistakes
    if built is not None and OBJECT in config.method:
        config = replace(config, method={**config.method, LAST_ROUND: built.method.last_round})
        last_round(config)  # refuses a method without any
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and int(os.environ.get("RANK", 0)) > 0:
        # Under torchrun the first process keeps the folder, the others only compute.
        for _ in _rounds(built, folder):
            pass
        return folder.rows()
    with folder.claimed(config) as damaged:
        watch.started(config, folder.finished)
        for text in damaged:
            watch.notice(text)
        if built is not None:
            watch.notice(needs(built))
            _sign(built, folder, watch, damaged)
        for ticket in _rounds(built, folder):
            folder.save(ticket)
            watch.ticket(ticket)
        return folder.rows()


def _rounds(built: Built | None, folder: RunFolder) -> Iterator[Ticket]:
    if built is not None:
        _warm_up(built)
        method = built.method.within(folder.path)
        yield from method.rounds(built.model, built.data, built.fit, after=folder.last_ticket())


def _warm_up(built: Built) -> None:
    """Import what the first training and evaluation import, so that it is not in their seconds.

    Raises:
        ValueError: a metric that is undefined on the labels of a split, which otherwise came out after a training.
    """
    if isinstance(built.fit, Fit):
        built.fit.prepare()
    data: LabelledData[Any] = built.data
    for split in ("val", "test"):
        y = data.labels(data.splits[split])
        data.evaluate(y, torch.zeros(len(y), data.num_outputs), split=split)


def _sign(built: Built, folder: RunFolder, watch: Watch, damaged: Sequence[str]) -> None:
    entry = circumstances(built)
    begun = folder.finished or (folder.path / JOURNAL).exists()
    changed = _changed(folder.sittings(), entry) if begun else []
    if noted := [*damaged, *changed]:
        entry["notices"] = noted
    folder.sign(entry)
    for text in changed:
        watch.notice(text)
    if built.method.prunes_weights and not folder.finished:
        watch.notice(entry["weights"])
    has_edge_attr = getattr(built.data, "edge_features", None) is not None
    if has_edge_attr and not getattr(built.model, "reads_edge_attr", True) and not folder.finished:
        watch.notice(f"{type(built.model).__name__} does not read the edge features (edge_attr) of {built.data.name}")


def _changed(earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[str]:
    """What decides over the last bits of results and is not what it was in earlier sittings."""
    told = []
    for text, place in _BITS.items():
        then, value = [reduce(_entry_of, place, entry) for entry in earlier], reduce(_entry_of, place, now)
        if others := sorted({text.format(other) for other in then if other not in (None, value)}):
            told.append(
                f"earlier rounds ran with {', '.join(others)}, the next ones with {text.format(value)}: "
                "the last bits of the results may differ from an uninterrupted run's"
            )
    return told


def _entry_of(known: Any, name: str) -> Any:
    """Older entries tell less."""
    return known.get(name) if isinstance(known, Mapping) else None


def circumstances(built: Built) -> dict[str, Any]:
    """Where, when and from what a run is computed."""
    data: Any = built.method.protocol.splits(built.data)
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "versions": versions(),
        "weights": weights(built),
        "data": {
            "name": data.name,
            "digest": built.data.digest(),
            "images" if isinstance(data, ImageData) else "graphs": {
                name: len(samples) for name, samples in data.splits.items()
            },
            "empty": data.empty,
            **data.provenance,
        },
    }


def needs(built: Built) -> str:
    """What memory a run takes at least, in words: its data, and its network in training."""
    data: Any = built.data
    held = tree_leaves([vars(part) for part in data.splits.values() if not isinstance(part, StoredGraphs)])
    parameters = [weights for weights in built.model.parameters() if not is_lazy(weights)]
    network = bytes_of(parameters)
    return (
        f"memory at least: {in_mib(bytes_of(leaf for leaf in held if isinstance(leaf, Tensor)))} for the data, "
        f"{in_mib(network)} for the network of {sum(map(torch.numel, parameters)):,} parameters and "
        f"{in_mib(3 * network)} to train it with Adam; batches and activations come on top"
    )


def weights(built: Built) -> str:
    """Which of the model's parameters can be pruned, and why the others are protected."""
    found = built.method.selector(built.method.prepared(built.model, built.data))
    size = {name: math.prod(shape) for name, shape in found.shapes.items()}
    protected: dict[str, int] = {}
    for name, reason in found.protected.items():
        protected[reason] = protected.get(reason, 0) + size[name]
    told = ", ".join(f"{count:,} ({reason})" for reason, count in protected.items())
    pruned = sum(size[name] for name in found.selected)
    first, last = found.selected[:_NAMED], found.selected[_NAMED:][-_NAMED:]
    between = len(found.selected) - len(first) - len(last)
    named = [*first, *([f"{between} more"] if between else []), *last]
    return (
        f"{pruned:,} of {sum(size.values()):,} parameters can be pruned: {', '.join(named)}; "
        f"protected are {told or 'none'}"
    )


def machine() -> dict[str, Any]:
    """What a computation's time depends on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    found = {"system": platform.platform(), "processor": processor(), "cpus": os.cpu_count(), "gpu": gpu}
    return found | {"kernels": torch.backends.cpu.get_cpu_capability()}


def versions() -> dict[str, str]:
    """Versions of what decides over numbers."""
    found = {"graphprune": graphprune.__version__, "python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
