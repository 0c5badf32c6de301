"""Settings say the same in every process, and something else where they are something else."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.masks import prunable, sparing
from graphprune.methods.core.stable_repr import stable_repr
from tests.methods.resumed import Picks, Plain, hidden_only, methods, without


def test_a_run_whose_settings_are_objects_goes_on_in_a_new_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.methods.resumed", str(tmp_path)]
    for seed in ("1", "2"):  # of the order of sets
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONHASHSEED": seed}
        )
        assert done.returncode == 0 and "done" in done.stdout, done.stderr
    assert len(list(tmp_path.glob("*.2"))) == len(methods())


def test_what_differs_is_told_apart() -> None:
    different = [
        hidden_only,
        without("head.*"),
        without("convs.*"),
        partial(hidden_only, without="a"),
        partial(hidden_only, without="b"),
        Picks("a", hidden_only),
        Picks("b", hidden_only),
        Picks("a", without("c")),
        Picks("a", hidden_only).method,
        Plain(hidden_only),
        Plain(without("a")),
        sparing(hidden_only, ["a"]),
        sparing(hidden_only, ["b"]),
        {"a": hidden_only},
        [hidden_only],
        nn.Linear(2, 3),
        Picks,
        torch.relu,
        np.tanh,
    ]
    told = [stable_repr(value) for value in different]
    assert len(set(told)) == len(told)
    assert not any(" at 0x" in text for text in told)
    assert stable_repr(hidden_only) == "tests.methods.resumed.hidden_only"
    assert stable_repr(without("head.*")) == "tests.methods.resumed.without.<locals>.select(pattern='head.*')"


class Ends(nn.Module):
    """An edge scorer of the user's, with functions inside, which its repr shows."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 1)

    def extra_repr(self) -> str:
        return f"shape={partial(torch.clamp, min=-9)}, picks={hidden_only}"


def test_predictors_are_told_without_addresses() -> None:
    for method in (gp.ICPG(predictor=Ends()), gp.GICP(predictor=Ends(), stop=10)):
        text = method.settings()["predictor"]
        assert text.startswith("Ends(") and "Linear(in_features=3" in text and " at 0x" not in text


def test_what_has_no_address_is_told_as_ever() -> None:
    for value in (prunable(), sparing(prunable(), ["head.*"]), (1, "a"), nn.Linear(2, 3), {"a": 1.5}, None, {3}):
        assert stable_repr(value) == repr(value)
    assert gp.IMP().settings()["select"] == "_Prunable(include=(), exclude=())"


def test_what_holds_itself_ends() -> None:
    loop = Picks("a", hidden_only)
    loop.inner = loop
    assert stable_repr(loop) == "tests.methods.resumed.Picks(pattern='a', inner=...)"


@pytest.mark.parametrize("name", methods())
def test_another_setting_is_still_refused(name: str, tmp_path: Path) -> None:
    from tests.methods.graphs import plain_fit, small_data

    method = methods()[name]
    model, data = gp.models.GCN(3, 2, hidden=8, layers=2), small_data()
    ticket = next(method.rounds(model, data, plain_fit(1)))
    other = method.replace(select=Plain(without("convs.1.*")), protect=())
    with pytest.raises(ValueError, match=r"settings\.(select|protect)"):
        next(other.rounds(model, data, plain_fit(1), after=ticket))
