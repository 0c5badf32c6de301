"""Ways to damage a file's bytes: as a disk or a transfer would, and as somebody would who knows what is in it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, 0.5, -1e300, 1e308, "", "a", "nan", "../../x", "\x00", "é" * 9),
    *([], {}, [[]], [1, "a"], {"a": 1}, {"$float": "nan"}, ["a"] * 99),
)
TEXTS = (  # in files that people write; the last ones grow, ask for code, or nest
    *(
        "1e999",
        "-0",
        "0x10",
        "1_000",
        "2024-13-45",
        "!!timestamp x",
        "!!bool maybe",
        "~",
        "*a",
        "&a [*a]",
        "<<: 1",
        "\t",
    ),
    *("!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "{" * 200, "[" * 5000, "? " * 300),
    "&a [x, x, x, x, x, x, x, x, x, &b [*a, *a, *a, *a, *a, *a, *a, *a, *a], *b, *b, *b, *b, *b, *b, *b, *b]",
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bits and blocks that are other, gone, there twice, or swapped."""
    data, size = bytearray(content), max(len(content), 1)
    first = rng.randrange(size)
    last = min(size, first + rng.choice((1, 2, 8, 64, 4096)))
    kind = rng.randrange(8)
    if kind == 0 and data:
        data[first] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[first:]
    elif kind == 2:
        del data[first:last]
    elif kind == 3:
        data[first:first] = data[first:last]
    elif kind == 4:
        data[first:last] = bytes(last - first)
    elif kind == 5:
        data[first:last] = rng.randbytes(last - first)
    elif kind == 6:
        data += rng.randbytes(rng.choice((1, 16, 1000)))
    else:
        data[first:last] = b""
        place = rng.randrange(len(data) + 1)
        data[place:place] = content[first:last]
    return bytes(data)


def json_values(content: bytes, rng: random.Random) -> bytes:
    """A JSON document, or a line of JSON, in which a value is another, is gone, or has a new neighbour or a twin."""
    lines = content.splitlines(keepends=True) if content.count(b"\n{") else [content]
    number = rng.randrange(len(lines))
    try:
        document = json.loads(lines[number])
    except ValueError:
        return damaged(content, rng)
    lines[number] = _other(document, rng).encode() + b"\n"
    return b"".join(lines)


def _other(document: Any, rng: random.Random) -> str:
    places = list(_places(document))
    if not places:
        return json.dumps(rng.choice(ODD))
    holder, key = rng.choice(places)
    value, kind = holder[key], rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = rng.choice(ODD)
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(("extra", key + " ", ""))] = value
    elif kind == 3 and isinstance(holder, list):
        holder.insert(key, value)
    elif kind == 4 and isinstance(key, str):  # the same key twice, of which parsers take the last
        text, twin = json.dumps(document, indent=rng.choice((None, 1))), json.dumps(rng.choice((*ODD, 7)))
        return text.replace(f"{json.dumps(key)}:", f"{json.dumps(key)}: {twin}, {json.dumps(key)}:", 1)
    else:
        holder[key] = _near(value, rng)
    return json.dumps(document, indent=rng.choice((None, 1)))


def _near(value: Any, rng: random.Random) -> Any:
    """A value that looks as good: a digit or a letter is another."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        text = repr(value)
        digits = [match.start() for match in re.finditer(r"\d", text)]
        if digits:
            place = rng.choice(digits)
            text = f"{text[:place]}{rng.randrange(10)}{text[place + 1 :]}"
        try:
            return json.loads(text)
        except ValueError:
            return -value
    if isinstance(value, str) and value:
        place = rng.randrange(len(value))
        return value[:place] + rng.choice("abcxyz019 _") + value[place + 1 :]
    return rng.choice(ODD)


def _places(document: Any) -> list[tuple[Any, Any]]:
    found, left = [], [document]
    for holder in left:
        for key, value in list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder)):
            found.append((holder, key))
            if isinstance(value, dict | list):
                left.append(value)
    return found if isinstance(document, dict | list) else []


def text_lines(content: bytes, rng: random.Random) -> bytes:
    """A text file in which a number or a line is another, is gone, or is there twice."""
    lines = content.decode(errors="replace").split("\n")
    place, kind = rng.randrange(len(lines)), rng.randrange(6)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif kind == 2:
        lines[place] = rng.choice(TEXTS)
    elif kind == 3:
        lines[place] = re.sub(r"[^\s,:]+$", lambda _: rng.choice(TEXTS), lines[place], count=1)
    elif kind == 4:
        lines[place] = re.sub(r"\d", lambda _: str(rng.randrange(10)), lines[place], count=1)
    else:
        lines[place] = lines[place] + rng.choice((",", ", 1", " #", "é", "\x00", ":", "- "))
    return "\n".join(lines).encode()
