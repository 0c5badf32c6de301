"""Documents changed by somebody who knows the scheme: their digests fit what they say now."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from graphprune.sealed import DIGEST, digest


def reseal(file: Path, change: Callable[[Any], Any] = lambda document: None) -> None:
    """Change a JSON document in place, or what each entry of a list says, and give it a digest that fits.

    What no digest can be made of, such as infinity, is left without one, as files of before are.
    """
    content = json.loads(file.read_text())
    for document in content if isinstance(content, list) else [content]:
        change(document)
        document.pop(DIGEST, None)
        with suppress(ValueError):
            document[DIGEST] = digest(document)
    file.write_text(json.dumps(content))
