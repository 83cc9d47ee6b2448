"""A call as source: a backend runs the very lines that its reproduction script shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from string import Template
from textwrap import indent
from typing import Any

_KEPT_TEXTS = 4096
BLANK = ["", ""]
"""The lines between two definitions."""


class CallSource:
    """Lines of Python in which ``$name`` stands for a value, such as ``conv2d(x, w, b, stride=$stride)``.

    A script shows them with the values written out: ``str(source)``. A backend runs them with the values bound to names:
    :meth:`function`. Calls that differ only in their values share one compiled text, so that a new configuration costs
    no compilation.
    """

    def __init__(self, lines: Iterable[str], values: Mapping[str, object]) -> None:
        self._text = "\n".join(lines) + "\n"
        self._values = values

    def __str__(self) -> str:
        return Template(self._text).substitute({name: literal(value) for name, value in self._values.items()})

    def function(self, name: str, given: Mapping[str, object]) -> Any:
        """Execute the lines and return the function ``name`` that they define; ``given`` are other names that they use."""
        bind = _compiled(self._text, name, tuple(given), tuple(self._values))
        return bind(*given.values(), *self._values.values())


@lru_cache(_KEPT_TEXTS)
def _compiled(text: str, name: str, given: tuple[str, ...], holes: tuple[str, ...]) -> Any:
    """Return a function that defines what the text defines, with its arguments in the place of names and holes."""
    body = Template(text).substitute({hole: f"_{hole}" for hole in holes})
    names = ", ".join([*given, *(f"_{hole}" for hole in holes)])
    scope: dict[str, Any] = {}
    exec(f"def bind({names}):\n{indent(body, '    ')}\n    return {name}\n", scope)  # noqa: S102 - the text is this package's own
    return scope["bind"]


def keywords(names: Iterable[str]) -> str:
    """Return arguments by name, each with its value: ``stride=$stride, padding=$padding``."""
    return ", ".join(f"{name}=${name}" for name in names)


def indented(lines: Iterable[str]) -> list[str]:
    """Return the lines as the body of a function."""
    return [f"    {line}" for line in lines]


def literal(value: object) -> str:
    """Return a value as it is written in source, an index as it is written between brackets."""
    if isinstance(value, tuple) and any(isinstance(part, slice) for part in value):
        return ", ".join("..." if part is ... else _slice(part) for part in value)
    return repr(value)


def _slice(part: slice) -> str:
    bounds = f"{'' if part.start is None else part.start}:{'' if part.stop is None else part.stop}"
    return bounds if part.step is None else f"{bounds}:{part.step}"
