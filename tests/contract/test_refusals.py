"""A setting that a method cannot do is refused in words, before anything is trained; the others are not."""

import pytest

from graphprune.methods import FitJob, FitResult
from tests.contract.methods import KINDS, Case, instance, options, protocols, units
from tests.contract.nets import NETWORKS
from tests.contract.runs import EVERY, made

# Words that say what is wrong with what, as opposed to what Python says of a slip.
RAW = ("NoneType", "object has no attribute", "unexpected keyword", "positional argument", "not subscriptable")


class Reached(Exception):
    """A training was asked for."""


def training(job: FitJob) -> FitResult:
    raise Reached


def refusal(case: Case, **values: object) -> Exception | None:
    """The error of a setting before its first training; None where it gets that far."""
    try:
        method, model, data = made(case, **values)
        next(method.rounds(model, data, training))
    except Reached:
        return None
    except (ValueError, TypeError) as error:
        return error
    return None


def clear(error: Exception) -> bool:
    """Whether an error speaks to a user: it says in some words what to do or what is wrong, and is no slip of Python."""
    text = str(error)
    return len(text.split()) >= 6 and not any(raw in text for raw in RAW)


@pytest.mark.parametrize("name", KINDS)
def test_a_refusal_comes_first_and_in_words(name: str) -> None:
    kind = KINDS[name]
    cases = [
        Case(name, protocol, unit, network)
        for network in NETWORKS
        for protocol in protocols(kind)
        for unit in units(kind)
    ]
    refused = {case: error for case in cases if (error := refusal(case)) is not None}
    assert all(clear(error) for error in refused.values()), refused
    # Not all of them: each unit and each protocol that the method has is one that it can do somewhere ...
    done = [case for case in cases if case not in refused]
    assert {case.unit for case in done} == set(units(kind))
    # ... and by default it does it on at least one of our networks and on a network over graphs.
    assert any(case.protocol == "clean" and case.network == "gin" for case in done)


def test_most_settings_are_not_refused() -> None:
    """Which are, by the network; more would be news."""
    plain = [Case(name, "clean", units(kind)[0], network) for name, kind in KINDS.items() for network in NETWORKS]
    refused = {case for case in plain if refusal(case) is not None}
    for network in NETWORKS:
        there = [case for case in plain if case.network == network]
        assert len([case for case in there if case in refused]) <= len(there) / 8, refused


@pytest.mark.parametrize("name", KINDS)
def test_edges_of_images_are_not_pruned_without_a_word(name: str) -> None:
    """A rate of edges that there are none of is refused, and not forgotten."""
    kind = KINDS[name]
    given = {key: value for key, value in {"edge_rate": 0.2, "edge_score": "degree"}.items() if key in options(kind)}
    if given:
        error = refusal(Case(name, "clean", None, "conv"), **given)
        assert error is not None and "no edges" in str(error)


def test_a_required_field_without_a_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("tests.contract.methods", fromlist=["VALUES"]).VALUES, "density")
    with pytest.raises(pytest.fail.Exception, match=r"fggp needs 'density'.*add it to VALUES"):
        instance(KINDS["fggp"])


def test_every_network_of_the_suite_is_known() -> None:
    assert set(NETWORKS) <= set(EVERY)
