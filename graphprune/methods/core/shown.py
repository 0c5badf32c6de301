"""What a method says of itself where its runs are reported, and what it is lent to draw them.

The report is a floor above: figures of a method get its colours and panels as a :class:`Canvas`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A method, or what methods are compared with: the whole network, that without edges, a dense one of a ticket's size.
Role = Literal["method", "dense", "no-edges", "size-matched"]
# What the points of a method's curve are: the rounds of a run, or runs of one training each at several densities.
Points = Literal["round", "density"]


@dataclass(frozen=True)
class Illustration:
    """A figure of a report.

    Attributes:
        name: of its file, without suffix.
        title: heading.
        caption: what is to be seen, and over how many runs.
        figure: drawn.
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: heading.
        caption: what the numbers are, and over how many runs.
        head: names of the columns.
        rows: cells, as many as columns in each row.
        best: place, row and column, of each cell that is shown to be better than its rivals in the same column.
    """

    title: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()


class FinishedRun(Protocol):
    """A run as the report has read it."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Its results, one a round."""


class Canvas(Protocol):
    """What makes a figure look like the others of its report."""

    @property
    def ink(self) -> str:
        """The colour of letters."""

    @property
    def faint(self) -> str:
        """The colour of what matters less."""

    @property
    def small(self) -> float:
        """Points of small letters."""

    @property
    def width(self) -> float:
        """Inches of a figure."""

    def colour(self, label: str) -> str:
        """The colour of a series, the same in all figures."""

    def dash(self, label: str) -> str:
        """Its line style."""

    def panels(self, columns: int = 1, labels: int = 0) -> tuple[Figure, list[Axes]]:
        """A figure of panels side by side, high enough for so many labels beside its lines."""

    def label_ends(self, axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
        """Write the labels of lines beside the panel, each at the height at which its line ends."""


class Shown:
    """What the report asks of every method, installed or not: these are the answers of one that says nothing."""

    __slots__ = ()

    role: ClassVar[Role] = "method"  # what it is compared as
    points: ClassVar[Points] = "round"  # what the points of its curve are

    @classmethod
    def variant(cls, options: Mapping[str, Any], row: Mapping[str, Any]) -> str:
        """What tells this run's variant of the method from others in a legend; empty: its options do.

        Args:
            options: of the method in the run's configuration, empty if there is none.
            row: last row of the run's results.
        """
        return ""

    @classmethod
    def figures(cls, runs: Mapping[str, Sequence[FinishedRun]], canvas: Canvas) -> Iterable[Illustration | Table]:
        """Figures and tables of its own in a report; most methods have none.

        Args:
            runs: finished runs on one data set with one model, by the label of their series.
            canvas: for figures that look like the others. Import matplotlib in here only: methods run without it.

        Raises:
            OSError, ValueError, LookupError, ImportError: there is nothing to draw; the report says why, and goes on.
        """
        return ()
