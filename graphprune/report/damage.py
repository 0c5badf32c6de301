"""What a report says of damaged files, and of those that have no digest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from graphprune.report.records import result_files
from graphprune.runs.verify import check_run


class Damage:
    """What :func:`graphprune.runs.verify.check_run` finds in the runs in and below some folders.

    Attributes:
        left_out: folders of runs whose results, configuration or provenance are damaged, or of other tickets.
        texts: each damaged file, and what that means for the report.
        digests: in how many runs all digests fit, and which have none.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        found = {file.parent: check_run(file.parent) for file in result_files(folders)}
        damaged = [one for each in found.values() for one in each if one.kind == "damaged"]
        self.left_out = {one.file.parent for one in damaged} & found.keys()  # a ticket is in a folder of its own
        self.texts = [
            f"{os.path.relpath(one.file)}: {one.text}; "
            + ("this run is left out" if one.file.parent in self.left_out else "the results of this round are reported")
            for one in damaged
        ]
        self.digests = [
            f"results and tickets of {sum(not each for each in found.values())} of {len(found)} runs fit theirs"
        ]
        old = [os.path.relpath(run) for run, each in found.items() if any(one.kind == "no digest" for one in each)]
        if old:
            places = ", ".join(old[:3]) + (f" and {len(old) - 3} more" if len(old) > 3 else "")
            self.digests.append(f"files without one, written by an older version, are in {places}")
