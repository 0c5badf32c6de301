"""From a configuration to the objects it describes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from graphprune.data import GraphData, ImageData, load
from graphprune.graphs import EdgePredictor, EdgeRule
from graphprune.methods import METHODS, Method, Protocol
from graphprune.methods.core.fit import derive_seed
from graphprune.models import MODELS
from graphprune.runs.config import RunConfig
from graphprune.runs.options import FROM_DATA, has_predictor, named
from graphprune.train import Fit
from graphprune.train.loop import OnEpoch


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
    fit: Fit


def build(config: RunConfig, on_epoch: OnEpoch | None = None) -> Built:
    """Make data, model, predictor, method and training.

    Initial weights depend on the seed and the model alone, so that all methods prune the same network.

    Args:
        config: of the run.
        on_epoch: called behind each epoch, see :class:`graphprune.train.Fit`.

    Raises:
        ValueError: options that contradict each other or the data.
        TypeError: a model that the method does not support.
        FileNotFoundError: no such data.
    """
    data = load(**config.data)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(config.seed, "model"))
        model_class = named("model", config.model["name"], MODELS)
        model = model_class.for_data(data, **_without_name(config.model))  # type: ignore[attr-defined]
        torch.default_generator.manual_seed(derive_seed(config.seed, "predictor"))
        method = _method(config, partial(_predictor, data))
    method.supports(model, data)
    return Built(method, model, data, Fit(**config.fit, seed=config.seed, on_epoch=on_epoch))


def check(config: RunConfig) -> None:
    """Make sure that the options are such as their constructors take; no data are loaded.

    Raises:
        ValueError: a value out of range, or options that contradict each other.
    """
    with torch.random.fork_rng(devices=[]):
        trial(named("model", config.model["name"], MODELS), **_without_name(config.model))
        _method(config, partial(EdgePredictor, 1))
    Fit(**config.fit, seed=config.seed)


def last_round(config: RunConfig) -> int:
    """The number of the last round of a run, which its method knows; no data are loaded.

    Raises:
        ValueError: options that the method does not take, or a method without any round.
    """
    with torch.random.fork_rng(devices=[]):
        last = _method(config, partial(EdgePredictor, 1)).last_round
    if last < 1:
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


def _method(config: RunConfig, predictor: Callable[..., EdgePredictor]) -> Method:
    method_class = named("method", config.method["name"], METHODS)
    options = _without_name(config.method)
    if has_predictor(method_class):
        options["predictor"] = predictor(**config.predictor)
    options["protocol"] = _protocol(options.get("protocol", "clean"))
    return method_class(**options, seed=config.seed)


def _predictor(data: GraphData | ImageData, **options: Any) -> EdgePredictor:
    if isinstance(data, ImageData):
        raise ValueError(f"{data.name} is a set of images: they have no edges that a predictor could score")
    return EdgePredictor.for_data(data, **options)


def _without_name(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != "name" and value is not None}


def _protocol(value: str | Mapping[str, Any]) -> str | Protocol:
    if isinstance(value, str):
        return value
    return Protocol(**{**value, "rule": EdgeRule(**value.get("rule", {}))})
