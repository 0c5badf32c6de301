"""A method run once in a setting for all tests, with what was the user's as it was before and as it is behind."""

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

import graphprune as gp
from graphprune.methods import FitJob, FitResult, Method
from graphprune.train import Fit
from tests.contract.methods import KINDS, Case, instance, options, protocols, units
from tests.contract.nets import NETWORKS, OTHERS, WRITERS, Network
from tests.contract.snapshots import snapshot

EPOCHS, BATCH = 2, 12  # of 24 graphs or images: four steps
EVERY: Mapping[str, Network] = {**NETWORKS, **OTHERS, **WRITERS}

CASES = [
    Case(name, protocol, unit, network)
    for network in (*NETWORKS, *OTHERS)
    for name, kind in KINDS.items()
    for protocol in protocols(kind)
    for unit in units(kind)
    if network in NETWORKS or (protocol == "clean" and unit in (None, "weight"))
]


def usual(case: Case) -> bool:
    """Whether a setting is in the everyday run: the others repeat a combination that another network has there."""
    if case.unit == "channel":
        return case.protocol == "clean" and case.network == "user"
    if case.protocol == "paper":
        return case.unit != "coupled" and case.network == "gin"
    return case.network in NETWORKS


def fit(**changes: Any) -> Fit:
    return Fit(**{"epochs": EPOCHS, "batch_size": BATCH, "lr": 0.01, **changes})


@dataclass(frozen=True, eq=False)
class Ran:
    """What became of a setting.

    Attributes:
        case: the setting.
        method: the instance.
        model: the user's network.
        data: the user's data.
        tickets: of all rounds; none where it was refused.
        refusal: the error, if it came before the first training.
        before: all that was the user's, by name.
        behind: the same behind the run.
        folder: what the method keeps of its own lies here.
        seen: the data of the first training, which the method may have added to.
    """

    case: Case
    method: Method | None
    model: nn.Module
    data: Any
    tickets: tuple[gp.Ticket, ...]
    refusal: Exception | None
    before: dict[str, Any]
    behind: dict[str, Any]
    folder: Path
    seen: Any

    @property
    def network(self) -> Network:
        return EVERY[self.case.network]

    def of(self, ticket: gp.Ticket) -> nn.Module:
        """The network that the ticket's weights belong to: the user's, or of another width as the ticket says."""
        config = ticket.provenance["model"]["config"]
        return self.model if config is None else type(self.model)(**config)


def made(case: Case, **values: Any) -> tuple[Method, nn.Module, Any]:
    """Method, network and data of a setting, with other values of some fields where the method has them."""
    network, kind = EVERY[case.network], KINDS[case.method]
    data = network.data()
    given = {"protocol": case.protocol, "unit": case.unit, **values}
    chosen = {name: value for name, value in given.items() if name in options(kind) and value is not None}
    model = network.build(data).train()
    marked(model, hook=case.unit == "weight")
    return instance(kind, edges=network.edges, **chosen), model, data


@cache
def run(case: Case, **changes: Any) -> Ran:
    """Run a setting to its end, once for all tests of this process.

    Args:
        case: the setting.
        changes: of the training.
    """
    trained: list[FitJob] = []
    train = fit(**changes)

    def counted(job: FitJob) -> FitResult:
        trained.append(dataclasses.replace(job))
        return train(job)

    counted.seed = train.seed  # type: ignore[attr-defined]  # which a ticket's row says
    folder = Path(tempfile.mkdtemp(dir=_root())) / "own"
    method, model, data = made(case)
    train.prepare()  # what is imported for it leaves its traces in the environment
    before, refusal, tickets = snapshot(model, data, method), None, ()
    method = method.within(folder)
    try:
        tickets = tuple(method.rounds(model, data, counted))
    except (ValueError, TypeError) as error:
        if trained:
            raise
        refusal = error
    behind = snapshot(model, data, method)
    seen = trained[0].data if trained else None
    return Ran(case, method, model, data, tickets, refusal, before, behind, folder, seen)


def marked(model: nn.Module, *, hook: bool) -> None:
    """Leave marks of the user's on a network: a module in eval mode, a frozen bias, a gradient.

    And a hook, which a network may not have whose channels are looked for.
    """
    norms = [module for module in model.modules() if "Norm" in type(module).__name__ and not list(module.children())]
    for norm in norms[-1:]:
        norm.eval()
    *_, last = (parameter for parameter in model.parameters() if parameter.dim() == 1)
    last.requires_grad_(False)
    first = next(model.parameters())
    first.grad = first.detach().clone()
    if hook:
        model.register_forward_hook(_nothing)


def _nothing(*_: Any) -> None:
    """A hook of the user's."""


@cache
def _root() -> str:
    root = tempfile.TemporaryDirectory(prefix="contract-")
    _KEPT.append(root)
    return root.name


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends
