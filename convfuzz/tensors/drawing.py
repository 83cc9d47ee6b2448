"""The numbers of :mod:`.counters`, bit for bit, from compiled code; a reproduction script carries those, which need NumPy alone."""

from __future__ import annotations

import numpy as np

from convfuzz.tensors import counters
from convfuzz.tensors.counters import Floats, Words

CARRIED_FROM = counters
"""Where a reproduction script takes the definitions of these names from."""


def words(seed: int, role: str, count: int, first: int = 0) -> Words:
    """Return what :func:`.counters.words` does."""
    from convfuzz.tensors.loops import fill_words  # noqa: PLC0415 - Numba loads with the first tensor

    drawn = np.empty(count, np.uint64)
    fill_words(drawn, _counter(seed, role, first))
    return drawn


def normal(seed: int, role: str, shape: tuple[int, ...], first: int = 0) -> Floats:
    """Return what :func:`.counters.normal` does."""
    from convfuzz.tensors.loops import NORMAL, fill  # noqa: PLC0415 - likewise

    drawn = np.empty(shape)
    fill(drawn.reshape(-1), _counter(seed, role, first), NORMAL, 0)
    return drawn


def uniform(seed: int, role: str, shape: tuple[int, ...], first: int = 0) -> Floats:
    """Return what :func:`.counters.uniform` does."""
    from convfuzz.tensors.loops import UNIFORM, fill  # noqa: PLC0415 - likewise

    drawn = np.empty(shape)
    fill(drawn.reshape(-1), _counter(seed, role, first), UNIFORM, 0)
    return drawn


def nonzero_integers(seed: int, role: str, shape: tuple[int, ...], most: int, first: int = 0) -> Floats:
    """Return what :func:`.counters.nonzero_integers` does."""
    from convfuzz.tensors.loops import INTEGERS, fill  # noqa: PLC0415 - likewise

    drawn = np.empty(shape)
    fill(drawn.reshape(-1), _counter(seed, role, first), INTEGERS, most)
    return drawn


def _counter(seed: int, role: str, first: int) -> np.uint64:
    """Return what the word of element ``first`` is mixed from."""
    return np.uint64(counters.key(seed, role) + counters.GOLDEN * (first + 1) & counters.WORD)
