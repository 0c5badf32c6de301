"""What a report says first: all settings side by side with mean ranks, winners where there are any, extreme tickets."""

from __future__ import annotations

from collections.abc import Sequence

from graphprune.methods.core.shown import Table
from graphprune.report.compare import Findings, Ranking
from graphprune.report.extreme import Extreme
from graphprune.report.format import PERCENT, mean_sd, share, table
from graphprune.report.results import BASELINES, KINDS, Group, SparsityKind
from graphprune.report.stats import MIN_PAIRS, Interval, critical_difference, rank_intervals


def overview(found: Sequence[Findings]) -> list[Table]:
    """The tables at the head of a report; those that have nothing to say are left out."""
    ranked = (make(found, kind) for kind in KINDS for make in (_settings, _ranks))
    tables = [_winners(found), *ranked, _extremes(found)]
    return [table for table in tables if table.rows]


def _winners(found: Sequence[Findings]) -> Table:
    rows = [
        [
            one.group.title,
            ranking.verdict,
            "–" if ranking.at is None else f"{share(ranking.at)} of {ranking.kind.name}",
            str(len(ranking.values) or "–"),
            str(ranking.runs),
        ]
        for one in found
        for ranking in one.rankings
    ]
    caption = (
        f"A method wins a setting only if the {PERCENT} interval of its paired difference to every other one lies "
        f"above zero.{_caveats(found)}"
    )
    return table("Winners, where intervals show one", caption, ("setting", "verdict", "at", "methods", "runs"), rows)


def _settings(found: Sequence[Findings], kind: SparsityKind) -> Table:
    """Methods down, settings across, each at a density or at the sparsity that all its methods reach."""
    columns = _columns(found, kind)
    singles = [
        name
        for role in BASELINES
        for name in dict.fromkeys(series.method for group, _ in columns for series in group.find(role))
    ]
    labels = list(dict.fromkeys(label for _, ranking in columns for label in ranking.values))
    rows = [[name, *(_single(group, name) for group, _ in columns)] for name in singles]
    for label in labels:
        cells = [mean_sd(ranking.metrics[label]) if label in ranking.values else "–" for _, ranking in columns]
        rows.append([label, *cells])
    caption = (
        "Test metric, mean ± sample standard deviation over the runs that all methods have, at each density that was "
        f"asked for, else at the largest share of {kind.text} that all of them reach{'; ' * bool(singles)}"
        f"{', '.join(singles)}{' as trained, over all their runs' * bool(singles)}."
    )
    if any(ranking.winner for _, ranking in columns):
        caption += f" Bold: better than every other method, by the {PERCENT} interval of each paired difference."
    best = [
        (len(singles) + labels.index(ranking.winner), column)
        for column, (_, ranking) in enumerate(columns, start=1)
        if ranking.winner is not None
    ]
    return table(
        f"At equal sparsity of {kind.name}", caption, ["method", *(_heading(*one) for one in columns)], rows, best
    )


def _ranks(found: Sequence[Findings], kind: SparsityKind) -> Table:
    """Methods by their mean rank."""
    ranked, left_out = ranks(found, kind)
    title, head = f"Mean ranks at equal sparsity of {kind.name}", ("method", "mean rank", f"{PERCENT} interval")
    if not ranked:
        return table(title, "", head, ())
    used = [(group, ranking) for group, ranking in _columns(found, kind) if ranked.keys() <= ranking.values.keys()]
    places = {
        title: ", ".join(share(ranking.at or 0) for group, ranking in used if group.title == title)
        for title in dict.fromkeys(group.title for group, _ in used)
    }
    runs = sorted({ranking.runs for _, ranking in used})
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
    return table(title, caption, head, rows)


def ranks(found: Sequence[Findings], kind: SparsityKind) -> tuple[dict[str, Interval], list[str]]:
    """Mean ranks at equal sparsity over the settings, and the methods that are not in all settings that count.

    Of all methods, of those that all settings have, and of those of each setting, these are ranked that make use of
    most results, over the settings that have all of them. Nothing is ranked over a single setting.
    """
    metrics = {
        (group.title, ranking.at): {
            label: {rep: value * (1 if group.higher_is_better else -1) for rep, value in values.items()}
            for label, values in ranking.values.items()
        }
        for group, ranking in _columns(found, kind)
    }
    every = list(dict.fromkeys(label for values in metrics.values() for label in values))
    there = [set(values) for values in metrics.values()]
    fields = [set(every), *([set.intersection(*there)] if there else []), *there]
    best = max(fields, key=lambda field: (len(field) * sum(field <= labels for labels in there), len(field)))
    used = {
        setting: {label: values[label] for label in every if label in best}
        for setting, values in metrics.items()
        if best <= values.keys()
    }
    if len(best) < 2 or len(used) < 2:
        return {}, every
    return rank_intervals(used), [label for label in every if label not in best]


def _extremes(found: Sequence[Findings]) -> Table:
    caption = (
        f"The largest share removed at which the {PERCENT} interval of the paired difference to dense still reaches "
        f"zero, with the {PERCENT} range of that share over resampled runs. It shows no equality: few or scattered "
        f"runs have wide intervals.{_caveats(found)}"
    )
    kinds = [kind for kind in KINDS if any(kind.name in by for one in found for by in one.extremes.values())]
    rows = [
        [
            one.group.title,
            label,
            *(_extreme(extremes[kind.name]) if kind.name in extremes else "–" for kind in kinds),
            str(max((extreme.n for extreme in extremes.values()), default=0)),
        ]
        for one in found
        for label, extremes in one.extremes.items()
    ]
    return table(
        "Extreme tickets", caption, ("setting", "method", *(f"{kind.name} removed" for kind in kinds), "runs"), rows
    )


def _extreme(extreme: Extreme) -> str:
    if extreme.sparsity is None:
        return extreme.text
    return f"{share(extreme.sparsity)} [{share(extreme.low)}, {share(extreme.high)}]"


def _columns(found: Sequence[Findings], kind: SparsityKind) -> list[tuple[Group, Ranking]]:
    """What stands beside each other."""
    return [
        (one.group, ranking) for one in found for ranking in one.rankings if ranking.kind is kind and ranking.runs > 0
    ]


def _heading(group: Group, ranking: Ranking) -> str:
    sparsity = "" if ranking.at is None else f" at {share(ranking.at)}"
    return f"{group.title}: {group.metric}{sparsity}, {ranking.runs} run{'s' if ranking.runs > 1 else ''}"


def _single(group: Group, name: str) -> str:
    return next((mean_sd(series.last["test_metric"]) for series in group.series if series.method == name), "–")


def _caveats(found: Sequence[Findings]) -> str:
    by_text: dict[str, list[str]] = {}
    for one in found:
        by_text.setdefault(one.group.caveat, []).append(one.group.title)
    if len(by_text) == 1:
        return next(iter(by_text))
    return "".join(f" {'; '.join(titles)}:{text}" for text, titles in by_text.items())
