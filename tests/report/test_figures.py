from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from graphprune.report.collect import collect
from graphprune.report.compare import findings, joint_grids
from graphprune.report.figures import Styles, cost, heat, layers, tradeoff
from graphprune.report.illustrate import illustrations
from graphprune.report.results import EDGES, WEIGHTS, Group
from graphprune.report.style import BASELINES, COLOURS, End, Style, label_ends, panels, save, spread_out, styles
from tests.report.rows import LOST, cell, grid, joint


def only(folder: Path) -> tuple[Group, Styles]:
    (group,) = collect([folder])
    return group, styles({series.label: series.role for series in group.series})


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for axes in figure.axes for text in axes.texts)


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.3))
def test_labels_keep_apart_and_in_order(places: list[float], gap: float) -> None:
    wanted = np.sort(places)
    found = spread_out(wanted, gap)
    assert (np.diff(found) >= gap - 1e-9).all()
    if (np.diff(wanted) >= gap).all():
        np.testing.assert_allclose(found, wanted, atol=1e-9)
    np.testing.assert_allclose(found.sum(), wanted.sum(), atol=1e-9)  # nothing drifts away


def test_series_look_different_and_the_same_everywhere() -> None:
    made = styles({f"method {number}": "method" for number in range(40)})
    assert len(set(made.values())) == 40
    assert [style.colour for style in made.values()][:20] == list(COLOURS)
    assert len(set(COLOURS)) == 20
    assert made["method 7"] == styles({"dense": "dense", **dict.fromkeys(made, "method")})["method 7"]


def test_colours_can_be_told_apart() -> None:
    """CIE 1976 differences of all pairs, baselines included; 2.3 can just be noticed side by side."""
    colours = [*COLOURS, *(style.colour for style in BASELINES.values())][:22]
    linear = to_rgb_array(colours)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.089]).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
    differences = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1e3 * np.eye(len(lab))
    assert differences.min() > 20


def to_rgb_array(colours: list[str]) -> np.ndarray:
    rgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def test_the_first_baseline_of_each_role_looks_as_everywhere_and_others_unlike_it() -> None:
    looks = styles({"dense": "dense", "small 1": "size-matched", "small 2": "size-matched", "mine": "method"})
    assert looks["dense"] == BASELINES["dense"] and looks["small 1"] == BASELINES["size-matched"]
    assert looks["small 2"].marker == looks["small 1"].marker
    assert len({look.colour for label, look in looks.items() if label != "small 1"}) == 3


def test_every_line_is_named_beside_it(tmp_path: Path) -> None:
    group, looks = only(grid(tmp_path))
    edges, weights = tradeoff(group, EDGES, looks), tradeoff(group, WEIGHTS, looks)
    assert edges is not None and weights is not None
    for name in ("icpg, 6 runs", "random, 6 runs", "dense, 6 runs", "no-edges, 6 runs"):
        assert name in words(edges)
    assert "imp" not in words(edges)
    assert "imp, 6 runs" in words(weights)
    assert "small-dense, 6 runs" in words(weights)


@pytest.mark.parametrize(
    ("size", "drawn"), [(640, 64), (610, 64), (673, 64), (608, None), (675, None), (200, None), (900, None)]
)
def test_a_small_dense_network_stands_at_the_ticket_of_its_size_or_nowhere(
    size: int, drawn: int | None, tmp_path: Path
) -> None:
    """ICPG's tickets have 800, 640 and 512 parameters left, where 20, 36 and 48.8 % of the weights are removed."""
    grid(tmp_path, losses={"icpg": 0.01, "dense": 0.0})
    for seed in range(6):
        cell(tmp_path / f"small{seed}", "small-dense", seed, params_kept=size, params_total=size, tests=[0.5])
    group, looks = only(tmp_path)
    figure = tradeoff(group, WEIGHTS, looks)
    assert figure is not None
    places = [100 - diamond.lines[0].get_xdata()[0] for diamond in figure.axes[0].containers]
    assert places == ([] if drawn is None else [pytest.approx(drawn)])
    told = "small-dense" in words(figure)
    pairs = [pair for pair in findings(group).pairs if pair.kind is None]
    assert told == bool(pairs) == (drawn is not None)
    (caption,) = [one.caption for one in illustrations(findings(group), looks) if one.name == "weights"]
    assert ("The diamond" in caption) == (drawn is not None)
    assert (f"No ticket has the size of small-dense ({size} parameters)" in caption) == (drawn is None)


def test_bands_are_the_intervals(tmp_path: Path) -> None:
    group, looks = only(grid(tmp_path, losses={"icpg": 0.1}))
    figure = tradeoff(group, EDGES, looks)
    assert figure is not None
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    last = group.series[0].last.interval
    assert np.isclose(heights, last.low).any()
    assert np.isclose(heights, last.high).any()


def test_nothing_to_show_makes_no_figure(tmp_path: Path) -> None:
    group, looks = only(grid(tmp_path, losses={"dense": 0.0, "no-edges": 0.1}))
    assert tradeoff(group, EDGES, looks) is None
    assert cost(group, looks) is None


def test_costs_of_all_series(tmp_path: Path) -> None:
    group, looks = only(grid(tmp_path))
    figure = cost(group, looks)
    assert figure is not None
    assert len(figure.axes) == 2
    assert all(f"{series.label}, 6 runs" in words(figure) for series in group.series)


def test_the_heat_map_tells_and_marks_differences(tmp_path: Path) -> None:
    group, looks = only(joint(tmp_path, LOST))
    found = findings(group)
    (grid_,) = joint_grids(group).values()
    figure = heat(grid_, found.dense)
    assert figure is not None
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sum("▼" in text for text in texts) == 1
    assert "−0.100\n▼" in texts
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["10.0", "30.0"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["20.0", "40.0"]
    assert tradeoff(group, EDGES, looks) is None  # joint cells are no curves
    assert heat(grid_, {}) is None


def test_missing_cells_of_a_joint_grid_stay_empty(tmp_path: Path) -> None:
    group, _ = only(joint(tmp_path, {rates: loss for rates, loss in LOST.items() if rates != (0.1, 0.2)}))
    (grid_,) = joint_grids(group).values()
    figure = heat(grid_, findings(group).dense)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts].count("–") == 1


def test_undefined_metrics_leave_gaps(tmp_path: Path) -> None:
    for seed in range(3):
        cell(tmp_path / f"{seed}", "icpg", seed, rounds=2, tests=[0.5, float("nan")])
    group, looks = only(tmp_path)
    figure = tradeoff(group, EDGES, looks)
    assert figure is not None
    save(figure, tmp_path / "figure")


def test_metrics_undefined_throughout_make_no_figure(tmp_path: Path) -> None:
    for method in ("icpg", "dense", "random"):
        cell(tmp_path / method, method, tests=[float("nan")])
    group, looks = only(tmp_path)
    assert tradeoff(group, EDGES, looks) is None
    assert cost(group, looks) is None


def test_files_are_for_screen_and_print(tmp_path: Path) -> None:
    figure, [axes] = panels()
    axes.plot([1, 2], [1, 2])
    label_ends(axes, [End(2, 2, "a line.png", Style("#000000", "o", "-"))])
    assert save(figure, tmp_path / "sub/name.of.data") == tmp_path / "sub/name.of.data.png"
    assert (tmp_path / "sub/name.of.data.png").read_bytes().startswith(b"\x89PNG")
    pdf = (tmp_path / "sub/name.of.data.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Subtype /Image" not in pdf  # lines stay lines
    assert b"/Type3" not in pdf


def test_layers_of_methods_that_mask_other_parameters_stand_in_one_row() -> None:
    def series(label: str) -> Any:
        return SimpleNamespace(
            label=label, repetitions=[0], points=[SimpleNamespace(rows={0: 1}, short="0.5", kind="density")]
        )

    one, two = {"c.weight": [0.2], "d.weight": [0.5]}, {"d.weight": [0.9], "d.bias": [1.0], "c.weight": [0.3]}
    left, right, _ = layers([(series("one"), one), (series("two"), two)]).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["c", "d", "d.bias"]
    told = [
        [text.get_text() for text in sorted(axes.texts, key=lambda text: text.get_position()[1])]
        for axes in (left, right)
    ]
    assert told == [["20", "50"], ["30", "90", "100"]]
