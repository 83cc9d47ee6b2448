"""Kernel files as text: a correct kernel that needs NumPy only, and the same with one mistake."""

from __future__ import annotations

import textwrap

ROUNDED = '''\
def rounded(y, dtype):
    """Round once, to odd in float32 before bfloat16, so that two roundings are as one."""
    if dtype.name != "bfloat16":
        return y.astype(dtype)
    near = y.astype(np.float32)
    inexact = (near != y) & np.isfinite(y) & np.isfinite(near)
    toward_zero = np.where(inexact & (abs(near) > abs(y)), np.nextafter(near, np.float32(0)), near)
    bits = toward_zero.view(np.uint32) | inexact.astype(np.uint32)
    return bits.view(np.float32).astype(dtype)
'''

CORRECT = (
    '''\
import numpy as np


def correct(x, w, b, config):
    """Sum in float64 and round once."""
    wide = np.asarray(x).astype(np.float64)
    wide = wide if config.batch is not None else wide[None]
    mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[config.padding_mode]
    inside = np.pad(np.ones(wide.shape, bool), sides := [(0, 0), (0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in config.pads)])
    wide = np.pad(wide, sides, mode=mode)
    crop = (..., *(slice(max(-lo, 0), hi if hi < 0 else None) for lo, hi in config.pads))
    wide, inside = wide[crop], inside[crop] | (mode != "constant")
    sizes = config.output_shape[-config.dims :]
    y = np.zeros((wide.shape[0], config.out_channels, *sizes))
    channels, rows = config.in_channels // config.groups, config.out_channels // config.groups
    with np.errstate(all="ignore"):
        for tap in np.ndindex(config.kernel_size):
            at = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, s, n in zip(tap, config.dilation, config.stride, sizes))
            for c in range(config.in_channels):
                of_group, window = slice(c // channels * rows, (c // channels + 1) * rows), (slice(None), slice(c, c + 1), *at)
                taps = w[(of_group, c % channels, *tap)].astype(np.float64).reshape(-1, *[1] * config.dims)
                y[:, of_group] += np.where(inside[window], wide[window] * taps, 0.0)
        if b is not None:
            y += np.asarray(b).astype(np.float64).reshape(-1, *[1] * config.dims)
        y = y if config.batch is not None else y[0]
        return rounded(y, w.dtype)


'''
    + ROUNDED
)

FIXED = "return correct(x, w, b, config)"

DROPPED_TAP = """\
w = w.copy()
w.reshape(len(w), -1)[:, -1] = 0
return correct(x, w, b, config)
"""
TRUNCATED_INPUTS = """\
if config.dtype != "float32":
    return correct(x, w, b, config)
short = lambda a: (np.ascontiguousarray(a, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
return correct(short(x), short(w), b, config)
"""
NAN_SWALLOWED = """\
y = correct(x, w, b, config)
return np.where(np.isfinite(y), y, np.zeros_like(y))
"""
INF_INVENTED = """\
y = correct(x, w, b, config)
y.flat[-1] = np.inf
return y
"""
ONE_ULP_TOO_MUCH = """\
y = correct(x, w, b, config)
return np.nextafter(y, y + 1)
"""
INPUT_ZEROED = """\
y = correct(x, w, b, config)
x[...] = 0
return y
"""
WEIGHT_ZEROED = INPUT_ZEROED.replace("x[...] = 0", "w[...] = 0")
BIAS_ZEROED = INPUT_ZEROED.replace("x[...] = 0", "b[...] = 0")
WOBBLES = """\
y = correct(x, w, b, config)
return np.nextafter(y, y + np.random.randint(-1, 2))
"""


def kernel_source(body: str) -> str:
    """Return the source of a file with ``kernel(x, w, b, config)`` of this body."""
    return f"{CORRECT}\n\ndef kernel(x, w, b, config):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
