"""Every convolution of torch_geometric that is gated: small networks are right, or it is said what keeps channels."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

import graphprune as gp
from graphprune.compaction import compact, coupled_channels
from graphprune.masks import MaskSet, magnitude
from tests.compaction.nets import size, used
from tests.graphs.soft.cases import CASES, CHORDS, RING, WIDTH, build, double, graph

EXAMPLE = double(graph(6, RING + CHORDS, 1))
FRESH = [
    double(graph(9, [(a + 3, b + 3) for a, b in RING] + [(0, 7), (7, 0), (8, 2), (2, 3)], 2)),
    double(graph(4, [])),
]


class Between(nn.Module):
    """A convolution between linear layers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.start, self.model, self.head = nn.Linear(WIDTH, WIDTH), model, nn.Linear(first(model(EXAMPLE)).size(-1), 2)

    def forward(self, data: Data) -> Tensor:
        data = copy.copy(data)
        data.x = self.start(data.x)
        return self.head(first(self.model(data)))  # type: ignore[no-any-return]


def first(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else out[0]


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", [name for name in CASES if not name.endswith("-back")])
def test_half_of_the_channels_are_gone_or_kept_by_what_is_named(name: str) -> None:
    model = used(Between(build(name).double().eval())).double().eval()
    weights = [key for key, value in model.named_parameters() if value.ndim > 1 and not key.startswith("head")]
    select = gp.prunable(include=weights, exclude=["head.*"])
    unit = coupled_channels(model, EXAMPLE, select)
    masks = MaskSet.dense(model, select, unit=unit)
    masks = masks.tighten(magnitude(dict(model.named_parameters()), {}, masks), 0.5, unit=unit, scope="layer")
    masks.apply_(model)
    try:
        small = compact(model, EXAMPLE)
    except ValueError as error:
        assert "nothing to remove" in str(error)
        return
    assert size(small) < size(model)
    for data in (EXAMPLE, *FRESH):
        with torch.no_grad():
            expected = model(data)
        torch.testing.assert_close(
            small(data).detach(), expected, rtol=0, atol=1e-9 * max(float(expected.abs().max()), 1e-3)
        )
