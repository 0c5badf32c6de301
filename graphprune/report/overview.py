"""What a report says first: all settings side by side with mean ranks, winners where there are any, extreme tickets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphprune.report.compare import Findings
from graphprune.report.equal import AXES, Axis
from graphprune.report.ranks import critical_difference, rank_intervals
from graphprune.report.results import SINGLE, Group
from graphprune.report.standings import Standing
from graphprune.report.stats import MIN_PAIRS, Extreme, Interval
from graphprune.report.tables import PERCENT, Table, share, spread


def overview(found: Sequence[Findings]) -> list[Table]:
    """The tables at the head of a report; those that have nothing to say are left out."""
    ranked = (make(found, axis) for axis in AXES for make in (_settings, _ranks))
    tables = [_winners(found), *ranked, _extremes(found)]
    return [table for table in tables if table.rows]


def _settings(found: Sequence[Findings], axis: Axis) -> Table:
    """Methods down, settings across, each at a density or at the sparsity that all its methods reach."""
    columns = _columns(found, axis)
    singles = [name for name in SINGLE if any(group.find(name) for group, _ in columns)]
    rows = [[name, *(_single(group, name) for group, _ in columns)] for name in singles]
    for label in dict.fromkeys(label for _, standing in columns for label in standing.values):
        cells = [spread(standing.metrics[label]) if label in standing.values else "–" for _, standing in columns]
        rows.append([label, *cells])
    caption = (
        "Test metric, mean ± sample standard deviation over the runs that all methods have, at each density that was "
        f"asked for, else at the largest share of {axis.text} that all of them reach{'; ' * bool(singles)}"
        f"{', '.join(singles)}{' as trained, over all their runs' * bool(singles)}."
    )
    return Table(f"At equal sparsity of {axis.name}", caption, ["method", *(_heading(*one) for one in columns)], rows)


def _ranks(found: Sequence[Findings], axis: Axis) -> Table:
    """Methods by their mean rank."""
    ranked, left_out = ranks(found, axis)
    title, head = f"Mean ranks at equal sparsity of {axis.name}", ("method", "mean rank", f"{PERCENT} interval")
    if not ranked:
        return Table(title, "", head, ())
    used = [(group, standing) for group, standing in _columns(found, axis) if ranked.keys() <= standing.values.keys()]
    places: dict[str, str] = {}
    for group, standing in used:
        before = f"{places[group.title]}, " if group.title in places else ""
        places[group.title] = before + share(standing.at or 0)
    runs = sorted({standing.runs for _, standing in used})
    claim = (
        f"too few to claim an order (at least {MIN_PAIRS})"
        if len(used) < MIN_PAIRS
        else f"those closer than {critical_difference(len(ranked), len(used)):.2f} are not told apart "
        f"(Nemenyi, {PERCENT})"
    )
    caption = (
        f"Mean ranks over {len(used)} settings, 1 is best: {claim}. Each setting ranks means over "
        f"{' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))} runs; ties share ranks. The bootstrap interval "
        "resamples settings, and runs in each of them, as if settings were independent: several densities of one data "
        f"set are not. Settings: {'; '.join(f'{name} at {texts}' for name, texts in places.items())}."
    )
    if left_out:
        caption += f" Not ranked, as they are not in every setting: {', '.join(left_out)}."
    rows = [
        [label, f"{rank.mean:.2f}", f"[{rank.low:.2f}, {rank.high:.2f}]"]
        for label, rank in sorted(ranked.items(), key=lambda item: item[1].mean)
    ]
    return Table(title, caption, head, rows)


def ranks(found: Sequence[Findings], axis: Axis) -> tuple[dict[str, Interval], list[str]]:
    """Mean ranks at equal sparsity over the settings, and the methods that are not in all settings that count.

    Of all methods, of those that all settings have, and of those of each setting, these are ranked that make use of
    most results, over the settings that have all of them. Nothing is ranked over a single setting.
    """
    table = {
        (group.title, standing.at): {
            label: {rep: value * (1 if group.higher_is_better else -1) for rep, value in values.items()}
            for label, values in standing.values.items()
        }
        for group, standing in _columns(found, axis)
    }
    every = list(dict.fromkeys(label for values in table.values() for label in values))
    there = [set(values) for values in table.values()]
    fields = [set(every), *([set.intersection(*there)] if there else []), *there]
    best = max(fields, key=lambda field: (len(field) * sum(field <= labels for labels in there), len(field)))
    used = {
        setting: {label: values[label] for label in every if label in best}
        for setting, values in table.items()
        if best <= values.keys()
    }
    if len(best) < 2 or len(used) < 2:
        return {}, every
    return rank_intervals(used), [label for label in every if label not in best]


def _columns(found: Sequence[Findings], axis: Axis) -> list[tuple[Group, Standing]]:
    """What stands beside each other."""
    return [(one.group, standing) for one in found for standing in one.standings if _counts(standing, axis)]


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
            str(len(standing.values) or "–"),
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
    kinds = [axis for axis in AXES if any(axis.name in by for one in found for by in one.extremes.values())]
    head = ("setting", "method", *(f"{axis.name} removed" for axis in kinds), "runs")
    return Table("Extreme tickets", caption, head, list(_extreme_rows(found, kinds)))


def _extreme_rows(found: Sequence[Findings], kinds: Sequence[Axis]) -> Iterator[list[str]]:
    for one in found:
        for label, extremes in one.extremes.items():
            cells = [_cell(extremes[axis.name]) if axis.name in extremes else "–" for axis in kinds]
            runs = max((extreme.n for extreme in extremes.values()), default=0)
            yield [one.group.title, label, *cells, str(runs)]


def _cell(extreme: Extreme) -> str:
    if extreme.sparsity is None:
        return extreme.text
    return f"{share(extreme.sparsity)} [{share(extreme.low)}, {share(extreme.high)}]"
