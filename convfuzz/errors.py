"""Every exception that convfuzz raises on purpose.

ConvfuzzError
├── InvalidConfig        a configuration that no convolution has (also a ValueError)
│   └── CaseSyntaxError  a line that is not a case
├── Unsupported          a backend declines a case and says why
│   └── NotCovered       a model has an operation without a rule
├── MemoryLimitExceeded  a backend's process was ended for its size
├── UsageError           the caller asked for something that cannot be done; the command line exits with 2
│   ├── BackendError     an unknown, missing or unloadable backend
│   └── RunDirectoryError  a run directory that cannot be written or read
└── UnreadableFile       a journal, finding or run file that does not hold what it should (also a ValueError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConvfuzzError(Exception):
    """Base class of all errors below."""


class InvalidConfig(ConvfuzzError, ValueError):
    """A configuration breaks a rule; the message names the value and the rule."""


class CaseSyntaxError(InvalidConfig):
    """A line does not parse as a case; the message names the token and what was expected."""


class Unsupported(ConvfuzzError):
    """Raised by a backend to decline a case: ``raise Unsupported("needs stride 1")``. That is not a failure."""


class NotCovered(Unsupported):
    """An operation of a model, or something about it, has no rule, so that nothing is said of the model; the message names it."""


class MemoryLimitExceeded(ConvfuzzError):
    """A backend's process was ended because its resident memory, in bytes, was beyond the limit."""

    def __init__(self, resident: int, limit: int) -> None:
        super().__init__(f"resident memory of {_amount(resident)}, the limit is {_amount(limit)}")


def _amount(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"


class UsageError(ConvfuzzError):
    """The caller asked for something that cannot be done; the command line exits with 2."""


class BackendError(UsageError):
    """A backend name is unknown, its framework is missing, or its file cannot be loaded."""


class RunDirectoryError(UsageError):
    """A run directory cannot be created, written or read."""


class UnreadableFile(ConvfuzzError, ValueError):
    """A file from outside does not hold what its name promises; it is treated as data and never executed."""


def closest(value: object, allowed: Iterable[object]) -> str:
    """Return `` (closest: 'float32')`` where ``value`` is nearly the name of something allowed, and nothing elsewhere."""
    names = {name.lower(): name for name in map(str, allowed)}
    said = str(getattr(value, "__name__", value)).rpartition(".")[2].lower()  # torch.float32 and numpy.float32 have names too
    near = difflib.get_close_matches(said, names, n=1)
    return f" (closest: {names[near[0]]!r})" if near else ""
