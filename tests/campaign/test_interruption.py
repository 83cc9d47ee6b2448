"""Campaigns that are interrupted, and processes that are killed from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest

from convfuzz.case import Case
from convfuzz.record.journal import read_journal
from convfuzz.record.summary import Summary

from .conftest import KERNELS
from .launch import Place, cases_begun, descendants, finish, restore_interrupts, still_running, wait_for

ENDLESS = ("--time", "10m", "--strategy", "smoke", "--seed", "3")


def test_ctrl_c_saves_everything(place: Place) -> None:
    """SIGINT ends the run with 130; its totals, findings, scripts and report are written, and no process is left."""
    process, out = place.start(KERNELS, ["right", "doubled"], *ENDLESS, "--workers", "2")
    wait_for(lambda: cases_begun(out) > 20 and list((out / "findings").glob("*.json")))
    started = descendants(process)
    os.killpg(process.pid, signal.SIGINT)
    done = finish(process, out)
    assert (done.status, done.info["exit_status"], done.info["stopped"]) == (130, 130, "interrupted")
    assert "Traceback" not in done.stderr
    assert done.info["cases"] == cases_begun(out) > 20
    assert done.findings("doubled")["conv1d_c1_o1_i1_k1_f32@x0=1_w0=1"] == "wrong"
    assert sum(f.count for f in done.run.findings) == sum(n for v, n in done.verdicts("doubled").items() if v != "agree")
    for finding in done.run.findings:  # no script is written for what was not reduced where something better is there
        assert (out / "repro" / f"{finding.fingerprint}.py").is_file() or finding.is_unreduced
        assert finding.fingerprint in (out / "report.html").read_text()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


def test_ctrl_c_while_backends_load_ends_at_once(place: Place) -> None:
    """SIGINT before anything has run ends with 130 and without a traceback."""
    process, out = place.start("\nimport time\ntime.sleep(20)\n", ["correct"], *ENDLESS)
    wait_for((out / "sandbox.log").exists)
    os.killpg(process.pid, signal.SIGINT)
    done = finish(process, out)
    assert done.status == 130
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_what_loads_frameworks_ends_with_the_supervisor(place: Place) -> None:
    """SIGINT while a framework is imported leaves no process behind that goes on importing, and holds the terminal or a pipe."""
    restore_interrupts()
    process = place.launch("run", "--backends", "endless", *ENDLESS, "--out", "out")
    pid = place.folder / "drawing.pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    loading = psutil.Process(int(pid.read_text()))
    os.killpg(process.pid, signal.SIGINT)
    alive = still_running([loading])
    _end(process, alive)
    assert alive == []
    assert process.returncode == 130


def test_worker_killed_while_it_draws_is_replaced(place: Place) -> None:
    """A worker that is killed between two backends is replaced; the cases are complete and no kernel is accused."""
    process, out = place.start(KERNELS, ["right"], "--strategy", "slow", "--max-cases", "6", "--seed", "3")
    pid = place.folder / "drawing.pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    os.kill(int(pid.read_text()), signal.SIGKILL)
    done = finish(process, out)
    assert (done.status, done.info["cases"], done.info["findings"]) == (0, 6, [])
    assert done.verdicts("right") == {"agree": 6}


def test_worker_that_keeps_dying_outside_of_kernels_ends_the_run(place: Place) -> None:
    """Deaths that no kernel is to blame for end the run with an error instead of an endless series of workers."""
    done = place.run_warm(KERNELS, ["right"], "--strategy", "deadly", "--max-cases", "6", "--seed", "3")
    assert done.status == 2
    assert "worker 0 died outside of any backend: the process ended with exit status 3" in done.stderr
    assert done.info["findings"] == []
    assert "Traceback" not in done.stderr


def _end(process: subprocess.Popen[str], alive: list[psutil.Process]) -> None:
    """Kill what is left over and close the pipes."""
    for survivor in alive:
        survivor.kill()
    process.communicate(timeout=300)


def test_killed_supervisor_takes_its_workers_along(place: Place) -> None:
    """After SIGKILL of the supervisor its processes end by themselves, and the journals can be read to the last whole line."""
    process, out = place.start(KERNELS, ["right", "doubled"], *ENDLESS, "--workers", "2")
    wait_for(lambda: cases_begun(out) > 20)
    started = descendants(process)
    assert len(started) >= 3
    process.kill()
    process.wait(timeout=300)
    _, alive = psutil.wait_procs(started, timeout=60)
    _end(process, alive)
    assert alive == []
    for journal in out.glob("journal-[0-9]*.jsonl"):
        assert Summary.of(read_journal(journal)).cases > 0
    assert not (out / "run.json").exists() or cases_begun(out) > 20


@pytest.mark.parametrize(
    "hang",
    [
        "time.sleep(600)",
        pytest.param(
            "ctypes.PyDLL(None).pause()",  # without giving the interpreter's lock back
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent"),
        ),
    ],
)
def test_killed_supervisor_leaves_no_hanging_kernel_behind(place: Place, hang: str) -> None:
    """A kernel that hangs, in Python or in C, when the supervisor is killed does not outlive it."""
    kernels = f"\nimport ctypes\nimport time\n\ndef hangs(x, w, b, config):\n    {hang}\n"
    process, out = place.start(kernels, ["hangs"], *ENDLESS, "--case-timeout", "60s")
    wait_for(lambda: cases_begun(out) == 1)
    started = descendants(process)
    process.kill()
    process.wait(timeout=300)
    alive = still_running(started)
    _end(process, alive)
    assert alive == []


REDUCED = """
import os, signal, time
from pathlib import Path

import convfuzz
import numpy as np


def wrong(x, w, b, config):
    y = convfuzz.reference(config, x, w, b).y.astype(x.dtype)
    with Path("calls").open("a") as calls:
        calls.write(f"{config} {np.count_nonzero(x)}\\n")
    if config.input_size == (100,) and 0 < np.count_nonzero(x) < 12:  # the data are being reduced
        os.kill(int(Path("pid").read_text()), signal.SIGINT)
        time.sleep(600)
    return y + (x.size >= 100 and np.count_nonzero(x) > 3)
"""


def test_ctrl_c_keeps_what_the_reduction_has(place: Place) -> None:
    """SIGINT while the data are reduced ends ``reduce`` with the fewest elements so far, checked once more, and status 1."""
    (place.folder / "kernels.py").write_text(REDUCED)
    restore_interrupts()
    process = place.launch("reduce", "conv1d_c1_o1_i100_k1_f32@integers.0", "--backends", "kernels.py::wrong")
    (place.folder / "pid").write_text(str(process.pid))
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    (line,) = [line for line in stdout.splitlines() if line.startswith("conv1d_c1_o1_i100_k1_f32@x")]
    assert 12 <= len(Case.parse(line).recipe.entries) - 1 <= 26
    assert "wrong; interrupted after" in stdout


@pytest.mark.parametrize(("number", "stopped"), [(signal.SIGTERM, "terminated"), (signal.SIGHUP, "hangup")])
@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "group"])
def test_signals_that_end_a_run_leave_a_report(place: Place, number: signal.Signals, stopped: str, *, whole_group: bool) -> None:
    """SIGTERM and SIGHUP, of a service manager or a closed terminal, end a run as Ctrl-C does: report, one line, the way on, a status.

    The signal reaches the workers too where it is sent to the whole group; none of the kernels is accused of their deaths.
    """
    process, out = place.start(KERNELS, ["right", "doubled"], *ENDLESS, "--workers", "2")
    wait_for(lambda: cases_begun(out) > 20 and list((out / "findings").glob("*.json")))
    started = descendants(process)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    done = finish(process, out)
    assert (done.status, done.info["exit_status"], done.info["stopped"]) == (128 + number, 128 + number, stopped)
    assert done.stderr == (
        f"convfuzz: ended by {number.name}; everything so far is saved; to resume the run where it stopped: convfuzz run --resume {out}\n"
    )
    assert (out / "report.html").is_file()
    assert done.info["cases"] == cases_begun(out)
    assert set(done.verdicts("right")) <= {"agree", "unsupported"}
    assert set(done.verdicts("doubled")) <= {"agree", "unsupported", "wrong"}
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_group_while_frameworks_load(place: Place, number: signal.Signals) -> None:
    """While the forkserver loads, a signal to the whole group ends the run with one line and no traceback of any process."""
    process, out = place.start("\nimport time\ntime.sleep(20)\n", ["correct"], *ENDLESS)
    wait_for((out / ".lock").exists)
    wait_for(lambda: descendants(process))
    os.killpg(process.pid, number)
    done = finish(process, out)
    assert (done.status, done.stderr.strip()) == (128 + number, f"convfuzz: ended by {number.name}")
    assert not out.exists()


SLOW = """

def slow(x, w, b, config):
    import time
    time.sleep(3)
    return x
"""
TERMINATES = """

def terminates(x, w, b, config):
    import os, signal
    from pathlib import Path
    once = Path(__file__).with_name("terminated")
    if not once.exists():  # such a death takes seconds, and no reduction is asked for here
        once.touch()
        os.kill(os.getpid(), signal.SIGTERM)
    return correct(x, w, b, config)
"""


def test_second_interruption_still_says_how_to_go_on(place: Place) -> None:
    """Who presses Ctrl-C again while findings are reduced gets no new report, but the way to go on."""
    process, out = place.start(SLOW, ["slow"], *ENDLESS)
    wait_for(lambda: cases_begun(out) > 2)
    while process.poll() is None:
        os.kill(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    done = finish(process, out)
    assert done.status == 130
    assert f"to resume the run where it stopped: convfuzz run --resume {out}" in done.stderr
    assert "Traceback" not in done.stderr


def test_worker_that_a_kernel_terminates_is_a_crash(place: Place) -> None:
    """A kernel that sends its own process SIGTERM is told so: only a signal that its supervisor gets too is none of its doing."""
    done = place.run_warm(TERMINATES, ["terminates"], cases=["conv1d_c1_o1_i3_k2_f32@integers.0"])
    assert done.verdicts("terminates") == {"crash": 1}
    assert "SIGTERM" in done.run.findings[0].reason


def test_nohup_is_heeded(place: Place) -> None:
    """A run that was started with SIGHUP ignored, as by nohup, is not ended by it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process, out = place.start(KERNELS, ["right"], "--max-cases", "30", "--strategy", "smoke", "--seed", "3")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(lambda: cases_begun(out) > 0)
    os.kill(process.pid, signal.SIGHUP)
    done = finish(process, out)
    assert (done.status, done.info["cases"], done.info["stopped"]) == (0, 30, "max-cases")
