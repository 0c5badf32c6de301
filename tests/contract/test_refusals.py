"""A setting that a method cannot do is refused in words, before anything is trained; the others are not."""

from functools import cache

import pytest

from graphprune.methods import FitJob, FitResult
from tests.contract.methods import KINDS, VALUES, Case, instance, options, protocols, units
from tests.contract.nets import NETWORKS
from tests.contract.runs import made

# Words that say what is wrong with what, as opposed to what Python says of a slip.
RAW = ("NoneType", "object has no attribute", "unexpected keyword", "positional argument", "not subscriptable")


class Reached(Exception):
    """A training was asked for."""


def training(job: FitJob) -> FitResult:
    raise Reached


@cache
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
    """Whether an error says in some words what is wrong or what to do, and is no slip of Python."""
    text = str(error)
    return len(text.split()) >= 6 and not any(raw in text for raw in RAW)


@pytest.mark.parametrize("name", KINDS)
def test_a_refusal_comes_first_and_in_words(name: str) -> None:
    kind = KINDS[name]
    cases = [Case(name, "clean", unit, network) for network in NETWORKS for unit in units(kind)]
    cases += [Case(name, protocol, units(kind)[0], network) for network in NETWORKS for protocol in protocols(kind)[1:]]
    refused = {case: error for case in cases if (error := refusal(case)) is not None}
    assert all(clear(error) for error in refused.values()), refused
    # Not all of them: each unit that the method has is one that it can do, under the clean protocol, on our network.
    done = {case.unit for case in cases if case not in refused and (case.protocol, case.network) == ("clean", "gin")}
    assert done == set(units(kind))


@pytest.mark.parametrize("network", NETWORKS)
def test_few_methods_refuse_a_network(network: str) -> None:
    refused = [name for name, kind in KINDS.items() if refusal(Case(name, "clean", units(kind)[0], network))]
    assert len(refused) <= 3, refused


@pytest.mark.parametrize("name", KINDS)
def test_edges_of_images_are_not_pruned_without_a_word(name: str) -> None:
    """A rate of edges that there are none of is refused, and not forgotten."""
    kind = KINDS[name]
    given = {key: value for key, value in {"edge_rate": 0.2, "edge_score": "degree"}.items() if key in options(kind)}
    if given:
        error = refusal(Case(name, "clean", None, "conv"), **given)
        assert error is not None and "no edges" in str(error)


def test_a_required_field_without_a_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(VALUES, "density")
    with pytest.raises(pytest.fail.Exception, match=r"fggp needs 'density'.*add it to VALUES"):
        instance(KINDS["fggp"])
