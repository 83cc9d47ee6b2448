#!/usr/bin/env python3
"""convfuzz finding 67e8f30c: docs/examples/kernels/blocked.py::conv2d is non-finite on one convolution.

Case: conv2d_c1_o1_i2x1_k1_p-1:0x0_f32@x1=inf
Verdict: non-finite
Boundary: fails at padding -1:0x0, works at 0 (conv2d_c1_o1_i2x1_k1_f32@special.0)
Reason: 1 of 1 elements: at [0, 0, 0, 0] expected nan, got 0
Run again: confirmed: failed in 5 of 5 fresh processes.
Found with numpy 2.4.6.

Exits 1 while the bug is there and 0 when it is gone. Written by convfuzz, which the kernel needs.
"""

from __future__ import annotations

import sys
import traceback

import numpy as np
import importlib.util
import sys

from convfuzz import Case  # which the kernel's own module imports

sys.dont_write_bytecode = True
sys.path.insert(0, 'docs/examples/kernels')
module = sys.modules.get('kernel_under_test')
if getattr(module, '__file__', None) != 'docs/examples/kernels/blocked.py':
    spec = importlib.util.spec_from_file_location('kernel_under_test', 'docs/examples/kernels/blocked.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['kernel_under_test'] = module
    spec.loader.exec_module(module)
kernel = module.conv2d
config = Case.parse("conv2d_c1_o1_i2x1_k1_p-1:0x0_f32").config


def array(y):
    """Return a result as an array."""
    y = y.detach().cpu() if hasattr(y, "detach") else y
    return None if y is None else np.ma.getdata(np.asarray(y))


def run(x, w, b, config=config):
    y = kernel(x, w, b, config)
    return array(y)


nan, inf = np.nan, np.inf
x = np.array([0, inf], dtype=np.float32).reshape(1, 1, 2, 1)
w = np.array([0], dtype=np.float32).reshape(1, 1, 1, 1)
operands = [x, w, None]


@np.errstate(all="ignore")
def expected(x, w):
    """Return the output y, the sum of its products p in float64.

    S = sum |p|, Q = sum p * p and the number n of products bound its rounding.
    """
    x, w = (a.astype(np.float64) for a in (x, w))
    y, S, Q, n = np.zeros((4, 1, 1, 1, 1))
    for at_x, at_w, at_y in taps():
        p = x[at_x] * w[at_w]
        for total, term in ((y, p), (S, np.abs(p)), (Q, p * p), (n, 1)):
            total[at_y] += term
    return y, S, Q, n


def taps():
    """Yield, for every tap of every kernel, which sites of x and y it connects, and its place in w.

    Along each axis it connects o, of y, with i = o * stride + tap * dilation - padding, of x.
    """
    for tap in np.ndindex(1, 1):
        at_y, at_x = [], []
        for t, (y_size, x_size, stride, dilation, padding) in zip(tap, [(1, 2, 1, 1, -1), (1, 1, 1, 1, 0)]):
            o = np.arange(y_size)
            i = o * stride + (t * dilation - padding)
            there = (0 <= i) & (i < x_size)
            at_y.append(o[there])
            at_x.append(i[there])
        at_x, at_y = np.ix_(*at_x), np.ix_(*at_y)
        for row, column in np.ndindex(1, 1):
            y_channel, x_channel = row, column
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
    t = rounded(t, y, u=5.960464477539063e-08, step=1.401298464324817e-45)
    return t


def main():
    print("x", x.shape, "w", w.shape)
    before = [a.tobytes() for a in operands if a is not None]
    [np.full((1, 1, 1, 1), np.nan, dtype=np.float32) for _ in range(8)]  # freed at once: memory that nobody writes to does not look right
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
        if output is None or output.shape != (1, 1, 1, 1):
            print("BUG: output shape", None if output is None else output.shape, "expected", (1, 1, 1, 1))
            return 1
        if output.dtype != np.float32:
            print("BUG: output dtype", output.dtype, "expected float32")
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
    top = 3.4028235677973366e+38  # from here on, rounding to nearest gives Inf
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
