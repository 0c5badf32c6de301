"""Runs, grids of runs, and the reports on them."""

from graphprune.bench.config import RunConfig
from graphprune.bench.grid import Job, Outcome, processes, run_grid
from graphprune.bench.run import Watch, run_one

__all__ = ["Job", "Outcome", "RunConfig", "Watch", "processes", "run_grid", "run_one"]
