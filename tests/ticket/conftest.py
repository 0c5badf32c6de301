"""What several tests of tickets read."""

from pathlib import Path

import pytest

from tests.ticket.samples import ticket


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ticket on disk, not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "round-2"
    ticket().save(folder)
    return folder
