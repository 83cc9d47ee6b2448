"""Memory that nobody has written to is known again in a result."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz.tensors.poison import count_unwritten, fill_freed


@pytest.mark.parametrize("size", [3, 200])
def test_freed_memory_does_not_hold_the_last_results(size: int) -> None:
    """After several results of one size were freed, each of as many arrays of that size that nobody writes to shows that."""
    results = [np.ones(size, np.float32) for _ in range(6)]
    del results[::2]
    fill_freed((size,), np.dtype(np.float32))
    unwritten = [np.empty(size, np.float32) for _ in range(3)]
    assert [count_unwritten(array)[0] for array in unwritten] == [size] * 3
