"""What a network costs: one ledger of parameters, edges, multiply-adds, latency and memory."""

from graphprune.measure.costs import Costs, Scoring, Weights
from graphprune.measure.latency import Latency, break_even, time_calls
from graphprune.measure.ledger import report
from graphprune.measure.macs import Macs, count_macs
from graphprune.measure.memory import file_bytes, peak_bytes

__all__ = [
    "Costs",
    "Latency",
    "Macs",
    "Scoring",
    "Weights",
    "break_even",
    "count_macs",
    "file_bytes",
    "peak_bytes",
    "report",
    "time_calls",
]
