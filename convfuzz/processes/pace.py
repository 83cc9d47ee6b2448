"""How long a backend's answers take, and from when on it is plain that one will not come."""

from __future__ import annotations

from collections import deque
from statistics import median

_TIMES = 100
"""An answer that takes so many times what the others take will not come."""
_TIMES_SLOWEST = 2
"""The same of the slowest of them, such as the first one, which compiles or loads something."""
_LEAST_SECONDS = 1.0
_UNKNOWN_SECONDS = 5.0
"""The patience with a backend that has not answered yet."""
_REMEMBERED = 200


class Pace:
    """The times that the latest answers of one backend took."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, seconds: float) -> None:
        """Take note of an answer that took ``seconds``."""
        self._seconds.append(seconds)

    @property
    def is_known(self) -> bool:
        """Whether there was an answer yet."""
        return bool(self._seconds)

    @property
    def patience(self) -> float:
        """The seconds after which the next answer is given up."""
        if not self._seconds:
            return _UNKNOWN_SECONDS
        return max(_TIMES * median(self._seconds), _TIMES_SLOWEST * max(self._seconds), _LEAST_SECONDS)
