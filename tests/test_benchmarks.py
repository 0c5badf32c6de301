"""Scripts that are prepared for a machine which is not at hand run here, in sizes that say nothing."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_what_is_measured_on_a_gpu_runs_on_a_cpu(tmp_path: Path) -> None:
    words = ["bash", ROOT / "benchmarks" / "gpu.sh", "--device", "cpu", "--tiny", "--json", tmp_path / "device.json"]
    subprocess.run(words, check=True, timeout=300, cwd=tmp_path)
    found = json.loads((tmp_path / "device.json").read_text())["result"]
    assert found["device"] == "CPU"
    assert len(found) == 1 + 2 * 9 + 2
    assert all(value > 0 for name, value in found.items() if name.endswith("_s"))
