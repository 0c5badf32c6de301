import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from torch import nn

from graphprune.masks import MaskSet, check_ranks


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch without gloo")
def test_masks_agree_across_ranks_and_a_difference_is_an_error_on_all(tmp_path: Path) -> None:
    script = Path(__file__).with_name("ranks.py")
    command = [sys.executable, str(script), str(tmp_path / "rendezvous")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "agreed" in done.stdout


def test_without_a_distributed_run_there_is_nothing_to_check() -> None:
    check_ranks(MaskSet.dense(nn.Linear(2, 2)))
