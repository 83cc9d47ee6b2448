"""How a run's time is spent: on cases first, then on findings, on bug reports, and on how the backends compute."""

from __future__ import annotations

import math
import time

_WITHOUT_LIMIT_SECONDS = 120.0
_CLOSING_SECONDS, _CLOSING_PART = 10.0, 0.06
"""What reducing and confirming may take when the time is up: so much, or that part of the run's time."""
_EXPERIMENTS_SECONDS, _EXPERIMENTS_PART = 10.0, 0.06
"""What finding out which findings have one cause may take after that: so much, or that part of the run's time."""
_REPORTING_SECONDS, _REPORTING_PART = 30.0, 0.1
"""What running the code of bug reports may take at the end, at most, and which part of the run's time."""

_ARITHMETIC_PART = 0.1
"""What measuring the backends' arithmetic may take after all that, in parts of the time that the run has taken."""


class Clock:
    """The time of a run: ``limit`` seconds over all its sittings, or no limit; earlier sittings took ``before`` of them."""

    def __init__(self, limit: float | None, before: float) -> None:
        self.limit = math.inf if limit is None else limit
        self.before = before
        self._began = time.monotonic()

    def begin(self) -> None:
        """Begin this sitting; what came before, such as loading the backends, does not count."""
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds so far, over all sittings."""
        return self.before + time.monotonic() - self._began

    @property
    def sitting(self) -> float:
        """Seconds that this sitting may take in all."""
        return max(self.limit - self.before, 0.0)

    @property
    def closing(self) -> float:
        """Seconds for reducing and confirming when the workers are done: the rest of the run's time, or a part of it on top."""
        if self.limit == math.inf:
            return _WITHOUT_LIMIT_SECONDS
        return max(self.limit - self.elapsed, _CLOSING_PART * self.limit, _CLOSING_SECONDS)

    @property
    def experiments(self) -> float:
        """Seconds for finding out which findings have one cause."""
        return _WITHOUT_LIMIT_SECONDS if self.limit == math.inf else max(_EXPERIMENTS_PART * self.limit, _EXPERIMENTS_SECONDS)

    @property
    def reporting(self) -> float:
        """Seconds for running the code of bug reports; the reports of findings beyond that do not say what it prints."""
        return min(_REPORTING_SECONDS, _REPORTING_PART * self.limit)

    @property
    def arithmetic(self) -> float:
        """Seconds for measuring how the backends compute."""
        return _ARITHMETIC_PART * self.elapsed
