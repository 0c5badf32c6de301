"""Puts old faults back, one at a time, in a copy of the tree, and says which tests notice.

python tests/mutations.py [--contract] [NAME ...]

Each fault is a smallest edit; the tests that are to hold it have to fail with it. With ``--contract`` the contract
suite has to, for the faults that it is meant to find by itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = "tests/contract"


class Fault(NamedTuple):
    """An edit that puts a fault back, and the tests that hold it; whether the contract suite finds it by itself."""

    file: str
    old: str
    new: str
    tests: str
    contract: str = ""  # the part of the suite that is run for it


FAULTS = {
    "batches share storage with the data set": Fault(
        "graphs/segments.py",
        "return values.clone() if rows is None else",
        "return values if rows is None else",
        "tests/graphs/test_copies.py",
        "test_untouched.py",
    ),
    "a forward that was replaced": Fault(
        "masks/copies.py", "if forward is not None and not", "if False and not", "tests/masks/test_copies.py"
    ),
    "a copy that computes with the original": Fault(
        "methods/core/prepare.py", "if foreign := [", "if False and [", "tests/methods/core/test_prepare.py"
    ),
    "checkpoints in a gated search": Fault(
        "masks/recompute.py",
        "return run(*args) if _HERE.depth else apply(",
        "return apply(",
        "tests/methods/test_recompute.py",
    ),
    "convolutions that have cached the full graph": Fault(
        "methods/core/prepare.py",
        "    uncached_(made)\n    trial",
        "    trial",
        "tests/methods/core/test_prepare.py",
    ),
    "edges that are used beside the convolutions": Fault(
        "graphs/soft/check.py",
        "    if error <= _rounding(removed) and gradient",
        "    if gradient",
        "tests/graphs/soft/test_check.py",
    ),
    "gates that get no gradient": Fault(
        "graphs/soft/check.py",
        " and gradient is not None and bool(gradient.any()):",
        ":",
        "tests/graphs/soft/test_check.py",
    ),
    "attributes of a user's class": Fault(
        "graphs/flatten.py",
        "return shifts if indexes(name) or bool(shifts.any()) else None",
        "return None",
        "tests/graphs/test_attributes.py",
    ),
    "instance norms counted anew": Fault(
        "methods/core/norms.py",
        "norm.momentum = 1.0 / calls[norm]",
        "norm.momentum = None",
        "tests/methods/core/test_norms.py",
    ),
    "weights that are products": Fault(
        "masks/targets.py", "        if found is not None:", "        if False:", "tests/masks/test_factors.py"
    ),
    "weights written outside of a step": Fault(
        "masks/passes.py",
        "self._handles = [module.register_forward_pre_hook(hook) for module, hook in hooks.items()]",
        "self._handles = []",
        "tests/masks/test_foreign_writes.py",
    ),
    "a second copy of the arcs": Fault(
        "graphs/attributes.py",
        "    check_single(data)\n    arcs, found",
        "    arcs, found",
        "tests/graphs/test_attributes.py",
    ),
    "labels that are taken for arcs": Fault(
        "graphs/attributes.py", " or goes_elsewhere(data, name)", "", "tests/graphs/test_attributes.py"
    ),
    "edge weights that are not checked": Fault(
        "graphs/prune.py", "        _check_edges(data)\n", "", "tests/graphs/test_edge_weights.py"
    ),
    "kernels and attention vectors that are pruned": Fault(
        "masks/targets.py", " and _matches(name, _PYG_MATRICES)", "", "tests/masks/test_roles.py"
    ),
    "the control without edges under the paper's counts": Fault(
        "methods/baselines.py",
        "    edge_rate: float = attrs.field(default=1.0, init=False)  # all, however a protocol counts\n",
        "    def edge_density(self, number: int) -> float:\n        return 0.0\n\n",
        "tests/methods/test_controls.py",
        "test_controls.py",
    ),
    "seeds that are left behind": Fault(
        "methods/core/prepare.py",
        "    forked = torch.random.fork_rng(devices=range(torch.cuda.device_count()))\n",
        "    torch.manual_seed(0)\n    forked = torch.random.fork_rng(enabled=False)\n",
        "tests/contract/test_untouched.py",
        "test_untouched.py",
    ),
    "norms that are not counted anew": Fault(
        "methods/gicp.py",
        "        recalibrate_(",
        "        len([]) or (lambda *_, **__: None)(",
        "tests/methods/test_gicp.py",
    ),
    "a ticket whose file loses the order of its masks": Fault(
        "ticket/contents.py",
        "{section: list(named) for section, named in sections.items()}",
        "{section: sorted(named) for section, named in sections.items()}",
        "tests/ticket/test_round_trip.py",
        "test_files.py",
    ),
    "a resumed run that goes on from other weights": Fault(
        "methods/core/method.py",
        "last=dict(after.last)",
        "last=dict(after.trained)",
        "tests/contract/test_resume.py",
        "test_resume.py",
    ),
    "the best epoch on the test split": Fault(
        "methods/core/method.py",
        'if self.protocol.select == "test":',
        "if True:",
        "tests/contract/test_counts.py",
        "test_counts.py",
    ),
    "the small dense control": Fault(
        "methods/baselines.py",
        "while high <= params and fits(high):",
        "while high * high <= params and fits(high):",
        "tests/methods/test_small_dense.py",
        "test_controls.py",
    ),
    "a grid that drops runs": Fault("grids/file.py", "return longer", "return one", "tests/grids/test_file.py"),
    "heads that are pruned": Fault(
        "methods/core/prepare.py",
        "if not prune_heads:",
        "if False:",
        "tests/methods/core/test_prepare.py",
        "test_layers.py",
    ),
    "layers that are emptied": Fault(
        "methods/core/method.py", "SAFE_FLOOR = 0.1", "SAFE_FLOOR = 0.0", "tests/methods/core/test_prepare.py"
    ),
    "encodings of what the rounds have left": Fault(
        "graphs/rounds.py",
        "        return self.encoded(data, again=self.recounted)",
        "        return self.encoded(data, again=True)",
        "tests/graphs/test_encodings.py",
    ),
    "walks that are believed of other arcs": Fault(
        "graphs/walks.py",
        "return found if torch.equal(walked, _arcs(data)) else walk_features(data, steps)",
        "return found",
        "tests/methods/test_carried.py",
        "test_batches.py",
    ),
    "numbers of edges that are believed of any graph": Fault(
        "graphs/prune.py",
        "data.get(EDGE_UNIT) if self._takes_numbers else None",
        "data.get(EDGE_UNIT)",
        "tests/methods/test_carried.py",
    ),
    "commands that read other data than the run": Fault(
        "runs/trained.py",
        '**(own if name == own.get("name") else {})',
        '"name": name, "root": own.get("root")',
        "tests/runs/test_trained.py",
    ),
    "a small network drawn where no ticket has its size": Fault(
        "report/results.py",
        'nearest if nearest is not None and abs(nearest["params_kept"].mean - size) <= SAME_SIZE * size else None',
        "nearest",
        "tests/report/test_figures.py",
    ),
    "a plug-in's run that was killed": Fault(
        "runs/build.py",
        "last = _named_method(config, _ANY_PREDICTOR).last_round",
        'last = int(config.method.get("rounds", 1))',
        "tests/runs/test_plugins.py",
    ),
    "functions that changed since": Fault(
        "runs/identity.py",
        'return {"source": hashlib.sha256(code.encode()).hexdigest()[:_DIGITS]}',
        "return {}",
        "tests/runs/test_objects.py",
    ),
    "settings that hold an address": Fault(
        "methods/core/method.py",
        "else stable_repr(value)",
        "else repr(value)",
        "tests/methods/core/test_stable_repr.py",
    ),
    "arcs that must stay": Fault(
        "graphs/pairs.py", "no_loop = no_loop & ~kept[leader]", "pass", "tests/graphs/test_protected.py"
    ),
    "classes that training does not have": Fault(
        "data/users.py", "elif check.num_classes is None:", "elif False:", "tests/data/test_users.py"
    ),
    "validation graphs held out under the paper protocol": Fault(
        "methods/core/method.py",
        "        data = self.protocol.splits(data)\n",
        "",
        "tests/methods/core/test_protocol.py",
    ),
    "degrees over targets in the published GCN": Fault(
        "models/node.py", 'degree = "source"', 'degree = "target"', "tests/methods/ugs/test_method.py"
    ),
    # What no test of a single part has to be asked for: the suite alone.
    "a pruned weight that comes back": Fault(
        "masks/attach.py",
        "parameter.data.view(bits.dtype)",
        "parameter.data.clone().view(bits.dtype)",
        "tests/masks/test_attach.py",
        "test_counts.py",
    ),
    "one weight too few": Fault(
        "masks/tighten.py",
        "budget = round(density * units)",
        "budget = max(round(density * units) - 1, 0)",
        "tests/masks/test_tighten.py",
        "test_counts.py",
    ),
}


def fails(tree: Path, tests: list[str]) -> tuple[bool, str]:
    """Whether a test fails in a tree, and pytest's last line."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-n0",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--tb=no",
        *tests,
    ]
    ran = subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True)
    lines = [line for line in ran.stdout.splitlines() if line.strip()]
    if ran.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.returncode == 1, lines[-1] if lines else ""


def main() -> int:
    """Try all faults, or those that are named; 1 if one goes unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--contract", action="store_true", help="only the contract suite, for its own faults")
    options = parser.parse_args()
    if unknown := set(options.names) - FAULTS.keys():
        parser.error(f"no such faults: {', '.join(sorted(unknown))}")
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for part in (
            "graphprune",
            "tests",
            "datasets",
            "docs",
            "benchmarks",
            "README.md",
            "pyproject.toml",
            "Makefile",
        ):
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / part)
        for name in options.names or FAULTS:
            fault = FAULTS[name]
            if options.contract and not fault.contract:
                continue
            file, started = tree / "graphprune" / fault.file, time.perf_counter()
            text = file.read_text()
            if text.count(fault.old) < 1:
                raise RuntimeError(f"{name}: {fault.file} has no {fault.old!r} any more: mend the edit")
            file.write_text(text.replace(fault.old, fault.new))
            try:
                noticed, line = fails(tree, [f"{CONTRACT}/{fault.contract}" if options.contract else fault.tests])
            finally:
                file.write_text(text)
            unnoticed += not noticed
            took = f"{time.perf_counter() - started:.0f} s"
            print(f"{'noticed' if noticed else 'UNNOTICED'}: {name} ({line.strip('= ')}, {took})", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    raise SystemExit(main())
