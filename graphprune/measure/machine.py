"""What measured seconds depend on beside the network."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def processor() -> str:
    """The CPU by name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def clock(device: str) -> dict[str, str]:
    """The processor that a device is, or that it belongs to, and torch's version, by name."""
    gpu = torch.device(device).type == "cuda"
    return {"processor": torch.cuda.get_device_name(device) if gpu else processor(), "torch": torch.__version__}


def check_device(device: str) -> None:
    """Raise ValueError where nothing can be computed on a device."""
    try:
        there = torch.device(device).type != "meta"
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={device!r} is not there: {str(error).splitlines()[0]}") from error
    if not there:
        raise ValueError(f"device={device!r} computes nothing")
