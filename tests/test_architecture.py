"""The layers that ARCHITECTURE.md draws, held against the imports of every module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import convfuzz

ROOT = Path(__file__).parent.parent
FREE = {"__init__", "__main__"}
CASE_MODEL = 1
KEPT = 6


def layers() -> dict[str, int]:
    """Read the table of layers from ARCHITECTURE.md."""
    rows = re.findall(r"^\| (\d) \| (.+?) \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    return {name: int(layer) for layer, names in rows for name in re.findall(r"`(\w+)`", names)}


def imported(path: Path) -> set[str]:
    """Return the convfuzz modules (first level) that a file imports, anywhere in it and for type checking too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules = [node.module] if node.module != "convfuzz" else [f"convfuzz.{alias.name}" for alias in node.names]
        else:
            continue
        names |= {m.split(".")[1] for m in modules if m.startswith("convfuzz.")}
    return names - {"__version__"}


def files(folder: str) -> list[Path]:
    """Return the Python files of a folder of the checkout."""
    return sorted((ROOT / folder).rglob("*.py"))


def module(path: Path) -> str:
    """Return the first-level module of convfuzz that a file belongs to."""
    return path.relative_to(ROOT / "convfuzz").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", files("convfuzz"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_from_a_higher_layer(path: Path) -> None:
    """A module of the library imports its own layer and lower ones only, and neither strategies nor reports."""
    if module(path) in FREE:
        return
    layer = layers()
    own = layer[module(path)]
    higher = {name: layer.get(name, "no layer: an entry point's business") for name in imported(path) if layer.get(name, 99) > own}
    assert higher == {}


@pytest.mark.parametrize("path", files("strategies"), ids=lambda path: path.name)
def test_strategies_see_the_case_model_only(path: Path) -> None:
    """A strategy imports nothing of convfuzz beyond the case model."""
    assert {name for name in imported(path) if layers().get(name, 99) > CASE_MODEL} == set()


@pytest.mark.parametrize("path", files("reports"), ids=lambda path: path.name)
def test_reports_see_what_is_kept_only(path: Path) -> None:
    """A report imports no backend and nothing of the campaign."""
    layer = layers()
    assert {name for name in imported(path) if layer.get(name, 0) > KEPT or name == "backends"} == set()


def test_every_module_has_a_layer() -> None:
    """ARCHITECTURE.md names every module of the library."""
    assert {module(path) for path in files("convfuzz")} - FREE == set(layers())


def test_the_wheel_has_every_package() -> None:
    """A folder of modules that pyproject.toml does not list is in a checkout only."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for top in ("convfuzz", "reports", "strategies") for path in files(top)}
    assert {".".join(folder.parts if folder.parts[0] == "convfuzz" else ("convfuzz", *folder.parts)) for folder in folders} == listed


def test_public_names_exist_and_are_listed() -> None:
    """Every name in ``__all__`` can be looked up, and every name that can be looked up is in ``__all__``."""
    assert all(getattr(convfuzz, name) is not None for name in convfuzz.__all__)
    assert sorted(convfuzz.__all__) == sorted({*convfuzz._HOMES, "__version__"})


def test_import_and_help_load_no_numerics() -> None:
    """``import convfuzz`` and ``convfuzz --help`` load neither a framework nor NumPy."""
    code = (
        "import sys, convfuzz\n"
        "from convfuzz.cli import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'torch', 'tensorflow', 'numba', 'hypothesis', 'msgspec', 'rich'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


def test_built_ins_come_through_the_entry_points() -> None:
    """Backends, strategies and reports are registered like a third party's."""
    groups = {"convfuzz.backends": "torch", "convfuzz.strategies": "default", "convfuzz.reports": "html"}
    assert all(name in entry_points(group=group).names for group, name in groups.items())


@pytest.mark.parametrize("name", ["check", "reference"])
def test_functions_are_not_hidden_by_submodules(name: str) -> None:
    """``convfuzz.check`` and ``convfuzz.reference`` are functions whatever was imported before."""
    code = f"import convfuzz.checking.checker, convfuzz.oracle, convfuzz; print(callable(convfuzz.{name}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"
