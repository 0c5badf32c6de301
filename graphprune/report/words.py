"""What the tables of a report amount to, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from graphprune.report.compare import Findings, Ranking, dense_for
from graphprune.report.format import signed
from graphprune.report.results import Group
from graphprune.report.stats import BETTER, MIN_PAIRS, NO_DIFFERENCE, TOO_FEW, WORSE, compare
from graphprune.report.truth import KeptTruth


def in_words(found: Findings, truth: Mapping[str, KeptTruth]) -> list[str]:
    """What is shown in a group, and what is not, by the rules of the tables.

    Args:
        found: the group and what it shows.
        truth: how many true edges each method keeps, where they are known.
    """
    said = [*_levels(found), *(_ranking(found, ranking) for ranking in found.rankings if ranking.runs)]
    if truth:
        kept = _listed([f"{label} {one.true.mean:.0%}" for label, one in truth.items()])
        said.append(f"Of the edges that decide (the true ones), these are kept on unseen graphs: {kept}.")
    return [f"{found.group.title}: {said[0]}", *said[1:]] if said else []


def _levels(found: Findings) -> Iterator[str]:
    """What the dense network reaches, and whether it needs edges at all."""
    group = found.group
    dense = next(iter(group.find("dense")), None)
    if dense is None:
        return
    text = f"dense reaches {group.metric} {_number(dense.last['test_metric'].mean)} over {_runs(dense.last.runs)}"
    for without in group.find("no-edges"):
        comparison = found.dense.get(without.label, {}).get(without.last.number)
        if comparison is not None:
            meaning = {WORSE: "the edges matter", BETTER: "edges do harm here", TOO_FEW: "too few runs to say more"}
            verdict = meaning.get(comparison.verdict, "that edges help is not shown")
            level = _number(without.last["test_metric"].mean)
            text += f", without any edges {level} ({signed(comparison.difference)}): {verdict}"
    yield text + "."


def _ranking(found: Findings, ranking: Ranking) -> str:
    """Who is ahead at equal sparsity, who is not told apart from it, who is shown to be worse."""
    group, metrics = found.group, ranking.metrics
    text = f"Without {ranking.at:.0%} of the {ranking.kind.name}"
    order = sorted(metrics, key=lambda label: metrics[label].mean, reverse=group.higher_is_better)
    named = {label: f"{label} {_number(metrics[label].mean)}" for label in order}
    if ranking.leader is None:
        spreads = [one.sd for one in metrics.values() if not math.isnan(one.sd)]
        spread = f" (standard deviations up to {_number(max(spreads))})" if spreads else ""  # none over a single run
        over = f"over {_runs(ranking.runs)}{spread}"
        return f"{text}: {_listed([*named.values()])} {over}; it takes {MIN_PAIRS} runs to claim an order."
    level = [named[label] for label in order if label in ranking.level]
    worse = [named[label] for label in order if label not in (ranking.leader, *ranking.level)]
    ahead = _number(metrics[ranking.leader].mean)
    text += f", {ranking.leader} is ahead with {ahead}{_against_dense(group, ranking, ranking.leader)}"
    text += f"; not told apart from it: {_listed(level)}" if level else ""
    text += f"; shown to be worse: {_listed(worse)}" if worse else ""
    return text + "."


def _against_dense(group: Group, ranking: Ranking, label: str) -> str:
    """How a series stands there to the dense network."""
    dense = dense_for(group, next(one for one in group.series if one.label == label))
    if dense is None:
        return ""
    comparison = compare(ranking.values[label], dense.last.tests, group.higher_is_better)
    words = {BETTER: "better than dense", WORSE: "worse than dense", NO_DIFFERENCE: "no difference to dense shown"}
    verdict = words.get(comparison.verdict)
    return f" ({verdict}: {signed(comparison.difference)})" if verdict else ""


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
