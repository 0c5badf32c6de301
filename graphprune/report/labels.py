"""What series and groups of runs are called: by the options in which they differ, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphprune.methods import METHODS, OneTraining
from graphprune.report.records import PLACE, Run

# Options that tell repetitions apart, and those that change nothing about what is compared.
REPEATED, IGNORED = ("seed", "data.fold"), (PLACE, "method.rounds")
RATES = ("method.edge_rate", "method.weight_rate")
DENSITY = "method.density"
PROTOCOL = "method.protocol"  # the results have better words for it

# How graphs are pruned that no mask was learned for, in words.
UNSEEN = {"dense": "dense test graphs", "random": "random test graphs", "none": "weights only"}
UNSEEN["weights-only"] = UNSEEN["none"]


def density(run: Run) -> float | None:
    """The density that a method of one training was asked for: its runs at others are points of one curve.

    None for methods of rounds, whose points are these, and for baselines, which are a series for each of their options.
    """
    trained_once = issubclass(METHODS.get(run.rows[0]["method"], object), OneTraining)
    return float(run.config[DENSITY]) if trained_once and DENSITY in run.config else None


def options(run: Run) -> dict[str, Any]:
    """The options of a run that decide with which others it is put together."""
    left_out = (*REPEATED, *IGNORED, *[DENSITY] * (density(run) is not None))
    found = {name: value for name, value in run.config.items() if name not in left_out}
    # Without a configuration the results alone can tell the policies for unseen graphs apart.
    return found or {"method.unseen": run.rows[0]["unseen"]}


def setting(run: Run) -> dict[str, Any]:
    """The options of data and model: what all methods that are compared have in common."""
    return {name: value for name, value in options(run).items() if name.startswith(("data.", "model."))}


def label(run: Run, rivals: Sequence[Run], without: Sequence[str] = ()) -> str:
    """The method, its variant, and the options in which it differs from others of that method.

    Args:
        run: any run of the series.
        rivals: one run of each series of that method, this one included.
        without: options that are not told.
    """
    name, told = _variant(run)
    mine, others = options(run), [options(rival) for rival in rivals if _variant(rival) == (name, told)]
    for option in _differing(others):
        if option not in without and not option.startswith(PROTOCOL):
            told = [*told, f"{option.rpartition('.')[2]}={mine.get(option)}"]
    if len({rival.rows[0]["protocol"] for rival in rivals}) > 1:
        told = [*told, run.rows[0]["protocol"]]
    return f"{name} ({', '.join(told)})" if told else name


def _variant(run: Run) -> tuple[str, list[str]]:
    """The method's name and which of its variants this is, if they go by names of their own."""
    method, config, row = str(run.rows[0]["method"]), run.config, run.rows[-1]
    if "method.edges" in config:
        method = f"{method}: {config['method.edges']}"
    unseen = config.get("method.unseen") if config else (row["unseen"] if method == "ugs" else None)
    if unseen == "dense" and row["edge_sparsity_test"] > 0:
        unseen = None  # the test nodes lie in the graph that was trained on: there is nothing unseen
    return method, [UNSEEN.get(unseen, str(unseen))] if unseen else []


def title(data: str, model: str, mine: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Data set and model, and the options in which this group differs from others on the same two."""
    told = [f"{option.rpartition('.')[2]}={mine.get(option)}" for option in _differing(others)]
    return f"{data}, {model}" + (f" ({', '.join(told)})" if told else "")


def _differing(others: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for other in others for name in other})
    return [name for name in names if len({str(other.get(name)) for other in others}) > 1]


def joint(run: Run, rivals: Sequence[Run]) -> str:
    """The grid of edge rates times weight rates that a run belongs to; empty if it belongs to none.

    In such a grid there are more pairs of rates than either rate has values.
    """

    def rest(other: Run) -> dict[str, Any]:
        return {name: value for name, value in options(other).items() if name not in RATES}

    pairs = {tuple(rival.config.get(rate) for rate in RATES) for rival in rivals if rest(rival) == rest(run)}
    edge, weight = ({pair[side] for pair in pairs} for side in (0, 1))
    whole = len(edge) > 1 and len(weight) > 1 and len(pairs) > max(len(edge), len(weight))
    return label(run, rivals, without=RATES) if whole else ""
