"""Reads files from elsewhere, plain ones of limited size only, and replaces files in one step."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from convfuzz.errors import UnreadableFile


def open_regular(path: Path) -> int:
    """Open a plain file for reading and return its descriptor.

    A run directory must not make us read anything else: links are not followed. Pipes and devices are not opened, since
    reading one could wait for ever.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it is a link, is not a plain file, or may not be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a symbolic link, and links are not followed" if error.errno == errno.ELOOP else error.strerror
        raise UnreadableFile(f"{path} cannot be read: {why}") from None
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise UnreadableFile(f"{path} cannot be read: it is not a regular file")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a plain file.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFile: it is not a plain file, or has more than ``most_bytes`` bytes.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most_bytes else file.read(most_bytes + 1)
    if size > most_bytes or len(data) > most_bytes:
        raise UnreadableFile(f"{path} has {max(size, len(data))} bytes; at most {most_bytes} are read")
    return data


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` in one step, so that a reader or a crash never meets half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
