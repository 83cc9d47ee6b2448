"""Runs the program of a bug report as its reader would: in a fresh interpreter, with limited time, memory and output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from convfuzz.checking.limits import Limits
from convfuzz.processes.endings import beyond_memory, death
from convfuzz.processes.sandbox import WATCH_SECONDS
from convfuzz.reproduction import Printed

PROGRAM = "repro.py"
PROGRAM_SECONDS = 60.0
"""How long a program may take where nothing else is short of time."""
_MOST_BYTES = 2**20
_KEPT_BYTES = 2**16
_MEMORY = Limits().memory


def run_program(
    source: str, *, beside: Mapping[str, bytes] | None = None, seconds: float = PROGRAM_SECONDS, memory_limit: int = _MEMORY
) -> Printed:
    """Run Python source in a fresh interpreter, with ``-X faulthandler`` to show what ends a process.

    Args:
        source: the program.
        beside: the files in its folder, by name.
        seconds: the time after which it is killed.
        memory_limit: how many bytes of resident memory it may use.

    Returns:
        What it printed, or the end of that where it is long, and how it ended; the path of its folder is taken out.
    """
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as folder, tempfile.TemporaryFile() as output:
        Path(folder, PROGRAM).write_text(source, encoding="utf-8")
        for name, content in (beside or {}).items():
            Path(folder, name).write_bytes(content)
        process = subprocess.Popen(  # noqa: S603 - a reproduction is there to be run: our own text around the data of the finding
            [sys.executable, "-X", "faulthandler", PROGRAM],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            ended = _watched(process, output.fileno(), time.monotonic() + seconds, memory_limit) or f"no result after {seconds:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # the program, or what it has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - _KEPT_BYTES))
        printed = output.read().decode(errors="replace").replace(f"{os.path.realpath(folder)}/", "").replace(f"{folder}/", "")
    return Printed(printed, ended, failed=ended != _end(0))


def _watched(process: subprocess.Popen[bytes], output: int, deadline: float, memory_limit: int) -> str:
    """Wait for the end of a process; return how it ended or which limit it exceeded, and nothing where time is up."""
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return _end(process.wait(WATCH_SECONDS))
        too_large = beyond_memory(process.pid, memory_limit)
        if too_large:
            return too_large
        if os.fstat(output).st_size > _MOST_BYTES:
            return f"more than {_MOST_BYTES // 2**20} MiB of output"
    return ""


def _end(status: int) -> str:
    return death(status) if status < 0 else f"exit status {status}"
