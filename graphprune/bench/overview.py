"""What a report says first: all settings side by side with mean ranks, winners where there are any, extreme tickets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphprune.bench.collect import SINGLE, Group
from graphprune.bench.compare import AXES, Axis, Findings, Standing
from graphprune.bench.stats import MIN_PAIRS, Extreme, Rank, critical_difference, mean_ranks
from graphprune.bench.tables import PERCENT, Table, share, spread


def overview(found: Sequence[Findings]) -> list[Table]:
    """The tables at the head of a report; those that have nothing to say are left out."""
    tables = [_winners(found), *(_settings(found, axis) for axis in AXES), _extremes(found)]
    return [table for table in tables if table.rows]


def _settings(found: Sequence[Findings], axis: Axis) -> Table:
    """Methods down, settings across, each at the sparsity that all its methods reach."""
    columns = [(one.group, standing) for one in found for standing in one.standings if _counts(standing, axis)]
    ranked, left_out = ranks(found, axis)
    singles = [name for name in SINGLE if any(group.find(name) for group, _ in columns)]
    rows = [[name, *(_single(group, name) for group, _ in columns), *["–"] * bool(ranked)] for name in singles]
    for label in dict.fromkeys(label for _, standing in columns for label in standing.metrics):
        cells = [spread(standing.metrics[label]) if label in standing.metrics else "–" for _, standing in columns]
        rank = f"{ranked[label].mean:.2f}" if label in ranked else "–"
        rows.append([label, *cells, *[rank] * bool(ranked)])
    head = ["method", *(_heading(*column) for column in columns), *["mean rank"] * bool(ranked)]
    caption = (
        f"Test metric, mean ± sample standard deviation over the runs that all methods have, at the largest share of "
        f"{axis.text} that all of them reach{'; ' * bool(singles)}{', '.join(singles)}"
        f"{' as trained, over all their runs' * bool(singles)}."
    )
    if ranked:
        settings = next(iter(ranked.values())).n
        caption += f" Mean ranks over {settings} settings, 1 is best: "
        caption += (
            f"too few to claim an order (at least {MIN_PAIRS})."
            if settings < MIN_PAIRS
            else f"those closer than {critical_difference(len(ranked), settings):.2f} are not told apart (Nemenyi, "
            f"{PERCENT})."
        )
        if left_out:
            caption += f" Not ranked, as they are not in every setting: {', '.join(left_out)}."
    return Table(f"At equal sparsity of {axis.name}", caption, head, rows)


def ranks(found: Sequence[Findings], axis: Axis) -> tuple[dict[str, Rank], list[str]]:
    """Mean ranks at equal sparsity over the groups, and the methods that are not in all groups that count.

    Either every method is ranked, over the groups that have all of them, or the methods that all groups have: whichever
    uses more of the results. Nothing is ranked over a single group.
    """
    table = {
        one.group.title: {
            label: stat.mean * (1 if one.group.higher_is_better else -1) for label, stat in standing.metrics.items()
        }
        for one in found
        for standing in one.standings
        if _counts(standing, axis)
    }
    every = list(dict.fromkeys(label for values in table.values() for label in values))
    shared = [label for label in every if all(label in values for values in table.values())]
    whole = mean_ranks(table)
    part = mean_ranks({title: {label: values[label] for label in shared} for title, values in table.items()})
    best = max((whole, part), key=lambda ranked: sum(rank.n for rank in ranked.values()))
    if len(best) < 2 or min(rank.n for rank in best.values()) < 2:
        return {}, every
    return best, [label for label in every if label not in best]


def _counts(standing: Standing, axis: Axis) -> bool:
    return standing.axis is axis and standing.runs > 0


def _heading(group: Group, standing: Standing) -> str:
    sparsity = "" if standing.at is None else f" at {share(standing.at)}"
    return f"{group.title}: {group.metric}{sparsity}, {standing.runs} run{'s' if standing.runs > 1 else ''}"


def _single(group: Group, name: str) -> str:
    series = group.find(name)
    return spread(series[0].last["test_metric"]) if series else "–"


def _caveats(found: Sequence[Findings]) -> str:
    by_text: dict[str, list[str]] = {}
    for one in found:
        by_text.setdefault(one.group.caveat, []).append(one.group.title)
    if len(by_text) == 1:
        return next(iter(by_text))
    return "".join(f" {'; '.join(titles)}:{text}" for text, titles in by_text.items())


def _winners(found: Sequence[Findings]) -> Table:
    rows = [
        [
            one.group.title,
            standing.verdict,
            "–" if standing.at is None else f"{share(standing.at)} of {standing.axis.name}",
            str(len(standing.metrics) or "–"),
            str(standing.runs),
        ]
        for one in found
        for standing in one.standings
    ]
    caption = (
        f"A method wins a setting only if the {PERCENT} interval of its paired difference to every other one lies "
        f"above zero.{_caveats(found)}"
    )
    return Table("Winners, where intervals show one", caption, ("setting", "verdict", "at", "methods", "runs"), rows)


def _extremes(found: Sequence[Findings]) -> Table:
    caption = (
        f"The largest share removed at which the {PERCENT} interval of the paired difference to dense still reaches "
        f"zero, with the {PERCENT} range of that share over resampled runs. It shows no equality: few or scattered "
        f"runs have wide intervals.{_caveats(found)}"
    )
    head = ("setting", "method", *(f"{axis.name} removed" for axis in AXES), "runs")
    return Table("Extreme tickets", caption, head, list(_extreme_rows(found)))


def _extreme_rows(found: Sequence[Findings]) -> Iterator[list[str]]:
    for one in found:
        for label, extremes in one.extremes.items():
            cells = [_cell(extremes[axis.name]) if axis.name in extremes else "–" for axis in AXES]
            runs = max((extreme.n for extreme in extremes.values()), default=0)
            yield [one.group.title, label, *cells, str(runs)]


def _cell(extreme: Extreme) -> str:
    if extreme.sparsity is None:
        return extreme.text
    return f"{share(extreme.sparsity)} [{share(extreme.low)}, {share(extreme.high)}]"
