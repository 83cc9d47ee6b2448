"""What the forkserver imports first: it is deaf to Ctrl-C and its like, which are the supervisor's, and says nothing when that is gone.

While it loads frameworks, which takes many seconds, it does not look whether its supervisor is still there, and ends with it.
"""

from __future__ import annotations

import sys
from types import TracebackType

from convfuzz.system.die_with_parent import die_with_starter
from convfuzz.system.interrupts import ignore_ending
from convfuzz.system.safe_path import drop_safe_path


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what ended a process that was to start, unless nobody is there any more to say what it is to do."""
    if not issubclass(kind, EOFError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report  # the processes that it forks have it too, until they have read what they are for
ignore_ending()
die_with_starter()
drop_safe_path()
