"""Reads files from elsewhere, which are plain and of limited size, and writes files in one step."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from convfuzz.errors import UnreadableFile, UsageError


def open_regular(path: Path) -> int:
    """Open a plain file for reading and return its descriptor.

    A run directory must not lead to other files, so links are not followed; and a pipe or a device, for which one could wait for
    ever, is not a file.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: it is a link or another kind of file, or may not be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a symbolic link, and links are not followed" if error.errno == errno.ELOOP else error.strerror
        raise UnreadableFile(f"{path} cannot be read: {why}") from None
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    raise UnreadableFile(f"{path} cannot be read: it is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a plain file.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: it is not a plain file, or has more than ``most_bytes`` bytes.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most_bytes else file.read(most_bytes + 1)
    if size > most_bytes or len(data) > most_bytes:
        raise UnreadableFile(f"{path} has {max(size, len(data))} bytes; at most {most_bytes} are read")
    return data


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data`` in one step, so that neither a reader nor a crash ever sees half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_named(path: Path, data: bytes) -> None:
    """Replace the file that somebody names, as :func:`write_atomically` does: a link to it stays one, and it keeps its permissions.

    Raises:
        UsageError: it is a link that leads to itself.
    """
    target = _target(path)
    write_atomically(target, data, stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644)


def require_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before the work begins whose result it is to have.

    Raises:
        UsageError: it is a folder or read-only, or its folder is not there or may not be written to.
    """
    is_device = _is_device(path)
    folder = path.parent if is_device else _target(path).parent
    if path.is_dir():
        why = "it is a folder"
    elif not folder.exists():
        why = f"there is no folder {folder}"
    elif not folder.is_dir():
        why = f"{folder} is not a folder"
    elif not (is_device or os.access(folder, os.W_OK)) or (path.exists() and not os.access(path, os.W_OK)):
        why = "permission denied"
    else:
        return
    raise UsageError(f"{path} cannot be written: {why}")


def write_named(path: Path, data: bytes, *, replace_all: bool = False) -> None:
    """Write the file that somebody names: replaced in one step, but for a device or a pipe such as ``/dev/stdout``, which gets the data.

    With ``replace_all`` those are replaced too: a file with a name of ours, for whose kind somebody else may have seen.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if _is_device(path) and not replace_all:
            with path.open("wb") as file:
                file.write(data)
        elif replace_all:
            write_atomically(path, data)
        else:
            replace_named(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _target(path: Path) -> Path:
    """Return the file that a path leads to: itself, or what is behind a link."""
    try:
        return path.resolve() if path.is_symlink() else path
    except RuntimeError:
        raise UsageError(f"{path} cannot be written: it is a link that leads to itself") from None


def _is_device(path: Path) -> bool:
    """Whether a path leads to what must not be replaced by a file; ``/dev/stdout`` is a link, to a plain file where that is redirected."""
    try:
        is_plain = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
    return not is_plain or (path.is_symlink() and path.absolute().is_relative_to("/dev"))
