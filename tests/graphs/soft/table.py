"""The tables of docs/convolutions.md, made from what the tests of this folder prove."""

from pathlib import Path
from types import FunctionType

from torch import nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import Aggregation

from graphprune.graphs.soft.functions import GATED
from graphprune.graphs.soft.swapping import names
from graphprune.graphs.soft.tables import AGGREGATIONS, NO_AGGREGATIONS, NO_CONVOLUTIONS, PROVEN
from tests.graphs.soft.cases import CASES

PAGE = Path(__file__).parents[3] / "docs" / "convolutions.md"

MARK = "<!-- From here on made by python -m tests.graphs.soft.table -->\n"


def tables() -> str:
    """What follows the mark on the page."""
    settings: dict[str, list[str]] = {}
    examples: dict[str, MessagePassing] = {}
    for name, make in CASES.items():
        conv = make().conv
        settings.setdefault(type(conv).__name__, []).append(name)
        examples.setdefault(type(conv).__name__, conv)
    proven = [
        (f"`{name}`", _aggregation(examples[name]), ", ".join(_calls(examples[name])) or "-", ", ".join(settings[name]))
        for name in sorted(examples, key=str.lower)
    ]
    aggregations = ", ".join(f"`{name}`" for name in sorted(AGGREGATIONS - {"FusedAggregation"}))
    lines = [
        *_table(("convolution", "aggregation", "gated functions", "proven as"), proven),
        "",
        *(f"`{name}` is gated too, and proven where pyg-lib is installed.\n" for name in PROVEN - examples.keys()),
        f"Where a convolution takes an aggregation, it may be any of these: {aggregations}.",
        "",
        "## Refused",
        "",
        *_table(("convolution", "because it"), [(f"`{name}`", why) for name, why in NO_CONVOLUTIONS.items()]),
        "",
        *_table(("aggregation", "because it"), [(f"`{name}`", why) for name, why in NO_AGGREGATIONS.items()]),
    ]
    return "\n".join(lines) + "\n"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (heads, ("---",) * len(heads), *rows)]


def _aggregation(conv: MessagePassing) -> str:
    module = conv.aggr_module
    return "its own" if module is None else type(module).__name__.removesuffix("Aggregation").lower()


def _calls(conv: MessagePassing) -> list[str]:
    """Which gated functions the methods of a convolution call."""
    found = set()
    for cls in type(conv).__mro__:
        if cls in (MessagePassing, Aggregation, nn.Module):
            break
        for method in vars(cls).values():
            if isinstance(method, FunctionType):
                called = (method.__globals__.get(name) for name in names(method.__code__))
                found |= {one.__name__ for one in called if isinstance(one, FunctionType) and one in GATED}
    return sorted(found)


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + tables())
