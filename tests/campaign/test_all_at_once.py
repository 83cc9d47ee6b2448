"""Everything that a kernel can do to its process, in one campaign together with correct kernels."""

from __future__ import annotations

import re

import pytest

from .launch import Finished, Place, descendants, finish, still_running, told, wait_for
from .test_hostile_kernels import HOSTILE

WORSE = f"""{HOSTILE}

import resource


def hangs_in_c(x, w, b, config):
    if config.in_channels == 3:
        ctypes.PyDLL(None).pause()  # without giving the interpreter's lock back
    return correct(x, w, b, config)


def leaks(x, w, b, config):
    if config.in_channels == 3:
        for _ in range(160):
            held.append(bytearray(b"x") * 2**26)
    return correct(x, w, b, config)


def corrupts(x, w, b, config):
    y = correct(x, w, b, config)
    if config.in_channels == 3:
        x.setflags(write=True)
        x += 1
    return y


def closes(x, w, b, config):
    if config.in_channels == 3:
        os.closerange(0, 256)
    return correct(x, w, b, config)


def replaces(x, w, b, config):
    if config.in_channels == 3:
        for number in range(3, 64):
            file = os.open(os.path.join(os.path.dirname(__file__), "victim"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, number)
    return correct(x, w, b, config)


def forks(x, w, b, config):
    if config.in_channels == 3:
        os.fork()
    return correct(x, w, b, config)


def floods(x, w, b, config):
    for _ in range(20):
        os.write(1, b"all work and no play\\n" * 50_000)
    print("y" * 10_000_000)
    sys.stderr.write("z" * 10_000_000)
    return correct(x, w, b, config)


def unprintable(x, w, b, config):
    if config.in_channels == 3:
        class Spiteful(Exception):
            def __str__(self):
                raise self
        raise Spiteful
    return correct(x, w, b, config)


def lingers(x, w, b, config):
    import atexit
    import threading
    if config.in_channels == 3:
        atexit.register(time.sleep, 600)
        threading.Thread(target=time.sleep, args=(600,)).start()
    return correct(x, w, b, config)
"""
CASES = ("conv1d_c2_o1_i2_k1_f32@integers.0", "conv1d_c3_o1_i2_k1_f32@integers.0", "conv1d_c2_o1_i2_k1_f32@integers.1")
VERDICTS = {
    "aborts": "crash",
    "segfaults": "crash",
    "leaves": "crash",
    "closes": "crash",
    "replaces": "crash",
    "exits": "error",
    "interrupts": "error",
    "unprintable": "error",
    "hangs": "timeout",
    "hangs_in_c": "timeout",
    "leaks": "memory",
    "corrupts": "corrupted-input",
}
HARMLESS = ("before", "floods", "forks", "lingers", "behind")
LIMIT_GIB = 0.6


@pytest.fixture(scope="module")
def done(session_place: Place) -> Finished:
    """A campaign of three cases over twelve kernels that misbehave on the second, and five that agree."""
    kernels = ["before", *VERDICTS, *HARMLESS[1:]]
    (session_place.folder / "victim").write_text("precious\n")
    options = ("--seed", "1", "--case-timeout", "3s", "--time", "4m", "--memory-limit", str(LIMIT_GIB))
    return session_place.run(WORSE, kernels, *options, cases=CASES)


def test_it_finishes_and_exits_1(done: Finished) -> None:
    """The campaign does all its cases, each once, in time, and exits 1."""
    assert (done.status, done.info["exit_status"], done.info["stopped"]) == (1, 1, "max-cases"), done.stderr
    assert [line[1] for line in told(done.directory) if line[0] == "case"] == list(CASES)
    assert "Traceback" not in done.stderr
    assert (done.directory / "report.html").stat().st_size > 1000


@pytest.mark.parametrize(("kernel", "verdict"), VERDICTS.items())
def test_each_gets_its_verdict_and_a_minimal_case(done: Finished, kernel: str, verdict: str) -> None:
    """Each kernel fails on its case alone, with its verdict; the minimal case keeps three channels and nothing else."""
    assert done.verdicts(kernel) == {"agree": 2, verdict: 1}
    assert {case.partition("@")[0]: found for case, found in done.findings(kernel).items()} == {"conv1d_c3_o1_i1_k1_f32": verdict}


@pytest.mark.parametrize("kernel", HARMLESS)
def test_nobody_else_is_accused(done: Finished, kernel: str) -> None:
    """Correct kernels agree on every case, and so do those that print, fork or leave a thread behind."""
    assert done.verdicts(kernel) == {"agree": 3}
    assert done.findings(kernel) == {}


@pytest.mark.parametrize("kernel", ["closes", "replaces"])
def test_descriptors_are_the_reason(done: Finished, kernel: str) -> None:
    """Who closes or replaces descriptors is told so, and nothing of the journal went into the file that took its number."""
    (finding,) = [f for f in done.run.findings if f.backend.endswith(f"::{kernel}")]
    assert "closed or replaced file descriptors" in finding.reason
    assert (done.directory.parent / "victim").read_text() == "precious\n"


def test_leak_is_stopped_soon(done: Finished) -> None:
    """Ten gigabytes are stopped long before the machine feels it."""
    (finding,) = [f for f in done.run.findings if f.backend.endswith("::leaks")]
    told_gib = re.match(r"resident memory of (\d+\.\d) GiB, the limit is 0\.6 GiB", finding.reason)
    assert told_gib
    assert LIMIT_GIB <= float(told_gib[1]) < 3


@pytest.mark.parametrize("log", ["worker-0.log", "sandbox.log"])
def test_logs_stay_small(done: Finished, log: str) -> None:
    """Tens of megabytes of output leave a log of about one, which says how much it dropped."""
    text = (done.directory / log).read_text()
    assert len(text) < 60_000_000 / 4
    assert log == "sandbox.log" or re.search(r"\[convfuzz dropped about [\d,]{9,} bytes of output here\]", text)


def test_reasons_are_the_deaths_own(done: Finished) -> None:
    """The trace of one kernel's crash is not shown as another's, whatever else is in the log."""
    reasons = {f.backend.rpartition("::")[2]: f.reason for f in done.run.findings}
    assert "SIGSEGV" in reasons["segfaults"]
    assert "SIGABRT" in reasons["aborts"]
    assert "exit status 0" in reasons["leaves"]
    assert "Fatal Python error" not in reasons["leaves"] + reasons["closes"]
    assert "message cannot be shown" in reasons["unprintable"]


SLOW_LEAK = """
held = []


def drips(x, w, b, config):
    held.append(bytearray(b"x" * 2**25))
    return correct(x, w, b, config)


def right(x, w, b, config):
    return correct(x, w, b, config)
"""


def test_slow_leak_is_the_leaking_kernel_s(place: Place) -> None:
    """Memory that one kernel leaves behind call after call is that kernel's finding, not that of whoever runs next."""
    options = ("--seed", "1", "--strategy", "smoke", "--max-cases", "30", "--memory-limit", "0.75")
    done = place.run(SLOW_LEAK, ["right", "drips"], *options)
    assert done.verdicts("right") == {"agree": 30}
    assert done.verdicts("drips").get("memory", 0) >= 1
    assert set(done.findings("drips").values()) == {"memory"}
    assert any("behind in one process" in f.reason for f in done.run.findings)


def test_leaking_supervisor_s_children_are_gone(place: Place) -> None:
    """After a campaign over kernels that fork and leave threads behind, no process of it is left."""
    process, out = place.start(WORSE, ["forks", "lingers"], "--seed", "1", cases=CASES)
    wait_for((out / "run.json").exists)
    started = descendants(process)
    assert finish(process, out).status == 0
    assert still_running(started) == []
