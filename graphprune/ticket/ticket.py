"""`Ticket`: the sparse network and the pruning of graphs that one round found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar

from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_geometric.data import Data

from graphprune.data import GraphData, ImageData
from graphprune.graphs import EdgeMask, PackedGraphs, PruneEdges, score_arcs
from graphprune.graphs.attributes import check_graph
from graphprune.graphs.given import with_tensors
from graphprune.graphs.pairs import graph_units
from graphprune.masks import MaskSet, rewind_
from graphprune.masks.copies import independent_copy
from graphprune.masks.networks import check_network
from graphprune.masks.parameters import came_back, in_words
from graphprune.ticket import contents, folder, plain
from graphprune.ticket.scorers import first, misfits

M = TypeVar("M", bound=nn.Module)

# A run may be taken further, so how many rounds were planned does not tell runs apart.
_EXTENSIBLE = ("settings.rounds", "settings.num_rounds", "settings.ticket_every")


@dataclass(frozen=True, eq=False, repr=False)
class Ticket:
    """What a method hands out after a round: it prunes unseen graphs and builds the sparse network.

    Attributes:
        method: name of the method.
        round: number of the round, counted from 1.
        masks: which weights are left.
        edges: how graphs are pruned, round by round.
        rewind: the complete state of the model before training.
        trained: its state at the selected epoch of this round's training.
        last: its state after the last epoch; of GICP that at the selected one, with norms as they were trained.
        row: this round's row of a table of results.
        history: one entry an epoch.
        provenance: settings, model, data (with digest) and versions.
    """

    method: str
    round: int
    masks: MaskSet
    edges: PruneEdges
    rewind: dict[str, Tensor]
    trained: dict[str, Tensor]
    last: dict[str, Tensor]
    row: dict[str, Any]
    history: tuple[Mapping[str, Any], ...]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        rounds = len(self.edges.rounds)
        return f"Ticket(method={self.method!r}, round={self.round}, masks={self.masks}, edge rounds={rounds})"

    def summary(self) -> str:
        """One line for people; a second one names layers that have no weight left."""
        row, masks = self.row, self.masks
        label = "" if row["protocol"] == "clean" else f" [{row['protocol']}]"
        # Not a number where no validation split selected, as in the paper protocol.
        val = "" if math.isnan(row["val_metric"]) else f"{row['val_metric']:.4f} (val), "
        line = (
            f"{self.method}{label} round {self.round}: edge sparsity "
            f"{row['edge_sparsity_train']:.2%} (train), {row['edge_sparsity_test']:.2%} (test); "
            f"weight sparsity {masks.sparsity:.2%} ({masks.kept:,} of {masks.total:,} kept); "
            f"{row['metric']} {val}{row['test_metric']:.4f} (test) "
            f"at epoch {row['epoch']}; {row['seconds']:.1f} s"
        )
        if masks.collapsed:
            line += f"\n  COLLAPSED: no weight left in {', '.join(masks.collapsed)}"
        return line

    # ------------------------------------------------------------------ graphs

    def score_edges(self, data: Data) -> Tensor:
        """Scores of the last round on a graph as it is; the lowest would go first.

        Args:
            data: a graph or a batch, as the method was given them (not pruned before).

        Returns:
            The sigmoid of each arc's logit (of the mean logit of both arcs where undirected edges are
            pruned), 1 at self-loops and protected arcs; shape ``(num_edges,)``, float32, in the order of
            ``data.edge_index``.

        Raises:
            ValueError: the ticket prunes no edges, or the graph lacks ``x`` or ``edge_index``.
            TypeError: something that is no ``Data``.
        """
        check_graph(data)
        data = with_tensors(data)
        scorer = self.edges.rounds[-1].scorer if self.edges.rounds else None
        if scorer is None:
            raise ValueError(f"this ticket of {self.method} prunes no unseen graphs, so it has no edge scores")
        logits = score_arcs(scorer, self.edges.encoded(data)).double()
        units = graph_units(data, self.edges.rule.unit)
        return units.at_arcs(units.mean(logits).sigmoid(), 1.0).float()

    def prune_graph(self, data: Data) -> Data:
        """A graph without the edges that all rounds, in turn, remove.

        A function of this graph alone, but under ``scoring="batch"`` (the paper protocol), where batch statistics
        are then those of one graph.

        Returns:
            A shallow copy; all other attributes are kept. Encodings that networks of this set read, and the graph does
            not bring along, are counted before it is pruned.

        Raises:
            ValueError: a batch, a graph without ``edge_index`` or ``x``, other encodings, or scores that are NaN.
            TypeError: something that is no ``Data``.
        """
        return self.edges(data)

    def prune(self, dataset: Sequence[Data] | Dataset[Data]) -> PackedGraphs:
        """A data set, pruned graph by graph as `prune_graph` does. This is what transfers to any other backbone.

        A method that learns a mask for each training edge (UGS) recognises its training graphs, as a whole and in their
        order, and prunes them by their masks; all others are unseen graphs.

        Under ``scoring="batch"`` (the paper protocol) batches of 128 graphs are scored together, which gives other
        edges than graph by graph.

        Raises:
            ValueError: graphs that cannot be packed (the text names the first), or as `prune_graph`.
        """
        return self.edges.prune(PackedGraphs.of(dataset))

    def edge_mask(self, dataset: Sequence[Data] | Dataset[Data]) -> EdgeMask:
        """Which arcs of a data set `prune` keeps; raises as it does."""
        return self.edges.mask(PackedGraphs.of(dataset))

    # ------------------------------------------------------------------ the network

    def build(self, model: M) -> M:
        """A copy of the model with the trained weights; pruned ones are exactly zero.

        Raises:
            ValueError: the model is of another architecture; the text names what differs.
        """
        return self._loaded(model, self.trained)

    def rewound(self, model: M) -> M:
        """A copy of the model with the rewind weights, bit for bit; pruned ones are exactly zero.

        Raises:
            ValueError: the model is of another architecture; the text names what differs.
        """
        return self._loaded(model, self.rewind)

    def _loaded(self, model: M, state: Mapping[str, Tensor]) -> M:
        check_network(model)
        problems = misfits(state, model.state_dict())
        if problems:
            raise ValueError(
                f"the ticket's weights are of another architecture than this {type(model).__name__}, in "
                f"which {problems}. To another backbone only the edges transfer: use ticket.prune(dataset)"
            )
        made = independent_copy(model)
        rewind_(made, state, self.masks)
        self.masks.verify(made)
        return made

    # ------------------------------------------------------------------ where it comes from

    def check(self, *, method: str, settings: Mapping[str, Any], data_digest: str) -> None:
        """Make sure that a run with these settings can go on after this ticket.

        The number of rounds may differ: a run may be extended.

        Raises:
            ValueError: the ticket comes from another method, other settings or other data; the text names
                everything that differs, with both values.
        """
        mine = _origin(self.method, self._recorded("settings"), self._recorded("data").get("digest"))
        wanted = _origin(method, settings, data_digest)
        differ = [
            f"{name}: {mine.get(name, 'nothing')!r} in the ticket, {wanted.get(name, 'nothing')!r} now"
            for name in {**wanted, **mine}
            if name not in _EXTENSIBLE and mine.get(name, "nothing") != wanted.get(name, "nothing")
        ]
        if differ:
            raise ValueError(f"cannot continue after round {self.round}, which differs: {first(differ, 10)}")

    def check_data(self, data: GraphData | ImageData, *digests: str) -> None:
        """Make sure that these are the data that it was trained on.

        Args:
            data: whole, unpruned.
            digests: that they may have besides their own, as a run's protocol splits them.

        Raises:
            ValueError: they are others; the text says in what they differ.
        """
        recorded = self._recorded("data")
        if recorded.get("digest") in (data.digest(), *digests):
            return
        here = {**data.provenance, "name": data.name}
        differ = [
            f"{name} is {was!r} in the ticket, {here[name]!r} here"
            for name, was in recorded.items()
            if name in here and was != here[name]
        ]
        raise ValueError(f"the ticket was trained on other data ({'; '.join(differ) or 'the graphs differ'})")

    def _recorded(self, name: str) -> Mapping[str, Any]:
        part = self.provenance.get(name)
        return part if isinstance(part, Mapping) else {}

    # ------------------------------------------------------------------ files

    def save(self, path: str | PathLike[str]) -> None:
        """Write a new folder with ``ticket.safetensors`` and ``ticket.json``, whole or not at all.

        Args:
            path: the folder; it must not exist, its parents are made.

        Raises:
            FileExistsError: the folder exists.
            OSError: it cannot be written (a full disk); nothing is left of it, other folders are untouched.
            TypeError: an edge scorer of an unregistered class (see `graphprune.ticket.SCORERS`), or something
                in row, history or provenance that is no plain data.
            ValueError: a ticket that :meth:`load` would refuse, or one with trained weights that its masks prune.
        """
        if back := came_back({name: mask for name, mask in self.masks.items() if name in self.trained}, self.trained):
            raise ValueError(f"the ticket's trained weights are not zero where they are pruned, {in_words(back)}")
        document, tensors = contents.pack(vars(self))
        contents.unpack(plain.loads(plain.dumps(document)), tensors)
        folder.write(Path(path), document, tensors)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read the folder that :meth:`save` wrote, be it from a stranger: no code in it runs.

        Raises:
            FileNotFoundError: the folder or a file of it is missing.
            ValueError: files that are damaged, contradictory or of another version; the text names the folder
                and the field.
        """
        document, tensors = folder.read(Path(path))
        try:
            return cls(**contents.unpack(document, tensors))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _origin(method: str, settings: Mapping[str, Any], digest: object) -> dict[str, Any]:
    """What has to agree, by name; settings as a file gives them back, so that tuples equal lists."""
    plain_settings = plain.flat(plain.encode(settings, "settings"), "settings")
    return {"method": method, "data digest": digest, **plain_settings}
