"""Runs, grids of runs, and the reports on them; each name is loaded when it is first used.

A process that waits for its first run thus starts without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Job", "Outcome", "RunConfig", "Watch", "dask", "processes", "run_bench", "run_grid", "run_one"]

if TYPE_CHECKING:
    from graphprune.bench.bench import run_bench
    from graphprune.bench.config import RunConfig
    from graphprune.bench.executors import dask, processes
    from graphprune.bench.grid import Job, Outcome, run_grid
    from graphprune.bench.run import Watch, run_one
else:
    _HOLDS = {
        "bench": "run_bench",
        "config": "RunConfig",
        "executors": "dask processes",
        "grid": "Job Outcome run_grid",
        "run": "Watch run_one",
    }
    _HOME = {name: module for module, names in _HOLDS.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name in _HOME:
            return getattr(import_module(f"graphprune.bench.{_HOME[name]}"), name)
        raise AttributeError(f"module 'graphprune.bench' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
