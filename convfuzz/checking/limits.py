"""What one case may take: time, memory, and bytes of its tensors."""

from __future__ import annotations

import msgspec

from convfuzz.errors import UsageError

GIB = 2**30


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one case may take on one backend.

    ``case_timeout`` is in seconds and ``memory`` in bytes of resident memory of the process; a backend that exceeds one of
    them is stopped, with the verdict ``timeout`` or ``memory``. A case whose tensors, padding and reference need more than
    ``tensor_bytes`` is not run on any backend.

    Raises:
        UsageError: a limit is not positive.
    """

    case_timeout: float = 20.0
    memory: int = 4 * GIB
    tensor_bytes: int = 2 * GIB

    def __post_init__(self) -> None:
        for name, value in (("case_timeout", self.case_timeout), ("memory_limit", self.memory), ("tensor_bytes", self.tensor_bytes)):
            if not value > 0:
                raise UsageError(f"{name}={value:g} is not positive")
