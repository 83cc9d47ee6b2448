"""A kernel author's repository with the nightly's scripts in it, each step run as a CI server does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from campaign import kernel_sources

ROOT = Path(__file__).parents[2]
NIGHT = "20261123"
CORRECT = kernel_sources.CORRECT.replace("correct(", "_correct(").replace("rounded(", "_rounded(")
KERNELS = f'''\
"""Kernels that need NumPy only, so that the program of a bug report, which imports them, starts at once."""

import os
import time

import convfuzz

{CORRECT}

def right(x, w, b, config):
    return _correct(x, w, b, config)


def wrong(x, w, b, config):
    return right(x, w, b, config) + 1


def slow(x, w, b, config):
    open("started", "w").close()
    time.sleep(600)


@convfuzz.backend(supports=lambda case: False)
def picky(x, w, b, config):
    return right(x, w, b, config)
'''
PLAN = """\
shards = 1
run = ["--strategy", "smoke", "--max-cases", "12"]
ledger = "ledger.toml"
regressions = "tests"
install = ["convfuzz"]

[sets.mine]
install = ["convfuzz"]
backends = ["kernels.py::right"]
"""
_OF_CI_SERVERS = ("CI", "GITHUB_", "GITLAB_", "NIGHTLY_", "HYPOTHESIS_", "COLUMNS")


@dataclass(frozen=True)
class Step:
    """A step that is over: its exit status and what it printed."""

    status: int
    output: str


class Repository:
    """A folder with kernels, the scripts and a plan; the folder's state outlives a night."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(ROOT / "nightly", path / "nightly", ignore=shutil.ignore_patterns("__pycache__"))
        self.write("kernels.py", KERNELS)
        self.write("ledger.toml", "format = 1\n")
        self.write("tests/.gitkeep", "")
        self.plan()

    def after(self, other: Repository) -> Repository:
        """Take over what the nights of another repository have handed on."""
        shutil.copytree(other.path / "nightly-state", self.path / "nightly-state")
        return self

    def copied(self, path: Path) -> Repository:
        """Return another repository in which everything is as it is here now."""
        copy = Repository(path)
        shutil.copytree(self.path, path, dirs_exist_ok=True)
        return copy

    def write(self, name: str, text: str) -> None:
        """Write a file of the repository."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8")

    def plan(self, *backends: str, text: str = PLAN, shards: int = 1) -> None:
        """Write the plan: these kernels instead of the correct one, this often."""
        names = json.dumps([f"kernels.py::{name}" for name in backends or ("right",)])
        self.write("nightly/nightly.toml", text.replace('["kernels.py::right"]', names).replace("shards = 1", f"shards = {shards}"))

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start Python in the repository, without what this machine's environment says of a CI server."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(_OF_CI_SERVERS)}
        return subprocess.Popen(
            [sys.executable, *words], cwd=self.path, env=own | {"NIGHTLY_SEED": NIGHT} | variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def step(self, *words: str, **variables: str) -> Step:
        """Run a step to its end."""
        return self._finish(self.start("nightly/nightly.py", *words, **variables))

    def convfuzz(self, *words: str) -> Step:
        """Run convfuzz."""
        return self._finish(self.start("-m", "convfuzz", *words))

    def _finish(self, process: subprocess.Popen[str]) -> Step:
        output, _ = process.communicate(timeout=300)
        return Step(process.returncode, output)

    def night(self, night: str = NIGHT, shards: tuple[str, ...] = ("mine-1",)) -> list[Step]:
        """Run a whole night in a fresh checkout, every step whatever became of those before; return what each did."""
        shutil.rmtree(self.path / "night", ignore_errors=True)
        steps = [("replay",), *(("shard", name) for name in shards), ("report",), ("keep",), ("gate",)]
        return [self.step(*words, NIGHTLY_SEED=night) for words in steps]

    def read(self, name: str) -> str:
        """Return a file's text."""
        return (self.path / name).read_text(encoding="utf-8")

    def info(self, name: str, night: str = NIGHT) -> dict[str, Any]:
        """Return the ``run.json`` of a shard."""
        read: dict[str, Any] = json.loads(self.read(f"night/runs/{night}-{name}/run.json"))
        return read

    def files(self, folder: str) -> list[str]:
        """Return the names of what is in a folder."""
        return sorted(file.name for file in (self.path / folder).iterdir())


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository of the test's own."""
    return Repository(tmp_path)
