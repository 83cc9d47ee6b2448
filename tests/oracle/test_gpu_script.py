"""``benchmarks/gpu.py``, which checks everything on a device in one go: in the simulator, and what becomes of parts that fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convfuzz.oracle import cuda

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def rows(*options: str) -> tuple[int, dict[str, str]]:
    """Run the script, and return its exit status and the result in each row."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_ENABLE")}
    done = subprocess.run([sys.executable, str(SCRIPT), *options], env=environment, capture_output=True, text=True, check=False)
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert lines, done.stdout + done.stderr
    return done.returncode, {cells[0]: cells[1].strip("| ") for cells in lines}


def test_what_the_simulator_can_run_passes() -> None:
    """Without a device the parts that need none pass, and the others say what they need; that is no failure."""
    status, found = rows("--simulate", *(word for part in ("versions", "bits", "lost", "judged", "campaign") for word in ("--only", part)))
    needing = {what for what, result in found.items() if result != "ok"}
    assert (status, needing, found["campaign"]) == (0, {"campaign"}, "needs a device")
    assert len(found) == 6


@pytest.mark.skipif(cuda.device_name() is not None, reason="there is a device, on which these parts do not fail")
def test_a_part_that_fails_is_a_row_and_ends_no_other() -> None:
    """Without a device and without the simulator every part says so, and the exit status is 1."""
    status, found = rows("--only", "planted", "--only", "versions", "--only", "speed")
    assert (status, set(found.values()), len(found)) == (1, {"FAILED"}, 3)


def test_a_part_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that takes longer than it may is killed with all that it has started, and says so."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu  # noqa: PLC0415 - a script that is no module of a package

    ((what, result, figures),), _ = gpu.run_part("versions", 0.05, dict(os.environ))
    assert (what, result) == ("versions", "FAILED")
    assert figures.startswith("took longer than 0 s")
