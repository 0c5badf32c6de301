"""From a configuration to the objects it describes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from graphprune import limits
from graphprune.data import GraphData, ImageData, load
from graphprune.graphs import EdgePredictor, EdgeRule
from graphprune.methods import METHODS, Method, Protocol
from graphprune.methods.core.fit import Fit as FitFunction
from graphprune.methods.core.fit import FitJob, FitResult, derive_seed
from graphprune.models import MODELS
from graphprune.runs.config import RunConfig
from graphprune.runs.identity import OBJECT
from graphprune.runs.objects import FROM_DATA, LAST_ROUND, made
from graphprune.runs.options import has_predictor, named
from graphprune.train import Fit
from graphprune.train.devices import seeded_by
from graphprune.train.loop import OnEpoch

_LAYERS = ("layers", "head_layers")


@dataclass(frozen=True)
class Built:
    """What a run works with.

    Attributes:
        method: with all options set.
        model: with its initial weights.
        data: full graphs, or images.
        fit: the training.
    """

    method: Method
    model: nn.Module
    data: GraphData | ImageData
    fit: FitFunction


def build(config: RunConfig, on_epoch: OnEpoch | None = None) -> Built:
    """Make data, model, predictor, method and training.

    Initial weights depend on the seed and the model alone, so that all methods prune the same network.

    Args:
        config: of the run.
        on_epoch: called after each epoch, see :class:`graphprune.train.Fit`.

    Raises:
        ValueError: options that contradict each other or the data.
        TypeError: a model that the method does not support.
        FileNotFoundError: no such data.
    """
    data = load_data(config)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(config.seed, "model"))
        model = _model(config, data)
        torch.default_generator.manual_seed(derive_seed(config.seed, "predictor"))
        method = _method(config, data)
    method.supports(model, data)
    return Built(method, model, data, _fit(config, on_epoch))


def load_data(config: RunConfig) -> GraphData | ImageData:
    """The data of a run.

    Raises:
        ValueError: unknown or damaged data.
        FileNotFoundError: no such data.
    """
    with seeded_by(0, torch.device("cpu")):  # whatever a function draws, all runs have the same data
        own: GraphData | ImageData | None = _own(config, "data", None)
    return load(**config.data) if own is None else own


def check(config: RunConfig) -> None:
    """Make sure that the options are such as their constructors take; no data are loaded, no objects called.

    Raises:
        ValueError: a value out of range, or options that contradict each other.
    """
    with torch.random.fork_rng(devices=[]):
        if OBJECT not in config.model:
            model_class = named("model", config.model["name"], MODELS)
            _check_size("model", _given(config, "model"), partial(trial, model_class))
        if OBJECT not in config.method:
            method = _named_method(config, _any_predictor)
            if method.role == "no-edges" and method.protocol.rule.constrained:
                raise ValueError(
                    f"{method.name} removes every edge: give it a protocol without connected and min_degree, "
                    "as {rule: {connected: false, min_degree: 0}}"
                )
    if OBJECT not in config.fit:
        Fit(**config.fit, seed=config.seed)


def last_round(config: RunConfig) -> int | None:
    """The number of the last round of a run, which its method knows; no data are loaded.

    None: the method is what a user's function makes of the data, and this configuration was not built yet.

    Raises:
        ValueError: options that the method does not take, or a method without any round.
    """
    if OBJECT in config.method:
        last = config.method.get(LAST_ROUND)
    else:
        with torch.random.fork_rng(devices=[]):
            last = _named_method(config, _any_predictor).last_round
    if last is not None and last < 1:
        raise ValueError(f"{config.method['name']} has nothing to run: its last_round is {last}")
    return last


def trial(model_class: type[nn.Module], **options: Any) -> nn.Module:
    """A model of the registry for no data set in particular, without storage: a network's size costs nothing.

    Raises:
        ValueError: options out of range, or that contradict each other.
    """
    taken = inspect.signature(model_class).parameters
    with torch.device("meta"):
        return model_class(**{name: value for name, value in FROM_DATA.items() if name in taken}, **options)


def _any_predictor(**options: Any) -> EdgePredictor:
    """A predictor for no data set in particular, without storage."""
    make = partial(EdgePredictor, FROM_DATA["features"], edge_features=FROM_DATA["edge_features"])
    _check_size("predictor", options, make)
    with torch.device("meta"):
        return make(**options)


def _own(config: RunConfig, kind: str, data: GraphData | ImageData | None) -> Any:
    """What a user's object gives the run, None where there is none.

    Raises:
        ValueError: the configuration tells of an object that is not there.
    """
    if kind in config.objects:
        return made(kind, config.objects[kind], data, config.options(kind), config.seed)
    if OBJECT in (section := getattr(config, kind)):
        raise ValueError(
            f"the {kind} {section['name']} is an object from Python ({section[OBJECT]}): run the program that has it"
        )
    return None


def _model(config: RunConfig, data: GraphData | ImageData) -> nn.Module:
    if (own := _own(config, "model", data)) is not None:
        return own  # type: ignore[no-any-return]
    model_class: Any = named("model", config.model["name"], MODELS)
    make = partial(model_class.for_data, data)
    _check_size("model", _given(config, "model"), make)
    return make(**_given(config, "model"))  # type: ignore[no-any-return]


def _method(config: RunConfig, data: GraphData | ImageData) -> Method:
    own: Method | None = _own(config, "method", data)
    return _named_method(config, partial(_predictor, data)) if own is None else own


def _named_method(config: RunConfig, predictor: Callable[..., EdgePredictor]) -> Method:
    method_class = named("method", config.method["name"], METHODS)
    options = _given(config, "method")
    if has_predictor(method_class):
        options["predictor"] = predictor(**config.predictor)
    options["protocol"] = _protocol(options.get("protocol", "clean"))
    return method_class(**options, seed=config.seed)


def _fit(config: RunConfig, on_epoch: OnEpoch | None) -> FitFunction:
    own = _own(config, "fit", None)
    if own is None:
        return Fit(**config.fit, seed=config.seed, on_epoch=on_epoch)
    if isinstance(own, Fit):
        return replace(own, on_epoch=on_epoch)

    log = on_epoch or (lambda job, row: None)

    def logged(job: FitJob) -> FitResult:
        with seeded_by(job.seed(config.seed), next(job.model.parameters()).device):
            result = own(job)
        for number, row in enumerate(getattr(result, "history", ()), start=1):
            log(job, {"epoch": number, "val_metric": math.nan, **row})
        return result  # type: ignore[no-any-return]

    return logged


def _predictor(data: GraphData | ImageData, **options: Any) -> EdgePredictor:
    if isinstance(data, ImageData):
        raise ValueError(f"{data.name} is a set of images: they have no edges that a predictor could score")
    make = partial(EdgePredictor.for_data, data)
    _check_size("predictor", options, make)
    return make(**options)


def _check_size(section: str, options: Mapping[str, Any], make: Callable[..., nn.Module]) -> None:
    """Refuse a network of more layers or parameters than the limits allow: it is made without storage first."""
    said = ", ".join(f"{name} {value}" for name, value in options.items() if name in ("hidden", "layers"))
    what = f"the {section} with {said or 'its defaults'}"
    limits.check("layers", max((options.get(name) or 0 for name in _LAYERS), default=0), what)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            parameters = float(sum(weights.numel() for weights in make(**options).parameters()))
        except (RuntimeError, TypeError) as error:
            if "verflow" not in str(error):
                raise
            parameters = math.inf  # torch counts bytes with 63 bits
    limits.check("parameters", parameters, what)


def _given(config: RunConfig, section: str) -> dict[str, Any]:
    return {name: value for name, value in config.options(section).items() if value is not None}


def _protocol(value: str | Mapping[str, Any]) -> str | Protocol:
    if isinstance(value, str):
        return value
    return Protocol(**{**value, "rule": EdgeRule(**value.get("rule", {}))})
