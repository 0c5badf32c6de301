"""What a network costs, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphprune.measure.latency import Latency
from graphprune.measure.macs import Macs


@dataclass(frozen=True)
class Weights:
    """A network's numbers.

    Attributes:
        total: entries of all parameters.
        nonzero: of them, those that are not zero.
        prunable: weights that the masks cover; without masks: those that pruning selects by default.
        kept: of the prunable, those that the masks keep; without masks: those that are not zero.
    """

    total: int
    nonzero: int
    prunable: int
    kept: int


@dataclass(frozen=True)
class Scoring:
    """What an edge scorer costs.

    Attributes:
        macs: of all measured samples.
        latency: of one batch.
        arcs_before: arcs a graph that were scored; None: no graphs.
    """

    macs: Macs
    latency: Latency
    arcs_before: float | None


@dataclass(frozen=True)
class Costs:
    """What a network costs on some samples.

    Attributes:
        samples: how many were measured, evenly spread over those available.
        available: how many there are.
        batch_size: samples a batch.
        nodes: a graph, mean over the measured ones; None: no graphs.
        arcs: a graph, as the network sees them (an undirected edge is two); None: no graphs.
        weights: see `Weights`.
        macs: of all measured samples, see `Macs`.
        scoring: what scoring the edges costs; None: no scorer.
        latency: of a forward pass of one batch that is collated already.
        threads: of the CPU.
        device: where it ran.
        peak_bytes: the most bytes of tensors alive at one time in a forward pass, beside parameters, buffers and the
            batch; see `peak_bytes`.
        state_bytes: parameters and buffers.
        batch_bytes: the largest batch.
        file_bytes: the ``state_dict`` as a safetensors file; zeros are stored like any number.
    """

    samples: int
    available: int
    batch_size: int
    nodes: float | None
    arcs: float | None
    weights: Weights
    macs: Macs
    scoring: Scoring | None
    latency: Latency
    threads: int
    device: str
    peak_bytes: int
    state_bytes: int
    batch_bytes: int
    file_bytes: int

    @property
    def throughput(self) -> float:
        """Samples a second, by the median latency."""
        return self.batch_size / self.latency.median

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """A printable table."""
        rows = list(self._lines())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:{width}}  {text}".rstrip() for name, text in rows)

    def _lines(self) -> Iterator[tuple[str, str]]:
        sample, weights, macs = "sample" if self.arcs is None else "graph", self.weights, self.macs
        share = f" ({weights.kept / weights.prunable:.2%})" if weights.prunable else ""
        yield "parameters", f"{weights.total:,}, of them not zero {weights.nonzero:,}"
        yield "prunable weights", f"{weights.prunable:,}, of them kept {weights.kept:,}{share}"
        yield "measured on", f"{self.samples:,} of {self.available:,} {sample}s, {self.batch_size:,} a batch"
        if self.arcs is not None:
            before = self.arcs if self.scoring is None else self.scoring.arcs_before
            pruned = "" if before == self.arcs else f" (before pruning {before:,.2f})"
            yield "arcs a graph", f"{self.arcs:,.2f}{pruned}, between {self.nodes:,.2f} nodes"
        yield from self._macs(f"MACs a {sample}", macs)
        if self.scoring:
            yield from self._macs(f"edge scorer, MACs a {sample}", self.scoring.macs)
            yield "edge scorer, a batch", _timed(self.scoring.latency)
        where = f"{self.device}, {self.threads} thread{'s' * (self.threads > 1)}"
        yield "latency of a batch", f"{_timed(self.latency)} on {where}"
        yield "throughput", f"{self.throughput:,.1f} {sample}s/s"
        yield (
            "memory",
            f"peak {in_mib(self.peak_bytes)} of tensors, beside {in_mib(self.state_bytes)} of parameters and buffers "
            f"and {in_mib(self.batch_bytes)} of a batch",
        )
        yield "file", in_mib(self.file_bytes)

    def _macs(self, title: str, macs: Macs) -> Iterator[tuple[str, str]]:
        yield title, f"{macs.total / self.samples:,.1f}"
        yield (
            "  transformation",
            f"{macs.transformation / self.samples:,.1f}, with weights that are not zero "
            f"{macs.nonzero / self.samples:,.1f}",
        )
        yield "  aggregation", f"{macs.aggregation / self.samples:,.1f}"
        yield "  readout", f"{macs.readout / self.samples:,.1f}"
        if macs.uncounted:
            calls = ", ".join(f"{name} ({number} calls)" for name, number in macs.uncounted.items())
            yield "  NOT COUNTED", calls

    def as_row(self) -> dict[str, Any]:
        """Plain data: MACs a sample, seconds a batch, bytes."""
        row: dict[str, Any] = {
            **{name: getattr(self, name) for name in ("samples", "available", "batch_size", "nodes", "arcs")},
            "parameters": self.weights.total,
            "parameters_nonzero": self.weights.nonzero,
            "weights_prunable": self.weights.prunable,
            "weights_kept": self.weights.kept,
            **self._use("", self.macs, self.latency),
            **{name: getattr(self, name) for name in ("throughput", "threads", "device")},
            **{name: getattr(self, name) for name in ("peak_bytes", "state_bytes", "batch_bytes", "file_bytes")},
        }
        if self.scoring is not None:
            row["arcs_before"] = self.scoring.arcs_before
            row |= self._use("scorer_", self.scoring.macs, self.scoring.latency)
        return row

    def _use(self, prefix: str, macs: Macs, latency: Latency) -> dict[str, Any]:
        parts = ("transformation", "nonzero", "aggregation", "readout")
        return {
            **{f"{prefix}macs_{name}": getattr(macs, name) / self.samples for name in parts},
            f"{prefix}macs_uncounted": dict(macs.uncounted),
            **{f"{prefix}latency_{name}": value for name, value in vars(latency).items()},
        }


def _timed(latency: Latency) -> str:
    low, median, high = (f"{1000 * seconds:,.3f}" for seconds in (latency.low, latency.median, latency.high))
    return f"{median} ms (median of {latency.repeats}; quartiles {low} and {high})"


def in_mib(number: int) -> str:
    """Bytes as KiB or MiB."""
    return f"{number / 2**20:,.2f} MiB" if number >= 2**20 else f"{number / 2**10:,.1f} KiB"
