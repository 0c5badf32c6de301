"""A data set of graphs ready for pruning: what nodes and edges have, and which graphs the splits hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from graphprune.data import metrics
from graphprune.data.degrees import DegreeColumns
from graphprune.data.labelled import IGNORE_INDEX, LabelledData, Split
from graphprune.data.sequences import check_sequences
from graphprune.data.splits import together
from graphprune.graphs.encoders import ATOM_FEATURES, EdgeFeatures, Features, node_encoder
from graphprune.graphs.encodings import ENCODINGS, Encodings, rounded
from graphprune.graphs.packed import PackedGraphs

Level = Literal["graph", "node"]


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphData(LabelledData[PackedGraphs]):
    """Train, validation and test graphs of one task, with a label for each graph or for each node.

    Args:
        name: the data set's name.
        train: graphs to train on; ``y`` is ``(G,)`` int64 for multiclass, else ``(G, num_tasks)`` float32
            with NaN where a label is missing, or ``(G, num_tasks)`` int64 for sequence, with all ``words`` beside it
            (see :mod:`graphprune.data.sequences`). Of a node-level task it is a node attribute, ``(N,)`` with -100 or
            ``(N, num_tasks)`` with NaN at nodes whose label this split does not see.
        val: graphs that select epochs and predictors.
        test: graphs that are only reported.
        task: kind of labels.
        metric: what :meth:`evaluate` computes; accuracy or its mean over classes, balanced-accuracy, for multiclass,
            rocauc, ap or (micro) f1 for binary, rmse or mae for regression, subtoken-f1 for sequence, or a plug-in of
            the entry-point group ``graphprune.metrics``.
        features: columns of ``x``, ``"ogb-mol"`` for OGB's nine categorical atom features, or a list of how many
            categories each column of integers has.
        num_classes: classes of a multiclass task, or of each position of a sequence, 2 for binary, 0 for regression.
        num_tasks: labels a graph, or a node, carries (1 for multiclass), positions of a sequence.
        edge_features: columns of ``edge_attr``, ``"ogb-mol"`` for OGB's three bond features, a list of how many
            categories each column of integers has, None without any.
        degrees: which columns of ``x`` are node degrees, None if there are none.
        encodings: what the node attribute ``encodings`` of all splits is, float32 ``(N, columns)``, see
            :meth:`with_encodings`; None: there is none.
        ogb_name: name under which OGB's official ``Evaluator`` knows the set; empty for sets that are not
            OGB's.
        provenance: source, licence and split recipe, as text.
        level: what carries a label, ``"graph"`` or ``"node"``.
        transductive: the three splits are the same graphs, and differ in the labels that they see.
        vocabulary: of a sequence task, the words of the first classes; then come any other word, and the end.
        held_out: where the validation graphs stood among the training graphs, if they were held out of these and the
            source has no validation split; empty if it has one, or splits are of the user's choice.

    Raises:
        ValueError: the metric does not belong to the task, the labels are not where the level says, a split without
            the encodings that the set is to have, or the splits of a transductive set are different graphs.
    """

    features: Features
    edge_features: EdgeFeatures | None = None
    degrees: DegreeColumns | None = None
    encodings: Encodings | None = None
    ogb_name: str = ""
    level: Level = "graph"
    transductive: bool = False
    held_out: Sequence[int] = ()
    vocabulary: Sequence[str] = ()

    def __post_init__(self) -> None:
        metrics.check_metric(self.metric, self.task)
        if self.level not in get_args(Level):
            raise ValueError(f"level must be one of {', '.join(get_args(Level))}, got {self.level!r}")
        for split, graphs in self.splits.items():
            if "y" not in getattr(graphs, self.level):
                raise ValueError(f"{self.name}, {split} split: the graphs have no y with a row a {self.level}")
            if self.task == "sequence":
                where = f"{self.name}, {split} split"
                check_sequences(graphs.graph, len(graphs), self.num_tasks, self.num_classes, self.vocabulary, where)
            if self.encodings is not None:
                self.encodings.in_split(graphs, f"{self.name}, {split} split")
        if self.transductive and any(_other(graphs, self.train) for graphs in (self.val, self.test)):
            raise ValueError(f"{self.name}: the splits of a transductive set must be the same graphs")

    def with_splits(
        self, *, train: PackedGraphs | None = None, val: PackedGraphs | None = None, test: PackedGraphs | None = None
    ) -> Self:
        """A copy with other graphs in the splits that are named; with other numbers of graphs none is held out."""
        made = super().with_splits(train=train, val=val, test=test)
        same = len(made.train) == len(self.train) and len(made.val) == len(self.val)
        return made if same else replace(made, held_out=())

    def without_val(self) -> Self:
        """The data as a protocol has them that validates on the test graphs: those that were held out train again.

        The test graphs stand in place of the validation split. A set whose source has such a split stays as it is.
        """
        if not self.held_out:
            return self
        split = f"{self.provenance.get('split', 'held out for validation')}, which trains here: the test graphs select"
        data = self.with_splits(train=together(self.train, self.val, self.held_out), val=self.test)
        return replace(data, provenance={**self.provenance, "split": split})

    def with_encodings(self, **options: int) -> Self:
        """The data with encodings of each node's place in its graph, for all networks and predictors to read.

        They are the node attribute ``encodings`` of all splits, counted once, on the arcs that the graphs have now, in
        place of any that the set has. Pruning keeps them; ``degree_features="recomputed"`` of a method is the control.

        Args:
            options: of :class:`~graphprune.Encodings`, such as ``walks=16``.

        Raises:
            ValueError: as :class:`~graphprune.Encodings`; a graph that would take too long; or graphs with an attribute
                of that name that is something else.
        """
        spec, splits = Encodings.of(options), dict[str, PackedGraphs]()
        for split, graphs in self.splits.items():
            if self.encodings is None:
                spec.check_free(graphs, f"{self.name}, {split} split")
            same = splits["train"].node[ENCODINGS] if splits and self.transductive else None
            splits[split] = spec.counted(graphs) if same is None else graphs.with_node(**{ENCODINGS: same})
        told = {**self.provenance, "encodings": spec.words}
        return replace(self, encodings=spec, provenance=told, **splits)  # type: ignore[arg-type]

    def digest(self) -> str:
        """SHA-256 over the graphs of all three splits.

        Encodings are rounded before, coarsely: their last bits may differ from one machine to the next.
        """
        return LabelledData.digest(self if self.encodings is None else self.with_splits(**rounded(self.splits)))

    @property
    def num_features(self) -> int:
        """Columns of ``x``."""
        if isinstance(self.features, int):
            return self.features
        return len(ATOM_FEATURES if self.features == "ogb-mol" else self.features)

    @property
    def empty(self) -> dict[Split, dict[str, int]]:
        """Per split, how many graphs have no nodes and how many no edges; they are kept as they are."""
        return {
            split: {
                "no_nodes": int((graphs.node_count == 0).sum()),
                "no_edges": int((graphs.edge_count == 0).sum()),
            }
            for split, graphs in self.splits.items()
        }

    def labels(self, samples: PackedGraphs) -> Tensor:
        """A copy of the labels of some of the set's graphs, one row a graph or a node; of sequences all words."""
        return getattr(samples, self.level)["words" if self.task == "sequence" else "y"].clone()  # type: ignore[no-any-return]

    def _score(self, y_true: Tensor, y_pred: Tensor, where: str) -> float:
        if self.level == "node":
            seen = y_true != IGNORE_INDEX if self.task == "multiclass" else ~y_true.isnan().all(1)
            y_true, y_pred = y_true[seen], y_pred[seen]
        if self.task == "sequence":
            y_pred = y_pred.unflatten(1, (self.num_tasks, self.num_classes))
        return metrics.evaluate(self.metric, y_true, y_pred, where=where, ogb_name=self.ogb_name)

    def encoder(self, dim: int) -> nn.Module:
        """A fresh encoder of ``x``: ``(N, num_features)`` to ``(N, dim)``."""
        return node_encoder(self.features, dim)

    def recompute_degrees(self, graphs: PackedGraphs) -> PackedGraphs:
        """These graphs of this set with degree features and encodings counted again, as a control after pruning.

        The features ``deg | onehot(deg)`` and the encodings are made on the full graphs and so still tell a pruned
        graph's model about removed edges.

        Raises:
            ValueError: the set has neither.
        """
        if self.degrees is None and self.encodings is None:
            raise ValueError(f"{self.name} has no degree features and no encodings to recompute")
        if self.encodings is not None:
            graphs = self.encodings.counted(graphs)
        return graphs if self.degrees is None else self.degrees.recompute(graphs)


def _other(one: PackedGraphs, other: PackedGraphs) -> bool:
    """Whether these are different graphs, whatever their attributes."""
    pairs = ((one.node_count, other.node_count), (one.edge_count, other.edge_count), (one.edge_index, other.edge_index))
    return not all(a is b or torch.equal(a, b) for a, b in pairs)
