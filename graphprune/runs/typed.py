"""What a user typed, as a parser of options reads it."""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace

from graphprune.methods import Protocol
from graphprune.runs.options import SECTIONS, canonical, option_names
from graphprune.runs.text import explained


def parse(parser: ArgumentParser, typed: Sequence[str], *, defaults: bool = True) -> Namespace:
    """Parse what a user typed: sections may be left out, dashes stand for underscores, and lists need no brackets.

    Args:
        parser: of jsonargparse.
        typed: the words.
        defaults: whether the result has what was not typed.

    Raises:
        ValueError: a bad value, or an unknown option; the text names it as it was typed, and the nearest ones.
    """
    words = canonical(typed, [action.dest for action in parser._actions])
    try:
        return parser.parse_args(_bracketed(words, list_options(parser)), defaults=defaults)
    except (AttributeError, LookupError, argparse.ArgumentError) as error:
        if tagged := next((word for word in words if "!!" in word), None):
            raise ValueError(f"{tagged!r} is no value of YAML ({error}): leave out the tag") from error
        if not isinstance(error, argparse.ArgumentError):
            raise
        unknown = re.search(r"unrecognized arguments: (--[^\s=]+)", str(error))
        if unknown is None:
            several = " (a list is one word, as 0.5,0.25)" if "unrecognized arguments" in str(error) else ""
            raise ValueError(explained(error) + several) from error
        flags = zip(_flags(words), _flags(typed), strict=True)  # of a mapping's parts the last words are told
        flag = next((short for full, short in flags if full.endswith(unknown[1][2:])), unknown[1])
        section = re.match(rf"--(?:{'|'.join(SECTIONS)})([._-])", flag)
        names = [name.replace(".", section[1]) if section else name.rpartition(".")[2] for name in option_names(parser)]
        names += [name.removeprefix("method.") for name in Protocol.parts("method.protocol")]
        dashed = [name.replace("_", "-") if "-" in flag[2:] else name for name in dict.fromkeys(names)]
        near = difflib.get_close_matches(flag, [f"--{name}" for name in dashed], n=2)
        guess = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"{parser.prog} has no option {flag}{guess}") from error


def list_options(parser: ArgumentParser) -> dict[str, tuple[str, ...]]:
    """Full names of the options whose value is a list, with the words that may stand in place of one, if there are."""
    found: dict[str, tuple[str, ...]] = {}
    for action in parser._actions:
        kind = getattr(action, "_typehint", None)
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if any(get_origin(each) in (list, tuple, Sequence) for each in kinds):
            words = [word for each in kinds if get_origin(each) is Literal for word in get_args(each)]
            found[action.dest] = (*words, *(["null"] if type(None) in kinds else []))
    return found


def _flags(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words]


def _bracketed(words: Sequence[str], lists: Mapping[str, Collection[str]]) -> list[str]:
    """Values of options that are lists, with the brackets and quotes that ``0.5,0.25`` and ``head.*`` lack."""
    out, awaited = list[str](), ""
    for word in words:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        option = flag[2:] or awaited
        listed = option in lists and (equals or not flag) and value not in lists[option]
        if listed and not value.lstrip().startswith("["):
            value = "[" + ", ".join(map(_quoted, value.split(","))) + "]"
        out.append(flag + equals + value)
        awaited = option if flag and not equals else ""
    return out


def _quoted(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return json.dumps(text.strip())
    return text
