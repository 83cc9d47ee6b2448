"""The source of a function and of all that it needs, so that a file which stands alone can carry it."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from types import ModuleType

_PACKAGE = __name__.partition(".")[0]


class Carried:
    """Top-level definitions of convfuzz's modules with everything that they refer to, each behind what it needs.

    ``given`` are names that the file defines itself. :attr:`config_attributes` are what the carried functions ask of
    their ``config``, so that a plain object with these attributes serves.
    """

    def __init__(self, given: Collection[str] = ()) -> None:
        self.used: set[str] = set()
        self.config_attributes: set[str] = set()
        self._given = given
        self._imports: list[str] = []
        self._sources: list[str] = []

    @property
    def source(self) -> str:
        """Imports, then definitions."""
        return "\n\n\n".join(["\n".join(sorted(self._imports)), *self._sources]).strip() + "\n"

    def add(self, module: ModuleType, name: str) -> None:
        """Carry what ``module`` defines, or imports, as ``name``; what it does not define is a builtin or a local name."""
        definition = _definitions(module).get(name)
        if definition is None or name in self.used:
            return
        if isinstance(definition, ast.ImportFrom) and name not in self._given:
            assert definition.module is not None, "imports are absolute"
            if definition.module.partition(".")[0] == _PACKAGE:
                defining = importlib.import_module(definition.module)
                self.add(getattr(defining, "CARRIED_FROM", defining), name)
                return
        self.used.add(name)
        if name in self._given:
            return
        if isinstance(definition, ast.Import):
            self._imports.append(f"import {name}")
        elif isinstance(definition, ast.ImportFrom):
            self._imports.append(f"from {definition.module} import {name}")
        else:
            self.add_needs(module, definition)
            self._sources.append(_source(module, definition))

    def add_needs(self, module: ModuleType, part: ast.AST) -> None:
        """Carry what a part of ``module`` refers to."""
        for node in _evaluated(part):
            if isinstance(node, ast.Name):
                self.add(module, node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "config":
                self.config_attributes.add(node.attr)


def entry_of(module: ModuleType, table: str, key: str) -> tuple[ast.expr, str]:
    """Return one value of a dictionary that ``module`` writes out, as an expression and as source."""
    definition = _definitions(module)[table]
    assert isinstance(definition, ast.Assign | ast.AnnAssign), f"{table} is assigned"
    assert isinstance(definition.value, ast.Dict), f"{table} is written out"
    for name, value in zip(definition.value.keys, definition.value.values, strict=True):
        if isinstance(name, ast.Constant) and name.value == key:
            return value, ast.unparse(value)
    raise KeyError(f"{table} of {module.__name__} has no {key!r}")


@cache
def _text(module: ModuleType) -> str:
    """Return a module's source as it is when it is first asked for: the lines below have to be those that were parsed."""
    return inspect.getsource(module)


@cache
def _definitions(module: ModuleType) -> dict[str, ast.stmt]:
    """Return the statements of a module's top level by the names that they define."""
    return {name: node for node in ast.parse(_text(module)).body for name in _defined(node)}


def _defined(node: ast.stmt) -> Iterable[str]:
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
    return []


def _source(module: ModuleType, node: ast.stmt) -> str:
    first = min(decorator.lineno for decorator in [*getattr(node, "decorator_list", []), node])
    return "".join(_text(module).splitlines(keepends=True)[first - 1 : node.end_lineno]).rstrip()


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a part of a module without its annotations, which nobody evaluates."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _evaluated(child)
