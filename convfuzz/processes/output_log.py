"""Keeps what a child process prints in a file of limited size, whose end tells how the process died."""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 2**20
_KEPT_BYTES = 2**16
_MOST_LINES = 12
_MOST_CHARACTERS = 2000


class OutputLog:
    """The log of a child process and of those that replace it; each of them appends to it.

    A backend may print without end. The parent checks the file now and then and, beyond 1 MiB, keeps its last 64 KiB below a
    line that says how much was dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = 0

    def begin(self) -> None:
        """Note that another process begins to write."""
        self._began = self._size()

    def limit(self) -> None:
        """Cut the file where it has grown beyond the limit; what is written at that moment is lost as well."""
        size = self._size()
        if size <= MOST_BYTES:
            return
        with self.path.open("r+b") as file:
            file.seek(-_KEPT_BYTES, os.SEEK_END)
            kept = file.read(_KEPT_BYTES)
            file.truncate(0)
        with self.path.open("ab") as file:
            file.write(f"[convfuzz dropped about {size - len(kept):,} bytes of output here]\n".encode() + kept)
        self._began = 0

    def last_words(self) -> str:
        """Return the end of what the last process printed, usually faulthandler's traceback."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._began, self._size() - _KEPT_BYTES))
                lines = file.read(_KEPT_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return ""
        fatal = [i for i, line in enumerate(lines) if line.startswith("Fatal Python error")]
        shown = lines[fatal[-1] :] if fatal else lines[-_MOST_LINES:]
        return "\n".join(shown[:_MOST_LINES])[-_MOST_CHARACTERS:]

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0
