"""Which figures a group of runs gets, and the tickets and graphs behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from matplotlib.figure import Figure

from graphprune.data import ImageData
from graphprune.report.compare import Findings
from graphprune.report.drawings import drawable, drawings
from graphprune.report.equal import EDGES, SAME_SIZE, WEIGHTS
from graphprune.report.figures import Styles, cost, heat, layers, matched, tradeoff
from graphprune.report.joint import joint_grids
from graphprune.report.records import Run
from graphprune.report.results import SINGLE, Group, Series
from graphprune.report.search import illustrations
from graphprune.report.stats import MIN_PAIRS
from graphprune.report.tables import PERCENT
from graphprune.runs.trained import Trained
from graphprune.ticket import Ticket

Illustration = tuple[str, str, str, Figure]  # file name, title, caption, figure

LAYERED = 4  # panels of layers that fit beside each other
_BAND = f"Lines are means over the runs, bands {PERCENT} bootstrap intervals of the mean (none for a single run)."
_DIAMOND = f" The diamond is a small dense network, above the ticket that has as many parameters (to {SAME_SIZE:.0%})."


def figures(found: Findings, styles: Styles, tickets: bool) -> tuple[list[Illustration], list[str]]:
    """All figures of a group, and notes on those that cannot be drawn.

    Args:
        found: the group and what it shows.
        styles: of each series.
        tickets: also what takes tickets and graphs to be read: densities of layers and drawings.
    """
    group = found.group
    made: list[Illustration] = list(_curves(group, styles))
    for number, (name, cells) in enumerate(joint_grids(group).items(), start=1):
        figure = heat(cells, found.dense)
        if figure is not None:
            caption = (
                f"{name}: test metric minus that of the dense network over the same seeds and folds, after the last "
                f"round; positive is better. ▼: the {PERCENT} interval of the difference lies below zero; a cell "
                f"with fewer than {MIN_PAIRS} pairs has no mark.{group.caveat}"
            )
            made.append((f"joint-{number}" if number > 1 else "joint", f"Edges and weights: {name}", caption, figure))
    figure = cost(group, styles)
    if figure is not None:
        caption = (
            "Test metric of the last round, or at the smallest density, against all that was trained for it, all "
            f"earlier rounds included. Bars are {PERCENT} bootstrap intervals of the mean. Seconds depend on the "
            "machine and on what else it did."
            f"{group.caveat}"
        )
        made.append(("cost", "Cost against quality", caption, figure))
    notes: list[str] = []
    for draw in (_layers, illustrations, _graphs) if tickets else ():
        try:
            drawn = draw(group)
        except (OSError, ValueError, LookupError, ImportError) as error:  # a report without this figure is still one
            notes.append(f"One figure is missing: {error}")
        else:
            made += drawn
    return made, notes


def _curves(group: Group, styles: Styles) -> Iterator[Illustration]:
    for axis, title in ((EDGES, "Metric against edge sparsity"), (WEIGHTS, "Metric against weight sparsity")):
        figure = tradeoff(group, axis, styles)
        if figure is None:
            continue
        caption = _BAND + group.caveat + (_diamonds(group) if axis is WEIGHTS else "")
        others = [series for series in group.series if series.method not in SINGLE and not series.joint]
        if absent := [series.label for series in others if not series.removes(axis.column)]:
            caption += f" Not shown, as they remove none of these: {', '.join(absent)}."
        yield axis.name, title, caption, figure


def _diamonds(group: Group) -> str:
    """What the diamonds are, and which small dense networks have none."""
    pairs = matched(group)
    alone = [
        f"{small.label} ({small.last['params_kept'].mean:,.0f} parameters)" for small, point in pairs if point is None
    ]
    text = _DIAMOND if len(alone) < len(pairs) else ""
    return text + (f" No ticket has the size of {', '.join(alone)}: not shown." if alone else "")


def _layers(group: Group) -> list[Illustration]:
    """Densities of each layer, in the first repetition of a few series that remove weights."""
    pruned = [series for series in group.series if not series.joint and series.runs[0].rows[-1]["weight_sparsity"]]
    shown = [series for series in pruned if series.method not in SINGLE][:LAYERED]
    ledgers = []
    for series in shown:
        ledger: dict[str, list[float]] = {}
        for ticket in _tickets(series):
            for row in ticket.masks.ledger:
                ledger.setdefault(row.name, []).append(row.density)
        ledgers.append((series, ledger))
    if not ledgers:
        return []
    seeds = sorted({series.runs[0].rows[0]["seed"] for series in shown})
    first = f" of the first {LAYERED} methods" if len(pruned) > LAYERED else ""
    caption = (
        f"Percent of each layer's weights that are left, in one run{first or ' a method'} "
        f"(seed {', '.join(map(str, seeds))}). Zero means a layer that passes no signal any more."
    )
    return [("layers", "Weights left in each layer", caption, layers(ledgers))]


def _graphs(group: Group) -> list[Illustration]:
    """Test graphs of the last ticket of the first method that decides over the edges of unseen graphs by a score."""
    scored = [series for series in group.series if _scores(series) and series.removes(EDGES.column)]
    if not scored:
        return []
    run = scored[0].runs[0]
    trained = _trained(run, run.rows[-1]["round"])
    ticket, data = trained.ticket, trained.data({})
    if isinstance(data, ImageData) or data.level == "node":  # no graphs, or so large that no drawing shows anything
        return []
    if not (numbers := drawable(data.test)):
        raise ValueError(f"{data.name} has no connected test graph of a size that can be drawn")
    mask = ticket.edge_mask(data.test)
    keep = [mask.graph(number) for number in numbers]
    figure = drawings(data.test, keep, numbers, atoms=data.features == "ogb-mol")
    caption = (
        f"What {scored[0].label} keeps after round {ticket.round} (seed {run.rows[0]['seed']}) of the first "
        f"{len(numbers)} connected test graphs of readable size, which were not seen in training; no graph was picked "
        "by hand."
    )
    return [("graphs", "Kept and removed edges", caption, figure)]


def _scores(series: Series) -> bool:
    return series.method not in ("no-edges", "random") and series.runs[0].rows[-1]["unseen"] in (
        "",
        "predictor",
        "scorer",
    )


def _tickets(series: Series) -> list[Ticket]:
    """Those of the first repetition, point by point."""
    first = [run for run in series.runs if run.repetition == series.repetitions[0]]
    return [_trained(run, row["round"]).ticket for run in first for row in run.rows]


def _trained(run: Run, number: int) -> Trained:
    # As seen from here: errors end up in the report, and where this machine keeps its files is nobody's business.
    return Trained.at(os.path.relpath(run.folder / f"round-{number}"))
