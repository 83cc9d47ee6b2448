#!/usr/bin/env python3
"""convfuzz finding 92d20809: torch:native is imprecise on one convolution.

Case: convt1d_c1_o1_i1_k1_b_bf16@x0=3_w0=1.01_b0=0.01
Verdict: imprecise (bfloat16 results)
Boundary: fails in bfloat16, works in float32 (convt1d_c1_o1_i1_k1_b_f32@x0=3_w0=1.01_b0=0.01)
Reason: 1 of 1 elements are off, worst 1.13 times the tolerance; no order of summation explains that; exact on
integers; explained by bfloat16 results
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
torch.backends.mkldnn.enabled = False


def tensor(a):
    """Return an array as a tensor, which holds bfloat16 as bits."""
    return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype == np.uint16 else torch.from_numpy(a)


def array(a):
    """Return a tensor as an array of float32, which holds bfloat16."""
    assert a.dtype == torch.bfloat16, a.dtype
    return a.detach().float().numpy()


def run(x, w, b):
    x, w, b = map(tensor, (x, w, b))
    y = torch.nn.functional.conv_transpose1d(x, w, b, stride=(1,), padding=(0,), dilation=(1,), groups=1, output_padding=(0,))
    return array(y)


x = np.array([3], dtype=np.float32).reshape(1, 1, 1)
w = np.array([1.0078125], dtype=np.float32).reshape(1, 1, 1)
b = np.array([0.010009766], dtype=np.float32)


def bits(a):
    """Return bfloat16 numbers as NumPy can hold them: the upper half of each float32."""
    return (a.view(np.uint32) >> 16).astype(np.uint16)


operands = [bits(x), bits(w), bits(b)]


def expected(x, w, b):
    """Return the output y, the sum of its products p in float64."""
    x, w, b = (a.astype(np.float64) for a in (x, w, b))
    y = np.zeros((1, 1, 1))
    for at_x, at_w, at_y in taps():
        p = x[at_x] * w[at_w]
        y[at_y] += p
    b = b.reshape(-1, 1)
    y += b
    return y


def taps():
    """Yield, for every tap of every kernel, which sites of x and y it connects, and its place in w.

    Along each axis it connects i, of x, with o = i * stride + tap * dilation - padding, of y.
    """
    for tap in np.ndindex(1):
        at_x, at_y = [], []
        for t, (x_size, y_size, stride, dilation, padding) in zip(tap, [(1, 1, 1, 1, 0)]):
            i = np.arange(x_size)
            o = i * stride + (t * dilation - padding)
            there = (0 <= o) & (o < y_size)
            at_x.append(i[there])
            at_y.append(o[there])
        at_x, at_y = np.ix_(*at_x), np.ix_(*at_y)
        for row, column in np.ndindex(1, 1):
            x_channel, y_channel = row, column
            yield (..., x_channel, *at_x), (row, column, *tap), (..., y_channel, *at_y)


def main():
    print("x", x.shape, "w", w.shape, "b", b.shape)
    before = [a.tobytes() for a in operands if a is not None]
    [np.full((1, 1, 1), 0x7FC0, dtype=np.uint16) for _ in range(8)]  # freed at once: memory that nobody writes to does not look right
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
    y = expected(x, w, b)
    distinct = [a for i, a in enumerate(outputs) if not any(np.array_equal(a, b, equal_nan=True) for b in outputs[:i])]
    bug = any([differs(output, y) for output in distinct])
    if len(distinct) > 1:
        print("BUG: two runs differ")
        bug = True
    print("BUG is there" if bug else "fixed: within the tolerance")
    return int(bug)


@np.errstate(all="ignore")
def differs(output, y):
    """Say how far off an output is, and whether that is a bug."""
    output = output.astype(np.float64)
    tolerance = np.full((1, 1, 1), 0.0118513081518295)  # what rounding explains, from convfuzz's error bounds
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
