"""README, docs/ and the site built of them: code runs, commands parse, files exist, no public name is missing."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import graphprune
from graphprune import cli
from graphprune.data import METRICS
from graphprune.graphs.sparsifiers import SCORERS
from graphprune.methods import METHODS
from graphprune.models import MODELS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
LANGUAGES = {"python", "sh", "yaml", "toml", "text"}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.S | re.M)
COMMAND = re.compile(r"(?<!`)`((?:graphprune|python|make|pip|torchrun) [^`]+)`(?!`)")


def blocks(language: str) -> list[tuple[str, str]]:
    """Every block of a language, with a name for it."""
    found = []
    for page, text in TEXTS.items():
        codes = [code for _, kind, code in FENCE.findall(text) if kind == language]
        found += [(f"{page.stem}-{number}", code) for number, code in enumerate(codes)]
    return found


def commands() -> Iterator[tuple[str, str]]:
    """Every command line, of blocks and within sentences, with its page."""
    for page, text in TEXTS.items():
        for _, kind, code in FENCE.findall(text):
            if kind == "sh":
                lines = code.replace("\\\n", " ").splitlines()
                yield from ((page.name, line) for line in lines if line.strip())
        for command in COMMAND.findall(FENCE.sub("", text)):
            yield page.name, " ".join(command.split())


PYTHON = [pytest.param(code, id=name) for name, code in blocks("python")]
COMMANDS = [pytest.param(line, id=f"{page}:{line[:60]}") for page, line in dict.fromkeys(commands())]


@pytest.mark.parametrize("code", PYTHON)
def test_the_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for registry in (METHODS, METRICS, MODELS, SCORERS):  # names that examples take are theirs alone
        monkeypatch.setattr(registry, "_own", dict(registry._own))
    example = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", example)  # where torch_geometric looks up what annotations name
    exec(compile(code, "example", "exec"), vars(example))


def test_there_are_examples() -> None:
    assert len(PYTHON) >= 40
    assert len(COMMANDS) >= 50


def test_every_block_says_its_language_or_why_it_does_not_run() -> None:
    for page, text in TEXTS.items():
        for block in FENCE.finditer(text):
            assert block[2] in LANGUAGES, f"{page.name}: a block of {block[2] or 'no language'}: {block[3][:60]}"
            if block[2] == "text":
                before = text[: block.start()].rstrip().splitlines()[-1]
                assert re.fullmatch(r" *<!-- not run: .+ -->", before), f"{page.name}: why not run? {block[3]}"


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_parses(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [word for word in shlex.split(line, comments=True) if word != "..."]
    match words:
        case ["graphprune", *rest]:
            monkeypatch.chdir(ROOT)
            parse_graphprune(rest, capsys, tmp_path)
        case ["python", script, *options] if script.endswith(".py"):
            source = (ROOT / script).read_text(encoding="utf-8") + (ROOT / "benchmarks/common.py").read_text("utf-8")
            for option in options_of(options):
                assert f'"{option}"' in source, f"{script} has no {option}"
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            for target in targets:
                assert "=" in target or re.search(rf"^{target}:", makefile, re.M), f"no target {target}"
        case ["pip", "install", *what]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
            for extra in re.findall(r"\[(.+?)\]", " ".join(what)):
                assert set(extra.split(",")) <= extras.keys()
        case ["dask" | "torchrun", *_]:
            pass
        case _:
            pytest.fail(f"a command of an unknown program: {line}")


def parse_graphprune(words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Parse a command line without running it."""
    command, *rest = words
    if command.startswith("-"):
        return
    assert command in cli.COMMANDS
    named = rest and rest[0] != "METHOD" and (len(rest) > 1 if rest[0] == "--config" else rest[0][0] != "-")
    if command == "run" and named and "--help" not in rest:
        # jsonargparse's own: it reads everything else, and then writes it down instead of running it.
        out = [] if "--out" in rest else ["--out", str(tmp_path)]
        with pytest.raises(SystemExit) as stopped:
            cli.main(["run", *rest, *out, "--print_config"])
        assert stopped.value.code == 0, capsys.readouterr().err
        return
    if command == "run":
        words = ["run", "icpg"]
        rest = [word for word in rest if word != "METHOD"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words[: 2 if command == "run" else 1], "--help"])
    assert stopped.value.code == 0
    known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out)) | {"--help", "--print_config"}
    short = {option.replace(".", "-") for option in known} | {option.removesuffix(".name") for option in known}
    for option in options_of(rest):
        assert option in known | short, f"graphprune {command} has no {option}"


def options_of(words: list[str]) -> list[str]:
    """The names of the options."""
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def test_data_blocks_can_be_read() -> None:
    for _, code in blocks("yaml"):
        yaml.safe_load(code)
    for _, code in blocks("toml"):
        tomllib.loads(code)


def test_pages_link_to_files_that_exist() -> None:
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_files_that_pages_name_exist() -> None:
    names = r"\b(?:benchmarks|datasets|docs|tests)/[\w./-]*\w\.(?:json|md|npz|png|py|txt|yaml|zip)\b"
    for page, text in TEXTS.items():
        for name in re.findall(names, text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def texts_in_code() -> set[str]:
    """All texts of the package, with … for what is filled in."""
    found = set()
    for file in (ROOT / "graphprune").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_errors_read_as_their_page_says() -> None:
    texts = texts_in_code()
    tables = TEXTS[ROOT / "docs/errors.md"].split("| given | how the error reads |")[1:]
    rows = [line for table in tables for line in table.split("\n\n")[0].splitlines()[2:]]
    told = [text for row in rows for text in re.findall(r"`([^`]+)`", row.split(" | ")[-1])]
    assert len(told) > 30
    for text in told:
        pattern = re.compile(".*".join(map(re.escape, text.split("…"))), re.S)
        assert any(pattern.search(known) for known in texts), text


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"[\w-]+\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    assert {page.name for page in PAGES} <= named


def test_the_readme_is_a_page_that_can_be_read() -> None:
    assert len(TEXTS[ROOT / "README.md"].splitlines()) <= 200


class Resources(HTMLParser):
    """What a browser fetches to show a page: not what a reader may follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [given[name] or "" for name in ("src", "srcset", "poster", "data-src") if name in given]
        if tag == "link":
            self.found.append(given.get("href") or "")


def public_names() -> Iterator[str]:
    """Every name that a package or module lists, by its full path; names of the top level by what holds them."""
    modules: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(graphprune.__path__, "graphprune."):
        modules[info.name] = importlib.import_module(info.name)
    held = [
        (home, name, getattr(module, name))
        for home, module in modules.items()
        for name in getattr(module, "__all__", ())
    ]
    yield from (f"{home}.{name}" for home, name, _ in held)
    for name in graphprune.__all__:
        thing = getattr(graphprune, name)
        if not isinstance(thing, (ModuleType, str)):
            assert any(other is thing for _, _, other in held), f"gp.{name} is in no package's __all__"


def test_the_site_builds_without_a_warning_and_names_everything(tmp_path: Path) -> None:
    site = tmp_path / "site"  # and not --quiet, which keeps --strict from counting warnings
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]).decode()
    described = {line.split()[0] for line in inventory.splitlines()}
    assert sorted(set(public_names()) - described) == []

    for page in site.rglob("*.html"):
        parser = Resources()
        parser.feed(page.read_text(encoding="utf-8"))
        assert [each for each in parser.found if re.match(r"(https?:)?//", each)] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
