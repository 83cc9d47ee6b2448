"""Backends that do harm while they are loaded."""

from __future__ import annotations

from .launch import Place, finish


def test_framework_that_ends_the_process_is_named(place: Place) -> None:
    """It takes the forkserver with it, which is to preload it; the message says which backend it was and what happened."""
    done = finish(place.launch("run", "--backends", "fatal", "--time", "10s", "--out", "out"), place.folder / "out")
    assert done.status == 2
    assert "loading fatal ended the process: the process ended with exit status 7" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_whose_backend_takes_long_to_be_refused_leaves_nothing(place: Place) -> None:
    """However long a file takes to load in which the kernel is not, the run directory is taken back, as nothing has run."""
    done = place.run_warm("import time\ntime.sleep(0.5)\n", ["nothing"], "--max-cases", "1")
    assert done.status == 2
    assert "kernels.py has no 'nothing'" in done.stderr
    assert not done.directory.exists()
