"""Where a training runs: devices and processes by Lightning Fabric, and random states that are the training's own."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def known_accelerator(accelerator: str) -> str:
    """``"cuda"`` or ``"cpu"`` for ``"auto"``."""
    # Not Fabric's "auto": scores are made in double precision, which Apple's GPUs lack.
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def launched(accelerator: str, *, strategy: str, devices: int, num_nodes: int, precision: str) -> Fabric:
    """Fabric, joined with the other processes.

    Raises:
        ValueError: no such device here, or other processes than asked for.
    """
    from lightning_fabric import Fabric  # takes seconds, which a command that only checks settings need not wait

    accelerator = known_accelerator(accelerator)
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError("accelerator='cuda', but torch finds no GPU here; use 'cpu' or 'auto'")
    wanted, started = devices * num_nodes, int(os.environ.get("WORLD_SIZE", 1))
    with _quiet():
        fabric = Fabric(
            accelerator=accelerator,
            strategy=strategy,
            devices=devices,
            num_nodes=num_nodes,
            precision=precision,  # type: ignore[arg-type]
        )
    environment = getattr(fabric.strategy, "cluster_environment", None)
    externally = environment is not None and environment.creates_processes_externally
    # Without a launcher Fabric would run the caller's script again from its start.
    if (wanted > 1 and not externally) or (wanted == 1 and started > 1):
        raise ValueError(
            f"devices={devices} and num_nodes={num_nodes} ask for {wanted} processes, but {started} "
            f"were started: use torchrun --nproc-per-node {devices} --nnodes {num_nodes}"
        )
    fabric.launch()
    return fabric


def summed(fabric: Fabric, value: Tensor) -> Tensor:
    """The sum over all processes."""
    return cast(Tensor, fabric.all_reduce(value, reduce_op="sum"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Fabric from announcing the precision in every round, across the progress bars; warnings still come."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def seeded_by(seed: int, device: torch.device) -> Iterator[None]:
    """Seed Python, NumPy and torch, and give the caller's random states back."""
    python, array = random.getstate(), np.random.get_state()
    on_gpu = device.type == "cuda"
    try:
        with torch.random.fork_rng([device] if on_gpu else []):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            # torch.manual_seed would also touch GPUs that this training does not use.
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
