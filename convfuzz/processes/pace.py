"""How long a backend's answers take and how much its process grows in them, and from when on it is plain that one will not come."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

_TIMES = 100
"""An answer that takes so many times what the others take will not come."""
_TIMES_SLOWEST = 2
"""The same of the slowest of them, such as the first one, which compiles or loads something."""
_LEAST_SECONDS = 1.0
_TIMES_LARGEST, _LEAST_GROWTH = 4, 2**29
"""A process that grows by so many times what the others grew by, and by so many bytes at least, will fill all that it may."""
_UNKNOWN_SECONDS = 5.0
"""The patience with a backend that has not answered yet."""
_REMEMBERED = 200


class Pace:
    """The times that the latest answers of one backend took, and the most bytes by which the process grew in one."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._largest = 0

    def add(self, seconds: float, growth: int = 0) -> None:
        """Take note of an answer that took ``seconds`` and in which the process grew by ``growth`` bytes."""
        self._seconds.append(seconds)
        self._largest = max(self._largest, growth)

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

    @property
    def most_growth(self) -> float:
        """The bytes after which the next answer is given up; no limit where nothing has answered yet."""
        return max(_TIMES_LARGEST * self._largest, _LEAST_GROWTH) if self._seconds else math.inf
