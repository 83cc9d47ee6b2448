#!/usr/bin/env python3
"""convfuzz finding cf35b08d: torch is non-finite on one convolution.

Case:
convt2d_c1_o6_i3x16_k1x2_d1x3_f16@x42=-143_x44=-9.56_x45=214.8_x46=9.9_x47=272.2_w0=128_w1=166_w2=-56.66_w3=14.305_w4=-214.6_w5=-25.62_w6=120.2_w7=174.2_w8=-42.8_w9=-64.9_w10=-315.8_w11=-196.9
Verdict: non-finite
Boundary: fails in float16, works in float32 (convt2d_c1_o6_i3x16_k1x2_d1x3_f32@huge.970)
Reason: 1 of 342 elements: at [0, 5, 2, 13] expected -39654.2, got -inf
Run again: confirmed: failed in 4 of 4 fresh processes.
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
    y = torch.nn.functional.conv_transpose2d(x, w, b, stride=(1, 1), padding=(0, 0), dilation=(1, 3), groups=1, output_padding=(0, 0))
    return array(y)


x = np.zeros((1, 1, 3, 16), dtype=np.float16)
x[0, 0, 2, 10] = -143
x[0, 0, 2, 12] = -9.56
x[0, 0, 2, 13] = 214.8
x[0, 0, 2, 14] = 9.9
x[0, 0, 2, 15] = 272.2
w = np.array([
    128, 166, -56.66, 14.305, -214.6, -25.62, 120.2, 174.2, -42.8, -64.9, -315.8, -196.9,
], dtype=np.float16).reshape(1, 6, 1, 2)
operands = [x, w, None]


@np.errstate(all="ignore")
def expected(x, w):
    """Return the output y, the sum of its products p in float64.

    S = sum |p|, Q = sum p * p and the number n of products bound its rounding.
    """
    x, w = (a.astype(np.float64) for a in (x, w))
    y, S, Q, n = np.zeros((4, 1, 6, 3, 19))
    for at_x, at_w, at_y in taps():
        p = x[at_x] * w[at_w]
        for total, term in ((y, p), (S, np.abs(p)), (Q, p * p), (n, 1)):
            total[at_y] += term
    return y, S, Q, n


def taps():
    """Yield, for every tap of every kernel, which sites of x and y it connects, and its place in w.

    Along each axis it connects i, of x, with o = i * stride + tap * dilation - padding, of y.
    """
    for tap in np.ndindex(1, 2):
        at_x, at_y = [], []
        for t, (x_size, y_size, stride, dilation, padding) in zip(tap, [(3, 3, 1, 1, 0), (16, 19, 1, 3, 0)]):
            i = np.arange(x_size)
            o = i * stride + (t * dilation - padding)
            there = (0 <= o) & (o < y_size)
            at_x.append(i[there])
            at_y.append(o[there])
        at_x, at_y = np.ix_(*at_x), np.ix_(*at_y)
        for row, column in np.ndindex(1, 6):
            x_channel, y_channel = row, column
            yield (..., x_channel, *at_x), (row, column, *tap), (..., y_channel, *at_y)


# The error bounds of y, as convfuzz has them.
LAMBDA = 6.65


SQUARES_VANISH = 2.0**-500


def statistical(t: Floats | float, y: Floats, S: Floats, Q: Floats, n: Counts, *, u: float) -> Floats:
    """Add the rounding of a sum in any order that does not depend on the data: E Σ s_k² = n(n+1)/6 · (var_p + (2n+1)·mean_p²)."""
    n1 = np.maximum(n, 1).astype(np.float64)
    mean = y / n1
    variance = np.maximum(Q / n1 - mean * mean, 0.0)
    rounding = LAMBDA * u * np.sqrt(n1 * (n1 + 1.0) / 6.0 * (variance + (2.0 * n1 + 1.0) * mean * mean) + Q)
    # Squares of sums this small vanish; no partial sum is larger than S.
    added: Floats = t + np.where(S < SQUARES_VANISH, LAMBDA * u * np.sqrt(n1 + 1.0) * S, rounding)
    return added


def underflow(t: Floats, n: Counts, *, step: float) -> Floats:
    """Add half a subnormal step for each product, and as much in the reference: below the normal range rounding is absolute."""
    added: Floats = t + n * step
    return added


def rounded(t: Floats, y: Floats, *, u: float, step: float) -> Floats:
    """Add the rounding of a result to a format."""
    added: Floats = t + u * (np.abs(y) + t) + step
    return added



def bound(y, S, Q, n):
    """Return the largest |error| that the declared arithmetic explains, as convfuzz does."""
    t = 0.0
    t = statistical(t, y, S, Q, n, u=5.960464477539063e-08)
    t = underflow(t, n, step=1.401298464324817e-45)
    t = rounded(t, y, u=0.00048828125, step=5.960464477539063e-08)
    return t


def main():
    print("x", x.shape, "w", w.shape)
    before = [a.tobytes() for a in operands if a is not None]
    np.full((1, 6, 3, 19), np.nan, dtype=np.float16)  # freed at once: memory that nobody writes to does not look right
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
        if output is None or output.shape != (1, 6, 3, 19):
            print("BUG: output shape", None if output is None else output.shape, "expected", (1, 6, 3, 19))
            return 1
        if output.dtype != np.float16:
            print("BUG: output dtype", output.dtype, "expected float16")
            return 1
    y, S, Q, n = expected(x, w)
    distinct = [a for i, a in enumerate(outputs) if not any(np.array_equal(a, b, equal_nan=True) for b in outputs[:i])]
    bug = any([differs(output, y, S, Q, n) for output in distinct])
    if len(distinct) > 1:
        print("BUG: two runs differ")
        bug = True
    print("BUG is there" if bug else "fixed: within the tolerance")
    return int(bug)


@np.errstate(all="ignore")
def differs(output, y, S, Q, n):
    """Say how far off an output is, and whether that is a bug."""
    output = output.astype(np.float64)
    tolerance = bound(y, S, Q, n)
    size = np.abs(y)
    top = 65520.0  # from here on, rounding to nearest gives Inf
    overflow = np.isfinite(y) & (size + tolerance >= top) & np.isinf(output) & (np.sign(output) == np.sign(y))
    undecided = np.isfinite(S) & (S + tolerance > 3.4028234663852886e+38)  # may overflow in one order of summation only
    same = (output == y) | (np.isnan(output) & np.isnan(y)) | overflow | undecided
    error = np.where(same, 0, np.abs(output - y))
    error[np.isnan(error)] = np.inf
    off = ~same & ~(error <= tolerance)
    print("max-abs discrepancy", float(error.max(initial=0)))
    if off.any():
        at = np.unravel_index(np.argmax(np.where(off, error, -1)), error.shape)
        print(int(off.sum()), "of", off.size, "elements are off; at", tuple(map(int, at)), end=": ")
        print("expected", y[at], "got", output[at], "tolerance", tolerance[at])
    return bool(off.any())


if __name__ == "__main__":
    sys.exit(main())
