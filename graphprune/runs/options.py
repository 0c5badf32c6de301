"""The options of a run: a parser made from the constructors themselves, their types, defaults and docstrings."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import attrs
import docstring_parser
from jsonargparse import ArgumentParser

from graphprune import data
from graphprune.graphs import EdgePredictor, Encodings
from graphprune.graphs.sparsifiers import SCORERS, EdgeScore
from graphprune.masks import UnitName
from graphprune.methods import METHODS, Method, Protocol
from graphprune.models import MODELS, GraphClassifier
from graphprune.runs import yaml_text
from graphprune.runs.objects import FROM_DATA, check_file, imported, is_path
from graphprune.runs.objects import option_names as own_options
from graphprune.runs.text import without_markup
from graphprune.train import Fit
from graphprune.train.schedules import ScheduleName
from graphprune.train.tasks import LossName

T = TypeVar("T")

# Fields of a method that a run sets itself, or that have options of their own.
SKIPPED = {"seed", "select", "predictor", "protocol", "unit", "journal", "executor", "teacher"}

SECTIONS = ("method", "data", "model", "fit", "predictor")

# Options that came later: where they are left alone, runs are described as ever, as null or (of a training) not at all.
LATER: Mapping[str, tuple[str, ...]] = {
    "fit": ("schedule", "warmup", "plateau_factor", "plateau_patience", "accumulate", "ema"),
    "model": (
        *("bonds", "norm", "residual", "feed_forward", "virtual_node", "plain_last", "head_layers", "head_dropout"),
        *("train_eps", "input_dropout"),
    ),
    "predictor": ("edges",),
}
EPILOG = (
    "The part before the dot may be left out: --rounds is --method.rounds, --data NAME is --data.name NAME, "
    "--data-root is --data.root. Of two options with one name it means the first in this list; so --hidden is the "
    "model's."
)


def named(kind: str, name: str, known: Mapping[str, T]) -> T:
    """An entry of a registry.

    Raises:
        ValueError: no such name; the text has the nearest ones.
    """
    if name in known:
        return known[name]
    raise ValueError(f"unknown {kind} {name!r}: {hint(name, known)}")


def hint(name: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown name: the nearest ones, or all there are."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(str(name).lower(), names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"


def run_parser(method: str, model: str, *, prog: str | None = None) -> ArgumentParser:
    """A parser of everything that a run of this method on this model can be told.

    Args:
        method: its name in the registry.
        model: its name in the registry, or where it is imported from (``my_package:Net``).
        prog: what the usage line begins with.

    Returns:
        A parser with one section each for method, data, model, fit and (where the method has one) predictor, and the
        seed. It raises ``argparse.ArgumentError`` on bad input.

    Raises:
        ValueError: unknown names.
    """
    method_class = named("method", method, METHODS)
    model_class = None if is_path(model) else named("model", model, MODELS)
    attrs.resolve_types(method_class)
    about = docstring_parser.parse(method_class.__doc__ or "")
    parser = ArgumentParser(
        prog=prog,
        description=without_markup("\n\n".join(filter(None, (about.short_description, about.long_description)))),
        epilog=EPILOG,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of options; the command line goes before it")
    parser.add_argument("--method.name", type=str, default=method, help=f"one of {', '.join(METHODS)}")
    own = (EdgeScore, EdgeScore | None)  # of scorers a run takes those that have names
    scored = {item.alias: item.default for item in attrs.fields(method_class) if item.type in own}
    parser.add_class_arguments(method_class, "method", skip=SKIPPED | scored.keys())
    for name, default in scored.items():
        needed, kind = default is attrs.NOTHING, Literal[*SCORERS]
        default = None if needed else default
        parser.add_argument(f"--method.{name}", type=kind if needed else kind | None, required=needed, default=default)
    if any(item.name == "unit" and item.init for item in attrs.fields(method_class)):
        parser.add_argument("--method.unit", type=UnitName, default="weight", help="single weights or channels")
    parser.add_argument(
        "--method.protocol",
        type=Literal["clean", "paper"] | Protocol,
        default="clean",
        help="clean, paper (selects on the test set), or in a file a mapping {select: ..., rule: {...}}; parts of it "
        "may stand beside a name, as --protocol.rule.connected true or --protocol.rule.min_degree 1",
    )
    parser.add_function_arguments(data.load, "data")
    about_model = f"one of {', '.join(MODELS)}, or your own: my_package.nets:Net"
    parser.add_argument("--model.name", type=str, default=model, help=about_model)
    if model_class is None:
        for name in own_options("model", imported("model", model)):
            parser.add_argument(f"--model.{name}", type=Any, default=argparse.SUPPRESS)
    else:
        parser.add_class_arguments(model_class, "model", skip=set(FROM_DATA))
    parser.add_class_arguments(Fit, "fit", skip={"seed", "on_epoch", "schedule", "loss"})
    said = _documented(Fit)
    for name, words in (("schedule", ScheduleName), ("loss", LossName | None)):  # in Python functions, too
        parser.add_argument(f"--fit.{name}", type=words, default=getattr(Fit, name), help=said[name])
    if has_predictor(method_class):
        parser.add_class_arguments(EdgePredictor, "predictor", skip=set(FROM_DATA))
    parser.add_argument(
        "--seed", type=int, default=0, help="of initial weights, order of the graphs and random choices"
    )
    known = {action.dest for action in parser._actions}
    later = {"predictor": LATER["predictor"]}
    if model_class is not None:
        later["model"] = LATER["model"] if issubclass(model_class, GraphClassifier) else ("bonds",)
    parser.set_defaults(
        dict.fromkeys({f"{section}.{name}" for section, names in later.items() for name in names} & known)
    )
    _tidy(parser, _documented(method_class))
    return parser


def has_predictor(method_class: type[Method]) -> bool:
    """Whether a method learns to score edges."""
    return "predictor" in attrs.fields_dict(method_class)


def canonical(argv: Sequence[str], options: Sequence[str]) -> list[str]:
    """Command-line arguments with every option's full name.

    Args:
        argv: as typed.
        options: full names, such as ``method.rounds``; of two with the same last part the first goes first.
    """
    full: dict[str, str] = {}
    for name in options:
        section, dot, last = name.partition(".")
        if dot and last == "name":
            full[section] = name
        if dot:
            full.setdefault(f"{section}_{last}", name)
    for name in options:
        if not name.endswith(".name"):
            full.setdefault(name.rpartition(".")[2], name)
    out = []
    for word in argv:
        flag, equals, value = word.partition("=")
        if flag.startswith("--"):
            plain = flag[2:].replace("-", "_")
            head, dot, inner = plain.partition(".")
            if dot and head not in SECTIONS and head in full:  # of an option that is a mapping, such as protocol
                flag = f"--{full[head]}.{inner}"
            else:
                flag = "--" + full.get(plain, plain)
        out.append(flag + equals + value)
    return out


def option_names(parser: ArgumentParser) -> tuple[str, ...]:
    """Full names of the options of a run that a parser has, such as ``method.rounds``; ``seed`` has no section."""
    listed = [action.dest for action in parser._actions]
    return tuple(name for name in listed if name.partition(".")[0] in (*SECTIONS, "seed") and name not in SECTIONS)


def check_names(values: Mapping[str, Any], parser: ArgumentParser) -> None:
    """Make sure that a parser of :func:`run_parser` has all these nested options.

    Raises:
        ValueError: an unknown section or option; the text has the nearest ones.
    """
    known = [action.dest for action in parser._actions if action.dest not in ("config", "print_config")]
    known = [name for name in known if name.rpartition(".")[2] != "help"]
    known += [*Protocol.parts("method.protocol"), *map("data.encodings.{}".format, Encodings.__dataclass_fields__)]
    check_sections(values, dict.fromkeys(name.partition(".")[0] for name in known))
    for name in flat(values):
        if name not in known:
            inner = [other for other in known if other.rpartition(".")[0] == name.rpartition(".")[0]]
            ends = [other.rpartition(".")[2] for other in inner if not other.endswith(".name")]
            raise ValueError(f"unknown option {name}: {hint(name.rpartition('.')[2], ends)}")


def check_sections(values: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ValueError where a configuration has other sections than these; the text has the nearest ones."""
    for section in values:
        if section not in known:
            raise ValueError(f"unknown section {section!r}: {hint(section, known)}")


class Names(NamedTuple):
    """What decides which parser reads the rest.

    Attributes:
        method: name of the method, if any is given.
        model: name of the model, if any is given.
        file: options of the ``--config`` file.
    """

    method: str | None
    model: str | None
    file: Mapping[str, Any]


def names_in(argv: Sequence[str]) -> Names:
    """The method and the model that canonical arguments, or the ``--config`` file among them, ask for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no YAML mapping, or has unknown sections, or describes a run of objects, or lies in a
            run's folder and would have something imported that was not typed.
    """
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--config", "--method.name", "--model.name"):
        peek.add_argument(name, dest=name, nargs="?")
    given = vars(peek.parse_known_args(argv)[0])
    file = read_yaml(Path(given["--config"])) if given["--config"] else {}
    check_sections(file, (*SECTIONS, "seed", "out"))
    method, model = (
        given[f"--{section}.name"] or (file.get(section) or {}).get("name") for section in ("method", "model")
    )
    check_file(given["--config"], file, typed=given["--model.name"])
    return Names(method, model, file)


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file of options.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or is no mapping with a mapping in each section.
    """
    _, content = yaml_text.read(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a mapping with the sections {', '.join(SECTIONS)}")
    wrong = [name for name in SECTIONS if not isinstance(content.get(name, {}), dict)]
    if wrong:
        raise ValueError(f"{file}: {wrong[0]} must be a mapping, as {wrong[0]}: {{name: ...}}")
    return content


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves


def _documented(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each argument; jsonargparse reads the first one only."""
    texts: dict[str, str] = {}
    for owner in kind.__mro__:
        for item in docstring_parser.parse(owner.__doc__ or "").params:
            texts.setdefault(item.arg_name, item.description or "")
    return texts


def _tidy(parser: ArgumentParser, documented: Mapping[str, str]) -> None:
    """Hide what is not meant for users, fill in what docstrings say of inherited options, drop their mark-up."""
    for action in parser._actions:
        if action.dest in SECTIONS:  # a file for one section: --config does that, and --data means --data.name
            action.help = argparse.SUPPRESS
        section, _, name = action.dest.partition(".")
        if section == "method" and name in documented and name != "protocol":
            action.help = documented[name].replace("%", "%%")
        if action.help:
            action.help = without_markup(action.help)
    for group in parser._action_groups:
        group.title = group.title and without_markup(group.title)
