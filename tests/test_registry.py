"""Plug-ins by entry points: found, refused by name, and never in the place of what the package has."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest
from torch import nn

from graphprune import data
from graphprune.models import MODELS
from graphprune.registry import Registry
from graphprune.runs.listing import listing


class Strict(nn.Module):
    """A network that takes few widths."""

    def __init__(self, features: int, num_outputs: int, hidden: int = 8) -> None:
        super().__init__()
        if hidden % 8:
            raise ValueError("hidden must be a multiple of 8")

    @classmethod
    def for_data(cls, data: Any, **options: Any) -> "Strict":
        return cls(data.features, data.num_outputs, **options)


class Wordy(Strict):
    """A network whose refusal has many lines."""

    def __init__(self, features: int, num_outputs: int) -> None:
        raise ValueError("first line\nsecond line")


def load(name: str) -> Any:
    """Nothing."""


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}

    def find(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in found.get(group, []) if name in (None, point.name)]

    monkeypatch.setattr("graphprune.registry.entry_points", find)
    return found


def point(group: str, name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{value}", group)


def test_a_plug_in_does_not_take_a_name_of_the_package(points: dict[str, list[EntryPoint]]) -> None:
    group = "graphprune.models"
    points[group] = [point(group, "gat", "Strict"), point(group, "mine", "Strict")]
    assert MODELS["gat"] is not Strict and MODELS["mine"] is Strict
    assert list(MODELS.faults()) == ["gat"] and "has one of that name" in MODELS.faults()["gat"]
    assert MODELS.working().keys() >= {"gat", "mine"}


@pytest.mark.parametrize("name", ["MUTAG", "NCI1", "digits", "spmotif-0.8", "Cora"])
def test_a_plug_in_does_not_take_the_name_of_a_data_set(name: str, points: dict[str, list[EntryPoint]]) -> None:
    points["graphprune.data"] = [point("graphprune.data", name, "load"), point("graphprune.data", "mine", "load")]
    assert "free name" in data.LOADERS.faults()[name]
    assert list(data.LOADERS.working()) == ["mine"]


def test_models_that_refuse_their_defaults_are_listed(points: dict[str, list[EntryPoint]]) -> None:
    group = "graphprune.models"
    points[group] = [point(group, "strict", "Strict"), point(group, "wordy", "Wordy")]
    text = listing()
    assert "no: first line" in text and "second line" not in text
    assert "strict" in text and "multiple of 8" not in text


def test_things_of_another_kind_are_refused_by_name_and_group(points: dict[str, list[EntryPoint]]) -> None:
    points["my.group"] = [point("my.group", "odd", "load")]
    registry = Registry("my.group", {}, lambda _, thing: isinstance(thing, int), "a number called {name!r}")
    with pytest.raises(TypeError, match=r"plug-in 'odd' .* of my\.group: not a number called 'odd'"):
        registry["odd"]
