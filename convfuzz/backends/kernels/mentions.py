"""What a name says of a kernel, with nothing imported: whether its file is there, and which function was probably meant."""

from __future__ import annotations

import ast
from pathlib import Path

from convfuzz.errors import BackendError, closest

_MOST_SHOWN = 5


def require_kernel(name: str) -> None:
    """Refuse a name ``file.py::function`` of which the file is not there or the function is left out.

    Raises:
        BackendError: that is so.
    """
    where, _, function = name.partition("::")
    if not where:
        raise BackendError(f"backend {name!r} names no file; name one before the colons, such as kernels.py::{function or 'function'}")
    if where.endswith(".py") and Path(where).is_dir():
        raise BackendError(f"backend {name!r}: {where} is a folder, and a kernel is in a file")
    if where.endswith(".py") and not Path(where).is_file():
        raise BackendError(f"backend {name!r}: there is no file {where} in {Path.cwd()}")
    if not function:
        raise BackendError(f"backend {name!r} names no function{kernel_meant(where) or f'; say {where}::function'}")


def kernel_meant(name: str) -> str:
    """Say how to name the kernel that somebody means with a file alone, ``file.py``, or with one colon, ``file.py:function``.

    Returns:
        The remedy, as the end of a message; empty where the name looks like no file.
    """
    where, colon, function = name.rstrip(":").partition(":")
    if not where.endswith(".py"):
        return ""
    if not Path(where).is_file():
        return f", and there is no file {where} in {Path.cwd()}"
    functions = functions_of(Path(where))
    if colon and (function in functions or not functions):
        return f"; name a function with two colons: {where}::{function}"
    if not functions:
        return f"; name a function: {where}::function"
    known = ", ".join(f"{where}::{name}" for name in functions[:_MOST_SHOWN]) + ", …" * (len(functions) > _MOST_SHOWN)
    if colon:
        return f"; {where} defines no {function!r}{closest(function, functions)}: name a function with two colons, such as {known}"
    return f"; name a function: {known}"


def functions_of(path: Path) -> list[str]:
    """Return the functions that a file defines, as its text says; none where it is no Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
