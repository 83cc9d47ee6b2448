"""What a name says of a kernel, with nothing imported: whether its file is there, which function was meant, what it imports first."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from convfuzz.errors import BackendError, closest

_MOST_SHOWN = 5
_FRAMEWORKS = ("torch", "jax")
"""What takes seconds to import, and starts no thread by that."""
_HARMLESS = frozenset(("numpy", "convfuzz", *sys.stdlib_module_names))
"""What changes nothing about a framework that is imported after it."""


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


def frameworks_first(name: str) -> list[str]:
    """Return the frameworks that a kernel's file imports before it does anything that an import of theirs may depend on.

    Such as setting an environment variable, or importing a module that may: only the imports at its top are read, up to the first
    one that is not of a framework, NumPy, convfuzz or the standard library. A neighbour of the file that has such a name is meant by it.
    """
    path, found = Path(name.partition("::")[0]), list[str]()
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    for node in tree.body:
        match node:
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.Import():
                modules = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case _:
                return found
        for root in (module.partition(".")[0] for module in modules):
            if any(path.with_name(file).exists() for file in (root, f"{root}.py")):
                return found
            if root in _FRAMEWORKS:
                found.append(root)
            elif root not in _HARMLESS:
                return found
    return found
