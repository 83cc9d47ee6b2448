"""Starting Python processes that do not look for modules in the current folder, where a user's ``random.py`` may lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "PYTHONSAFEPATH"
_OURS = "convfuzz"
"""Any value turns it on; this one says that it is not the user's."""


@contextmanager
def safe_path() -> Iterator[None]:
    """Have every Python that starts meanwhile leave the current folder out of its search path.

    It is for what ``multiprocessing`` starts by ``python -c``, whose search path begins with that folder.
    """
    if os.environ.get(_VARIABLE):
        yield
        return
    os.environ[_VARIABLE] = _OURS
    try:
        yield
    finally:
        del os.environ[_VARIABLE]


def drop_safe_path() -> None:
    """Forget the variable in a process that has started so: what its kernels start themselves finds modules as ever."""
    if os.environ.get(_VARIABLE) == _OURS:
        del os.environ[_VARIABLE]
