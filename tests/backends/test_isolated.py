"""Backends in processes of their own: what a call does there happens here, its death included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from convfuzz import Case
from convfuzz.backends.isolated import wire
from convfuzz.case.config import LAYOUT_TOKENS
from convfuzz.tensors.generator import make_tensors

FRAMEWORK = '''\
"""A framework that looks at its environment when it is imported."""

import os
import signal
import time

import numpy as np

from convfuzz import Unsupported
from convfuzz.backends import Family, Numerics, Support
from convfuzz.backends.reference import ReferenceBackend

IMPORTED_WITH = os.environ.get("FAKE_FAST")


class Fake:
    versions = {"fake": "1.0"}

    def __init__(self, mode):
        self.mode = mode
        self.name = f"fake:{mode}" if mode else "fake"

    def supports(self, case):
        return Support.YES

    def numerics(self, case):
        return Numerics()

    def script(self, case):
        return "import os"

    def run(self, case, tensors):
        if not case.config.is_valid:
            raise ValueError("no such layer")
        if self.mode == "unwritten":
            return {"forward": np.empty(case.config.output_shape)}
        outputs = ReferenceBackend().run(case, tensors)
        y = outputs["forward"]
        match self.mode:
            case "" | "fast":
                y += IMPORTED_WITH != ("1" if self.mode else None)
            case "aborts":
                os.abort()
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "leaves":
                os._exit(7)
            case "hangs":
                time.sleep(1000)
            case "grows":
                kept = [np.ones(2**22) for _ in range(64)]
                time.sleep(1000)
            case "scribbles":
                tensors.w.fill(0)
            case "raises":
                raise ZeroDivisionError("by zero")
            case "exits":
                raise SystemExit(4)
            case "declines":
                raise Unsupported("not today")
            case "returns-nothing":
                return {}
        return outputs


MODES = (
    "", "fast", "aborts", "killed", "leaves", "hangs", "grows", "scribbles", "raises", "exits", "declines", "returns-nothing", "unwritten",
)
FAMILY = Family(
    summary="a framework",
    modes=dict.fromkeys(MODES, "a mode"),
    load=Fake,
    preload=lambda _: None,
    environment={mode: {"FAKE_FAST": "1"} for mode in MODES if mode},
)
'''
CASE = "conv1d_n2_c2_o3_i5_k2_b_f64@integers.0"


@dataclass(frozen=True)
class Site:
    """A folder with a framework that is installed, and processes that find it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process find the framework, and mark the processes that it starts."""
        paths = [str(self.folder / "site"), os.environ.get("PYTHONPATH", "")]
        without = {name: value for name, value in os.environ.items() if name != "FAKE_FAST"}
        return without | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OF_THIS_TEST": str(self.folder)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``python`` with arguments."""
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def check(self, *backends: str, case: str = CASE) -> list[dict[str, Any]]:
        """Return what ``convfuzz check`` says of each backend."""
        process = self.start("-m", "convfuzz", "check", case, "--backends", ",".join(backends), "--json")
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode in (0, 1), stderr
        results: list[dict[str, Any]] = json.loads(stdout.splitlines()[0])["results"]
        return results

    def processes(self) -> list[psutil.Process]:
        """Return the processes that are left of what was started here."""
        left = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("OF_THIS_TEST") == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
            except psutil.Error:
                continue
        return left


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A fresh folder with the framework."""
    package = tmp_path / "site"
    (package / "fake-1.0.dist-info").mkdir(parents=True)
    (package / "fake.py").write_text(FRAMEWORK)
    (package / "fake-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
    (package / "fake-1.0.dist-info" / "entry_points.txt").write_text("[convfuzz.backends]\nfake = fake:FAMILY\n")
    return Site(tmp_path)


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("names", [("fake", "fake:fast"), ("fake:fast", "fake"), ("fake", "fake:fast+split-batch")])
def test_each_mode_is_imported_in_its_own_environment(site: Site, names: tuple[str, str]) -> None:
    """Two in one check, whichever comes first: each is right only in the environment that it needs."""
    assert [(result["backend"], result["verdict"]) for result in site.check(*names)] == [(name, "agree") for name in names]
    until(lambda: not site.processes())


def test_what_a_call_does_there_happens_here(site: Site) -> None:
    """Deaths, exceptions and changed inputs are that backend's verdict, and the one beside it is judged as ever."""
    expected = {
        "aborts": ("crash", "killed by SIGABRT"),
        "killed": ("crash", "killed by SIGKILL"),
        "leaves": ("crash", "exit status 7"),
        "scribbles": ("corrupted-input", "changed its input w"),
        "raises": ("error", "ZeroDivisionError: by zero"),
        "exits": ("error", "SystemExit: 4"),
        "declines": ("unsupported", "not today"),
        "returns-nothing": ("error", "returned no array for the forward pass"),
        "unwritten": ("non-finite", "got nan"),
    }
    beside, *there = site.check("fake", *(f"fake:{mode}" for mode in expected))
    assert beside["verdict"] == "agree"
    for result, (verdict, reason) in zip(there, expected.values(), strict=True):
        assert result["verdict"] == verdict, result
        assert reason in result["reason"]


def test_what_has_to_be_rejected_is_rejected(site: Site) -> None:
    """An exception from there rejects an invalid layer as one from here does."""
    results = site.check("fake", "fake:fast", case="conv1d_c1_o1_i2_k5_f64")
    assert [(result["verdict"], result["reason"]) for result in results] == [("agree", "rejected: ValueError: no such layer")] * 2


def test_a_campaign_outlives_what_hangs_and_what_grows_there(site: Site) -> None:
    """The limits of time and memory hold there, and nothing is left running."""
    backends = "fake,fake:fast,fake:hangs,fake:grows,fake:aborts"
    # The time bounds how long the hang is examined.
    options = ["--max-cases", "1", "--time", "20s", "--case-timeout", "10s", "--memory-limit", "0.5"]
    options += ["--seed", "1", "--strategy", "smoke", "--out", "run"]
    process = site.start("-m", "convfuzz", "run", "--backends", backends, *options)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1, stderr
    verdicts = json.loads((site.folder / "run" / "run.json").read_text())["verdicts"]
    assert {name: [v for v in counts if v != "unsupported"] for name, counts in verdicts.items()} == {
        "fake": ["agree"], "fake:fast": ["agree"], "fake:hangs": ["timeout"], "fake:grows": ["memory"], "fake:aborts": ["crash"],
    }  # fmt: skip
    until(lambda: not site.processes())


def test_nothing_outlives_a_supervisor_that_is_killed(site: Site) -> None:
    """Its workers end with it, and what hangs in a process of theirs too."""
    process = site.start(
        "-m", "convfuzz", "run", "--backends", "fake,fake:hangs", "--max-cases", "1", "--case-timeout", "100s", "--out", "run"
    )
    journal = site.folder / "run" / "journal-0.jsonl"
    until(lambda: journal.exists() and b'"fake:hangs"' in journal.read_bytes())
    process.kill()
    process.communicate(timeout=300)
    until(lambda: not site.processes())


def test_a_server_that_is_gone_is_replaced(site: Site) -> None:
    """Whoever asks next starts another."""
    script = site.folder / "twice.py"
    script.write_text(
        "import convfuzz, os, psutil, sys\n"
        "from convfuzz.backends import resolve\n"
        "for _ in range(2):\n"
        f"    result = convfuzz.check({CASE!r}, [resolve('fake'), resolve('fake:fast')])\n"
        "    print(*[r.verdict for r in result.results])\n"
        "    [server] = psutil.Process().children()\n"
        "    server.kill()\n"
        "    server.wait()\n"
    )
    stdout, stderr = site.start(str(script)).communicate(timeout=300)
    assert stdout.splitlines() == ["agree agree"] * 2, stderr


@pytest.mark.parametrize("layout", ["", *(f"_{token}" for token in LAYOUT_TOKENS)])
@pytest.mark.parametrize("dtype", ["f64", "bf16", "c64", "i8"])
def test_arrays_arrive_as_they_lie_in_memory(layout: str, dtype: str) -> None:
    """Values, strides and the address modulo a cache line survive the journey; so does what lies between the elements."""
    case = Case.parse(f"conv2d_n2_c4_o4_i5x3_k2_b_{dtype}{layout}@normal.3")
    for array in make_tensors(case).named().values():
        here, there = Pipe()
        sender = threading.Thread(target=wire.send_arrays, args=(here, {"a": array}))
        sender.start()
        received = wire.receive_array(there, wire.describe(array))
        sender.join()
        np.testing.assert_array_equal(received, array)
        assert received.dtype == array.dtype
        assert received.strides == array.strides
        assert (received.ctypes.data - array.ctypes.data) % 64 == 0
        np.testing.assert_array_equal(wire.memory_of(received), wire.memory_of(array))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 4), ()])
def test_arrays_without_elements_or_axes_arrive(shape: tuple[int, ...]) -> None:
    """An empty array has no memory, and a scalar has some."""
    array = np.ones(shape, np.float32)
    here, there = Pipe()
    wire.send_arrays(here, {"a": array})
    received = wire.receive_array(there, wire.describe(array))
    assert received.shape == shape
    np.testing.assert_array_equal(received, array)
