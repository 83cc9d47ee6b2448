"""The standard streams of the command line: they print and read in any encoding, and say clearly when that cannot be done any more."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from typing import TextIO

from convfuzz.errors import ConvfuzzError, UsageError

_ERRORS = "convfuzz-plainer"
_PLAIN = {"−": "-", "–": "-", "·": "|", "×": "x", "…": "...", "→": "->", "±": "+-", "≤": "<=", "≥": ">=", "’": "'", "│": "|", "─": "-"}
"""What stands for the characters of our own texts where an encoding lacks them."""


class OutputLost(ConvfuzzError):
    """Standard output cannot be written any more; ``is_closed`` says that its reader has gone, as ``head`` does."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.is_closed = error.errno == errno.EPIPE


class _Descriptor(io.FileIO):
    """A descriptor that is written to until a write fails; that raises :class:`OutputLost`, or nothing where output may be lost."""

    def __init__(self, number: int, *, may_be_lost: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.may_be_lost = may_be_lost
        self.lost: OutputLost | None = None

    def write(self, data: object, /) -> int:
        """Write as many bytes as the system takes, or none once a write has failed."""
        view = memoryview(data)  # type: ignore[arg-type] # any buffer
        if self.lost is None:
            try:
                written = super().write(view)
            except OSError as error:
                self.lost = OutputLost(error)
                if not self.may_be_lost:
                    raise self.lost from None
            else:
                return len(view) if written is None else written
        return len(view)


_MOST_INPUT = 2**26
"""Characters: no list of cases is longer, and a device may have no end."""
_opened: list[_Descriptor] = []
"""Standard output, once :func:`open_streams` has opened it."""


def open_streams() -> None:
    """Put streams in the place of ``sys.stdout`` and ``sys.stderr`` that print any text in their encoding.

    Characters that it lacks are written in plainer ones, or as escapes, as which bytes of standard input are read that are no text.
    Where a process was started without one of the three standard descriptors, the null device takes its place, so that no file of a
    run gets its number. Streams that somebody has replaced, such as a test runner, stay as they are.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    codecs.register_error(_ERRORS, _plainer)
    output, error = sys.__stdout__, sys.__stderr__
    if output is sys.stdout:
        _opened.append(_Descriptor(1, may_be_lost=False))
        sys.stdout = _stream(_opened[0], output.encoding if output else "utf-8")
    if error is sys.stderr:
        sys.stderr = _stream(_Descriptor(2, may_be_lost=True), error.encoding if error else "utf-8")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="backslashreplace")


def read_input() -> str:
    """Return what standard input has, nothing where there is none.

    Raises:
        UsageError: it cannot be read, such as a folder, or has no end.
    """
    if sys.stdin is None:  # the process was started without one
        return ""
    try:
        text = sys.stdin.read(_MOST_INPUT + 1)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from None
    if len(text) > _MOST_INPUT:
        raise UsageError(f"standard input has more than {_MOST_INPUT} characters")
    return text


def go_on_without_output() -> None:
    """Have what cannot be printed be lost from here on: what the command does is worth more than what it prints."""
    for output in _opened:
        output.may_be_lost = True


def output_lost() -> OutputLost | None:
    """Return why standard output cannot be written any more; ``None`` where it can."""
    return next((output.lost for output in _opened), None)


def flush_output() -> None:
    """Write what is left, so that nothing is lost in silence when the interpreter ends.

    Raises:
        OutputLost: it cannot be written.
    """
    with contextlib.suppress(ValueError):  # it has been closed
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()


def _stream(descriptor: _Descriptor, encoding: str) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(descriptor), encoding=encoding, errors=_ERRORS, line_buffering=True)


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks, as an error handler of Python's codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = "".join(_PLAIN.get(c, c) for c in text)
    return plain.encode("ascii", "backslashreplace").decode("ascii"), error.end
