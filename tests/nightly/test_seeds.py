"""Nothing that a nightly runs repeats itself because Hypothesis loads its profile ``ci``, which draws the same each time."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest

from .conftest import Repository

TEST = """\
import convfuzz
from kernels import right


@convfuzz.fuzz("smoke", cases=12)
def test_right(case):
    case.check(right)
"""
_numbers = count()


def cases(repository: Repository, *words: str, **variables: str) -> list[str]:
    """Run Python and return the cases that its journals tell of."""
    out = f"run-{next(_numbers)}"
    process = repository.start(*(word.replace("OUT", out) for word in words), **variables)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    runs = list((repository.path / out).glob("journal-*.jsonl")) or list((repository.path / "convfuzz-runs").glob("*/journal-*.jsonl"))
    lines = [case for journal in runs for case in re.findall(r'"event":"case","case":"([^"]+)"', journal.read_text())]
    for journal in runs:
        journal.unlink()
    assert lines
    return lines


@pytest.fixture
def projects(tmp_path: Any) -> Repository:
    """A repository with a fuzzing test."""
    repository = Repository(tmp_path)
    repository.write("test_it.py", TEST)
    return repository


RUN = ("-m", "convfuzz", "run", "--backends", "kernels.py::right", "--strategy", "default", "--max-cases", "15", "--out", "OUT", "--seed")
FUZZ = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", "--convfuzz-report", "out.html", "--convfuzz-seed")
FUZZ_AND_SUITE = (
    "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "./test_it.py", "convfuzz.suite",
    "--convfuzz-backends", "kernels.py::right", "--convfuzz-strategy", "smoke", "--convfuzz-cases", "12",
    "--convfuzz-report", "out.html", "--convfuzz-seed",
)  # fmt: skip


@pytest.mark.parametrize(("command", "tests"), [(RUN, 1), (FUZZ_AND_SUITE, 2)], ids=["run", "fuzz and suite"])
def test_another_seed_draws_other_cases_on_ci_too(projects: Repository, command: tuple[str, ...], tests: int) -> None:
    """The seed alone decides, with the profile as without it: one seed's cases come again, another's are others, in each test."""
    on_ci = cases(projects, *command, "1", CI="true")
    assert cases(projects, *command, "1") == on_ci
    other, each = cases(projects, *command, "2", CI="true"), len(on_ci) // tests
    assert len(other) == len(on_ci) == each * tests
    for first in range(0, len(on_ci), each):
        assert other[first : first + each] != on_ci[first : first + each]


def test_without_a_seed_a_fuzzing_test_repeats_itself_on_ci(projects: Repository) -> None:
    """Which is what a pull request wants, and why a nightly gives a seed."""
    command = FUZZ[:-1]
    assert cases(projects, *command, CI="true") == cases(projects, *command, CI="true")
