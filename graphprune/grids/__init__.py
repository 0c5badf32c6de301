"""Grids of runs over an executor; each name is loaded when it is first used."""

from typing import TYPE_CHECKING

import lazy_loader

__all__ = ["Job", "Outcome", "dask", "processes", "run", "run_bench", "run_grid"]

if TYPE_CHECKING:
    from graphprune.grids.command import run, run_bench
    from graphprune.grids.executors import dask, processes
    from graphprune.grids.grid import Job, Outcome, run_grid
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "command": ["run", "run_bench"],
            "executors": ["dask", "processes"],
            "grid": ["Job", "Outcome", "run_grid"],
        },
    )
