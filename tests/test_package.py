"""The package as a whole: what it costs to import, what it names, and what its wheel carries."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import graphprune

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "graphprune"
DATASETS = ROOT / "datasets"
BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in", "graphprune", "datasets")


def run_python(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def top_level_imports(file: Path) -> set[str]:
    """Names of the packages that importing this file imports: all but those inside functions."""

    def walk(node: ast.AST) -> set[str]:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return set()
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                return {name for child in node.orelse for name in walk(child)}
            case ast.Import():
                return {alias.name.partition(".")[0] for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                return {module.partition(".")[0]}
        return {name for child in ast.iter_child_nodes(node) for name in walk(child)}

    return walk(ast.parse(file.read_text(encoding="utf-8")))


def test_import_is_light() -> None:
    heavy = ["torch", "torch_geometric", "ogb", "matplotlib", "lightning", "lightning_fabric", "torchmetrics"]
    heavy += ["pandas", "sklearn", "rdkit"]
    loaded = run_python("-c", f"import sys, graphprune; print([m for m in {heavy} if m in sys.modules])")
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("name", graphprune.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(graphprune, name) is not None
    assert name in dir(graphprune)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_method"):
        graphprune.no_such_method  # noqa: B018


def test_type_checkers_see_the_public_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    seen = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(graphprune.__all__)


def test_ogb_is_imported_only_where_it_is_used() -> None:
    """Its import asks the network for a newer version, so no module may cause it."""
    assert [file for file in PACKAGE.rglob("*.py") if "ogb" in top_level_imports(file)] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built through the source distribution, from a copy that holds no earlier build."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy(path, source / name)
    run_python("-m", "build", "--no-isolation", "--outdir", str(source / "dist"), cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    modules = {str(file.relative_to(ROOT)) for kind in ("*.py", "*.j2", "*.yaml") for file in PACKAGE.rglob(kind)}
    assert any(name.endswith(".j2") for name in modules)
    data = {f"graphprune/data/embedded/{file.name}" for file in DATASETS.iterdir() if file.is_file()}
    assert data
    assert modules | data | {"graphprune/py.typed"} <= held


def test_installed_wheel_loads_the_embedded_data(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_python("-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    kinds = ("bace", "bbbp", "esol", "freesolv", "hiv", "lipo", "sider", "tox21")
    names = ["MUTAG", *(f"ogbg-mol{kind}" for kind in kinds)]
    program = f"import graphprune as gp; print(gp.__file__, *(gp.data.load(name).name for name in {names}))"
    file, *loaded = run_python("-P", "-c", program, cwd=tmp_path, PYTHONPATH=str(site)).split()
    assert Path(file).is_relative_to(site)
    assert loaded == names
