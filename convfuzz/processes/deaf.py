"""What the forkserver imports first: it is deaf to Ctrl-C and its like, which are the supervisor's, and says nothing when that is gone."""

from __future__ import annotations

import sys
from types import TracebackType

from convfuzz.system.interrupts import ignore_ending
from convfuzz.system.safe_path import drop_safe_path


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what ended a process that was to start, unless nobody is there any more to say what it is to do."""
    if not issubclass(kind, EOFError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report  # the processes that it forks have it too, until they have read what they are for
ignore_ending()
drop_safe_path()
