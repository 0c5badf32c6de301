"""Grids of runs over an executor; each name is loaded when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Job", "Outcome", "dask", "processes", "run", "run_bench", "run_grid"]

if TYPE_CHECKING:
    from graphprune.grids.command import run, run_bench
    from graphprune.grids.executors import dask, processes
    from graphprune.grids.grid import Job, Outcome, run_grid
else:
    _HOLDS = {"command": "run run_bench", "executors": "dask processes", "grid": "Job Outcome run_grid"}
    _HOME = {name: module for module, names in _HOLDS.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name in _HOME:
            return getattr(import_module(f"graphprune.grids.{_HOME[name]}"), name)
        raise AttributeError(f"module 'graphprune.grids' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
