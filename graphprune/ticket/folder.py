"""A folder of a JSON document and a file of tensors: written whole or not at all, read with suspicion."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from graphprune import __version__
from graphprune.files import new_folder, writing
from graphprune.sealed import DIGEST, check_seal, seal
from graphprune.ticket import plain

FORMAT = 1
DOCUMENT = "ticket.json"
LIMIT = 64 << 20  # bytes of JSON: hundreds of thousands of epochs

# What safetensors and torch make of headers that lie.
_BROKEN = (
    safetensors.SafetensorError,
    ArithmeticError,
    AssertionError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)

_HEAD = {"format": int, "written_by": dict[str, str], "sha256": str, "bytes": int}

_log = logging.getLogger(__name__)


def write(folder: Path, document: dict[str, Any], tensors: Mapping[str, Tensor], kind: str = "ticket") -> None:
    """Write a new folder.

    The files are complete and on the disk before the folder gets its name, see :func:`graphprune.files.new_folder`.

    Args:
        folder: must not exist; its parents are made.
        document: plain data, as `plain.encode` returns it.
        tensors: any dense tensors.
        kind: what it is, after which both files are called.

    Raises:
        FileExistsError: the folder exists.
        OSError: it cannot be written, as on a full disk; nothing is left of it.
        ValueError: the document exceeds `LIMIT`.
    """
    # Copies: safetensors refuses tensors that share memory or have strides.
    blob = safetensors.torch.save({name: _copy(tensor) for name, tensor in tensors.items()})
    head = {
        "format": FORMAT,
        "written_by": {
            "graphprune": __version__,
            "torch": str(torch.__version__),
            "safetensors": safetensors.__version__,
        },
        "sha256": hashlib.sha256(blob).hexdigest(),
        "bytes": len(blob),
        kind: document,
    }
    text = plain.dumps(seal(head))
    if len(text) > LIMIT:
        raise ValueError(f"{folder}: history and provenance take {len(text):,} bytes, more than {LIMIT:,}")
    what = f"the {kind} in {folder}, which takes {len(blob) + len(text):,} bytes"
    with writing(what, "rounds saved earlier are untouched"), new_folder(folder) as made:
        for ending, content in (("safetensors", blob), ("json", text)):
            (made / f"{kind}.{ending}").write_bytes(content)


def read(folder: Path, kind: str = "ticket") -> tuple[Any, dict[str, Tensor]]:
    """What `write` wrote of this kind. Nothing in the files is executed or imported.

    Returns:
        The document and the tensors, on the CPU.

    Raises:
        FileNotFoundError: the folder or a file of it is missing.
        ValueError: a file is truncated, altered, oversized, no ticket at all, or of another format version.
    """
    document, blob = folder / f"{kind}.json", folder / f"{kind}.safetensors"
    for file in (document, blob):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: the folder has to hold {document.name} and {blob.name}")
    found = head(document, kind)
    if DIGEST not in found:
        _log.info("%s has no digest: nothing tells whether it is what was written", document)
    try:
        return found[kind], _tensors(blob, found["bytes"], found["sha256"])
    except ValueError as error:
        raise ValueError(f"{blob}: {error}") from error


def head(file: Path, kind: str = "ticket") -> dict[str, Any]:
    """What a document says, of itself and as ``kind``; it has a ``digest`` unless it was written before there were any.

    Raises:
        ValueError: as :func:`read`, of this file alone.
    """
    try:
        return _head(file, kind)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _head(file: Path, kind: str) -> dict[str, Any]:
    with open(file, "rb") as stream:
        text = stream.read(LIMIT + 1)
    if len(text) > LIMIT:
        raise ValueError(f"more than {LIMIT:,} bytes are no {kind}")
    written, value = plain.read(text)
    written = plain.require(written, dict, "the document")
    # First of all, as other versions may have other fields.
    version = plain.require(written.get("format"), int, "format")
    if version != FORMAT:
        writer = written.get("written_by")
        name = writer.get("graphprune") if isinstance(writer, dict) else None
        raise ValueError(
            f"format {version} was written by graphprune {str(name)[:40]!r}; graphprune {__version__} reads "
            f"format {FORMAT}: install the version that wrote it"
        )
    own = {DIGEST: str} if check_seal(written) else {}
    return plain.require_fields(value, {**_HEAD, kind: dict, **own}, "document")


def _tensors(file: Path, size: int, sha256: str) -> dict[str, Tensor]:
    found = file.stat().st_size
    if found != size:
        raise ValueError(f"truncated or altered: {found:,} bytes instead of {size:,}")
    blob = file.read_bytes()
    if hashlib.sha256(blob).hexdigest() != sha256:
        raise ValueError(f"altered since it was written: its SHA-256 is not the one in {file.stem}.json")
    try:
        return safetensors.torch.load(blob)
    except _BROKEN as error:
        raise ValueError(f"not a valid safetensors file: {error}") from error


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
