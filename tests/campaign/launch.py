"""Starting campaigns as users do: the command line in a process of its own, with kernels and search spaces from files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from convfuzz.record.events import BackendEnded, BackendStarted, CaseStarted, Event, RoundStarted
from convfuzz.record.journal import read_journal
from convfuzz.record.run_directory import Run

from .kernel_sources import CORRECT
from .warm import Called, Warm

LIMIT_S = 300.0
WARM = Warm()
"""Where campaigns run that are not about their process."""

SPACES = '''\
"""Search spaces that only tests know, registered as a third party would."""

import os
import time
from pathlib import Path

from hypothesis import strategies as st

from convfuzz import Case
from convfuzz.backends import Family

CASES = Path(__file__).parent.with_name("cases.txt")


def listed():
    """The cases of a file, in their order, as one batch."""
    return st.just(tuple(Case.parse(line) for line in CASES.read_text().split()))


@st.composite
def _drawn_slowly(draw):
    pid = Path(os.environ["DRAWING_PID"])
    if not pid.exists():
        pid.write_text(str(os.getpid()))
        time.sleep(30)
    return (Case.parse(f"conv1d_c{draw(st.integers(1, 3))}_o1_i4_k2_f32@integers.0"),)


def slow():
    """The first draw takes half a minute and says in which process."""
    return _drawn_slowly()


@st.composite
def _deadly(draw):
    os._exit(3)


def deadly():
    """Drawing ends the process."""
    return _deadly()


def _die(*_):
    os._exit(7)


def _load_long(*_):
    Path(os.environ["DRAWING_PID"]).write_text(str(os.getpid()))
    time.sleep(600)


ENDLESS = Family(summary="a framework that takes long to import", modes={"": "as it comes"}, load=_die, preload=_load_long)
FATAL = Family(summary="a framework that ends the process which imports it", modes={"": "as it comes"}, load=_die, preload=_die)
'''
ENTRY_POINTS = """\
[convfuzz.backends]
endless = spaces_of_tests:ENDLESS
fatal = spaces_of_tests:FATAL

[convfuzz.strategies]
listed = spaces_of_tests:listed
slow = spaces_of_tests:slow
deadly = spaces_of_tests:deadly
"""


@dataclass(frozen=True)
class Finished:
    """A campaign that is over: its exit status, what it printed, and its run directory."""

    status: int
    stdout: str
    stderr: str
    directory: Path

    @property
    def info(self) -> dict[str, Any]:
        """``run.json`` as any reader of JSON sees it."""
        read: dict[str, Any] = json.loads((self.directory / "run.json").read_text())
        return read

    @property
    def run(self) -> Run:
        """The run directory as convfuzz reads it."""
        return Run.load(self.directory)

    def findings(self, function: str) -> dict[str, str]:
        """Return the findings on one kernel: each one's minimal case and its verdict."""
        return {f["case"]: f["verdict"] for f in self.info["findings"] if f["backend"].endswith(f"::{function}")}

    def verdicts(self, function: str) -> dict[str, int]:
        """Return how often each verdict was given to one kernel."""
        (counts,) = [counts for name, counts in self.info["verdicts"].items() if name.endswith(f"::{function}")]
        return dict(counts)


class Place:
    """A folder from which campaigns are started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._site = folder, folder / "site"
        package = self._site
        (package / "spaces_of_tests-1.0.dist-info").mkdir(parents=True)
        (package / "spaces_of_tests.py").write_text(SPACES)
        (package / "spaces_of_tests-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: spaces-of-tests\nVersion: 1.0\n")
        (package / "spaces_of_tests-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
        self._environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")])),
            "DRAWING_PID": str(folder / "drawing.pid"),
        }
        self._runs = 0

    def start(self, kernels: str, functions: Sequence[str], *options: str, cases: Sequence[str] = ()) -> tuple[subprocess.Popen[str], Path]:
        """Start a campaign over functions of a kernel file; with ``cases``, over exactly these."""
        arguments, out = self._written(kernels, functions, options, cases)
        restore_interrupts()
        return self.launch(*arguments), out

    def _written(self, kernels: str, functions: Sequence[str], options: Sequence[str], cases: Sequence[str]) -> tuple[list[str], Path]:
        """Write the files that a campaign reads; return its command and its run directory."""
        self._runs += 1
        file, out = self.folder / "kernels.py", self.folder / f"run-{self._runs}"
        file.write_text(CORRECT + kernels)
        if cases:
            (self.folder / "cases.txt").write_text("\n".join(cases))
            options = ("--strategy", "listed", "--max-cases", str(len(cases)), *options)
        return ["run", "--backends", ",".join(f"kernels.py::{f}" for f in functions), "--out", str(out), *options], out

    def hold(self, calls: int) -> None:
        """Have the kernel ``right`` wait once it has been called so many times more, so that no run ends before it is interrupted."""
        (self.folder / "calls").write_bytes(b"")
        (self.folder / "hold-after").write_text(str(calls))

    def release(self) -> None:
        """Let the kernel go on."""
        (self.folder / "hold-after").unlink()

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``convfuzz`` with these arguments in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "convfuzz", *arguments],
            cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, kernels: str, functions: Sequence[str], *options: str, cases: Sequence[str] = ()) -> Finished:
        """Run a campaign to its end, as a program."""
        return finish(*self.start(kernels, functions, *options, cases=cases))

    def resume(self, directory: Path, *options: str) -> Finished:
        """Go on with a run to its end, as a program."""
        return finish(self.launch("run", "--resume", str(directory), *options), directory)

    def run_warm(self, kernels: str, functions: Sequence[str], *options: str, cases: Sequence[str] = ()) -> Finished:
        """Run a campaign to its end in the process that ran those before it."""
        return self._warm(*self._written(kernels, functions, options, cases))

    def resume_warm(self, directory: Path, *options: str) -> Finished:
        """Go on with a run to its end in the process that ran those before it."""
        return self._warm(["run", "--resume", str(directory), *options], directory)

    def call_warm(self, *arguments: str) -> Called:
        """Run ``convfuzz`` with these arguments in the process that ran those before it."""
        return WARM.call(arguments, self.folder, [self._site], LIMIT_S)

    def _warm(self, arguments: Sequence[str], out: Path) -> Finished:
        return Finished(*WARM.call(arguments, self.folder, [self._site], LIMIT_S), out)


def restore_interrupts() -> None:
    """Make processes that are started from here on take Ctrl-C: a shell starts what goes into the background with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def finish(process: subprocess.Popen[str], out: Path) -> Finished:
    """Wait for the end of a campaign; one that does not end is killed with all its workers."""
    try:
        stdout, stderr = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()  # closes the pipes, whose warning would fail another test
        raise
    return Finished(process.returncode, stdout, stderr, out)


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def cases_begun(directory: Path) -> int:
    """Return how many cases the journals have so far."""
    journals = directory.glob("journal-[0-9]*.jsonl")
    return sum(journal.read_bytes().count(b'"event":"case"') for journal in journals)


def events_of(directory: Path, worker: int = 0) -> list[Event]:
    """Return the events of one worker's journal."""
    return list(read_journal(directory / f"journal-{worker}.jsonl"))


def drawn(directory: Path) -> list[tuple[int, int, str]]:
    """Return every line of a journal that begins a case: its round, its place in the round, and the case."""
    cases = []
    for journal in sorted(directory.glob("journal-[0-9]*.jsonl")):
        number, begun = -1, 0
        for event in read_journal(journal):
            if isinstance(event, RoundStarted):
                number, begun = event.number, begun if event.number == number else 0
            elif isinstance(event, CaseStarted):
                cases.append((number, begun, event.case))
                begun += 1
    return sorted(cases)


def told(directory: Path, worker: int = 0) -> list[tuple[str, ...]]:
    """Return what one journal says of cases and verdicts, without times."""
    lines: list[tuple[str, ...]] = []
    for event in events_of(directory, worker):
        match event:
            case CaseStarted(case=line):
                lines.append(("case", line))
            case BackendStarted(backend=name):
                lines.append(("start", name.rpartition("::")[2]))
            case BackendEnded():
                lines.append(("end", event.backend.rpartition("::")[2], str(event.verdict)))
            case _:
                pass
    return lines


def holding(process: subprocess.Popen[str], file: str) -> list[psutil.Process]:
    """Return those of a campaign's processes that have a file open; one that ends meanwhile has none."""
    found = []
    for child in descendants(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(Path(opened.path).name == file for opened in child.open_files()):
                found.append(child)
    return found


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait for processes to end, and return those that do not; one whose parent is gone may stay as a zombie where no init collects it."""
    _, alive = psutil.wait_procs(processes, timeout=60)
    return [process for process in alive if process.is_running() and _status(process) != psutil.STATUS_ZOMBIE]


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that a campaign has started: the forkserver, its workers and helpers."""
    children: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return children
