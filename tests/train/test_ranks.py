import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.train.ranks import masks, options, plain

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch without gloo")
def test_two_processes_agree_and_train_as_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--local-addr", "127.0.0.1", str(ROOT / "tests" / "train" / "ranks.py"), str(tmp_path)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    weights, others = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first["gumbel"]) == 1 and first["gumbel"] == second["gumbel"]
    assert len(first["gicp"]) == 2 and first["gicp"] == second["gicp"]
    assert len(first["learned"]) == 4 and first["learned"] == second["learned"]
    assert len(first["tickets"]) == 2
    assert first["tickets"] == second["tickets"]
    assert all(torch.equal(value, others[name]) for name, value in weights.items())

    alone = plain(devices=1)
    for found in (first, second):
        assert (found["epoch"], found["test"]) == (alone.epoch, alone.test_metric)
        for column in ("loss", "val_metric"):
            expected = [row[column] for row in alone.history]
            assert [row[column] for row in found["rows"]] == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(weights, alone.last, rtol=1e-9, atol=1e-12)
    assert len(first["averaged"]) == 2 and first["averaged"] == second["averaged"]
    for rank in (0, 1):
        weights = torch.load(tmp_path / f"{rank}-options.pt", weights_only=True)
        torch.testing.assert_close(weights, options(devices=1).last, rtol=1e-6, atol=1e-9)
    of_one = masks(devices=1)
    assert set(of_one) == {"icpg", "ugs", "imp", "gicp", "fggp", "granet", "set"}
    assert first["masks"] == second["masks"] == of_one
