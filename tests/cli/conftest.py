"""Running the command line: in this process for its output, in one of its own for what it loads and how it exits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaign import kernel_sources
from campaign.warm import Warm

from convfuzz import cli

CORRECT = kernel_sources.CORRECT.replace("correct(", "_correct(").replace("rounded(", "_rounded(")
KERNELS = f'''\
"""Kernels that need NumPy only, so that the program of a bug report, which imports them, starts at once."""

import convfuzz

{CORRECT}

def right(x, w, b, config):
    return _correct(x, w, b, config)


def wrong(x, w, b, config):
    return right(x, w, b, config) + 1


as_wrong = wrong


def wrong_when_batched(x, w, b, config):
    return right(x, w, b, config) + (config.batch > 1)


def wrong_where_dense(x, w, b, config):
    return right(x, w, b, config) + ((x != 0).sum() > 100)


@convfuzz.backend(dtypes=("float64",))
def only_double(x, w, b, config):
    return right(x, w, b, config)
'''


@dataclass(frozen=True)
class Called:
    """What a command printed and the status it exits with."""

    status: int
    stdout: str
    stderr: str


Call = Callable[..., Called]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """A function that runs ``convfuzz`` with arguments, beside a file ``kernels.py``."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Called:
        monkeypatch.setattr(sys, "argv", ["convfuzz", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Called(stop.value.code, printed.out, printed.err)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Call:
    """A function that runs ``convfuzz`` with arguments in a process of its own, beside a file ``kernels.py``."""
    (tmp_path / "kernels.py").write_text(KERNELS)

    def run(*arguments: str) -> Called:
        command = [sys.executable, "-m", "convfuzz", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        return Called(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def _warm() -> Iterator[Warm]:
    """The process of :func:`apart`."""
    process = Warm()
    yield process
    process.close()


@pytest.fixture
def apart(tmp_path: Path, _warm: Warm) -> Call:
    """A function that runs ``convfuzz`` with arguments outside of this process, in one that has run others; what hangs is ended."""

    def run(*arguments: str) -> Called:
        return Called(*_warm.call(arguments, tmp_path))

    return run
