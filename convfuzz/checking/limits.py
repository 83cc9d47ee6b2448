"""What one case may take: time and memory, more of both where its layer is large."""

from __future__ import annotations

import math

import msgspec

from convfuzz.case import Case
from convfuzz.case.config import ITEMSIZE
from convfuzz.errors import UsageError

GIB = 2**30


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one case may take on one backend.

    ``case_timeout`` is in seconds and ``memory`` in bytes of resident memory of the process; a backend that exceeds one of
    them is stopped, with the verdict ``timeout`` or ``memory``. A case whose tensors and results alone would take all of
    ``memory`` is not run on any backend. Those of a large layer that is run come on top of it, and so does the time that so
    many operations take, see :meth:`memory_of` and :meth:`seconds_of`.

    Raises:
        UsageError: a limit is not positive.
    """

    case_timeout: float = 20.0
    memory: int = 4 * GIB

    def __post_init__(self) -> None:
        for name, value in (("case_timeout", self.case_timeout), ("memory_limit", self.memory)):
            if not value > 0:
                raise UsageError(f"{name}={value:g} is not positive")

    def memory_of(self, case: Case) -> int:
        """Return the bytes that a process may have while it runs a case: twice its tensors and results more, where these are large."""
        return self.memory + 2 * max(tensor_nbytes(case) - _USUAL_BYTES, 0)

    def seconds_of(self, case: Case) -> float:
        """Return the seconds that a call may take on a case."""
        flops = case.config.flops * (3 if case.grad else 1) if case.config.is_valid else 0
        return max(self.case_timeout, self.case_timeout * flops / _USUAL_FLOPS)


_USUAL_BYTES = GIB // 2
"""Tensors and results of so many bytes are among what every process may have."""
_USUAL_FLOPS = 2e10
"""So many operations are to be done within the usual time, whatever it is; more operations have more time."""


def tensor_nbytes(case: Case) -> int:
    """Return the bytes of a case's tensors and results; of an invalid configuration, which has no output, of input and weight."""
    config = case.config
    shapes = [config.input_shape, config.weight_shape, *([config.output_shape] if config.is_valid else [])]
    elements = sum(math.prod(max(size, 0) for size in shape) for shape in shapes)
    return elements * ITEMSIZE[config.dtype] * (2 if case.grad and config.is_valid else 1)
