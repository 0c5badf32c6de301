#!/usr/bin/env bash
# The rows of a GPU, at most eight minutes: networks dense, pruned and compacted, steps, scoring, exact selection.
#
#   bash benchmarks/gpu.sh [options of bench_device.py]      writes benchmarks/results/device.json
#   bash benchmarks/gpu.sh --device cpu --tiny --json /dev/null
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
exec timeout 480 "$python" benchmarks/bench_device.py --json benchmarks/results/device.json "$@"
