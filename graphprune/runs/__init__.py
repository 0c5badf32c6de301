"""Single runs: a method, a model, a data set and a training, by configuration, in a folder that resumes.

Each name is loaded when it is first used: a process that waits for its first run starts without torch.
"""

from typing import TYPE_CHECKING

import lazy_loader

__all__ = ["RunConfig", "Watch", "run_one"]

if TYPE_CHECKING:
    from graphprune.runs.config import RunConfig
    from graphprune.runs.run import Watch, run_one
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__, submod_attrs={"config": ["RunConfig"], "run": ["Watch", "run_one"]}
    )
