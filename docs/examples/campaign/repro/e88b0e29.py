#!/usr/bin/env python3
"""convfuzz finding e88b0e29: torch is wrong-shape on one convolution.

Case: conv1d_c0_o1_i1_k1_f32@zeros
Verdict: wrong-shape
Boundary: fails at 0 input channels, works at 1 (conv1d_c1_o1_i1_k1_f32@integers.0)
Reason: shape (1, 0, 1), expected (1, 1, 1)
Run again: confirmed: failed in 5 of 5 fresh processes.
Found with torch 2.13.0+cpu, numpy 2.4.6.

Exits 1 while the bug is there and 0 when it is gone. Written by convfuzz; does not need it.
"""

from __future__ import annotations

import sys
import traceback

import numpy as np
import torch

torch.set_num_threads(1)
tensor = torch.from_numpy


def array(a):
    """Return a tensor as an array."""
    return a.detach().numpy()


def run(x, w, b):
    x, w = map(tensor, (x, w))
    y = torch.nn.functional.conv1d(x, w, b, stride=(1,), padding=(0,), dilation=(1,), groups=1)
    return array(y)


x = np.zeros((1, 0, 1), dtype=np.float32)
w = np.zeros((1, 0, 1), dtype=np.float32)
operands = [x, w, None]


def expected(x, w):
    """Return the output y, the sum of its products p in float64."""
    x, w = (a.astype(np.float64) for a in (x, w))
    y = np.zeros((1, 1, 1))
    for at_x, at_w, at_y in taps():
        p = x[at_x] * w[at_w]
        y[at_y] += p
    return y


def taps():
    """Yield, for every tap of every kernel, which sites of x and y it connects, and its place in w.

    Along each axis it connects o, of y, with i = o * stride + tap * dilation - padding, of x.
    """
    for tap in np.ndindex(1):
        at_y, at_x = [], []
        for t, (y_size, x_size, stride, dilation, padding) in zip(tap, [(1, 1, 1, 1, 0)]):
            o = np.arange(y_size)
            i = o * stride + (t * dilation - padding)
            there = (0 <= i) & (i < x_size)
            at_y.append(o[there])
            at_x.append(i[there])
        at_x, at_y = np.ix_(*at_x), np.ix_(*at_y)
        for row, column in np.ndindex(1, 0):
            y_channel, x_channel = row, column
            yield (..., x_channel, *at_x), (row, column, *tap), (..., y_channel, *at_y)


def main():
    print("x", x.shape, "w", w.shape)
    before = [a.tobytes() for a in operands if a is not None]
    [np.full((1, 1, 1), np.nan, dtype=np.float32) for _ in range(8)]  # freed at once: memory that nobody writes to does not look right
    try:
        outputs = [run(*operands) for _ in range(2)]
    except (Exception, SystemExit):
        traceback.print_exc()
        print("BUG: raised on a valid configuration")
        return 1
    if before != [a.tobytes() for a in operands if a is not None]:
        print("BUG: changed its inputs")
        return 1
    for output in outputs:
        if output is None or output.shape != (1, 1, 1):
            print("BUG: output shape", None if output is None else output.shape, "expected", (1, 1, 1))
            return 1
        if output.dtype != np.float32:
            print("BUG: output dtype", output.dtype, "expected float32")
            return 1
    y = expected(x, w)
    distinct = [a for i, a in enumerate(outputs) if not any(np.array_equal(a, b, equal_nan=True) for b in outputs[:i])]
    bug = any([differs(output, y) for output in distinct])
    if len(distinct) > 1:
        print("BUG: two runs differ")
        bug = True
    print("BUG is there" if bug else "fixed: the very same numbers")
    return int(bug)


@np.errstate(all="ignore")
def differs(output, y):
    """Say how far off an output is, and whether that is a bug."""
    output = output.astype(np.float64)
    tolerance = np.broadcast_to(0, y.shape)
    error = np.abs(output - y)
    off = ~(error <= tolerance)
    print("max-abs discrepancy", float(error.max(initial=0)))
    if off.any():
        at = np.unravel_index(np.argmax(np.where(off, error, -1)), error.shape)
        print(int(off.sum()), "of", off.size, "elements are off; at", tuple(map(int, at)), end=": ")
        print("expected", y[at], "got", output[at], "tolerance", tolerance[at])
    return bool(off.any())


if __name__ == "__main__":
    sys.exit(main())
