"""The report on results that are committed says the same numbers as it did when they were computed."""

import json

import pytest

from tests.report.committed import REFERENCE, RESULTS, folders, numbers

KNOWN = json.loads(REFERENCE.read_text(encoding="utf-8"))


def test_all_folders_of_runs_are_known() -> None:
    assert KNOWN.keys() == {folder.relative_to(RESULTS).as_posix() for folder in folders()}


@pytest.mark.parametrize("name", KNOWN)
def test_every_number_stands(name: str) -> None:
    found = numbers(RESULTS / name)
    assert found.keys() == KNOWN[name].keys()
    for table, rows in found.items():
        assert rows == KNOWN[name][table], f"{table}; if columns were added: python -m tests.report.committed"
