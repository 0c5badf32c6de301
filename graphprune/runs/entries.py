"""Lists of sealed entries beside a run: its rows, its sittings, and the cells of a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphprune.files import read_json
from graphprune.runs.config import SAME
from graphprune.runs.options import flat, read_yaml
from graphprune.sealed import check_seal

CELLS = "cells.json"
TICKET = "ticket"  # in a row: the digest of the ticket that it is of


def read_entries(file: Path) -> list[dict[str, Any]]:
    """The entries of ``results.json``, ``provenance.json`` or ``cells.json``, as they stand there.

    Raises:
        ValueError: the file is damaged; the text names it.
    """
    entries = read_json(file)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{file} is damaged: it is no list of objects")
    for number, entry in enumerate(entries, start=1):
        try:
            if not check_seal(entry) and TICKET in entry:
                raise ValueError("it has no digest, but one of a ticket")
        except ValueError as error:
            raise ValueError(f"{file} is damaged: entry {number}: {error}") from error
    return entries


def told(config: Path) -> dict[str, Any]:
    """The options of a run by their full names, as its rows have them; none where there is no configuration.

    Those without a value are left out, as are those that tell no runs apart: rounds and the place of raw data.
    """
    options = flat(read_yaml(config)) if config.exists() else {}
    return {name: value for name, value in options.items() if value is not None and name not in (*SAME, "seed")}
