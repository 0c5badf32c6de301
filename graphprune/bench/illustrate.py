"""Which figures a group of runs gets, and the tickets and graphs behind them."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from graphprune.bench.collect import Group, Run, Series
from graphprune.bench.config import RunConfig
from graphprune.bench.drawings import drawable, drawings
from graphprune.bench.figures import layers, tradeoff
from graphprune.bench.folder import CONFIG
from graphprune.data import GraphData, load
from graphprune.ticket import Ticket

Illustration = tuple[str, str, str, Figure]  # file name, title, caption, figure

_BAND = "Lines are means over the runs, bands one standard deviation to either side (none for a single run)."
_DIAMOND = " The diamond is a small dense network, above the ticket that has as many parameters."


def figures(group: Group) -> tuple[list[Illustration], list[str]]:
    """All figures of a group, and notes on those that cannot be drawn."""
    made: list[Illustration] = []
    notes: list[str] = []
    for column, name, title in (
        ("edge_sparsity_test", "edges", "Metric against edge sparsity"),
        ("weight_sparsity", "weights", "Metric against weight sparsity"),
    ):
        figure = tradeoff(group, column)
        if figure is not None:
            diamond = _DIAMOND if column == "weight_sparsity" and group.find("small-dense") else ""
            made.append((name, title, _BAND + diamond, figure))
    for draw in (_layers, _graphs):
        try:
            found = draw(group)
        except (OSError, ValueError, LookupError, ImportError) as error:  # a report without this figure is still one
            notes.append(f"One figure is missing: {error}")
        else:
            made += found
    return made, notes


def _layers(group: Group) -> list[Illustration]:
    """Densities of each layer, in the first run of each method that removes weights."""
    ledgers: dict[str, dict[str, list[float]]] = {}
    for series in group.series:
        run = series.runs[0]
        if not any(row["weight_sparsity"] for row in run.rows):
            continue
        tickets = _tickets(run)
        ledger: dict[str, list[float]] = {}
        for ticket in tickets:
            for row in ticket.masks.ledger:
                ledger.setdefault(row.name, []).append(row.density)
        ledgers[series.label] = ledger
    if not ledgers:
        return []
    seeds = sorted({series.runs[0].rows[0]["seed"] for series in group.series if series.label in ledgers})
    caption = (
        f"Percent of each layer's weights that are left, in one run a method (seed {', '.join(map(str, seeds))}). "
        "Zero means a layer that passes no signal any more."
    )
    return [("layers", "Weights left in each layer", caption, layers(ledgers))]


def _graphs(group: Group) -> list[Illustration]:
    """Test graphs of the last ticket that learned its edges."""
    learned = [series for series in group.series if series.method not in ("no-edges", "random") and _prunes(series)]
    if not learned:
        return []
    run = learned[0].runs[0]
    ticket, data = _last(run), _data(run)
    if not (numbers := drawable(data.test)):
        raise ValueError(f"{data.name} has no connected test graph of a size that can be drawn")
    mask = ticket.edge_mask(data.test)
    keep = [mask.graph(number) for number in numbers]
    figure = drawings(data.test, keep, numbers, atoms=data.features == "ogb-mol")
    caption = (
        f"What {learned[0].label} keeps after round {ticket.round} (seed {run.rows[0]['seed']}) of the first "
        f"{len(numbers)} connected test graphs of readable size, which were not seen in training; no graph was picked "
        "by hand."
    )
    return [("graphs", "Kept and removed edges", caption, figure)]


def _prunes(series: Series) -> bool:
    return any(point["edge_sparsity_test"].mean > 0 for point in series.points)


def _tickets(run: Run) -> list[Ticket]:
    return [Ticket.load(run.folder / f"round-{row['round']}") for row in run.rows]


def _last(run: Run) -> Ticket:
    return Ticket.load(run.folder / f"round-{run.rows[-1]['round']}")


def _data(run: Run) -> GraphData:
    options: dict[str, Any] = dict(RunConfig.load(run.folder / CONFIG).data)
    return load(**options)
