"""The limits: their defaults, the one option that raises them, and what an error says."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune import limits

NAMES = st.sampled_from(sorted(limits.LIMITS))
DOCS = Path(__file__).parents[1] / "docs" / "limits.md"


def test_without_the_option_the_defaults_hold(monkeypatch):
    monkeypatch.delenv(limits.VARIABLE, raising=False)
    assert {name: limits.limit(name) for name in limits.LIMITS} == {
        name: most for name, (most, _, _) in limits.LIMITS.items()
    }


@given(st.dictionaries(NAMES, st.integers(0, 10**12)))
def test_the_option_sets_those_that_it_names(chosen):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(limits.VARIABLE, " , ".join(f"{name} = {most}" for name, most in chosen.items()))
        for name, (most, _, _) in limits.LIMITS.items():
            assert limits.limit(name) == chosen.get(name, most)


@given(NAMES, st.integers(0, 10**15), st.integers(0, 10**15))
def test_more_than_a_limit_is_refused_with_both_numbers_and_the_way_out(name, most, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(limits.VARIABLE, f"{name}={most}")
        if asked <= most:
            limits.check(name, asked, "that")
            return
        with pytest.raises(limits.LimitExceeded) as caught:
            limits.check(name, asked, "that")
        text = str(caught.value)
        assert text.startswith(f"that has {asked:,} ") and f"more than the {most:,} that" in text
        patch.setenv(limits.VARIABLE, re.search(rf"{limits.VARIABLE}=(\S+)", text)[1])
        limits.check(name, asked, "that")


def test_other_limits_stay_in_what_an_error_proposes(monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, "nodes=7, arcs=1")
    with pytest.raises(ValueError, match=re.escape(f"set {limits.VARIABLE}=nodes=7,arcs=1,arcs=2 in")):
        limits.check("arcs", 2, "it")


@pytest.mark.parametrize("text", ["inf", "INF", "1e18", "1_000_000_000_000", " 2e12 "])
def test_limits_can_be_large_or_none(monkeypatch, text):
    monkeypatch.setenv(limits.VARIABLE, f"arcs={text}")
    limits.check("arcs", 10**12, "it")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nodes", "'nodes': write nodes=100000000, or nodes=inf"),
        ("nodes=many", "'nodes=many': write nodes="),
        ("nodes=-1", "'nodes=-1': write nodes="),
        ("nodes=nan", "'nodes=nan': write nodes="),
        ("node=3", "'node=3': there is no limit 'node', but members, "),
        ("=3", "'=3': there is no limit '', but "),
        ("arcs=3 nodes=4", "'arcs=3 nodes=4': write arcs="),
        ("8e9", "there is no limit '8e9'"),
    ],
)
def test_an_option_that_is_none_is_named(monkeypatch, text, problem):
    monkeypatch.setenv(limits.VARIABLE, text)
    with pytest.raises(ValueError, match=rf"^{limits.VARIABLE} has {re.escape(problem)}|{re.escape(problem)}"):
        limits.limit("arcs")


def test_the_documentation_has_every_limit_with_its_default():
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", DOCS.read_text(), re.MULTILINE)
    assert [(name, float(most.replace(",", ""))) for name, most in rows] == [
        (name, most) for name, (most, _, _) in limits.LIMITS.items()
    ]
