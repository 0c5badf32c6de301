"""From a configuration to the objects it describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from graphprune.bench.config import RunConfig
from graphprune.bench.options import has_predictor, named
from graphprune.data import GraphData, load
from graphprune.graphs import EdgePredictor, EdgeRule
from graphprune.methods import METHODS, IterativeMethod, Protocol
from graphprune.methods.fit import derive_seed
from graphprune.models import MODELS
from graphprune.train import Fit
from graphprune.train.loop import OnEpoch


@dataclass(frozen=True)
class Built:
    """What a run works with.

    Attributes:
        method: with all options set.
        model: with its initial weights.
        data: full graphs.
        fit: the training.
    """

    method: IterativeMethod
    model: nn.Module
    data: GraphData
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
        method = _method(config, partial(EdgePredictor.for_data, data))
    method.supports(model, data)
    return Built(method, model, data, Fit(**config.fit, seed=config.seed, on_epoch=on_epoch))


def check(config: RunConfig) -> None:
    """Make sure that the options are such as their constructors take; no data are loaded.

    Raises:
        ValueError: a value out of range, or options that contradict each other.
    """
    with torch.random.fork_rng(devices=[]):
        model_class = named("model", config.model["name"], MODELS)
        model_class(features=1, num_outputs=1, **_without_name(config.model))
        _method(config, partial(EdgePredictor, 1))
    Fit(**config.fit, seed=config.seed)


def _method(config: RunConfig, predictor: Callable[..., EdgePredictor]) -> IterativeMethod:
    method_class = named("method", config.method["name"], METHODS)
    options = _without_name(config.method)
    if has_predictor(method_class):
        options["predictor"] = predictor(**config.predictor)
    options["protocol"] = _protocol(options.get("protocol", "clean"))
    return method_class(**options, seed=config.seed)


def _without_name(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != "name" and value is not None}


def _protocol(value: str | Mapping[str, Any]) -> str | Protocol:
    if isinstance(value, str):
        return value
    return Protocol(**{**value, "rule": EdgeRule(**value.get("rule", {}))})
