"""Programs that a sandbox runs for a report: what they print and how they end is what a reader's own run would show."""

from __future__ import annotations

import pytest

from convfuzz.output_log import cut_trace
from convfuzz.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sandbox with the reference."""
    return Sandbox(["reference"], None, tmp_path_factory.mktemp("sandbox") / "sandbox.log", case_timeout=3.0)


@pytest.mark.parametrize(
    ("source", "text", "end"),
    [
        ("import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')", "out\nerr\nout again\n", "exit status 0"),
        ("raise SystemExit(3)", "", "exit status 3"),
        ("raise SystemExit('no')", "no\n", "exit status 1"),
        ("import os\nos._exit(0)", "", "the process ended with exit status 0"),
        ("import time\nprint('waits')\ntime.sleep(60)", "waits\n", "no result after 3 s"),
        ("print(__name__)", "__main__\n", "exit status 0"),
        (
            "def f():\n    assert 1 == 2\n\nf()",
            (
                'Traceback (most recent call last):\n  File "code.py", line 4, in <module>\n    f()\n'
                '  File "code.py", line 2, in f\n    assert 1 == 2\n           ^^^^^^\nAssertionError\n'
            ),
            "exit status 1",
        ),
    ],
)
def test_program_s_output_and_end(sandbox: Sandbox, source: str, text: str, end: str) -> None:
    """Output is in its order, tracebacks begin in the program, and the end is told; only status 0 in the end is no failure."""
    printed = sandbox.execute(source)
    assert (printed.text, printed.end) == (text, end)
    assert printed.failed == (end != "exit status 0")


def test_crash_shows_no_more_than_the_program(sandbox: Sandbox) -> None:
    """The trace of a fatal signal ends with the program's own lines."""
    printed = sandbox.execute("import os\n\ndef f():\n    os.abort()\n\nf()")
    assert printed.end == "the process was killed by SIGABRT"
    assert printed.text.startswith("Fatal Python error: Aborted")
    assert printed.text.endswith('  File "code.py", line 6 in <module>')


def test_program_runs_in_a_process_that_has_run_nothing(sandbox: Sandbox) -> None:
    """What one program leaves behind the next does not see."""
    sandbox.execute("import sys\nsys.left = 1")
    assert sandbox.execute("import sys\nassert not hasattr(sys, 'left')").end == "exit status 0"


def test_trace_without_the_program_stays() -> None:
    """A trace in which the program does not occur is left as it is."""
    trace = 'Fatal Python error: Aborted\n  File "x.py", line 1 in f'
    assert cut_trace(trace, "code.py") == trace
    assert cut_trace("no trace\n", "code.py") == "no trace\n"
