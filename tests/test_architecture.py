"""The rules that ARCHITECTURE.md states, held against every import; the shape of the tree; the front door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import convfuzz

ROOT = Path(__file__).parent.parent
PACKAGES = ("convfuzz", "strategies", "reports")
MOST_AT_THE_TOP = 8


def dotted(path: Path) -> str:
    """Return the name by which a Python file of the checkout is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "convfuzz" else ("convfuzz", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = {dotted(path): path for path in FILES}


# -- the rules and the imports ----------------------------------------------------------------------------------------


@cache
def rules() -> dict[str, set[str]]:
    """Read the table of folders: what each module or package may import, from the lowest row to the highest."""
    rows = re.findall(r"^\| `([\w./]+)` \|.*\| ([^|]+) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    named = {where: {full(name) for name in re.findall(r"`([\w.]+)`", names)} for where, names in rows}
    return {dotted(ROOT / where): names for where, names in named.items()}


def full(name: str) -> str:
    """Return a name of the table as it is imported; ``convfuzz`` itself is the front door."""
    return name if name == "convfuzz" else f"convfuzz.{name}"


def rule_of(module: str) -> str:
    """Return the row that a module stands under: its own, or that of the nearest folder around it."""
    candidates = [row for row in rules() if module == row or (row != "convfuzz" and module.startswith(f"{row}."))]
    assert candidates, f"{module} is in no row of ARCHITECTURE.md"
    return max(candidates, key=len)


def imported(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield what a module imports of convfuzz: anywhere in it, absolutely, relatively, for types only, or by a string."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(names=aliases, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in aliases]
                if base == "convfuzz" and all(alias.name == "__version__" for alias in aliases):
                    continue  # a constant, which anybody may show
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]
            ):
                names = [name]
            case _:
                continue
        yield from (name for name in names if name.split(".")[0] == "convfuzz")


def broken(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Return what a module imports against its rule."""
    row = rule_of(module)
    allowed = rules()[row] | ({row} - {"convfuzz"})
    return {name for name in imported(source, module, is_package=is_package) if not any(covers(one, name) for one in allowed)}


def covers(allowed: str, name: str) -> bool:
    """Whether ``allowed`` is what ``name`` names, or a package around it; the front door is no package around anything."""
    return name == allowed or (allowed != "convfuzz" and name.startswith(f"{allowed}."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_keeps_to_the_rules(path: Path) -> None:
    """A module imports its own folder and what ARCHITECTURE.md lets that folder import, and nothing else of convfuzz."""
    assert broken(path.read_text(), dotted(path), is_package=path.name == "__init__.py") == set()


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("convfuzz.record.events", "from convfuzz.judging.judge import Judge", "convfuzz.judging.judge"),
        ("convfuzz.record.events", "from ..judging.judge import Judge", "convfuzz.judging.judge"),
        ("convfuzz.record.events", "from .. import oracle", "convfuzz.oracle"),
        ("convfuzz.record.events", "from convfuzz import tensors", "convfuzz.tensors"),
        ("convfuzz.record.events", "import convfuzz.backends.registry as r", "convfuzz.backends.registry"),
        ("convfuzz.record.events", "import convfuzz", "convfuzz"),
        ("convfuzz.record.events", "from convfuzz import check", "convfuzz"),
        ("convfuzz.record.events", "import os, convfuzz.checking", "convfuzz.checking"),
        ("convfuzz.backends.torch.call", "def f():\n    from convfuzz.oracle import reference", "convfuzz.oracle"),
        ("convfuzz.backends.torch.call", "from ...oracle.passes import reference", "convfuzz.oracle.passes"),
        ("convfuzz.backends.torch.call", "from convfuzz.judging.judge import Judge", "convfuzz.judging.judge"),
        ("convfuzz.judging.numerics", "from convfuzz.judging.pass_sums import PassSums", "convfuzz.judging.pass_sums"),
        ("convfuzz.processes.sandbox", "if TYPE_CHECKING:\n    from convfuzz.campaign.plan import Plan", "convfuzz.campaign.plan"),
        ("convfuzz.processes.sandbox", "importlib.import_module('convfuzz.campaign.worker')", "convfuzz.campaign.worker"),
        (
            "convfuzz.reproduction.draft",
            "try:\n    from ..processes import sandbox\nexcept ImportError: pass",
            "convfuzz.processes.sandbox",
        ),
        ("convfuzz.testing.options", "from ..cli import cli", "convfuzz.cli"),
        ("convfuzz.campaign.plan", "from convfuzz.strategies import default", "convfuzz.strategies"),
        ("convfuzz.cli.report", "import convfuzz.reports", "convfuzz.reports"),
        ("convfuzz.strategies.spaces", "from convfuzz.record.finding import Finding", "convfuzz.record.finding"),
        ("convfuzz.strategies.geometry.windows", "from ...record import finding", "convfuzz.record.finding"),
        ("convfuzz.reports.merged", "from convfuzz.backends import resolve", "convfuzz.backends"),
        ("convfuzz.reports.sections.matrix", "from ...campaign.plan import Plan", "convfuzz.campaign.plan"),
    ],
)
def test_a_broken_rule_is_seen(module: str, source: str, found: str) -> None:
    """An import against the rules is found however it is written: made-up sources, each with one."""
    assert broken(source, module) == {found}


def test_what_the_rules_allow_is_not_accused() -> None:
    """Imports of lower rows, of the own folder, and of others' packages pass, relative ones too."""
    source = "from . import journal\nfrom .finding import Finding\nfrom ..case import Case\nimport numpy\nfrom convfuzz import __version__"
    assert broken(source, "convfuzz.record.events") == set()
    assert broken("from .numerics import Numerics\nfrom .. import case", "convfuzz.judging", is_package=True) == set()


def test_rows_stand_on_rows_above_them() -> None:
    """The table is in the order of the floors, so that no two folders need each other; only a case calls the front door."""
    above: set[str] = set()
    for row, names in rules().items():
        assert names - {"convfuzz"} <= above, row
        above.add(row)
    assert [row for row, names in rules().items() if "convfuzz" in names] == ["convfuzz.case.case"]


def test_every_permission_is_used() -> None:
    """What a row may import, some module of it does import: a permission that nobody needs goes."""
    used: dict[str, set[str]] = {row: set() for row in rules()}
    for module, path in MODULES.items():
        row = rule_of(module)
        names = set(imported(path.read_text(), module, is_package=path.name == "__init__.py"))
        used[row] |= {one for one in rules()[row] for name in names if covers(one, name)}
    assert used == rules()


# -- the shape of the tree --------------------------------------------------------------------------------------------


def test_few_modules_stand_outside_a_package() -> None:
    """The folder list is the architecture: convfuzz itself holds a handful of modules."""
    assert len(list((ROOT / "convfuzz").glob("*.py"))) <= MOST_AT_THE_TOP


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "__init__.py"], ids=lambda path: str(path.parent.relative_to(ROOT))
)
def test_a_package_opens_with_a_sentence(path: Path) -> None:
    """The first line of a package says in a whole sentence what lives there."""
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert re.fullmatch(r"\w.{20,}\.", said.partition("\n")[0]), said


def test_the_wheel_has_every_package() -> None:
    """A folder of modules that pyproject.toml does not list is in a checkout only."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert {name for name, path in MODULES.items() if path.name == "__init__.py"} == listed


def test_the_nightly_needs_the_standard_library_only() -> None:
    """A step of the nightly job runs where nothing is installed."""
    files = sorted((ROOT / "nightly").glob("*.py"))
    known = {*sys.stdlib_module_names, *(path.stem for path in files)}
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} - known == set()


# -- the front door ---------------------------------------------------------------------------------------------------


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
