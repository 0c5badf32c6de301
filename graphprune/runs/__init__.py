"""Single runs: a method, a model, a data set and a training, by configuration, in a folder that resumes.

Each name is loaded when it is first used: a process that waits for its first run starts without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["RunConfig", "Watch", "run_one"]

if TYPE_CHECKING:
    from graphprune.runs.config import RunConfig
    from graphprune.runs.run import Watch, run_one
else:
    _HOME = {"RunConfig": "config", "Watch": "run", "run_one": "run"}

    def __getattr__(name: str) -> object:
        if name in _HOME:
            return getattr(import_module(f"graphprune.runs.{_HOME[name]}"), name)
        raise AttributeError(f"module 'graphprune.runs' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
