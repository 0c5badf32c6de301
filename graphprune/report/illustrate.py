"""Which figures a group of runs gets, and what of it tickets and graphs are read for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from graphprune.data import ImageData
from graphprune.methods.core.shown import Illustration, Shown, Table
from graphprune.report.compare import Findings, joint_grids
from graphprune.report.drawings import drawable, drawings
from graphprune.report.figures import Styles, cost, heat, layers, matched, tradeoff
from graphprune.report.format import PERCENT, percent, table
from graphprune.report.results import EDGES, SAME_SIZE, WEIGHTS, Group, Series
from graphprune.report.stats import MIN_PAIRS
from graphprune.report.style import Lent
from graphprune.report.truth import KeptTruth, Opened, kept_truth, trained
from graphprune.ticket import Ticket

LAYERED = 4  # panels of layers that fit beside each other
_BAND = f"Lines are means over the runs, bands {PERCENT} bootstrap intervals of the mean (none for a single run)."
_DIAMOND = f" The diamond is a small dense network, above the ticket that has as many parameters (to {SAME_SIZE:.0%})."


def illustrations(found: Findings, styles: Styles) -> Iterator[Illustration]:
    """The figures of a group that its results alone are needed for.

    Args:
        found: the group and what it shows.
        styles: of each series.
    """
    group = found.group
    yield from _curves(group, styles)
    for number, (name, cells) in enumerate(joint_grids(group).items(), start=1):
        figure = heat(cells, found.dense)
        if figure is not None:
            caption = (
                f"{name}: test metric minus that of the dense network over the same seeds and folds, after the last "
                f"round; positive is better. ▼: the {PERCENT} interval of the difference lies below zero; a cell "
                f"with fewer than {MIN_PAIRS} pairs has no mark.{group.caveat}"
            )
            file = f"joint-{number}" if number > 1 else "joint"
            yield Illustration(file, f"Edges and weights: {name}", caption, figure)
    figure = cost(group, styles)
    if figure is not None:
        caption = (
            "Test metric of the last round, or at the smallest density, against all that was trained for it, all "
            f"earlier rounds included. Bars are {PERCENT} bootstrap intervals of the mean. Seconds depend on the "
            "machine and on what else it did."
            f"{group.caveat}"
        )
        yield Illustration("cost", "Cost against quality", caption, figure)


def from_folders(group: Group, styles: Styles) -> tuple[list[Illustration | Table], dict[str, KeptTruth], list[str]]:
    """What tickets, graphs and other files of the runs are read for, true edges kept, and notes on what is missing.

    These are densities of layers, drawings of pruned graphs, and what methods show of their own.

    Args:
        group: the group.
        styles: of each series.
    """
    made: list[Illustration | Table] = []
    truth: dict[str, KeptTruth] = {}
    opened = Opened()
    notes: list[str] = []

    def true_edges(group: Group, styles: Styles) -> Iterator[Table]:
        truth.update(kept_truth(group, opened))
        yield truth_table(truth)

    own = [partial(_own, method) for method in dict.fromkeys(run.method for run in group.runs)]
    every: list[Callable[[Group, Styles], Iterable[Illustration | Table]]] = [
        true_edges,
        _layers,
        *own,
        partial(_graphs, opened),
    ]
    for draw in every:
        try:
            made += list(draw(group, styles))
        except Exception as error:  # files may be damaged, methods are others' code: a report without it is still one
            notes.append(f"One figure is missing: {str(error) or type(error).__name__}")
    return made, truth, list(dict.fromkeys(notes))


def truth_table(truth: dict[str, KeptTruth]) -> Table:
    """The same as a table of the report."""
    rows = [[label, percent(one.true), percent(one.other), str(one.true.count)] for label, one in truth.items()]
    caption = (
        "Arcs of the test graphs that the last tickets keep, means over the runs: of those that decide over the label "
        "(known from how the graphs were made, never trained on), and of all others. Chance keeps as many of both."
    )
    return table("True edges", caption, ("method", "true edges kept", "other edges kept", "runs"), rows)


def _own(method: type[Shown], group: Group, styles: Styles) -> Iterable[Illustration | Table]:
    """A method's own figures and tables."""
    runs = {series.label: series.runs for series in group.series if series.runs[0].method is method}
    return method.figures(runs, Lent(styles))


def _curves(group: Group, styles: Styles) -> Iterator[Illustration]:
    for kind, title in ((EDGES, "Metric against edge sparsity"), (WEIGHTS, "Metric against weight sparsity")):
        figure = tradeoff(group, kind, styles)
        if figure is None:
            continue
        caption = _BAND + group.caveat + (_diamonds(group) if kind is WEIGHTS else "")
        if absent := [series.label for series in group.lines if not series.removes(kind.column)]:
            caption += f" Not shown, as they remove none of these: {', '.join(absent)}."
        yield Illustration(kind.name, title, caption, figure)


def _diamonds(group: Group) -> str:
    """What the diamonds are, and which small dense networks have none."""
    pairs = matched(group)
    alone = [
        f"{small.label} ({small.last['params_kept'].mean:,.0f} parameters)" for small, point in pairs if point is None
    ]
    text = _DIAMOND if len(alone) < len(pairs) else ""
    return text + (f" No ticket has the size of {', '.join(alone)}: not shown." if alone else "")


def _layers(group: Group, styles: Styles) -> Iterator[Illustration]:
    """Densities of each layer, in the first repetition of a few series that remove weights."""
    pruned = [series for series in group.series if not series.joint and series.runs[0].rows[-1]["weight_sparsity"]]
    shown = [series for series in pruned if not series.baseline][:LAYERED]
    ledgers = []
    for series in shown:
        ledger: dict[str, list[float]] = {}
        for ticket in _tickets(series):
            for row in ticket.masks.ledger:
                ledger.setdefault(row.name, []).append(row.density)
        ledgers.append((series, ledger))
    if not ledgers:
        return
    seeds = sorted({series.runs[0].rows[0]["seed"] for series in shown})
    first = f" of the first {LAYERED} methods" if len(pruned) > LAYERED else ""
    caption = (
        f"Percent of each layer's weights that are left, in one run{first or ' a method'} "
        f"(seed {', '.join(map(str, seeds))}). Zero means a layer that passes no signal any more."
    )
    yield Illustration("layers", "Weights left in each layer", caption, layers(ledgers))


def _graphs(opened: Opened, group: Group, styles: Styles) -> Iterator[Illustration]:
    """Test graphs of the last ticket of the first method that decides over the edges of unseen graphs by a score."""
    scored = [series for series in group.series if _scores(series) and series.removes(EDGES.column)]
    if not scored:
        return
    run = scored[0].runs[0]
    ticket, data = opened.last(run)
    if isinstance(data, ImageData) or data.level == "node":  # no graphs, or so large that no drawing shows anything
        return
    if not (numbers := drawable(data.test)):
        raise ValueError(f"{data.name} has no connected test graph of a size that can be drawn")
    mask = ticket.edge_mask(data.test)
    keep = [mask.graph(number) for number in numbers]
    molecules = data.features == "ogb-mol" and not isinstance(data.edge_features, list)  # no kinds of the user's
    figure = drawings(data.test, keep, numbers, atoms=molecules)
    caption = (
        f"What {scored[0].label} keeps after round {ticket.round} (seed {run.rows[0]['seed']}) of the first "
        f"{len(numbers)} connected test graphs of readable size, which were not seen in training; no graph was picked "
        "by hand."
    )
    yield Illustration("graphs", "Kept and removed edges", caption, figure)


def _scores(series: Series) -> bool:
    """Whether it decides over edges of unseen graphs by what they are; results of older versions do not say."""
    return not series.baseline and series.runs[0].rows[-1]["unseen"] in ("", "predictor", "scorer")


def _tickets(series: Series) -> list[Ticket]:
    """Those of the first repetition, point by point."""
    first = [run for run in series.runs if run.repetition == series.repetitions[0]]
    return [trained(run, row["round"]).ticket for run in first for row in run.rows]
