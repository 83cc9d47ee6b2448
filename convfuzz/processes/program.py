"""Programs run as a reader of them would: in an interpreter of their own, with an end to time, memory and output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from convfuzz.processes.limits import beyond_memory, death
from convfuzz.processes.sandbox import WATCH_SECONDS
from convfuzz.reproduction import Printed

PROGRAM = "repro.py"
_MOST_BYTES = 2**20
_KEPT_BYTES = 2**16


def run_program(source: str, *, seconds: float = 60.0, memory_limit: int = 4 * 2**30) -> Printed:
    """Run Python source in a fresh interpreter, with ``-X faulthandler`` for what ends a process.

    Args:
        source: the program.
        seconds: after how long it is ended.
        memory_limit: how many bytes its resident memory may have.

    Returns:
        What it printed, of much the end, and how it ended; where it lay does not show.
    """
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as folder, tempfile.TemporaryFile() as output:
        Path(folder, PROGRAM).write_text(source, encoding="utf-8")
        process = subprocess.Popen(  # noqa: S603 - what a reproduction is for: our own text around the finding's data
            [sys.executable, "-X", "faulthandler", PROGRAM],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            ended = _watched(process, output.fileno(), time.monotonic() + seconds, memory_limit) or f"no result after {seconds:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):  # it, or what it has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - _KEPT_BYTES))
        printed = output.read().decode(errors="replace").replace(f"{os.path.realpath(folder)}/", "").replace(f"{folder}/", "")
    return Printed(printed, ended, failed=ended != _end(0))


def _watched(process: subprocess.Popen[bytes], output: int, deadline: float, memory_limit: int) -> str:
    """Wait for the end of a process and say how it ended, or what it has had too much of; empty where time is up."""
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
