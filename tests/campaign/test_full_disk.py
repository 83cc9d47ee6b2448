"""A disk that fills up while a campaign runs: a clear message, valid files, and a run that goes on once there is room.

A limit on the size of files stands in for the disk: it can be set on a process that runs already, and needs no privileges.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from convfuzz.record.run_directory import Run

from .conftest import KERNELS
from .launch import Finished, Place, cases_begun, descendants, drawn, finish, wait_for

OPTIONS = ("--seed", "5", "--strategy", "smoke", "--max-cases", "60")
pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of running processes can be set on Linux only")


@pytest.fixture(scope="module")
def whole(session_place: Place) -> Finished:
    """A run of 60 cases with room for all of it."""
    return session_place.run_warm(KERNELS, ["right", "doubled"], *OPTIONS)


def fill(pid: int, size: int) -> None:
    """Let no file that a process writes grow beyond ``size`` bytes, unless it has just ended."""
    with contextlib.suppress(ProcessLookupError):
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def stopped_clearly(done: Finished) -> None:
    """Assert that a run said what happened and how to go on, and left nothing that cannot be read."""
    assert done.status == 2, done.stdout + done.stderr
    assert "File too large" in done.stderr
    assert f"convfuzz run --resume {done.directory}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.run.summary.cases == cases_begun(done.directory)


@pytest.mark.parametrize("room", [0, 100, 350])
def test_journal_of_a_worker(place: Place, whole: Finished, room: int) -> None:
    """A worker whose journal is full ends the run, wherever in a line that happens; nobody is blamed, and it can go on."""
    place.hold(12)
    process, out = place.start(KERNELS, ["right", "doubled"], *OPTIONS)
    wait_for(lambda: cases_begun(out) > 5)
    size = (out / "journal-0.jsonl").stat().st_size
    for child in descendants(process):
        fill(child.pid, size + room)
    fill(process.pid, max(size + room, 10_000))
    place.release()
    done = finish(process, out)
    stopped_clearly(done)
    again = place.resume_warm(out)
    assert again.status == 1
    assert drawn(out) == drawn(whole.directory)
    assert again.info["verdicts"] == whole.info["verdicts"]


def test_everything_that_the_supervisor_writes(place: Place, whole: Finished) -> None:
    """A supervisor that can write neither run.json nor findings stops, and what they held before is still there."""
    place.hold(12)
    process, out = place.start(KERNELS, ["right", "doubled"], *OPTIONS)
    wait_for(lambda: cases_begun(out) > 5)
    fill(process.pid, 300)
    place.release()
    done = finish(process, out)
    stopped_clearly(done)
    assert [path.name for path in out.rglob(".*.json.*")] == []
    again = place.resume_warm(out)
    assert drawn(out) == drawn(whole.directory)
    assert again.info["verdicts"] == whole.info["verdicts"]
    assert sum(f.count for f in again.run.findings) == sum(f.count for f in whole.run.findings)


def test_report(place: Place) -> None:
    """A report that does not fit is said to be missing; the run is complete, and its report can be written later."""
    process, out = place.start(KERNELS, ["right"], *OPTIONS[:4], "--max-cases", "5")
    wait_for((out / "sandbox.log").exists)
    fill(process.pid, 30_000)
    done = finish(process, out)
    assert done.status == 2
    assert "the report cannot be written: File too large" in done.stderr
    assert f"convfuzz report {out}" in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.info["stopped"], done.info["cases"], done.info["exit_status"]) == ("max-cases", 5, 0)
    assert not (out / "report.html").exists()
    assert finish(place.launch("report", str(out)), out).status == 0
    assert (out / "report.html").stat().st_size > 30_000


WRITES = """
import resource, sys
from pathlib import Path
from convfuzz.record.journal import JournalWriter, append_events
from convfuzz.record.events import BackendStarted
from convfuzz.record.finding import Finding
from convfuzz.verdicts import Verdict
from convfuzz.record.run_directory import write_finding

where = Path(sys.argv[1])
line = "conv1d_c1_o1_i3_k3_f32@integers.0"
found = Finding(fingerprint="0123abcd", verdict=Verdict.WRONG, backend="b", case=line, first_case=line)
(where / "findings").mkdir()
write_finding(where, found)
journal = JournalWriter(where, "0")
journal.write(BackendStarted("whole"))
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, size + 5))
refused = 0
for write in (
    lambda: journal.write(BackendStarted("half")),
    lambda: append_events(journal.path, [BackendStarted("half")]),
    lambda: write_finding(where, Finding(**{name: getattr(found, name) for name in found.__struct_fields__} | {"reason": "x" * 999})),
):
    try:
        write()
    except OSError as error:
        refused += error.strerror == "File too large"
print(refused)
"""


def test_what_was_written_stays(tmp_path: Path) -> None:
    """A line or a file that does not fit raises and leaves nothing of itself; what was there before is whole."""
    done = subprocess.run([sys.executable, "-c", WRITES, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "3"
    journal = (tmp_path / "journal-0.jsonl").read_bytes()
    assert journal.endswith(b'{"event":"start","backend":"whole"}\n')
    assert json.loads((tmp_path / "findings" / "0123abcd.json").read_text())["reason"] == ""
    assert sorted(os.listdir(tmp_path / "findings")) == ["0123abcd.json"]  # noqa: PTH208 - hidden ones too


def test_full_run_directory_is_read_like_any_other(whole: Finished) -> None:
    """The runs above are compared with one that reads back whole."""
    assert Run.load(whole.directory).summary.cases == 60
