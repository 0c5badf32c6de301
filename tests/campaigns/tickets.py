"""Mutated tickets: JSON and tensors, also such that were sealed again with the digest of what was changed.

python -m tests.campaigns.tickets [--trials 20000] [--seconds 1800] [--seed 0] [--only NAME ...]

The subject `resealed` is what somebody can make who knows the format: no digest tells it, and what is counted is that
it is refused in words or read as what it says. The JSON of tickets has no digest of its own yet: until it has, changed
JSON that is as valid is accepted, which is counted and does not fail the script (`OPEN`).
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphprune.ticket import Ticket
from tests.campaigns.damage import Subject, main
from tests.campaigns.mutate import damaged, json_values
from tests.ticket.samples import facts, ticket

OPEN = ("accepted with other content",)  # until a digest is over the JSON, too


def tensor_header(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header says something else of the tensors."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json_values(content[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def tensor_values(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file in which one tensor's bytes are others."""
    size = struct.unpack("<Q", content[:8])[0]
    body = bytearray(content[8 + size :])
    place = rng.randrange(len(body))
    body[place] ^= rng.randrange(1, 256)
    return content[: 8 + size] + bytes(body)


def read(folder: Path) -> Any:
    """All that a ticket says."""
    return facts(Ticket.load(folder / "t"))


def read_resealed(folder: Path) -> Any:
    """The same, of a ticket whose digest is made to fit first."""
    document, blob = folder / "t/ticket.json", (folder / "t/ticket.safetensors").read_bytes()
    try:
        head = json.loads(document.read_bytes())
        head |= {"sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}
        document.write_text(json.dumps(head))
    except (ValueError, TypeError):
        pass  # it is no JSON any more
    return read(folder)


def subjects(_: Path) -> Mapping[str, Subject]:
    """A ticket as it is, and one that is sealed again."""

    def make(folder: Path) -> None:
        ticket().save(folder / "t")

    ways = {"*.json": (json_values, json_values, damaged), "*.safetensors": (damaged, tensor_header, tensor_values)}
    return {
        "ticket": Subject(make, read, ways, sealed=True),
        "resealed": Subject(make, read_resealed, ways),
    }


if __name__ == "__main__":
    raise SystemExit(main(subjects, __doc__, OPEN))
