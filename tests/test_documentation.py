"""The names in the documentation, held against the tree."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import convfuzz

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SOURCES = [
    path
    for folder in ("convfuzz", "strategies", "reports", "nightly", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]
FOLDERS = ("benchmarks", "ci", "convfuzz", "docs", "nightly", "reports", "strategies", "tests")
"""Where the files of the checkout lie; a name that begins otherwise is of a reader's own project."""
OTHERS = (
    "*.convfuzz.json",
    "tests/regressions",
    "my_kernel*.py",
    "problem.py",
    "solution.py",
    "a3f54fb9.py",
    "nightly/*.json",
    "nightly/*.xml",
    "docs/OperatorKernels.md",
)
"""Names in examples that look like ours and are of a reader's own project, of a run directory, or of another project."""

MADE_FOR_THE_SITE = ("examples/report.html", "changelog.md", "architecture.md", "contributing.md", "benchmarks.md")
"""Pages that exist only once the site is built, from files elsewhere."""

A_PATH = re.compile(rf"(?<![\w./<{{-])(?:{'|'.join(FOLDERS)})/[\w./*-]*[\w/*]")
A_FILE = re.compile(r"`(\w+\.(?:py|toml|yml))`")
A_MODULE = re.compile(r"(?<![\w./*-])convfuzz(?:\.[A-Za-z_]\w*)+(?![\w/-])")

A_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
AN_OBJECT = re.compile(r"^::: (\S+)$", re.MULTILINE)

AN_IMPORT = re.compile(r"from (convfuzz[\w.]*) import ((?:\w+, )*\w+)")


def modules_of(text: str) -> set[str]:
    """Return the dotted names of convfuzz in a text, and those that an import in it takes."""
    taken = {f"{module}.{name}" for module, names in AN_IMPORT.findall(text) for name in names.split(", ")}
    return {*A_MODULE.findall(text), *taken}


def missing(text: str) -> set[str]:
    """Return the paths of the checkout, the files and the dotted names of convfuzz in a page that do not exist."""
    paths = {path for path in A_PATH.findall(text) if not any(ROOT.glob(path.rstrip("/")))}
    files = {name for name in A_FILE.findall(text) if not is_file(name)}
    modules = {name for name in modules_of(text) if not exists(name)}
    return {name for name in paths | files | modules if not any(fnmatch(name, pattern) for pattern in OTHERS)}


def is_file(name: str) -> bool:
    """Whether a file of this name is anywhere in the checkout."""
    return (ROOT / name).is_file() or any(any((ROOT / folder).rglob(name)) for folder in FOLDERS)


def exists(name: str) -> bool:
    """Whether a dotted name can be looked up."""
    module = "convfuzz"
    found: object = convfuzz
    for attribute in name.split(".")[1:]:
        module = f"{module}.{attribute}"
        if hasattr(found, "__path__") and find_spec(module):
            found = import_module(module)
        elif hasattr(found, attribute):
            found = getattr(found, attribute)
        else:
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_what_exists(page: Path) -> None:
    """No page names a file or a module that is gone."""
    assert missing(page.read_text()) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file(page: Path) -> None:
    """What is read in the folder, without the site, has links that lead somewhere too."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [link for link in A_LINK.findall(text) if not (page.parent / link).exists() and link not in MADE_FOR_THE_SITE] == []


def test_the_reference_has_every_public_name() -> None:
    """Each name of the package, its strategies and its reports is on the page of the Python API, once."""
    public = [f"convfuzz.{name}" for name in convfuzz.__all__ if name != "__version__"]
    public += [f"convfuzz.{package}.{name}" for package in convfuzz._PACKAGES for name in getattr(convfuzz, package).__all__]
    assert sorted(AN_OBJECT.findall((ROOT / "docs" / "api.md").read_text())) == sorted(public)


def test_the_page_of_commands_has_every_command() -> None:
    """A command that is not on the page would be found by its help alone."""
    from convfuzz.cli import _COMMANDS  # noqa: PLC0415 - the command line loads for this test only

    rows = "\n".join(line for line in (ROOT / "docs" / "commands.md").read_text().splitlines() if line.startswith("|"))
    assert {name for name in _COMMANDS if f"`convfuzz {name}" not in rows} == set()


def test_the_first_page_is_one_screen() -> None:
    """README leads on to the documentation, and does not become it."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_names_modules_that_exist(path: Path) -> None:
    """No docstring, comment or piece of code in a string names a module or an attribute that is gone."""
    assert {name for name in modules_of(path.read_text()) if not exists(name)} == set()


@pytest.mark.parametrize(
    "gone",
    [
        "`convfuzz/place.py`",
        "`tests/core/`",
        "`ci/gate.py`",
        "run `python benchmarks/no_such.py`",
        "`preloaded.py`",
        "`convfuzz.case.no_such`",
        "convfuzz.no_such()",
        "from convfuzz.judging import Verdict",
    ],
)
def test_a_name_that_is_gone_is_seen(gone: str) -> None:
    """A file, a folder, a module or an attribute that does not exist is found, in code and in a sentence."""
    assert missing(f"See {gone}.") != set()


def test_what_exists_is_not_accused() -> None:
    """Files, folders, patterns, modules and attributes of the tree pass, and so does what only looks like them."""
    said = "`convfuzz/case/`, tests/planted/*.py, `gate.py`, convfuzz.check(), `convfuzz.case.config`, `convfuzz-runs/x`, x.convfuzz.json"
    assert missing(said) == set()
