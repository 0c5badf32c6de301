"""A run of two rounds whose settings are objects: `python resumed.py NAME FOLDER` does the next one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from graphprune import IMP, RandomPruning, Ticket, prunable
from graphprune.masks import Channel, Selector, Targets, sparing
from graphprune.methods import Method
from graphprune.models import GCN
from tests.methods.graphs import plain_fit, small_data


def hidden_only(model: nn.Module, *, without: str = "head.*") -> Targets:
    """A function as selector."""
    return prunable(exclude=[without])(model)


def without(pattern: str) -> Selector:
    """A function that makes selectors."""

    def select(model: nn.Module) -> Targets:
        return prunable(exclude=[pattern])(model)

    return select


class Picks:
    """An object as selector, with the repr that Python gives."""

    def __init__(self, pattern: str, inner: Callable[[nn.Module], Targets]) -> None:
        self.pattern, self.inner = pattern, inner

    def __call__(self, model: nn.Module) -> Targets:
        return sparing(self.inner, [self.pattern])(model)

    def method(self, model: nn.Module) -> Targets:
        """A bound method as selector."""
        return self(model)


@dataclass(frozen=True)
class Plain:
    """A dataclass that holds a function."""

    inner: Callable[[nn.Module], Targets]

    def __call__(self, model: nn.Module) -> Targets:
        return self.inner(model)


@dataclass(frozen=True)
class Rows(Channel):
    """A unit of the user's own, with something in it that has an address."""

    made_by: object = Picks


def methods() -> dict[str, Method]:
    """Every kind of object that a setting may be."""
    selects: dict[str, Selector] = {
        "sparing": sparing(prunable(), {"head.*", "node_encoder.*", "convs.0.*"}),
        "sparing-function": sparing(hidden_only, ["convs.0.*"]),
        "set": prunable(exclude={"head.*", "node_encoder.*", "convs.0.*"}),
        "function": hidden_only,
        "lambda": lambda model: hidden_only(model),
        "closure": without("head.*"),
        "partial": partial(hidden_only, without="convs.0.*"),
        "object": Picks("head.*", hidden_only),
        "method": Picks("head.*", hidden_only).method,
        "dataclass": Plain(hidden_only),
    }
    made: dict[str, Method] = {name: RandomPruning(rounds=2, select=select) for name, select in selects.items()}
    made["protect"] = RandomPruning(rounds=2, protect={"head.*", "node_encoder.*", "convs.0.*"})
    made["unit"] = IMP(rounds=2, weight_rate=0.2, unit=Rows())
    return made


def go(name: str, folder: Path) -> None:
    """The round behind those that the folder has."""
    data = small_data()
    torch.manual_seed(0)
    model = GCN(3, 2, hidden=8, layers=2)
    done = sorted(folder.glob(f"{name}.*"))
    after = Ticket.load(done[-1]) if done else None
    ticket = next(methods()[name].rounds(model, data, plain_fit(1), after=after))
    assert ticket.round == len(done) + 1
    assert " at 0x" not in str(ticket.provenance["settings"])
    ticket.save(folder / f"{name}.{ticket.round}")


if __name__ == "__main__":
    for each in methods():
        go(each, Path(sys.argv[1]))
    print("done")
