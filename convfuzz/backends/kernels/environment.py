"""The environment and the process of its own that a kernel asks for: read from the text of its file before anything is imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convfuzz.errors import BackendError, InvalidConfig

_OPTIONS = ("environment", "own_process")
_READ_FIRST = "it is read from the text of the file, before anything is imported"


def required_environment(environment: Any) -> dict[str, str]:
    """Return the environment variables that a kernel's module is imported with.

    Raises:
        InvalidConfig: they are no mapping of names to texts.
    """
    rule = "a mapping of environment variables to texts, such as {'TRITON_INTERPRET': '1'}"
    if not isinstance(environment, Mapping):
        raise InvalidConfig(f"environment={environment!r} is not {rule}")
    for name, value in environment.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidConfig(f"environment={environment!r}: {name!r} is no name of an environment variable; expected {rule}")
        if not isinstance(value, str) or "\0" in value:
            told = "" if isinstance(value, str | type(None)) else f"; write {name!r}: {str(value)!r}"
            raise InvalidConfig(f"environment={environment!r}: the value {value!r} of {name} is not a text{told}; expected {rule}")
    return dict(environment)


def written_environment(name: str) -> dict[str, str] | None:
    """Return the environment of a kernel's own process, as the text of its file says; nothing is imported, no parent package either.

    Args:
        name: ``path/to/file.py::function`` or ``package.module::function``.

    Returns:
        ``None`` for a kernel that is called in the process that asks for it.

    Raises:
        BackendError: the options are there and not written out, so that only an import would tell them.
        InvalidConfig: they are written out, and none of their allowed values.
    """
    where, _, function = name.partition("::")
    path = Path(where) if where.endswith(".py") else _file_of(where)
    try:
        tree = ast.parse(path.read_bytes()) if path is not None else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return None  # importing it says what is wrong
    definition = next((node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == function), None)
    if definition is None:
        return None
    given = {one.arg: one.value for call in _declarations(tree, definition) for one in call.keywords if one.arg in _OPTIONS}
    read = {str(option): _value(name, str(option), tree, node) for option, node in given.items()}
    environment = required_environment(read.get("environment", {}))
    return environment if environment or required_flag(read.get("own_process", False)) else None


def required_flag(own_process: Any) -> bool:
    """Return ``own_process`` as it is given.

    Raises:
        InvalidConfig: it is neither ``True`` nor ``False``.
    """
    if not isinstance(own_process, bool):
        raise InvalidConfig(f"own_process={own_process!r} is not True or False")
    return own_process


def not_written_out(name: str, module: str) -> BackendError:
    """Return what is raised where an import has told of options that the text of the file does not have."""
    function = name.partition("::")[2]
    return BackendError(
        f"backend {name!r} runs in a process of its own, and its file does not say so where {function!r} is defined; {_READ_FIRST}: put "
        f"@convfuzz.backend(environment={{…}}) above its 'def', and name the kernel where that is, as {module}::{function}"
    )


def _declarations(tree: ast.Module, definition: ast.FunctionDef | ast.ClassDef) -> Iterator[ast.Call]:
    """Yield the calls of ``@convfuzz.backend`` above a definition, whatever name it was imported under."""
    imports = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = {alias.asname or alias.name for alias in imports if alias.name == "backend"}
    for decorator in definition.decorator_list:
        match decorator:
            case ast.Call(func=ast.Attribute(attr="backend")):
                yield decorator
            case ast.Call(func=ast.Name(id=called)) if called in names:
                yield decorator


def _value(name: str, option: str, tree: ast.Module, node: ast.expr) -> Any:
    """Return a value that is written out, in place or as a constant of the module.

    Raises:
        BackendError: it is computed.
    """
    if isinstance(node, ast.Name):
        constants = [one.value for one in tree.body if isinstance(one, ast.Assign) and _is_name(one.targets, node.id)]
        node = constants[0] if len(constants) == 1 else node
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise BackendError(
            f"backend {name!r}: {option}={ast.unparse(node)} is not written out; {_READ_FIRST}, so that it has to be a constant, "
            "such as environment={'TRITON_INTERPRET': '1'}"
        ) from None


def _is_name(targets: list[ast.expr], name: str) -> bool:
    return len(targets) == 1 and isinstance(targets[0], ast.Name) and targets[0].id == name


def _file_of(module: str) -> Path | None:
    """Return the file of a module without importing the packages around it; ``None`` where it has none, or is not there."""
    path, found = None, None
    *around, last = module.split(".")
    for i, part in enumerate([*around, last]):
        full = ".".join([*around, last][: i + 1])
        found = next((spec for finder in sys.meta_path if (spec := _spec(finder, full, path))), None)
        if found is None or (part is not last and found.submodule_search_locations is None):
            return None
        path = list(found.submodule_search_locations or [])
    origin = Path(found.origin) if found is not None and found.has_location and found.origin else None
    return origin if origin is not None and origin.suffix == ".py" else None


def _spec(finder: Any, name: str, path: list[str] | None) -> Any:
    find = getattr(finder, "find_spec", None)
    return find(name, path if path is not None else [*sys.path, str(Path.cwd())]) if find is not None else None
