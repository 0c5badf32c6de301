"""Reference graph classifiers: GCN, SAGE, GAT, GIN (with bond features where there are any), GatedGCN and PNA."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

from torch import Tensor, nn

from graphprune.graphs.adjacency import Adjacency
from graphprune.graphs.conv import GATLayer, GCNLayer, GINELayer, GINLayer, SAGELayer
from graphprune.graphs.encoders import Features
from graphprune.graphs.gated_gcn import GatedGCNLayer
from graphprune.graphs.kinds import Kinds, Vectors
from graphprune.graphs.norms import RowNorm
from graphprune.graphs.pna import PNALayer, mean_log_degree
from graphprune.models.base import HasTask
from graphprune.models.blocks import norm_layer
from graphprune.models.classifier import Edges, GraphClassifier

LARGEST_LOG = 64  # log(1 + degree) of degrees that are counted in 64 bits is less


class GCN(GraphClassifier):
    """Graph convolutions of Kipf & Welling (ICLR 2017); with ``bonds`` messages are OGB's, ``relu(x + e)``."""

    def conv(self, hidden: int, depth: int) -> nn.Module:
        """The convolution of layer ``depth``."""
        return GCNLayer(hidden, hidden, edges=self.bonds)


class SAGE(GraphClassifier):
    """GraphSAGE with mean aggregation, Hamilton et al. (NeurIPS 2017); with ``bonds`` messages are ``relu(x + e)``."""

    def conv(self, hidden: int, depth: int) -> nn.Module:
        """The convolution of layer ``depth``."""
        return SAGELayer(hidden, hidden)


class GAT(GraphClassifier):
    """Graph attention with 4 heads, Veličković et al. (ICLR 2018); with ``bonds`` edge features have a say in it."""

    def conv(self, hidden: int, depth: int) -> nn.Module:
        """The convolution of layer ``depth``."""
        if hidden % 4:
            raise ValueError(f"hidden must be a multiple of the 4 attention heads, got {hidden}")
        return GATLayer(hidden, hidden // 4, heads=4, edge_dim=hidden if self.bonds else None)

    def resized(self, hidden: int) -> Self:
        """A freshly initialised model of about this width: the next lower multiple of the 4 heads, at least 4."""
        return super().resized(max(4, hidden - hidden % 4))


class GIN(GraphClassifier):
    """Graph isomorphism network, Xu et al. (ICLR 2019); with ``bonds`` the OGB standard, GINE (Hu et al., ICLR 2020).

    What is true of a bond is true of any edge with features: categories have an embedding table a layer, real columns a
    linear map a layer (as they are: a norm over edges would see gated ones).

    Args:
        features: see :class:`GraphClassifier`, as all others.
        num_outputs: logits a graph.
        hidden: width, also inside each layer's two-layer network.
        layers: convolutions.
        train_eps: learn how much a node counts beside its neighbours, which is 1 otherwise; learnt unless told.
        options: see :class:`GraphClassifier`.
    """

    follows = True

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        hidden: int = 128,
        layers: int = 3,
        *,
        train_eps: bool = True,
        **options: Any,
    ) -> None:
        self._train_eps = train_eps
        super().__init__(features, num_outputs, hidden, layers, **options)
        self._config["bonds"] = self.bonds
        self._keep(GIN, {"train_eps": train_eps})

    def conv(self, hidden: int, depth: int) -> nn.Module:
        """The convolution of layer ``depth``."""
        norm = norm_layer(self.norm, hidden)
        net = nn.Sequential(nn.Linear(hidden, hidden), norm, nn.ReLU(), nn.Linear(hidden, hidden))
        return (GINELayer if self.bonds else GINLayer)(net, self._train_eps)


class GatedGCN(GraphClassifier):
    """Gated graph convolutions, whose edges have vectors too; Bresson & Laurent (2017), best with ``residual``.

    Edge features are encoded once; each layer but the last one makes new edge vectors, with the norm, dropout and
    residual sum that nodes have. Without edge features the first layer's edges are made from their ends alone.
    """

    follows = True

    def conv(self, hidden: int, depth: int) -> nn.Module:
        """The convolution of layer ``depth``."""
        norm = RowNorm(hidden) if self.norm == "batch" else norm_layer(self.norm, hidden)
        return GatedGCNLayer(
            hidden,
            reads=self.bonds or depth > 0,
            norm=norm if depth < self.layers - 1 else None,
            dropout=self.dropout,
            residual=self.residual,
        )

    def encoders(self, layers: int) -> int:
        """One, if edge features are read."""
        return int(self.bonds)

    def convolve(self, depth: int, x: Vectors, adjacency: Adjacency, edges: Edges) -> tuple[Tensor, Edges]:
        """Layer ``depth`` on node vectors of shape ``(N, hidden)``, and the vectors of the edges for the next one."""
        if isinstance(edges, Kinds):
            table = self.bond_encoders[0].encode(edges.rows)  # type: ignore[operator]
            return self.convs[depth](x, adjacency, table, edges)  # type: ignore[no-any-return]
        return self.convs[depth](x, adjacency, edges)  # type: ignore[no-any-return]


class PNA(GraphClassifier):
    """Principal neighbourhood aggregation, Corso et al. (NeurIPS 2020): mean, deviation, extremes, scaled by degrees.

    Args:
        features: see :class:`GraphClassifier`, as all others.
        num_outputs: logits a graph.
        hidden: width.
        layers: convolutions.
        log_degree: mean of log(1 + in-degree) over the nodes that it is trained on, which :meth:`for_data` counts.
        options: see :class:`GraphClassifier`.

    Raises:
        ValueError: as others raise, or a ``log_degree`` that no graph has.
    """

    follows = True

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        hidden: int = 128,
        layers: int = 3,
        *,
        log_degree: float = 1.0,
        **options: Any,
    ) -> None:
        if not isinstance(log_degree, Real) or isinstance(log_degree, bool) or not 0 < log_degree < LARGEST_LOG:
            raise ValueError(
                f"log_degree must be the mean of logarithms, above 0 and below {LARGEST_LOG}, got {log_degree!r}"
            )
        self._log_degree: float = log_degree
        super().__init__(features, num_outputs, hidden, layers, **options)
        self._config["log_degree"] = log_degree

    @classmethod
    def for_data(cls, data: HasTask, hidden: int = 128, layers: int = 3, **options: Any) -> Self:
        """A model for this data set, see :meth:`GraphClassifier.for_data`, scaled by its training graphs' degrees.

        These are the degrees before any pruning; 1 is taken where no graph has an arc.
        """
        cls.check_graphs(data)
        train = getattr(data, "train", None)
        if train is not None:
            options = {"log_degree": mean_log_degree(train) or 1.0} | options
        return super().for_data(data, hidden, layers, **options)

    def conv(self, hidden: int, depth: int) -> nn.Module:
        """The convolution of layer ``depth``."""
        return PNALayer(hidden, self._log_degree, edges=self.bonds)
