"""The command line: ``graphprune run | bench | demo | list | prune-graphs | compact | report | verify``."""

from __future__ import annotations

import argparse
import difflib
import inspect
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import graphprune
from graphprune.runs.text import first_line, without_markup

if TYPE_CHECKING:
    from graphprune.runs.trained import Trained

# What the user can mend, and what broke on the way.
BAD_INPUT = (
    *(ValueError, TypeError, LookupError, ImportError, argparse.ArgumentError, BlockingIOError, ConnectionError),
    *(FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError),
)
BROKEN = (ArithmeticError, OSError)

DEMO = Path(__file__).parent / "grids" / "demo.yaml"

RUN_USAGE = """usage: graphprune run METHOD --data NAME --out FOLDER [--model NAME] [--seed N] [options]
       graphprune run --config FILE.yaml --out FOLDER [options]
       graphprune run METHOD --help

Runs a method round by round. FOLDER gets the configuration, metrics.jsonl, results.json and one ticket a round; the
same command goes on where an interrupted run stopped. METHOD is one of
"""


def run(argv: Sequence[str]) -> int:
    """Run one method on one data set and save a ticket every round."""
    from graphprune.methods import METHODS
    from graphprune.runs.config import RunConfig
    from graphprune.runs.options import canonical, check_names, names_in, run_parser
    from graphprune.runs.progress import watching
    from graphprune.runs.protocols import in_one
    from graphprune.runs.run import run_one
    from graphprune.runs.typed import parse

    if argv and not argv[0].startswith("-"):
        argv = ["--method", *argv]
    method, model, file = names_in(canonical(argv, ("method.name", "data.name", "model.name")))
    if method is None:
        if not {"-h", "--help"} & set(argv):
            raise ValueError(f"name a method (graphprune run METHOD ...): {', '.join(METHODS)}")
        methods = METHODS.working()
        width = max(map(len, methods))
        print(RUN_USAGE + "".join(f"  {name:{width}} {first_line(each)}\n" for name, each in methods.items()), end="")
        return 0
    parser = run_parser(method, model or "gin", prog=f"graphprune run {method}")
    parser.add_argument("--out", type=str, required=True, help="folder of the run; an interrupted run goes on in it")
    check_names(file, parser)
    given = parse(parser, in_one(method, argv, file, [action.dest for action in parser._actions]))
    config, out = RunConfig.parsed(parser, given), Path(given.out)
    with watching() as watch:
        run_one(config, out, watch)
    print(f"results: {out / 'results.json'}; for a page with figures: graphprune report {out}")
    return 0


def bench(argv: Sequence[str]) -> int:
    """Run a grid of methods, data sets, models and seeds, one folder a cell, and write a report.

    Runs every cell that is not finished yet: the same command goes on where an earlier one was stopped, whatever
    stopped it. The grid's layout is in docs/grids.md.
    """
    parser = _parser("bench")
    parser.add_argument("grid", type=Path, metavar="GRID.yaml", help="data sets, models, methods, sparsities, seeds")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells, cells.json and the report")
    parser.add_argument("--executor", choices=("local", "dask"), default="local", help="where cells run (%(default)s)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of Dask, such as tcp://127.0.0.1:8786")
    parser.add_argument("--workers", type=int, help="local processes side by side (default: one a CPU)")
    given = parser.parse_args(argv)
    if (given.executor == "dask") != (given.scheduler is not None):
        raise ValueError("--executor dask and --scheduler ADDRESS go together")
    if given.executor == "dask" and given.workers is not None:
        raise ValueError("--workers is for local processes; a Dask scheduler has the workers that were started for it")

    from graphprune.grids.command import run_bench
    from graphprune.grids.executors import dask, processes

    number = (os.cpu_count() or 1) if given.workers is None else given.workers
    return run_bench(given.grid, given.out, dask(given.scheduler) if given.scheduler else processes(number))


def demo(argv: Sequence[str]) -> int:
    """Compare ICPG, GICP and UGS with their controls on two embedded sets and write a report.

    Planted motifs, whose true edges are known, with five seeds, then ogbg-molbace with three: ICPG, GICP, UGS, random
    and lowest-degree edges, the dense network, and the same network without any edges, validation selecting the epoch.
    The last lines say in words what was seen. The same command goes on where an interrupted demo stopped.
    """
    parser = _parser("demo")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of runs and report (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side (%(default)s)")
    given = parser.parse_args(argv)

    from graphprune.grids.command import run_bench
    from graphprune.grids.executors import processes
    from graphprune.report.report import needed

    needed()
    return run_bench(DEMO, given.out, processes(given.workers))


def prune_graphs(argv: Sequence[str]) -> int:
    """Apply a ticket's edge pruning to every graph of a data set, seen or unseen.

    The data set is that of the ticket's run, or any other.
    """
    from graphprune.runs.tickets import prune_data

    given, trained, options = _ticket_and_data(argv, "prune-graphs", "new folder for the masks and summary.json")
    prune_data(trained.ticket, trained.any_data(options), Path(given.out), given.ticket)
    return 0


def compact(argv: Sequence[str]) -> int:
    """Make a ticket's network small, and measure what that gains.

    Removes dead units and channels from the network, checks that it computes the same, and prints what both cost on the
    test samples of the ticket's data set.
    """
    from graphprune.runs.tickets import compact_ticket

    into = "new folder for weights, costs.json and program.pt2"
    own = {"--model": "of a run on a model of yours: my_package.nets:Net"}
    given, trained, options = _ticket_and_data(argv, "compact", into, own)
    compact_ticket(trained, Path(given.out), options, given.get("model"))
    return 0


def _ticket_and_data(
    argv: Sequence[str], command: str, into: str, more: Mapping[str, str] = MappingProxyType({})
) -> tuple[Any, Trained, dict[str, Any]]:
    """What the commands that take a ticket read: all that is given, the ticket, and the data options among it."""
    from jsonargparse import ArgumentParser

    from graphprune import data
    from graphprune.runs.trained import Trained
    from graphprune.runs.typed import parse

    parser = _parser(command, ArgumentParser)
    parser.add_argument("ticket", type=str, help="folder of a finished round, or of a run, whose last round it is then")
    parser.add_argument("--data.name", type=str, help="the data set (default: that of the run)")
    parser.add_function_arguments(data.load, "data", skip={"name"})
    parser.add_argument("--out", type=str, required=True, help=into)
    for option, about in more.items():
        parser.add_argument(option, type=str, help=about)
    for action in parser._actions:
        action.help = action.help and without_markup(action.help)
    given = parse(parser, argv, defaults=False)
    options: dict[str, Any] = {} if given.get("data") is None else given.data.as_dict()
    trained = Trained.at(given.ticket)
    own = {} if trained.config is None else trained.config.data
    if options and options.get("name", own.get("name")) == own.get("name"):
        usual = parser.get_defaults().data.as_dict()
        kept = [f"{key}={value}" for key, value in own.items() if key not in ("name", *options) and usual[key] != value]
        if kept:
            print(f"of the run's data options these hold: {', '.join(kept)}", file=sys.stderr)
    return given, trained, options


def report(argv: Sequence[str]) -> int:
    """Write report.md, report.html and figures for one or more finished or unfinished runs."""
    from graphprune.report.report import write_report

    parser = argparse.ArgumentParser(prog="graphprune report", exit_on_error=False)
    parser.add_argument("--csv", action="store_true", help="also report.csv: all rows unrounded, with every option")
    parser.add_argument("--latex", action="store_true", help="also tables/: each table as a file for booktabs")
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders that hold any number of them")
    parser.add_argument("--out", type=Path, help="where to write; default: the folder, if one is given")
    given = parser.parse_args(argv)
    if given.out is None and len(given.folders) > 1:
        raise ValueError("say with --out where the report on several folders goes")
    written = write_report(given.folders, given.out or given.folders[0], csv=given.csv, latex=given.latex)
    print(written.summary, "report:", written.markdown, written.html, *written.others, sep="\n")
    return 0


def verify(argv: Sequence[str]) -> int:
    """Say which files of runs, grids, tickets, deployed objects and stored sets are not what was written.

    Each is compared with its digests, results with the tickets that they are of. A digest is no signature: who rewrites
    a file can give it another. The exit code is 1 if anything is damaged.
    """
    from graphprune.runs import verify as reading

    parser = _parser("verify")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="with all that lies in and below it")
    given = parser.parse_args(argv)
    read = [reading.verify(folder) for folder in given.folders]
    found, number = [each for here, _ in read for each in here], sum(files for _, files in read)
    damaged, old = (sum(each.kind == kind for each in found) for kind in ("damaged", "no digest"))
    print("".join(f"{each}\n" for each in found), end="")
    print(f"{number} files read: {damaged} damaged, {old} without a digest, as older versions wrote them")
    return int(damaged > 0)


def list_(argv: Sequence[str]) -> int:
    """List methods, models, data sets and convolutions, and what each supports."""
    from graphprune.runs.listing import listing

    _parser("list").parse_args(argv)
    print(listing())
    return 0


# Each with what it takes.
COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "run": (run, "METHOD --data NAME --out FOLDER"),
    "bench": (bench, "GRID.yaml --out FOLDER"),
    "demo": (demo, "[--out FOLDER]"),
    "report": (report, "FOLDER ... [--out FOLDER]"),
    "verify": (verify, "FOLDER ..."),
    "prune-graphs": (prune_graphs, "TICKET [--data NAME] --out FOLDER"),
    "compact": (compact, "TICKET --out FOLDER"),
    "list": (list_, ""),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns 0, 1 where a run broke down, 2 for bad input.

    A ``--debug`` anywhere, or the environment variable GRAPHPRUNE_DEBUG, shows the traceback of an error.
    """
    for stream in (sys.stdout, sys.stderr):  # so that a name that a terminal cannot show breaks nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or bool(os.environ.get("GRAPHPRUNE_DEBUG"))
    words = [word for word in words if word != "--debug"]
    name = words[0] if words else "--help"
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"graphprune {graphprune.__version__}")
        return 0
    try:
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
            raise ValueError(f"unknown command {name!r}: {hint}")
        for word in words:
            if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
                raise ValueError(
                    f"{word!a} is not UTF-8 text: rename the file or folder; if it is UTF-8 and the locale is not, "
                    "set PYTHONUTF8=1 in the environment"
                )
        return COMMANDS[name][0](words[1:])
    except (*BAD_INPUT, *BROKEN) as error:
        if debug:
            raise
        where = f"graphprune {name}" if name in COMMANDS else "graphprune"
        print(f"{where}: error: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, BAD_INPUT) else 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on after the last finished round", file=sys.stderr)
        return 130


def _parser(command: str, kind: Any = argparse.ArgumentParser) -> Any:
    """A parser of what a command takes, described as the command is."""
    about = inspect.getdoc(COMMANDS[command][0])
    return kind(prog=f"graphprune {command}", description=about, exit_on_error=False, allow_abbrev=False)


def _one_line(error: Exception) -> str:
    # An OSError's own text, without "[Errno 28]", where there is no file name to add.
    text = error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else str(error)
    if isinstance(error, LookupError):  # whose text is a key alone: of a network of the user's, for instance
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    return " ".join(text.split())


def _usage() -> str:
    commands = "".join(
        f"  {name} {takes}".rstrip() + f"\n      {first_line(each)}\n" for name, (each, takes) in COMMANDS.items()
    )
    return (
        "usage: graphprune COMMAND ...\n\n"
        "Finds sparse graph neural networks: fewer edges in the graphs, fewer weights in the network.\n\n"
        f"{commands}\ngraphprune COMMAND --help says more; --debug shows the traceback of an error."
    )


if __name__ == "__main__":
    sys.exit(main())
