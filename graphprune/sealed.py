"""The digest that a JSON document has of itself: what was changed since it was written is found.

It is a digest and no signature: whoever rewrites a document can seal it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from graphprune.files import finite

DIGEST = "digest"


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a parsed document without its own digest, as JSON with sorted keys, no whitespace and ASCII alone.

    Raises:
        ValueError: it holds NaN or infinity, which JSON has not, or is nested beyond measure.
    """
    content = {name: value for name, value in document.items() if name != DIGEST}
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it holds a number that is NaN or infinite, which JSON has not") from None
    return hashlib.sha256(text.encode()).hexdigest()


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its digest as the last member, of what :func:`graphprune.files.write_json` makes of it."""
    return {**document, DIGEST: digest(json.loads(json.dumps(finite(document), allow_nan=False)))}


def check_seal(document: Mapping[str, Any]) -> bool:
    """Whether a parsed document has a digest; those that were written before there were any have none.

    Args:
        document: an object of a JSON text, in which :func:`graphprune.files.unique` has seen no key twice.

    Raises:
        ValueError: its digest does not fit.
    """
    if DIGEST in document and document[DIGEST] != digest(document):
        raise ValueError("altered since it was written: its digest does not fit")
    return DIGEST in document
