"""What a file or an option may ask for before it is refused: the limits, and the one option that raises them.

``GRAPHPRUNE_LIMITS`` in the environment, such as ``unpacked=8e9,categories=20000``, sets them for commands, for the
workers of grids and in Python alike (``os.environ``); ``inf`` takes a limit away. It is read at every check.
"""

from __future__ import annotations

import os
from typing import NamedTuple, NoReturn

VARIABLE = "GRAPHPRUNE_LIMITS"


class LimitExceeded(ValueError):
    """Something asks for more than a limit allows; the text has both figures, and how to raise the limit."""


class Limit(NamedTuple):
    """A limit.

    Attributes:
        most: that is allowed where nobody says otherwise.
        counted: what a number of them is called in errors.
        where: it holds.
    """

    most: float
    counted: str
    where: str


# Of the published sets that can be loaded only ogbg-ppa needs more, and perhaps ogbn-products, as their text is long.
LIMITS = {
    "members": Limit(100_000, "files in it", "an archive"),
    "unpacked": Limit(2e9, "bytes, unpacked", "a data file; all of a tar archive"),
    "parsed": Limit(2**28, "bytes to parse", "JSON, pickles and lines of words in data files"),
    "steps": Limit(2_000_000, "instructions", "a pickle of a Planetoid set"),
    "numbers": Limit(1e9, "numbers in one table", "a text file; labels made one-hot; features made dense"),
    "nodes": Limit(1e8, "nodes", "a set in text files"),
    "arcs": Limit(5e8, "arcs", "a set in text files"),
    "categories": Limit(10_000, "distinct labels", "a column of node or edge labels that is made one-hot"),
    "document": Limit(2**24, "bytes", "a YAML file of options; the description of a stored set"),
    "yaml": Limit(100_000, "values", "a YAML file of options, an alias counting as all that it stands for"),
    "layers": Limit(10_000, "layers", "a network or edge predictor that options describe"),
    "parameters": Limit(1e9, "parameters", "a network or edge predictor that options describe"),
}


def limit(name: str) -> float:
    """A limit as it stands now.

    Raises:
        ValueError: GRAPHPRUNE_LIMITS is no list of names and numbers.
    """
    most = LIMITS[name].most
    for part in filter(str.strip, os.environ.get(VARIABLE, "").split(",")):
        key, _, text = (word.strip() for word in part.partition("="))
        if key not in LIMITS:
            raise ValueError(f"{VARIABLE} has {part.strip()!r}: there is no limit {key!r}, but {', '.join(LIMITS)}")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not value >= 0:
            raise ValueError(f"{VARIABLE} has {part.strip()!r}: write {key}={LIMITS[key].most:.0f}, or {key}=inf")
        most = value if key == name else most
    return most


def check(name: str, asked: float, what: str) -> None:
    """Raise the :class:`LimitExceeded` of :func:`refuse` where something asks for more than a limit.

    Args:
        name: of the limit.
        asked: how much.
        what: asks for it.
    """
    if asked > limit(name):
        refuse(name, f"{what} has {asked:,.0f} {LIMITS[name].counted}", asked)


def refuse(name: str, problem: str, enough: float) -> NoReturn:
    """Raise the :class:`LimitExceeded` that says what is too much, what the limit is, and how to raise it.

    Args:
        name: of the limit.
        problem: what is too much, with its figure.
        enough: what the limit would have to be.
    """
    others = "".join(f"{part.strip()}," for part in os.environ.get(VARIABLE, "").split(",") if part.strip())
    raise LimitExceeded(
        f"{problem}, more than the {limit(name):,.0f} that are allowed; if it is meant to be that large, set "
        f"{VARIABLE}={others}{name}={enough:.0f} in the environment"
    )
