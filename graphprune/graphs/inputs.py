"""What reference networks and predictors read of a node: its features and, where their data set has some, encodings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Data

from graphprune.graphs.encoders import FeatureEncoder, encoded
from graphprune.graphs.encodings import ENCODINGS, Encodings
from graphprune.graphs.kinds import Vectors, nodes_of
from graphprune.graphs.norms import RowNorm

# Beside the variance of a column: encodings are shares, of which some are 0 in nearly every graph (three steps lead
# back in a triangle alone). A deviation far below 0.3 is no unit: the few other graphs would be tens of units off.
SPREAD = 0.1

# The argument ``encodings`` of a network: what it reads beside x, as plain data or not; None: nothing.
Given = Encodings | Mapping[str, Any] | None


class EncodingEncoder(FeatureEncoder):
    """Batch norm and a linear map of :class:`~graphprune.graphs.encodings.Encodings`.

    Args:
        encodings: which.
        dim: width of the vectors.
    """

    def __init__(self, encodings: Encodings, dim: int) -> None:
        super().__init__(encodings.columns, dim, RowNorm(encodings.columns, eps=SPREAD))
        self.encodings = encodings


def encoding_encoder(given: Given, dim: int) -> EncodingEncoder | None:
    """The encoder of what a network is told to read; raises ValueError if it is no such thing."""
    return None if given is None else EncodingEncoder(Encodings.of(given), dim)


def encodings_config(given: Given) -> dict[str, dict[str, int]]:
    """What a network's config says of it: nothing where there is nothing, as before there was a choice."""
    return {} if given is None else {"encodings": Encodings.of(given).config()}


def of_data(data: object) -> dict[str, dict[str, int]]:
    """The same as an argument of a network for this data set."""
    return encodings_config(getattr(data, "encodings", None))


def reading(data: object, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a network for this data set: it reads the set's encodings, unless ``encodings`` is among them.

    Raises:
        ValueError: the graphs have encodings that the set knows nothing of, which would not be read.
    """
    graphs = getattr(getattr(data, "train", None), "node", {})
    if "encodings" not in options and getattr(data, "encodings", None) is None and ENCODINGS in graphs:
        columns = graphs[ENCODINGS].size(-1)
        raise ValueError(
            f"the graphs of {getattr(data, 'name', 'the data set')} have an attribute {ENCODINGS!r} that the set does "
            f"not know, as gp.AddEncodings in a transform gives it: data = data.with_encodings(walks={columns}) takes "
            "it, or for_data(data, encodings=None) leaves it aside"
        )
    return of_data(data) | dict(options)


def node_vectors(network: nn.Module, data: Data) -> Vectors:
    """What ``node_encoder`` makes of a graph's ``x``, and ``encoding_encoder``, unless it is None, of its encodings.

    Raises:
        ValueError: no ``x`` or ``edge_index``, or no such encodings; the text has the line that adds them.
    """
    vectors = encoded(network.node_encoder, data)  # type: ignore[arg-type]
    encoder = network.encoding_encoder
    if not isinstance(encoder, EncodingEncoder):
        return vectors
    more: Tensor = encoder(encoder.encodings.there(data, type(network).__name__))
    return nodes_of(vectors) + more
