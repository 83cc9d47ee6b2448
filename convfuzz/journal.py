"""Journals: append-only files of events, one JSON object a line, that outlive the process that writes them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from convfuzz.errors import UnreadableFile
from convfuzz.events import FORMAT_VERSION, Event, JournalOpened
from convfuzz.records import encode, reader

_read_event = reader(Event)
_read_object = reader(dict[str, Any])


class JournalWriter:
    """Appends events to ``journal-<worker>.jsonl``; each is handed to the operating system before :meth:`write` returns.

    A killed process loses nothing that was written: its data are in the kernel, not in a buffer of ours.
    """

    def __init__(self, directory: Path, worker: str) -> None:
        self.path = directory / f"journal-{worker}.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.write(JournalOpened(FORMAT_VERSION, worker, time.time()))

    def write(self, event: Event) -> None:
        """Append one event.

        Raises:
            OSError: the disk is full or the file has gone; what was written before stays valid.
        """
        line = encode(event) + b"\n"
        while line:
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_journal(path: Path) -> Iterator[Event]:
    """Yield the events of one journal; a last line that was cut off in the middle is left out.

    Raises:
        UnreadableFile: it is of another format version, or a line inside is not an event.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            yield _event(line, f"{path.name}, line {number}")


class JournalTail:
    """Reads a journal while it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self) -> Iterator[Event]:
        """Yield the events that are complete and have not been read yet.

        Raises:
            UnreadableFile: a line is not an event.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].splitlines():
            yield _event(line, self.path.name)


def append_events(path: Path, events: Iterable[Event]) -> None:
    """Append to the journal of a process that is gone; a line it left half-written is cut off first."""
    with path.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
        for event in events:
            file.write(encode(event) + b"\n")


def _event(line: bytes, where: str) -> Event:
    try:
        event: Event = _read_event(line)
    except msgspec.DecodeError as error:
        raise UnreadableFile(f"{where}: {_why(line, error)}") from None
    if isinstance(event, JournalOpened) and event.format != FORMAT_VERSION:
        raise UnreadableFile(f"{where} has journal format {event.format}; this convfuzz reads format {FORMAT_VERSION}")
    return event


def _why(line: bytes, error: Exception) -> str:
    try:
        record = _read_object(line)
    except msgspec.DecodeError:
        return f"not an event: {error}"
    if record.get("event") == "journal" and record.get("format") != FORMAT_VERSION:
        return f"journal format {record.get('format')!r}; this convfuzz reads format {FORMAT_VERSION}"
    return f"not an event: {error}"
