"""Journals: append-only files of events, one JSON object per line, that survive the process that writes them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from convfuzz.errors import UnreadableFile
from convfuzz.record.events import FORMAT_VERSION, Event, JournalOpened
from convfuzz.system.files import open_regular
from convfuzz.system.json_records import encode, reader, require_format

MOST_LINE_BYTES = 2**20
"""No event comes near this; a longer line is not read into memory."""
_BLOCK_BYTES = 2**22
_ROOM_BYTES = 2**16

_read_event = reader(Event)
_read_object = reader(dict[str, Any])


class JournalWriter:
    """Appends events to ``journal-<worker>.jsonl``; each is handed to the operating system before :meth:`write` returns.

    A killed process loses nothing that was written: its data are with the operating system, not in a buffer of ours. A line that
    an earlier writer left half-written is cut off first.
    """

    def __init__(self, directory: Path, worker: str) -> None:
        self.path = directory / f"journal-{worker}.jsonl"
        self._file = _open_to_append(self.path)
        self.write(JournalOpened(FORMAT_VERSION, worker, time.time()))

    def write(self, event: Event) -> None:
        """Append one event.

        Raises:
            OSError: the disk is full or the file is gone; what was written before stays valid.
        """
        _append(self._file, encode(event) + b"\n")

    def fileno(self) -> int:
        """Return the file descriptor of the journal."""
        return self._file

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def append_events(path: Path, events: Iterable[Event]) -> None:
    """Append to the journal of a process that is gone; a line it left half-written is cut off first.

    Raises:
        OSError: as :meth:`JournalWriter.write`.
    """
    append_lines(path, b"".join(encode(event) + b"\n" for event in events))


def append_lines(path: Path, lines: bytes) -> None:
    """Append the lines of another machine's journal, as :func:`append_events` does.

    Raises:
        OSError: as :meth:`JournalWriter.write`.
    """
    file = _open_to_append(path)
    try:
        _append(file, lines[: lines.rfind(b"\n") + 1])
    finally:
        os.close(file)


def require_room(path: Path) -> None:
    """Make sure that the journal of a process that is gone can grow; it stays as it is.

    Raises:
        OSError: the disk is full, or the file cannot be written for another reason.
    """
    file = _open_to_append(path)
    try:
        _append(file, b" " * _ROOM_BYTES)
        os.ftruncate(file, os.fstat(file).st_size - _ROOM_BYTES)
    finally:
        os.close(file)


def read_journal(path: Path) -> Iterator[Event]:
    """Yield the events of one journal; a last line that was cut off in the middle is left out.

    Raises:
        UnreadableFile: it is of another format version, a line in it is not an event, or it is not a plain file.
    """
    return JournalTail(path).read()


class JournalTail:
    """Reads a journal while it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._lines = 0

    def read(self) -> Iterator[Event]:
        """Yield the events that are complete and have not been read yet; there are none as long as there is no file.

        Raises:
            UnreadableFile: as :func:`read_journal`.
        """
        try:
            file = open_regular(self.path)
        except FileNotFoundError:
            return
        with os.fdopen(file, "rb") as journal:
            while True:
                journal.seek(self._offset)
                block = journal.read(_BLOCK_BYTES)
                end = block.rfind(b"\n") + 1
                for line in block[:end].split(b"\n")[:-1]:
                    self._offset += len(line) + 1
                    self._lines += 1
                    yield self._event(line)
                if len(block) - end > MOST_LINE_BYTES:
                    raise UnreadableFile(f"{self._here(1)}: longer than {MOST_LINE_BYTES} bytes")
                if len(block) < _BLOCK_BYTES:
                    return

    def _here(self, ahead: int = 0) -> str:
        return f"{self.path}, line {self._lines + ahead}"

    def _event(self, line: bytes) -> Event:
        if len(line) > MOST_LINE_BYTES:
            raise UnreadableFile(f"{self._here()}: longer than {MOST_LINE_BYTES} bytes")
        try:
            event: Event = _read_event(line)
        except msgspec.DecodeError as error:
            self._require_format(_first_line_of_a_journal(line))
            raise UnreadableFile(f"{self._here()}: not an event: {error}") from None
        if isinstance(event, JournalOpened):
            self._require_format({"format": event.format})
        return event

    def _require_format(self, opened: Mapping[str, object] | None) -> None:
        if opened is not None:
            require_format(opened.get("format"), FORMAT_VERSION, f"{self._here()} has journal format")


def _first_line_of_a_journal(line: bytes) -> Mapping[str, object] | None:
    """Return the first line of a journal of another version, whose other fields may be of any type; ``None`` for any other line."""
    try:
        record = _read_object(line)
    except msgspec.DecodeError:
        return None
    return record if record.get("event") == "journal" else None


# -- writing --------------------------------------------------------------------------------------------------------------


def _open_to_append(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.ftruncate(file, _end_of_last_line(file))
    except BaseException:
        os.close(file)
        raise
    return file


def _end_of_last_line(file: int) -> int:
    """Return where the last complete line ends."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(end - _BLOCK_BYTES, 0)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _append(file: int, line: bytes) -> None:
    """Append all of ``line``, or nothing of it."""
    written = 0
    try:
        while written < len(line):
            written += os.write(file, line[written:])
    except OSError:
        if written:
            with contextlib.suppress(OSError):
                os.ftruncate(file, os.fstat(file).st_size - written)
        raise
