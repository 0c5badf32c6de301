"""The structure of the code in numbers: per folder its files, lines, floors, arrows and circles.

Run as ``python benchmarks/structure.py [FOLDER]`` (``make structure``). FOLDER is a package, by default ``graphprune``.
A line of the table is one folder with what lies below it; ``floors`` is the longest chain of imports between files of
that folder, ``arrows`` the number of such imports, wherever in a file they stand (for types and in functions, too).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

LIMIT = 300  # lines of a file


def main(package: Path) -> None:
    files = {name(path, package): path for path in sorted(package.rglob("*.py"))}
    graph = nx.DiGraph()
    graph.add_nodes_from(files)
    for module, path in files.items():
        graph.add_edges_from((module, target) for target in imports(path, module, files) if target != module)
    rooms = sorted({".".join(module.split(".")[:2]) for module in files if len(module.split(".")) > 1})
    print(f"{'':24}{'files':>6}{'lines':>8}{'floors':>8}{'arrows':>8}{'circles':>9}{'longest':>9}")
    for room in [*rooms, package.name]:
        members = [module for module in files if module == room or module.startswith(f"{room}.")]
        inner = graph.subgraph(m for m in members if files[m].name != "__init__.py")  # a face only names what it holds
        lines = [files[module].read_text().count("\n") for module in members]
        rings = sum(len(part) > 1 for part in nx.strongly_connected_components(inner))
        floors = nx.dag_longest_path_length(nx.condensation(inner)) + 1 if len(inner) else 0
        figures = f"{len(members):6}{sum(lines):8}{floors:8}{inner.number_of_edges():8}{rings:9}{max(lines):9}"
        print(f"{room.removeprefix(package.name + '.'):24}{figures}")
    between = {(a.split(".")[1], b.split(".")[1]) for a, b in graph.edges if a.count(".") and b.count(".")}
    print(f"arrows between folders: {sum(a != b for a, b in between)}")
    long = {module: count for module in files if (count := files[module].read_text().count("\n")) > LIMIT}
    print(f"files over {LIMIT} lines: " + (", ".join(f"{module} {count}" for module, count in long.items()) or "none"))
    for part in nx.strongly_connected_components(graph.subgraph(m for m in files if files[m].name != "__init__.py")):
        if len(part) > 1:
            print("circle: " + ", ".join(sorted(part)))


def name(path: Path, package: Path) -> str:
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, module: str, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [target for target in inner if target in known]
            yield from modules
            if len(modules) < len(inner):
                yield node.module


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "graphprune"))
