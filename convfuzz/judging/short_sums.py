"""Sums that are rounded to a short format after every addition: the two loops in which that takes its time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz.oracle.jit import compiled

Floats = npt.NDArray[np.float64]


@compiled
def add_running(terms: Floats, precision: int) -> tuple[Floats, Floats]:
    """Return the sums of the columns of ``terms``, one term after the other, and of the squares of their roundings."""
    count, sums = terms.shape
    total, squares = np.zeros(sums), np.zeros(sums)
    splitter = 2.0 ** (53 - precision) + 1.0
    for i in range(count):
        for k in range(sums):
            exact = total[k] + terms[i, k]
            scaled = exact * splitter
            total[k] = scaled - (scaled - exact)
            lost = exact - total[k]
            squares[k] += lost * lost
    return total, squares


@compiled
def add_in_pairs(terms: Floats, precision: int) -> tuple[Floats, Floats]:
    """Return the same of neighbours, then of the sums of two, and so on; ``terms`` are overwritten."""
    count, sums = terms.shape
    squares, level = np.zeros(sums), np.zeros(sums)
    splitter = 2.0 ** (53 - precision) + 1.0
    while count > 1:
        level[:] = 0.0
        for i in range(count // 2):
            for k in range(sums):
                exact = terms[2 * i, k] + terms[2 * i + 1, k]
                scaled = exact * splitter
                terms[i, k] = scaled - (scaled - exact)
                lost = exact - terms[i, k]
                level[k] += lost * lost
        squares += level
        if count % 2:
            terms[count // 2] = terms[count - 1]
        count = (count + 1) // 2
    return terms[:count].sum(axis=0), squares  # of one term, or of none
