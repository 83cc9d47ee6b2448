"""What becomes of numbers at the ends of the range: subnormals, sums that are too large, and zeros with a sign."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convfuzz.case.dtypes import FLOATS, FloatFormat
from convfuzz.revealing.element import Element
from convfuzz.revealing.sheet import Notes


def arrangements(element: Element) -> Iterator[tuple[int, int]]:
    """Yield pairs of taps, far apart and side by side, in either order: one of them may be added first."""
    n = element.taps
    yield from ((0, n - 1), (n - 1, 0), (0, 1), (1, 0))


def measure_flushes(element: Element, accumulator: str, notes: Notes) -> tuple[str, ...] | None:
    """Return which subnormals become zero: of inputs, of products (or partial sums), of results.

    ``None`` where the accumulator's range is narrower than the operands', so that they vanish in it anyway.
    """
    form, found = element.form, []
    if accumulator in FLOATS and FLOATS[accumulator].emin > form.emin:
        notes.saw("subnormals", "not asked: they are beyond the range of this accumulator")
        return None
    below, scale = 2.0 ** (form.emin - 3), 2.0**10
    as_x, as_w = element.one({0: below}, {0: scale}), element.one({0: scale}, {0: below})
    notes.saw("a subnormal of x, and of w, times 2^10", f"{as_x:g}, {as_w:g}")
    if as_x == 0.0 or as_w == 0.0:
        found.append("inputs")
    products = _flushes_products(element, FLOATS.get(accumulator), notes)
    if products:
        found.append("products")
    half = form.emin // 2
    i, j = 0, element.taps - 1
    weights = np.full(element.taps, 2.0 ** (form.emin - half))
    rows = np.zeros((1, element.taps))
    rows[0, i], rows[0, j] = 1.5 * 2.0**half, -(2.0**half)
    got = float(element.values(rows, weights)[0])
    notes.saw("the difference of two normal products, itself subnormal", f"{got:g}")
    if got == 0.0:
        found.append("results")
    return tuple(found)


def _flushes_products(element: Element, accumulator: FloatFormat | None, notes: Notes) -> bool:
    """Whether a product below the accumulator's normal range is lost in a sum within it; operands of a narrower range make none."""
    form = element.form
    if accumulator is None or accumulator.emin < 2 * form.emin + 2:
        notes.saw("subnormal products", "none: normal operands cannot make one in this accumulator")
        return False
    half = accumulator.emin // 2
    weights = np.full(element.taps, 2.0 ** (accumulator.emin - half))
    ways = [*arrangements(element)]
    rows = np.zeros((len(ways), element.taps))
    for row, (normal, below) in zip(rows, ways, strict=True):
        row[normal], row[below] = 2.0**half, 2.0 ** (half - 1)
    got = element.values(rows, weights) / 2.0**accumulator.emin
    notes.saw("a normal product and half of it, which is subnormal", ", ".join(f"{g:g}" for g in got) + " times the first")
    return bool((got == 1.0).any())


def measure_overflow(element: Element, notes: Notes) -> str:
    """Return what becomes of a sum that is too large: ``infinite`` or ``saturates``."""
    i, j = 0, element.taps - 1
    large = 1.5 * 2.0**element.form.emax
    got = element.one({i: large, j: large})
    notes.saw("a sum beyond the largest number", f"{got:g}")
    if got == np.inf:
        return "infinite"
    return "saturates" if np.isfinite(got) and got >= large else "unknown"


def measure_negative_zero(element: Element, notes: Notes) -> str:
    """Return whether a sum of negative zeros is one: ``kept``, or ``lost`` where sums begin with a positive zero."""
    got = float(element.values(np.full(element.taps, -0.0), None, -0.0)[0])
    notes.saw("a sum of negative zeros", f"{got:g}")
    return "kept" if np.signbit(got) else "lost"
