"""Programs that are run for a report: what they print and how they end is what a reader's own run would show."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from convfuzz.processes.program import PROGRAM, run_program


@pytest.mark.parametrize(
    ("source", "text", "end"),
    [
        (
            "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr)\nprint('out again')",
            "out\nerr\nout again\n",
            "exit status 0",
        ),
        ("raise SystemExit(3)", "", "exit status 3"),
        ("raise SystemExit('no')", "no\n", "exit status 1"),
        ("import os\nos._exit(0)", "", "exit status 0"),
        ("import time\nprint('waits', flush=True)\ntime.sleep(60)", "waits\n", "no result after 3 s"),
        ("print(__name__)", "__main__\n", "exit status 0"),
        (
            "def f():\n    assert 1 == 2\n\nf()",
            (
                'Traceback (most recent call last):\n  File "repro.py", line 4, in <module>\n    f()\n'
                '  File "repro.py", line 2, in f\n    assert 1 == 2\n           ^^^^^^\nAssertionError\n'
            ),
            "exit status 1",
        ),
    ],
)
def test_program_s_output_and_end(source: str, text: str, end: str) -> None:
    """Output is in its order, tracebacks begin in the program, and the end is told; only status 0 in the end is no failure."""
    printed = run_program(source, seconds=3.0 if "waits" in source else 60.0)
    assert (printed.text, printed.end) == (text, end)
    assert printed.failed == (end != "exit status 0")


def test_crash_shows_no_more_than_the_program() -> None:
    """The trace of a fatal signal ends with the program's own lines."""
    printed = run_program("import os\n\ndef f():\n    os.abort()\n\nf()")
    assert printed.end == "the process was killed by SIGABRT"
    assert printed.text.startswith("Fatal Python error: Aborted")
    assert printed.text.endswith('  File "repro.py", line 6 in <module>\n')


def test_program_hides_no_module() -> None:
    """The program's own file is not taken for a module that a framework imports, such as the standard library's ``code``."""
    assert Path(PROGRAM).stem not in sys.stdlib_module_names
    assert run_program("import code, pdb\nprint(code.InteractiveConsole.__name__)").text == "InteractiveConsole\n"


def test_program_that_prints_without_end_is_ended() -> None:
    """Of a flood of output the end is kept, and the program is not waited for."""
    began = time.monotonic()
    printed = run_program("while True:\n    print('x' * 1000)", seconds=300.0)
    assert printed.end == "more than 1 MiB of output"
    assert 0 < len(printed.text) <= 2**16
    assert time.monotonic() - began < 200.0


def test_program_that_fills_the_memory_is_ended() -> None:
    """Beyond the limit a program is ended, and the report says of what size it was."""
    printed = run_program("import time\nx = b'1' * 3 * 10**8\ntime.sleep(30)", seconds=30.0, memory_limit=10**8)
    assert printed.end.startswith("resident memory of ")
    assert printed.failed


def test_what_a_program_has_started_ends_with_it() -> None:
    """A process that a program leaves behind does not go on."""
    printed = run_program("import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)")
    deadline = time.monotonic() + 120
    while _runs(int(printed.text)):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_program_ends_although_it_has_left_a_child(tmp_path: Path) -> None:
    """A process that ends without closing its sandbox does not wait for the child, which waits for it."""
    source = (
        "from pathlib import Path\nfrom convfuzz.processes.sandbox import Sandbox\n\n"
        f"if __name__ == '__main__':\n    box = Sandbox(['reference'], None, Path({str(tmp_path / 'log')!r}))\n"
        "    box.open()\n    print(box._process.pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=120)
    psutil.wait_procs([psutil.Process(pid) for pid in [int(done.stdout)] if psutil.pid_exists(pid)], timeout=60)
    assert not psutil.pid_exists(int(done.stdout))
