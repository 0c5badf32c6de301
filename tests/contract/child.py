"""Goes on with runs in a process of its own: ``python -m tests.contract.child JOBS ANSWERS``."""

import json
import sys
from pathlib import Path
from typing import Any

import graphprune as gp
from graphprune.methods import Method
from tests.contract import counting
from tests.contract.methods import Case, installed
from tests.contract.runs import fit, made
from tests.contract.snapshots import digest

CLOCKS = ("seconds", "cpu_seconds", "search_seconds")


def account(ticket: gp.Ticket, data: Any) -> dict[str, Any]:
    """All of a ticket that a file of JSON can hold to the last bit; times of the clock are left out."""
    states = {name: getattr(ticket, name) for name in ("masks", "rewind", "trained", "last")}
    about = {"row": ticket.row, "history": ticket.history, "settings": ticket.provenance["settings"]}
    edges = {}
    if ticket.edges.rounds:
        edges = {split: counting.left(ticket, data, split) for split in ("train", "test")}
    return {
        **{name: {key: digest(value) for key, value in state.items()} for name, state in states.items()},
        **{name: repr(_timeless(value)) for name, value in about.items()},
        "edges": repr(edges),
    }


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if key not in CLOCKS}
    return [_timeless(part) for part in value] if isinstance(value, list | tuple) else value


def go_on(case: Case, start: Path, folder: Path) -> list[dict[str, Any]]:
    """The tickets behind the one that lies at ``start``; without one there, all."""
    method, model, data = made(case)
    method: Method = method.within(folder)
    after = gp.Ticket.load(start) if start.exists() else None
    return [account(ticket, data) for ticket in method.rounds(model, data, fit(), after=after)]


def main(jobs: str, answers: str) -> None:
    """Answer each job; what one raises is its answer."""
    found: dict[str, Any] = {}
    for job in json.loads(Path(jobs).read_text()):
        case = Case(*job["case"])
        try:
            found[case.id] = go_on(case, Path(job["start"]), Path(job["folder"]))
        except Exception as error:
            found[case.id] = f"{type(error).__name__}: {error}"
    Path(answers).write_text(json.dumps(found))


if __name__ == "__main__":
    with installed():
        main(*sys.argv[1:])
