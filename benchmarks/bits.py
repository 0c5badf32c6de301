"""The same training with the kernels of several processors: which settings give the same bits, and for how much time.

python benchmarks/bits.py
"""

import hashlib
import os
import subprocess
import sys

import torch

import graphprune as gp

SETTING = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}
FEWER = (
    {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"},
    {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX"},
)
ENVIRONMENTS = (
    {},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ATEN_CPU_CAPABILITY": "default"},
    {"MKL_CBWR": "COMPATIBLE"},
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"},
    *(SETTING | fewer for fewer in ({}, *FEWER)),
)


def trained() -> str:
    torch.set_num_threads(1)
    data = gp.data.load("ogbg-molbace")
    torch.manual_seed(0)
    model = gp.models.GIN.for_data(data, hidden=64, layers=3)
    ticket = next(iter(gp.Dense(seed=0).rounds(model, data, fit=gp.train.Fit(epochs=2, lr=1e-3, seed=0))))
    weights = b"".join(value.contiguous().numpy().tobytes() for value in ticket.trained.values())
    digest, row = hashlib.sha256(weights).hexdigest()[:12], ticket.row
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"weights {digest}, test ROC-AUC {row['test_metric']:.6f}, {row['cpu_seconds']:.1f} CPU s, {kernels}"


if __name__ == "__main__":
    if "--one" in sys.argv:
        print(trained())
        raise SystemExit
    for environment in ENVIRONMENTS:
        command = [sys.executable, __file__, "--one"]
        done = subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, capture_output=True, text=True, check=True
        )
        told = " ".join(f"{name}={value!r}" for name, value in environment.items()) or "as it is"
        print(f"{told}: {done.stdout.strip().splitlines()[-1]}", flush=True)
