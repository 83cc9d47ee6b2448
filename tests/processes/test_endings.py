"""What a killed process leaves behind."""

from __future__ import annotations

import os
import time
from multiprocessing import get_context

import psutil

from convfuzz.processes.endings import kill_with_children

PATIENCE = 60


def test_what_a_process_has_started_is_killed_with_it() -> None:
    """A compiler that a backend has started does not outlive the child that is killed for its time."""
    process = get_context("spawn").Process(target=os.system, args=("sleep 300; true",))
    process.start()
    deadline = time.monotonic() + PATIENCE
    started: list[psutil.Process] = []
    while not any(child.name() == "sleep" for child in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        started = psutil.Process(process.pid).children(recursive=True)
    kill_with_children(process)
    process.join(PATIENCE)
    assert process.exitcode is not None
    _, alive = psutil.wait_procs(started, timeout=PATIENCE)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    process.close()
