"""What the site holds beside the pages of docs/: README, changelog, linked results, and the reference of all names."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import graphprune

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    *("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "datasets/README.md", "datasets/LICENSE*"),
    *("benchmarks/*.py", "benchmarks/*.yaml", "benchmarks/results/**/*"),
)


def public_packages() -> dict[str, ModuleType]:
    """Every package that lists its public names; those of the package itself are names of these."""
    names = [info.name for info in pkgutil.iter_modules(graphprune.__path__, "graphprune.") if info.ispkg]
    modules = {name: importlib.import_module(name) for name in [*names, "graphprune.graphs.sparsifiers"]}
    for name in ("graphprune.report.stats", "graphprune.deployed"):
        modules[name] = importlib.import_module(name)
    return {name: module for name, module in sorted(modules.items()) if public_names(module)}


def public_names(module: ModuleType) -> list[str]:
    """What it says itself, or the functions and classes of a module that does not say."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    members = inspect.getmembers(module, lambda each: inspect.isclass(each) or inspect.isfunction(each))
    return [name for name, each in members if each.__module__ == module.__name__ and not name.startswith("_")]


def home_of(name: str) -> str | None:
    """The package that holds a name of the top level; None for the packages themselves and the version."""
    thing = getattr(graphprune, name)
    if isinstance(thing, (ModuleType, str)):
        return None
    packages = public_packages().items()
    return next(home for home, module in packages if name in public_names(module) and getattr(module, name) is thing)


def face() -> str:
    """The page of the top level."""
    names = {name: home_of(name) for name in graphprune.__all__}
    lines = [f"[`gp.{name}`][{home}.{name}]" for name, home in names.items() if home]
    packages = [
        f"| [`{name}`]({name.removeprefix('graphprune.')}.md) | {(module.__doc__ or '').splitlines()[0]} |"
        for name, module in public_packages().items()
    ]
    parts = ["# graphprune", inspect.getdoc(graphprune), ", ".join(lines) + ".", "## Packages"]
    table = ["| package | holds |", "|---|---|", *packages]
    return "\n\n".join([*map(str, parts), "\n".join(table)]) + "\n"


def page(name: str, module: ModuleType) -> str:
    """The page of one package: its docstring and an entry for each of its names."""
    entries = [f"::: {name}.{each}" for each in public_names(module)]
    return "\n\n".join([f"# {name}", inspect.getdoc(module) or "", *entries]) + "\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the pages of the reference in the navigation."""
    pages = ["api/graphprune.md", *(f"api/{name.removeprefix('graphprune.')}.md" for name in public_packages())]
    for entry in config.nav or ():
        if "Reference" in entry:
            entry["Reference"] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that lie outside of docs/, and the reference."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                name = path.relative_to(ROOT).as_posix()
                files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    files.append(File.generated(config, "api/graphprune.md", content=face()))
    for name, module in public_packages().items():
        made = page(name, module)
        files.append(File.generated(config, f"api/{name.removeprefix('graphprune.')}.md", content=made))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as in the repository, where docs/ is a folder of its own, become those of the site."""
    source = page.file.src_uri
    if source.startswith("benchmarks/"):
        page.meta["search"] = {"exclude": True}  # hundreds of tables would drown the rest
    if source in ("README.md", "results.md") or source.startswith("benchmarks/"):
        page.meta["hide"] = ["toc"]  # room for wide tables
    if source == "README.md":
        return re.sub(r"\]\(docs/", "](", markdown)
    if "/" not in source:
        return re.sub(r"\]\(\.\./", "](", markdown)
    return markdown
