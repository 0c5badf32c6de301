"""A run that is gone on with in a new process gives what it gives without the interruption, to the last bit."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from graphprune.masks import prunable, sparing
from tests.contract.child import account
from tests.contract.methods import KINDS, instance
from tests.contract.nets import NETWORKS, OTHERS
from tests.contract.runs import CASES, run

ROOT = Path(__file__).parents[2]
slow = pytest.mark.slow


def resumed(cases: list, tmp_path: Path) -> dict[str, list | str]:
    """What another process makes of the saved first tickets; it imports once, and takes case by case."""
    jobs = []
    for case in cases:
        start = tmp_path / case.id
        tickets = run(case).tickets
        if len(tickets) > 1:  # of a single round there is nothing to go on from: the other process runs it anew
            tickets[0].save(start)
        jobs.append({"case": dataclasses.astuple(case), "start": str(start), "folder": str(run(case).folder)})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    words = ["-m", "tests.contract.child", str(tmp_path / "jobs.json"), str(tmp_path / "answers.json")]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, timeout=280)
    return json.loads((tmp_path / "answers.json").read_text())


SETTINGS = {
    "everyday": ("clean", (None, "weight"), tuple(NETWORKS)),
    "coupled": ("clean", ("coupled",), tuple(NETWORKS)),
    "paper": ("paper", (None, "weight"), tuple(NETWORKS)),
    "others": ("clean", (None, "weight"), tuple(OTHERS)),
}


@pytest.mark.parametrize("setting", [pytest.param(name, marks=() if name == "everyday" else slow) for name in SETTINGS])
def test_a_new_process_goes_on_to_the_same_tickets(setting: str, tmp_path: Path) -> None:
    protocol, units, networks = SETTINGS[setting]
    chosen = [case for case in CASES if case.protocol == protocol and case.unit in units and case.network in networks]
    cases = [case for case in chosen if run(case).refusal is None]
    assert len(cases) > len(chosen) / 2
    answers, differ = resumed(cases, tmp_path), {}
    for case in cases:
        ran = run(case)
        expected = [account(ticket, ran.data) for ticket in ran.tickets[1 if len(ran.tickets) > 1 else 0 :]]
        expected = json.loads(json.dumps(expected))
        if (found := answers[case.id]) != expected:
            differ[case.id] = (
                found
                if isinstance(found, str)
                else [name for one, two in zip(found, expected, strict=True) for name in two if one[name] != two[name]]
            )
    assert differ == {}


@pytest.mark.parametrize("name", KINDS)
def test_settings_are_the_same_in_every_process(name: str) -> None:
    """So that a run can go on: what selects the weights too is said by what it does, and not by where it lies."""
    made = [instance(KINDS[name], select=sparing(prunable(), ["head.*"])) for _ in range(2)]
    assert made[0].settings() == made[1].settings()
    assert " at 0x" not in repr(made[0].settings())
