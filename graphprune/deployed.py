"""A ticket ready for use: raw graphs in, predictions out."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from graphprune.checks import whole
from graphprune.compaction import compact, restored
from graphprune.compaction import save as save_program
from graphprune.data import GraphData
from graphprune.data.evaluation import evaluate
from graphprune.graphs import PackedGraphs, PruneEdges
from graphprune.graphs.batches import with_kinds
from graphprune.graphs.pairs import EDGE_PROTECTED
from graphprune.graphs.prune import check_unseen
from graphprune.graphs.traced import TracedEdges
from graphprune.masks.copies import independent_copy
from graphprune.measure.latency import time_calls
from graphprune.measure.samples import device_of
from graphprune.ticket import Ticket, contents, folder, plain
from graphprune.ticket.models import model_of, recorded

__all__ = ["Deployed", "deploy"]

KIND = "deployed"
EXAMPLE = 64  # training graphs that show what is constant in a network
TRIED = 512  # validation graphs that tell whether pruning edges pays
BATCH = 256  # graphs that go through a network at once

_FIELDS = {"model": dict, "about": dict, **contents.EDGES}
_ABOUT = {
    **dict.fromkeys(("method", "data", "digest", "metric", "compacted", "chosen"), str),
    **{"round": int, "parameters": list[int], "ways": dict},
}


class Deployed(nn.Module):
    """The pruning of a ticket and its compacted network as one module, made by :func:`deploy`.

    Attributes:
        network: over pruned graphs, in ``eval()`` mode.
        edges: how a raw graph is pruned before; without rounds it is left as it is.
        about: what it was made from, and what was measured.
        recorded: class and options of the model before it was compacted.
    """

    def __init__(
        self, network: nn.Module, edges: PruneEdges, about: Mapping[str, Any], recorded: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.network, self.edges = network.eval(), edges
        self.about, self.recorded = dict(about), dict(recorded)

    @torch.no_grad()
    def forward(
        self, graphs: Data | Batch | PackedGraphs | Sequence[Data] | Dataset[Data], batch_size: int = BATCH
    ) -> Tensor:
        """Predictions for raw graphs, each a function of that graph alone.

        Args:
            graphs: as the ticket's method was given them, not pruned before: one graph, a batch of them, or any number
                in a list or data set.
            batch_size: graphs that go through the network at once, of a list or data set.

        Returns:
            Logits or values, shape ``(G, outputs)``; of networks over nodes ``(N, outputs)``.

        Raises:
            ValueError: a graph without ``x`` or ``edge_index``, with other features than the network's, or with scores
                that are no numbers.
            TypeError: something that holds no ``Data``.
        """
        size, device = whole("batch_size", batch_size, 1), self.device
        if isinstance(graphs, Data):
            graphs = check_unseen(graphs, "Deployed", batches=True)
            if not isinstance(graphs, Batch) and graphs.get("batch") is not None:
                raise ValueError("a Data with the attribute 'batch': collate graphs by Batch.from_data_list")
            left = self.edges.left(with_kinds(copy.copy(graphs).to(device)))
            return self.network(left if isinstance(left, Batch) else Batch.from_data_list([left]))  # type: ignore[no-any-return]
        if not hasattr(graphs, "__len__") or not len(graphs):
            raise TypeError(f"graphs must be a Data, a Batch, or a list or data set of some, got {graphs!r}"[:200])
        packed = PackedGraphs.of(graphs)
        return torch.cat([self.network(self.edges.left(batch.to(device))) for batch in packed.loader(size)])

    @property
    def device(self) -> torch.device:
        """Of the network; edges are scored there, too, though scorers are no part of ``state_dict()``."""
        return device_of(self.network)

    def train(self, mode: bool = True) -> Self:
        """It stays in evaluation mode: what it computes is fixed."""
        return super().train(False)

    def summary(self) -> str:
        """What was measured when it was made, a line each way."""
        lines = [f"{self.about['method']} round {self.about['round']} on {self.about['data']}: {self.about['chosen']}"]
        for way, found in self.about["ways"].items():
            lines.append(
                f"  {way}: {self.about['metric']} {found['val_metric']:.4f} (val), "
                f"{1e6 * found['seconds']:.1f} microseconds of processor time a graph"
            )
        before, after = self.about["parameters"]
        scorers = sum(p.numel() for each in self.edges.rounds if each.scorer for p in each.scorer.parameters())
        beside = f", and {scorers:,} of edge scorers" * bool(scorers)
        return "\n".join([*lines, f"  parameters {before:,} -> {after:,}{beside}; {self.about['compacted']}"])

    # ------------------------------------------------------------------ files

    def export(self, path: str | PathLike[str], example: Batch | PackedGraphs | Sequence[Data]) -> tuple[str, ...]:
        """Save all of it as one program that runs without this package: in ONNX Runtime or by ``torch.export.load``.

        It takes the tensors of a graph or of a batch of any size and gives what :meth:`forward` gives, and which arcs
        it left, bool of shape ``(E,)``. Encodings, where some are read, are an input; nothing counts them there.

        Args:
            path: ends in ``.onnx`` (extra ``onnx``) or ``.pt2``.
            example: two raw graphs at least, with which the program is compared with this object.

        Returns:
            Names of the inputs, those of attributes of a PyG ``Data``.

        Raises:
            ValueError: edges that a program cannot prune (see :class:`~graphprune.graphs.traced.TracedEdges`), or that
                are protected; ``compaction.save`` saves the network alone, for graphs that are pruned before.
            TypeError, RuntimeError, ImportError: as :func:`graphprune.compaction.save`.
        """
        batch = example if isinstance(example, Batch) else PackedGraphs.of(example).batch(torch.arange(len(example)))
        if EDGE_PROTECTED in batch:
            raise ValueError(f"the pruning of edges cannot be part of a program: {EDGE_PROTECTED} is no input of it")
        whole_way = _WholeWay(TracedEdges(self.edges).to(self.device), self.network)
        return save_program(whole_way, self.edges.encoded(batch.to(self.device)), Path(path))

    def save(self, path: str | PathLike[str]) -> None:
        """Write a new folder with ``deployed.safetensors`` and ``deployed.json``, whole or not at all.

        Raises:
            FileExistsError: the folder exists.
            OSError: it cannot be written; nothing is left of it.
            TypeError: an edge scorer of an unregistered class (see `graphprune.ticket.SCORERS`).
        """
        edges, tensors = contents.pack_edges(self.edges)
        state = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        document = plain.encode({"model": self.recorded, "about": self.about}, KIND) | edges
        folder.write(Path(path), document, tensors | state, KIND)

    @classmethod
    def load(cls, path: str | PathLike[str], model: nn.Module | None = None) -> Self:
        """Read the folder that :meth:`save` wrote, be it from a stranger: no code in it runs.

        Args:
            path: the folder.
            model: of the class and with the options of the model that was pruned, with any weights; None: it was one of
                the package's.

        Raises:
            FileNotFoundError: the folder or a file of it is missing.
            ValueError: files that are damaged, contradictory or of another version, a model that is needed, or another
                one than was pruned.
            ImportError, TypeError: a plug-in with an edge scorer that cannot be used; it is named.
        """
        document, tensors = folder.read(Path(path), KIND)
        try:
            if isinstance(document, dict):
                document = {"encodings": None} | document
            fields, left = plain.require_fields(document, _FIELDS, KIND), dict(tensors)
            prefix = "network/"
            state = {name.removeprefix(prefix): left.pop(name) for name in tensors if name.startswith(prefix)}
            edges = contents.unpack_edges({name: fields[name] for name in contents.EDGES}, left)
            contents.check_left(left)
            plain.require_fields(fields["about"], _ABOUT, f"{KIND}.about", more=True)
            if model is None:
                model = model_of(fields["model"], len(state))
            elif (given := _recorded(model)) != fields["model"]:
                raise ValueError(f"the model is {given}, it was made of {fields['model']}")
            network = restored(model, state)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: {error}") from error
        return cls(network, edges, fields["about"], fields["model"])


class _WholeWay(nn.Module):
    """What :meth:`Deployed.export` saves."""

    def __init__(self, edges: TracedEdges, network: nn.Module) -> None:
        super().__init__()
        self.edges, self.network = edges, network

    def forward(self, data: Data) -> tuple[Tensor, Tensor]:
        """Predictions, and which arcs stay."""
        left, kept = self.edges(data)
        return self.network(left), kept


def deploy(ticket: Ticket, model: nn.Module, data: GraphData, *, edges: bool | None = None) -> Deployed:
    """Make one object of a ticket that takes raw graphs: its edge scorers, their exact selection, the small network.

    The network is compacted, where channels are gone. Whether its edges are pruned before is measured on validation
    graphs that are each seen once: time of the whole way, and the metric.

    Args:
        ticket: of any method.
        model: that was pruned, with any weights.
        data: that it was pruned on.
        edges: whether graphs are pruned, as the network was trained; None: they are, unless full graphs are faster and
            no worse.

    Returns:
        A module in ``eval()`` mode; :meth:`Deployed.summary` tells what was measured.

    Raises:
        TypeError: no ticket, no graphs, or an ``edges`` that is neither True, False nor None.
        ValueError: other data than the ticket's, or a ticket whose edge scorer unseen graphs cannot be pruned by.
    """
    if not isinstance(ticket, Ticket):
        raise TypeError(f"ticket must be a Ticket, from rounds() or Ticket.load(path), got {ticket!r}")
    if not isinstance(data, GraphData):
        raise TypeError(f"data must be a GraphData, such as gp.data.load gives, got {type(data).__name__}")
    if edges not in (True, False, None):
        raise TypeError(f"edges must be True, False or None, got {edges!r}")
    ticket.check_data(data)
    built = ticket.build(model).eval()
    network, compacted = _small(built, ticket, data)
    unpruned = replace(ticket.edges, rounds=())
    about = {
        **{"method": ticket.method, "round": ticket.round, "data": data.name, "digest": data.digest()},
        **{"metric": data.metric, "compacted": compacted},
        "parameters": [sum(p.numel() for p in each.parameters()) for each in (built, network)],
    }
    ways = {"edges pruned": ticket.edges, "full graphs": unpruned} if ticket.edges.rounds else {"full graphs": unpruned}
    made = {way: Deployed(network, each, about, _recorded(model)) for way, each in ways.items()}
    found = {way: _measured(each, data) for way, each in made.items()}
    chosen = _chosen(found, edges, data.higher_is_better)
    deployed = made[chosen]
    deployed.about |= {"ways": found, "chosen": chosen}
    return deployed


def _small(built: nn.Module, ticket: Ticket, data: GraphData) -> tuple[nn.Module, str]:
    """The compacted network, and what there is to say of that."""
    graphs = ticket.prune(data.train.select(torch.arange(min(EXAMPLE, len(data.train)))))
    try:
        return compact(built, graphs.batch(torch.arange(len(graphs))).to(device_of(built))), "compacted"
    except ValueError as error:
        return independent_copy(built), f"not compacted: {error}"


def _recorded(model: nn.Module) -> dict[str, Any]:
    """Class and options, as a file gives them back."""
    return plain.encode(recorded(model), "model")  # type: ignore[no-any-return]


def _measured(deployed: Deployed, data: GraphData) -> dict[str, float]:
    """The metric on all validation graphs, and processor seconds for one of them, as each is seen once."""
    graphs = deployed.edges.prune(data.val)
    metric = evaluate(deployed.network, graphs, data, split="val", batch_size=BATCH)
    number = min(TRIED, len(data.val))
    batches = [data.val.batch(part) for part in torch.arange(number).split(BATCH)]
    latency = time_calls(lambda: [deployed(each) for each in batches], repeats=5, warmup=1, clock=time.process_time)
    return {"val_metric": metric, "seconds": latency.median / number}


def _chosen(found: Mapping[str, Mapping[str, float]], edges: bool | None, higher_is_better: bool) -> str:
    if edges is not None:
        wanted = "edges pruned" if edges else "full graphs"
        if wanted not in found:
            raise ValueError("the ticket prunes no edges: leave out edges=True")
        return wanted
    pruned, full = found.get("edges pruned"), found["full graphs"]
    if pruned is None:
        return "full graphs"
    gain = (full["val_metric"] - pruned["val_metric"]) * (1 if higher_is_better else -1)
    return "full graphs" if gain >= 0 and full["seconds"] < pruned["seconds"] else "edges pruned"
