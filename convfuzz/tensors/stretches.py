"""Large arrays a stretch at a time, so that what is computed of one takes little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

Place = tuple[int | slice, ...]


def stretches(shape: tuple[int, ...], most: int) -> Iterator[Place]:
    """Yield where the stretches of at most ``most`` elements lie in an array of ``shape``, in the order of its elements."""
    if not shape or math.prod(shape) <= most:
        yield (slice(None),) * len(shape)
        return
    inner = math.prod(shape[1:])
    if inner <= most:
        step = most // inner
        for start in range(0, shape[0], step):
            yield (slice(start, min(start + step, shape[0])),)
        return
    for first in range(shape[0]):
        for rest in stretches(shape[1:], most):
            yield (first, *rest)
