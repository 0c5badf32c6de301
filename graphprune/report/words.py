"""What the tables of a report amount to, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from graphprune.report.compare import Findings, Ranking
from graphprune.report.format import signed
from graphprune.report.stats import BETTER, MIN_PAIRS, TOO_FEW, WORSE, compare
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
    if ranking.runs < MIN_PAIRS:
        spreads = [one.sd for one in metrics.values() if not math.isnan(one.sd)]
        named = _listed([f"{label} {_number(metrics[label].mean)}" for label in order])
        spread = f" (standard deviations up to {_number(max(spreads))})" if spreads else ""  # none over a single run
        over = f"over {_runs(ranking.runs)}{spread}"
        return f"{text}: {named} {over}; it takes {MIN_PAIRS} runs to claim an order."
    first, rest = order[0], order[1:]
    verdicts = {
        label: compare(ranking.values[first], ranking.values[label], group.higher_is_better).verdict for label in rest
    }
    level = [f"{label} {_number(metrics[label].mean)}" for label in rest if verdicts[label] != BETTER]
    worse = [f"{label} {_number(metrics[label].mean)}" for label in rest if verdicts[label] == BETTER]
    text += f", {first} is ahead with {_number(metrics[first].mean)}{_against_dense(found, first)}"
    text += f"; not told apart from it: {_listed(level)}" if level else ""
    text += f"; shown to be worse: {_listed(worse)}" if worse else ""
    return text + "."


def _against_dense(found: Findings, label: str) -> str:
    """How the last ticket of a series stands to the dense network."""
    series = next(one for one in found.group.series if one.label == label)
    comparison = found.dense.get(label, {}).get(series.last.number)
    if comparison is None or comparison.verdict == TOO_FEW:
        return ""
    verdict = comparison.text if comparison.verdict in (BETTER, WORSE) else "no difference to dense shown"
    verdict = verdict + " than dense" if comparison.verdict in (BETTER, WORSE) else verdict
    return f" ({verdict}: {signed(comparison.difference)})"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
