"""From a grid to its cells: data sets x models x methods x sparsities x seeds and folds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, product, zip_longest
from pathlib import Path
from typing import Any

import yaml

from graphprune.grids.axes import Axes, Entry, Given, Mistake, Options, Place, dotted, read_axes, require, told
from graphprune.grids.objects import FIT_OBJECT, NONE, Objects, told_apart
from graphprune.methods import METHODS, Dense
from graphprune.models import MODELS
from graphprune.runs.build import check, load_data
from graphprune.runs.config import GROWING, MOVABLE, RunConfig, parser_of
from graphprune.runs.identity import OBJECT
from graphprune.runs.options import flat, option_names
from graphprune.runs.protocols import OPTION as PROTOCOL
from graphprune.runs.protocols import merged
from graphprune.runs.yaml_text import line_of, plain, read


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        name: of its folder: ``DATA/MODEL/METHOD/seed-S``, or ``.../seed-S-fold-F``.
        config: what to compute.
        place: of its data set in the grid.
    """

    name: str
    config: RunConfig
    place: Place


@dataclass(frozen=True)
class Grid:
    """The cells of a grid, and where it came from.

    Attributes:
        cells: in the order in which they run: the first repetition of everything, then the second.
        text: of its file, or what a file of the same grid would hold.
        file: it was read from, if any.
    """

    cells: tuple[Cell, ...]
    text: str
    file: Path | None = None

    def check_data(self, cells: Iterable[Cell]) -> None:
        """Load the data sets of these cells once, so that a wrong name or fold is found before anything runs.

        What has to be downloaded is then there before several processes ask for it. A failed download and a missing
        extra are left to the cells.

        Raises:
            ValueError: unknown or damaged data, or a fold that they do not have; the text has the place.
        """
        folds: dict[str, dict[int, Cell]] = {}
        for cell in cells:
            rest = {name: value for name, value in cell.config.data.items() if name != "fold"}
            folds.setdefault(json.dumps(rest, sort_keys=True), {})[cell.config.data.get("fold", 0)] = cell
        for found in folds.values():
            for cell in {found[fold].name: found[fold] for fold in (min(found), max(found))}.values():
                try:
                    load_data(cell.config)
                except (ValueError, TypeError, FileNotFoundError) as error:
                    with _lines(self.file, self.text):
                        raise Mistake(cell.place, str(error)) from error
                except (OSError, ImportError):
                    continue


def read_grid(grid: Path | Mapping[str, Any]) -> Grid:
    """Read a grid.

    Args:
        grid: a YAML file, or what such a file holds, with objects as :func:`graphprune.grids.run` takes them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key, name or option, an empty axis, options that contradict each other, a cell that is
            there twice, or a bad value. The text has the place (``methods[2].rounds``), and the file and line if there
            are any.
    """
    if isinstance(grid, Mapping):
        content, objects = told_apart(grid)
        content = plain(content)
        return Grid(cells_of(content, objects), yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    text, content = read(grid)
    with _lines(grid, text):
        return Grid(cells_of(*(told_apart(content) if isinstance(content, Mapping) else (content,))), text, grid)


def cells_of(content: Any, objects: Objects = NONE) -> tuple[Cell, ...]:
    """The cells of a grid in the order in which they run.

    Args:
        content: plain data, as a YAML file holds them.
        objects: for which words stand in it.

    Raises:
        Mistake: as :func:`read_grid` says.
    """
    axes = read_axes(content, objects)
    _all_real(axes)
    series = [*chain(*(_series(axes, *three) for three in product(axes.data, axes.models, axes.methods)))]
    _all_distinct(chain(*series))
    # The first repetition of everything, then the second: an unfinished grid says something of all of it.
    return tuple(cell for part in zip_longest(*series) for cell in part if cell is not None)


@contextmanager
def _lines(file: Path | None, text: str) -> Iterator[None]:
    """Mistakes are told with file and line, if there is a file."""
    try:
        yield
    except Mistake as error:
        if file is None:
            raise
        raise ValueError(f"{file}, line {line_of(text, error.place)}: {error}") from error


def _series(axes: Axes, one: Entry, model: Entry, method: Entry) -> Iterator[list[Cell]]:
    """Cells that differ in seed and fold alone, for each sparsity of a method.

    Of sparsities that differ in the number of rounds alone the longest is taken, which has them all.
    """
    entries = (one, model, method)
    known = {*axes.known(*entries), *chain.from_iterable(entry.own for entry in entries)}  # an object may take any
    values: dict[str, Given] = {}
    for options in (axes.common, *(entry.own for entry in entries), *(entry.other for entry in entries)):
        if FIT_OBJECT in options:  # replaces all that was said before
            values = {name: given for name, given in values.items() if not name.startswith("fit.")}
        values |= {name: _after(method, values, name, given) for name, given in options.items() if name in known}
    if FIT_OBJECT in values and (beside := [name for name in values if name.startswith("fit.") and name != FIT_OBJECT]):
        there = dotted(values[FIT_OBJECT].place[:-1])
        raise Mistake(values[beside[0]].place, f"{there} is an object, beside which no option of a Fit counts")
    repeats = {**axes.repeats, **one.repeats}
    if folds := repeats.get("folds"):
        if one.word and "data.fold" not in known:
            raise Mistake(one.place, f"{one.name} takes no fold: give a function with an argument fold")
        if "data.fold" in values:
            place = values["data.fold"].place
            raise Mistake(place, "fold is given here, and folds are an axis: leave one out")
    configs: dict[tuple[str, str], RunConfig] = {}
    for sparsity in axes.sparsities:
        mine = {name: given for name, given in sparsity.items() if name in known}
        for name in mine.keys() & values.keys():
            there = dotted(values[name].place)
            raise Mistake(mine[name].place, f"{name} is given here and in {there}: leave one out")
        label = method.label + told({name: given.value for name, given in mine.items()})
        config = _config(axes.objects, one, model, method, values | mine)
        # Sparsities that differ in nothing this method has are one to it; a label may be that of others.
        same = (f"{one.label}/{model.label}/{label}", _content(config))
        configs[same] = _longer(method, configs.get(same, config), config)
    for (folder, _), config in configs.items():
        cells = []
        for seed, fold in product(repeats["seeds"], folds or (None,)):
            name = f"{folder}/seed-{seed}" + ("" if fold is None else f"-fold-{fold}")
            section = config.data if fold is None else {**config.data, "fold": fold}
            cells.append(Cell(name, replace(config, data=section, seed=seed), one.place))
        yield cells


def _after(method: Entry, values: Options, name: str, given: Given) -> Given:
    """What holds of an option after what was said before: the last word, but a protocol is made of all of them."""
    if name != PROTOCOL or name not in values or method.word:
        return given
    return replace(given, value=merged(method.name, values[name].value, given.value))


def _longer(method: Entry, one: RunConfig, other: RunConfig) -> RunConfig:
    """Of two runs that differ in their number of rounds alone the one that has the tickets of both."""
    shorter, longer = sorted((one, other), key=_rounds)
    few, many = _rounds(shorter), _rounds(longer)
    every = int(longer.method.get("ticket_every", 1))
    if few < many and few % every:
        raise Mistake(
            method.place,
            f"{method.name} is asked for {few} and for {many} rounds of one run, but with ticket_every={every} the "
            f"longer has no ticket of round {few}: leave one out",
        )
    return longer


def _rounds(config: RunConfig) -> int:
    return int(config.method.get("rounds", 0))


def _content(config: RunConfig) -> str:
    """All that decides what a run computes: all of its options, but how far it goes and where its raw data lie."""
    options = {name: value for name, value in flat(config.plain()).items() if name not in (GROWING, MOVABLE)}
    return json.dumps(options, sort_keys=True)


def _config(objects: Objects, one: Entry, model: Entry, method: Entry, values: Options) -> RunConfig:
    entries = {"method": method, "data": one, "model": model}
    sections: dict[str, dict[str, Any]] = {
        kind: {"name": entry.name} | ({OBJECT: entry.word} if entry.word else {}) for kind, entry in entries.items()
    }
    for name, given in values.items():
        section, _, option = name.partition(".")
        sections.setdefault(section, {})[option] = given.value
    if "root" in sections["data"]:  # the processes that run the cells may have another working directory
        sections["data"]["root"] = str(Path(str(sections["data"]["root"])).absolute())
    try:
        # Two halves, each shared by many series: parsing takes 20 ms.
        half = _half(objects, sections, ("method", "predictor"), data={"name": "any"})
        other = _half(objects, sections, ("data", "model", "fit"), method={"name": Dense.name})
        own = {**half.objects, **other.objects}
        config = replace(half, data=other.data, model=other.model, fit=other.fit, objects=own)
        check(config)
    except (ValueError, TypeError) as error:
        raise Mistake(_blamed(str(error), values, method.place), " ".join(str(error).split())) from error
    return config


def _half(objects: Objects, sections: Mapping[str, Any], names: Sequence[str], **rest: Any) -> RunConfig:
    return objects.config(json.dumps({name: sections[name] for name in names if name in sections} | rest))


def _blamed(text: str, values: Options, otherwise: Place) -> Place:
    """Where the grid has the option that an error names first."""
    places = {}
    for name, given in values.items():
        if match := re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", text):
            places[match.start()] = given.place
    return places[min(places)] if places else otherwise


def _all_real(axes: Axes) -> None:
    """An option that nothing in the grid has must be one that something outside of it has: else it is misspelt."""
    known = set(chain.from_iterable(axes.known(*three) for three in product(axes.data, axes.models, axes.methods)))
    entries = (*axes.data, *axes.models, *axes.methods)
    for options in (axes.common, *axes.sparsities, *(entry.other for entry in entries)):
        if not options.keys() <= known:
            require(options, _every_option(), "nothing has an")


@cache
def _every_option() -> tuple[str, ...]:
    pairs = (*((method, "gin") for method in METHODS.working()), *((Dense.name, model) for model in MODELS.working()))
    return tuple(dict.fromkeys(chain.from_iterable(option_names(parser_of(*pair)) for pair in pairs)))


def _all_distinct(cells: Iterable[Cell]) -> None:
    names: dict[str, Cell] = {}
    contents: dict[str, Cell] = {}
    for cell in cells:
        if cell.name in names:
            raise Mistake(cell.place, f"two cells would share the folder {cell.name}: give entries of one name a label")
        names[cell.name] = cell
        content = _content(cell.config)
        if content in contents:
            raise Mistake(cell.place, f"{cell.name} and {contents[content].name} are the same run: leave one out")
        contents[content] = cell
