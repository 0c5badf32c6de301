"""Every method there is, by the registry, and an instance of each by the names of its fields alone."""

import atexit
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
import torch

import graphprune as gp
from graphprune.masks import UnitName
from graphprune.methods import METHODS, Method
from tests.contract.data import graph_data

PLUGIN = "contract-plugin"

# What a field of this name is set to, in any method that has it. The smallest that shows what the method does.
VALUES: dict[str, Callable[[], Any] | Any] = {
    # rounds, and what goes in each
    "rounds": 2,
    "edge_rate": 0.2,
    "weight_rate": 0.3,
    # shares that are left
    "density": 0.5,
    "densities": (0.8, 0.5),
    "weight_density": 0.6,
    "target": 0.7,
    # steps of a training of four
    "stop": 3,
    "every": 1,
    "candidate_ratio": 0.7,
    # what is read, trained and searched for it
    "edges": "degree",
    "edge_score": "degree",
    "examples": 8,
    "iterations": 5,
    "predictor": lambda: predictor(),
    "criterion_epochs": 1,
    "criterion_batch": 12,
    "learner_hidden": 8,
    "budget": 6,
    "population": 4,
    "members": 2,
    "objectives": ("params",),
    "holdout": 0.25,
    "batches": 1,
    "cost_batch": 8,
    "seed": 3,
}

# Where there are no edges.
WITHOUT_EDGES = {"edge_rate": 0.0, "edge_score": None}


def predictor() -> gp.EdgePredictor:
    """The same small edge predictor each time, one that counts on the graph as well."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return gp.EdgePredictor.for_data(graph_data(), hidden=8, layers=1, score="bilinear", walks=4)


def _distribution() -> Path:
    """A folder with a distribution that registers the plug-in, as pip would install it."""
    folder = Path(tempfile.mkdtemp(prefix="contract-plugin-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copy(Path(__file__).parent / "plugin" / "contract_plugin.py", folder)
    about = folder / "contract_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: contract-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[graphprune.methods]\n{PLUGIN} = contract_plugin:Plugged\n")
    return folder


DISTRIBUTION = _distribution()


@contextmanager
def installed() -> Iterator[None]:
    """The plug-in's distribution on the path; other tests are to find the registry as it is without."""
    sys.path.insert(0, str(DISTRIBUTION))
    try:
        yield
    finally:
        sys.path.remove(str(DISTRIBUTION))


with installed():
    KINDS: dict[str, type[Method]] = dict(METHODS)


@dataclass(frozen=True)
class Case:
    """One method in one setting; ``unit`` is None where the method has no choice of units."""

    method: str
    protocol: str
    unit: str | None
    network: str

    @property
    def id(self) -> str:
        return "-".join(part for part in (self.method, self.protocol, self.unit, self.network) if part)


def options(kind: type[Method]) -> dict[str, "attrs.Attribute[Any]"]:
    """The fields that a user can set, by the names that they are set by."""
    return {field.alias: field for field in attrs.fields(kind) if field.init}


def units(kind: type[Method]) -> tuple[str | None, ...]:
    return get_args(UnitName) if "unit" in options(kind) else (None,)


def protocols(kind: type[Method]) -> tuple[str, ...]:
    return ("clean", "paper") if "protocol" in options(kind) else ("clean",)


def instance(kind: type[Method], *, edges: bool = True, **given: Any) -> Method:
    """A method with small settings; ``edges=False``: it leaves edges alone, where it has the choice."""
    values = VALUES if edges else VALUES | WITHOUT_EDGES
    chosen = dict(given)
    for name, field in options(kind).items():
        if name in chosen:
            continue
        if name in values:
            chosen[name] = values[name]() if callable(values[name]) else values[name]
        elif field.default is attrs.NOTHING:
            pytest.fail(
                f"{kind.name} needs {name!r}, for which this suite has no value: add it to VALUES in "
                "tests/contract/methods.py, by the name of the field"
            )
    return kind(**chosen)
