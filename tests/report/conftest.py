"""What several tests of reports share."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn but not rendered, which takes most of a report's time."""

    def save(figure: Figure, path: Path) -> Path:
        png = path.with_name(path.name + ".png")
        png.parent.mkdir(parents=True, exist_ok=True)
        png.write_bytes(b"\x89PNG")
        return png

    monkeypatch.setattr("graphprune.report.style.save", save)
