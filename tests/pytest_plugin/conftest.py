"""Running pytest as users do: in a process of its own, in a folder with kernels and tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from campaign import kernel_sources
from campaign.warm import Warm

from convfuzz.record.run_directory import Run

CORRECT = kernel_sources.CORRECT.replace("correct(", "_correct(").replace("rounded(", "_rounded(")
KERNELS = f'''\
"""Kernels that need NumPy only, so that the program of a bug report, which imports them, starts at once."""

import os

import convfuzz

{CORRECT}

def right(x, w, b, config):
    return _correct(x, w, b, config)


def wrong(x, w, b, config):
    return right(x, w, b, config) + 1


def two_bugs(x, w, b, config):
    """Is off by one where there is a stride, else one output site short where there is dilation."""
    y = right(x, w, b, config)
    if max(config.stride) > 1:
        return y + 1
    return y[..., :-1] if max(config.dilation) > 1 else y


def dies(x, w, b, config):
    if max(config.stride) > 1:
        os.abort()
    return right(x, w, b, config)


@convfuzz.backend(dtypes=("float64",))
def only_double(x, w, b, config):
    return right(x, w, b, config)
'''
_UNRELATED = ("PYTEST_", "CONVFUZZ_", "COLUMNS", "CI", "HYPOTHESIS_")


@dataclass(frozen=True)
class Session:
    """A pytest session that is over: its exit status, what it printed, and where it ran."""

    status: int
    output: str
    folder: Path

    def outcomes(self) -> dict[str, int]:
        """Return how many tests had each outcome, as the last line says."""
        words = self.output.splitlines()[-1].replace(",", "").split()
        return {word: int(count) for count, word in pairwise(words) if count.isdigit()}

    @property
    def run(self) -> Run:
        """The one run directory that the session left."""
        (directory,) = (self.folder / "convfuzz-runs").iterdir()
        return Run.load(directory)


class Folder:
    """A project: ``kernels.py`` and what tests are written into it."""

    def __init__(self, path: Path, warm: Warm | None = None) -> None:
        self.path, self._warm = path, warm
        self.write("kernels.py", KERNELS)

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def pytest(self, *arguments: str) -> Session:
        """Run pytest in the folder."""
        return self._call("pytest", "-q", "-p", "no:cacheprovider", *arguments)

    def convfuzz(self, *arguments: str) -> Session:
        """Run convfuzz in the folder, as a program."""
        return self._call("convfuzz", *arguments)

    def convfuzz_warm(self, *arguments: str) -> Session:
        """Run convfuzz in the folder, in the process that ran the commands before it."""
        assert self._warm is not None, "a folder of a fixture"
        done = self._warm.call(arguments, self.path, COLUMNS="200")
        return Session(done.status, (done.stdout + done.stderr).strip(), self.path)

    def _call(self, *arguments: str) -> Session:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_UNRELATED)} | {"COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.path, env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        return Session(done.returncode, (done.stdout + done.stderr).strip(), self.path)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The process of commands that are not about theirs."""
    process = Warm()
    yield process
    process.close()


@pytest.fixture
def folder(tmp_path: Path, warm: Warm) -> Folder:
    """An empty project with kernels."""
    return Folder(tmp_path, warm)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Folder:
    """A project that several tests look at."""
    return Folder(tmp_path_factory.mktemp("project"), warm)
