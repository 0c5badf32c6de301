"""Plain data: to standard JSON and back without losing a number, and checked against types."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from graphprune.files import unique

# JSON knows no such numbers; this key marks the objects that stand for them.
_MARK = "$float"
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_INT64 = 2**63


def encode(value: object, where: str) -> Any:
    """A copy that JSON can hold: tuples as lists, numpy and torch scalars as numbers, NaN and inf as objects.

    Args:
        value: numbers, strings, None, and lists, tuples and string-keyed mappings of such.
        where: what the value is called in errors.

    Raises:
        TypeError: anything else; the text names the place.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else {_MARK: repr(float(value))}
        case list() | tuple():
            return [encode(entry, f"{where}[{number}]") for number, entry in enumerate(value)]
        case Mapping():
            odd = [key for key in value if not isinstance(key, str) or key == _MARK]
            if odd:
                raise TypeError(f"{where} has the key {odd[0]!r}; keys must be strings other than {_MARK!r}")
            return {str(key): encode(entry, f"{where}.{key}") for key, entry in value.items()}
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return encode(value.item(), where)
    raise TypeError(f"{where} is a {type(value).__name__}; only numbers, strings, lists, dicts can be saved")


def dumps(encoded: Any) -> bytes:
    """Standard JSON of what `encode` returned."""
    return json.dumps(encoded, allow_nan=False, indent=1).encode()


def loads(text: bytes) -> Any:
    """The value behind a JSON text, NaN and inf included.

    Raises:
        ValueError: no standard JSON, or nested beyond measure.
    """
    return _parsed(text, object_hook=_decode)


def read(text: bytes) -> tuple[Any, Any]:
    """A JSON text as it stands there, and the value behind it, which differ where there are NaN and inf.

    Raises:
        ValueError: as :func:`loads`, or a key that stands twice in an object.
    """
    marked = False

    def made(members: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal marked
        found = unique(members)
        marked = marked or _MARK in found
        return found

    written = _parsed(text, object_pairs_hook=made)
    return written, loads(text) if marked else written


def _parsed(text: bytes, **hooks: Callable[..., Any]) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, **hooks)  # type: ignore[arg-type]
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _decode(found: dict[str, Any]) -> Any:
    if _MARK not in found:
        return found
    word = found[_MARK]
    if len(found) > 1 or not isinstance(word, str) or word not in _NOT_FINITE:
        raise ValueError(f"{reprlib.repr(found)} stands for no number; {_MARK} is one of {list(_NOT_FINITE)}")
    return _NOT_FINITE[word]


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not standard JSON")


def flat(value: Any, name: str) -> dict[str, Any]:
    """The leaves of nested dicts by their dotted names, which begin with ``name``."""
    if not isinstance(value, dict):
        return {name: value}
    parts = (flat(inner, f"{name}.{key}") for key, inner in value.items())
    return {leaf: entry for part in parts for leaf, entry in part.items()}


def fits(value: object, hint: Any) -> bool:
    """Whether decoded JSON is of a type: a plain one, ``list[...]``, ``dict[str, ...]``, unions and literals.

    An int passes for a float, a bool for neither, and an int has to fit into 64 bits. Types that JSON lacks
    are not checked.
    """
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, option) for option in inner)
    if kind is Literal:
        return any(type(value) is type(option) and value == option for option in inner)
    if kind not in (NoneType, bool, int, float, str, list, dict):
        return True
    if kind in (int, float) and type(value) is int:
        return -_INT64 <= value < _INT64
    if type(value) is not kind:
        return False
    if isinstance(value, dict):
        value = list(value.values())
    return not (isinstance(value, list) and inner) or inner[-1] is Any or all(fits(entry, inner[-1]) for entry in value)


def require(value: object, hint: Any, where: str) -> Any:
    """The value, if it is of the type.

    Raises:
        ValueError: it is not; the text names the place, the type and the value.
    """
    if not fits(value, hint):
        kind = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise ValueError(f"{where} must be of type {kind}, got {reprlib.repr(value)}")
    return value


def require_fields(value: object, schema: Mapping[str, Any], where: str, *, more: bool = False) -> dict[str, Any]:
    """The value, if it is a dict with these fields of these types, and no others unless ``more``.

    Raises:
        ValueError: it is not; the text names the field.
    """
    found: dict[str, Any] = require(value, dict, where)
    problems = [f"lacks {name!r}" for name in schema if name not in found]
    problems += [f"has an unknown {name[:80]!r}" for name in found if name not in schema and not more]
    if problems:
        raise ValueError(f"{where} {', '.join(problems[:5])}")
    for name, hint in schema.items():
        require(found[name], hint, f"{where}.{name}")
    return found
