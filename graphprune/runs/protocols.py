"""A protocol that is said in more than one place: by its name, and by parts of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
import yaml

from graphprune.methods import METHODS
from graphprune.runs.options import canonical
from graphprune.runs.yaml_text import parsed

OPTION = "method.protocol"
NAMES = ("clean", "paper")
CONSTRAINTS = ("connected", "min_degree")  # what no protocol that has a name says anything of


def merged(method: str, earlier: Any, later: Any) -> Any:
    """What two places say together: a name, or a mapping of parts as :class:`graphprune.methods.Protocol` has them.

    Parts change the protocol before them. A name takes the place of all that it says itself, which is everything but
    the constraints ``connected`` and ``min_degree``: those stay.

    Args:
        method: its name in the registry: ``paper`` is what its authors did.
        earlier: said first; None: nothing.
        later: said after it, so that it wins.

    Returns:
        A name where nothing else is left to say, or a mapping. What is neither, or has parts that do not exist, stays
        in it, so that the parser refuses it.
    """
    if earlier is None:
        return later
    if isinstance(later, Mapping):
        known = isinstance(earlier, Mapping) or earlier in NAMES
        return _changed(_spelt(method, earlier), later) if known else earlier
    if later in NAMES and isinstance(earlier, Mapping):
        named = _spelt(method, later)
        kept = {name: value for name, value in earlier.items() if name not in named}
        if isinstance(rule := earlier.get("rule", {}), Mapping):
            rule = {name: value for name, value in rule.items() if name not in named["rule"] and value}
        kept |= {"rule": rule} if rule else {}
        return _changed(named, kept) if kept else later
    return later


def in_one(method: str, typed: Sequence[str], file: Mapping[str, Any], options: Sequence[str]) -> list[str]:
    """Words of a command line with the protocol said once, where its name and parts of it are given apart.

    Args:
        method: its name in the registry.
        typed: the words; of a value beside parts they get the two merged, in whatever order they stand.
        file: options of the ``--config`` file, which come before the words.
        options: full names of all options.
    """
    rest, values, parts = list[str](), list[str](), list[str]()
    words = iter(typed)
    for word in words:
        flag, equals, value = canonical([word], options)[0].partition("=")
        if flag == f"--{OPTION}":
            values.append(value if equals else next(words, ""))
        elif flag.startswith(f"--{OPTION}."):
            parts += [word] if equals else [word, *islice(words, 1)]
        else:
            rest.append(word)
    said: Any = (file.get("method") or {}).get("protocol")
    for value in values:
        said = merged(method, said, parsed(value, "--protocol"))
    if parts and said in NAMES:
        said = _spelt(method, said)
    if not (values or parts) or said is None:
        return list(typed)
    text = said if isinstance(said, str) else yaml.safe_dump(said, default_flow_style=True, width=float("inf")).strip()
    return [*rest, f"--{OPTION}={text}", *parts]


def rule_hint(option: str, value: Any) -> str:
    """How a file says a constraint that stands there as an option of its own; empty if it is none."""
    head, _, name = option.rpartition(".")
    if name not in CONSTRAINTS or head not in ("", "rule", "protocol", "protocol.rule"):
        return ""
    return f"write protocol: {{rule: {{{name}: {json.dumps(value)}}}}}"


def _spelt(method: str, value: Any) -> dict[str, Any]:
    """A protocol with a name as the mapping that means it."""
    if isinstance(value, Mapping):
        return dict(value)
    read: Any = attrs.fields_dict(METHODS[method])["protocol"].converter
    return read(value).config()  # type: ignore[no-any-return]


def _changed(values: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        name: _changed(values[name], part)
        for name, part in parts.items()
        if isinstance(part, Mapping) and isinstance(values.get(name), Mapping)
    }
    return {**values, **parts, **inner}
