"""Locks a run directory for one process: a new one for a new run, or that of a run that is resumed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from convfuzz.errors import RunDirectoryError
from convfuzz.record.run_directory import SANDBOX_LOG, RunInfo, read_run_info

_LOCK = ".lock"


@contextlib.contextmanager
def new_run_directory(out: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Create the directory of a new run, ``out`` or ``convfuzz-runs/<time>-<id>``, and lock it for this process.

    A block that ends with an exception before there is a ``run.json`` leaves nothing behind.

    Raises:
        RunDirectoryError: it holds a run already or another campaign uses it, or it cannot be created or written.
    """
    directory = Path(out) if out is not None else Path("convfuzz-runs", f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")
    with contextlib.ExitStack() as lock:
        with _writing(directory):
            before = _make(directory)
            _refuse_second_run(directory)
            lock.enter_context(_locked(directory))
        try:
            _refuse_second_run(directory)  # another campaign may have come and gone since
            with _writing(directory), tempfile.TemporaryFile(dir=directory) as probe:
                _make_folders(directory)
                probe.write(b"convfuzz")
            yield directory
        except BaseException:
            if not _holds_run(directory):
                _remove_traces(directory, before)
            raise


@contextlib.contextmanager
def resumed_run_directory(directory: Path) -> Iterator[RunInfo]:
    """Open the directory of a run that is to be resumed, lock it for this process, and give what its ``run.json`` says.

    Raises:
        RunDirectoryError: it holds no run, another campaign uses it, or it cannot be written.
        UnreadableFile: its ``run.json`` is damaged or of another format version.
    """
    read_run_info(directory)  # first, or the lock would be left in a folder that holds no run
    with contextlib.ExitStack() as lock:
        with _writing(directory):
            lock.enter_context(_locked(directory))
            _make_folders(directory)
        yield read_run_info(directory)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunDirectoryError(f"{directory} cannot be written: {error.strerror or error}") from None


def _make(directory: Path) -> frozenset[Path]:
    """Create ``directory``; return what was there before, in it and above it."""
    for path in (directory, *directory.parents):
        if path.is_symlink() and not path.exists():
            raise RunDirectoryError(f"{directory} cannot be written: {path} is a link to {path.readlink()}, which is not there")
        if path.exists() and not path.is_dir():
            raise RunDirectoryError(f"{directory} cannot be written: {path} is not a folder")
    above = {path for path in (directory, *directory.parents) if path.exists()}
    directory.mkdir(parents=True, exist_ok=True)
    return frozenset(above.union(directory.iterdir() if directory in above else ()))


def _make_folders(directory: Path) -> None:
    for name in ("findings", "repro"):
        (directory / name).mkdir(exist_ok=True)


def _holds_run(directory: Path) -> bool:
    return (directory / "run.json").exists() or any(directory.glob("journal-*.jsonl"))


def _refuse_second_run(directory: Path) -> None:
    if _holds_run(directory):
        raise RunDirectoryError(f"{directory} holds a run already; choose another --out, or resume it: convfuzz run --resume {directory}")


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a run directory; the system releases it when this process ends, however it ends."""
    path = directory / _LOCK
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_current = path.exists() and os.path.samestat(os.fstat(lock), path.stat())
        except BlockingIOError:
            os.close(lock)
            raise RunDirectoryError(f"{directory} is in use: another convfuzz campaign is running in it") from None
        except BaseException:
            os.close(lock)
            raise
        if is_current:  # and not removed, with its directory, between opening and locking
            break
        os.close(lock)
    try:
        yield
    finally:
        os.close(lock)


def _remove_traces(directory: Path, before: frozenset[Path]) -> None:
    """Remove what was created for a run that never ran, and nothing that was there ``before``."""
    logs = (directory / SANDBOX_LOG, *directory.glob("worker-*.log"))
    for made in (directory / _LOCK, *(log for log in logs if log not in before)):
        made.unlink(missing_ok=True)
    for folder in (directory / "findings", directory / "repro", directory, *directory.parents):
        if folder not in before:
            with contextlib.suppress(OSError):  # somebody has put something in
                folder.rmdir()
