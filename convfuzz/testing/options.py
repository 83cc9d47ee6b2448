"""What a session says about tests from outside: the plugin sets it, tests look it up when they run. It imports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COMPARED = "convfuzz"
"""The property of a test under which it says how many of its cases were compared; it is in a JUnit file too."""


@dataclass(frozen=True)
class Options:
    """What may be said once for all tests; ``None`` where nothing is said."""

    backends: tuple[str, ...] | None = None
    strategy: str | None = None
    cases: int | None = None
    seed: int | None = None


_command_line = _ini = Options()


def configure(command_line: Options, ini: Options) -> None:
    """Set what the command line and the ini file say."""
    global _command_line, _ini
    _command_line, _ini = command_line, ini


def chosen(name: str, own: Any, otherwise: Any) -> Any:
    """Return the option ``name``: the command line's word, else the test's ``own``, else the ini file's, else ``otherwise``."""
    for value in (getattr(_command_line, name), own, getattr(_ini, name)):
        if value is not None:
            return value
    return otherwise
