"""Pictures of HAMP's searches on the canvas that reports lend."""

from __future__ import annotations

import numpy as np

from graphprune.methods.hamp import Evaluation, Gene, Record
from graphprune.methods.hamp.figures import channels, front, grown, progress
from graphprune.report.style import Lent, styles

CANVAS = Lent(styles({"one": "method", "other": "method"}))
GENES = (Gene("first.weight", 20, 10), Gene("second.weight", 8, 4, 2), Gene("edges", 0, 10))
POINTS = [(10, 4, 10), (5, 2, 10), (5, 3, 4), (1, 1, 1)]
ERRORS = [0.1, 0.3, 0.35, 0.8]
LATENCIES = [0.004, 0.002, 0.003, 0.001]


def record(*objectives: str) -> Record:
    found = [
        Evaluation(point, {"error": error, "latency": latency, "params": 1000 * latency})
        for point, error, latency in zip(POINTS, ERRORS, LATENCIES, strict=True)
    ]
    return Record(GENES, objectives or ("latency",), tuple(found))


def test_the_front_tells_dominated_points_from_others() -> None:
    axes = front(CANVAS, "one", record(), [POINTS[1]]).axes[0]
    dominated, tickets = axes.collections
    np.testing.assert_allclose(dominated.get_offsets(), [[3.0, 0.35]])  # milliseconds
    np.testing.assert_allclose(tickets.get_offsets(), [[2.0, 0.3]])
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1.0, 0.8], [2.0, 0.3], [4.0, 0.1]])
    assert len(front(CANVAS, "one", record("latency", "params")).axes) == 2


def test_hypervolume_grows_to_what_one_adds_up_by_hand() -> None:
    values = grown(record())
    # In the box of 1.1 times 0.004 seconds and an error of 1.
    high = 0.0044
    steps = [(0.004, 0.1), (0.002, 0.3), (0.001, 0.8)]
    first = (high - steps[0][0]) * (1 - steps[0][1])
    second = first + (steps[0][0] - steps[1][0]) * (1 - steps[1][1])
    third = second + (steps[1][0] - steps[2][0]) * (1 - steps[2][1])
    np.testing.assert_allclose(values, np.array([first, second, second, third]) / high)


def test_progress_has_a_line_for_each_search_and_a_band_for_several_seeds() -> None:
    figure = progress(
        CANVAS, {"one": [np.array([0.1, 0.2]), np.array([0.2, 0.4, 0.6])], "other": [np.array([0.1, 0.5, 0.5])]}
    )
    (axes,) = figure.axes
    assert len(axes.collections) == 1
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.15, 0.3, 0.4])
    assert {text.get_text() for text in axes.texts} == {"one", "other"}


def test_channels_are_percent_of_each_group() -> None:
    axes = channels(CANVAS, record(), POINTS[1:], ["1", "2", "3"]).axes[0]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[50, 50, 10], [50, 75, 25], [100, 40, 10]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first (20)", "second (8)", "edges"]
