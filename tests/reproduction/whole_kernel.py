"""A kernel file as text for the whole operation, with its gradients: correct, and the same with one mistake."""

from __future__ import annotations

import textwrap

from campaign.kernel_sources import ROUNDED

CORRECT = (
    '''\
import convfuzz
import numpy as np


def connections(config):
    """Yield, for each group and tap, where it is in w and the sites that it connects: of the side that strides, and of the other."""
    outputs = config.output_shape[len(config.output_shape) - config.dims:]
    near, far = (outputs, config.input_size) if config.op == "conv" else (config.input_size, outputs)
    mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[config.padding_mode]
    reached = []
    for axis, (lo, hi) in enumerate(config.pads):
        sites = np.pad(np.arange(1, far[axis] + 1), (max(lo, 0), max(hi, 0)), mode=mode) - 1
        starts = np.arange(near[axis]) * config.stride[axis] + max(-lo, 0)
        at = [np.append(sites, -1)[np.clip(starts + t * config.dilation[axis], 0, sites.size)] for t in range(config.kernel_size[axis])]
        along = (-1, *[1] * (config.dims - 1 - axis))
        reached.append([(np.flatnonzero(there >= 0).reshape(along), there[there >= 0].reshape(along)) for there in at])
    rows, columns = config.weight_shape[0] // config.groups, config.weight_shape[1]
    for tap in np.ndindex(*config.kernel_size):
        here, there = zip(*(reached[axis][t] for axis, t in enumerate(tap)))
        for group in range(config.groups):
            of_group = slice(group * rows, (group + 1) * rows)
            yield (of_group, ..., *tap), (..., of_group, *here), (..., slice(group * columns, (group + 1) * columns), *there)


def axes(channel, config):
    """The axes of an input or output, a letter each."""
    return ("" if config.batch is None else "n") + channel + "xyz"[: config.dims]


def to_near(near, w, far, config):
    """Add all products to the side that strides: each of its sites is met once by a tap."""
    for tap, here, there in connections(config):
        near[here] += np.einsum(f"rc,{axes('c', config)}->{axes('r', config)}", w[tap], far[there])


def to_far(near, w, far, config):
    """Add all products to the other side, of which padding may repeat a site."""
    for tap, here, there in connections(config):
        np.add.at(far, there, np.einsum(f"rc,{axes('r', config)}->{axes('c', config)}", w[tap], near[here]))


def to_weight(near, w, far, config):
    for tap, here, there in connections(config):
        w[tap] += np.einsum(f"{axes('r', config)},{axes('c', config)}->rc", near[here], far[there])


def wide(a):
    return a.astype({"i": np.int64, "c": np.complex128}.get(a.dtype.kind, np.float64))


@np.errstate(all="ignore")
def forward(x, w, b, config):
    """Sum in float64 and round once."""
    y, wx, ww = wide(np.zeros(config.output_shape, x.dtype)), wide(x), wide(w)
    to_near(y, ww, wx, config) if config.op == "conv" else to_far(wx, ww, y, config)
    if b is not None:
        y += wide(b).reshape(-1, *[1] * config.dims)
    return rounded(y, x.dtype)


@np.errstate(all="ignore")
def gradients(x, w, b, dy, config):
    """The gradients of sum(y * dy), of a complex layer PyTorch's."""
    gx, gw = (wide(np.zeros(a.shape, a.dtype)) for a in (x, w))
    wx, ww, wdy = np.conj(wide(x)), np.conj(wide(w)), wide(dy)
    if config.op == "conv":
        to_far(wdy, ww, gx, config)
        to_weight(wdy, gw, wx, config)
    else:
        to_near(gx, ww, wdy, config)
        to_weight(wx, gw, wdy, config)
    gb = wdy.sum(axis=tuple(axis for axis in range(dy.ndim) if axis != dy.ndim - config.dims - 1))
    return tuple(rounded(g, x.dtype) for g in (gx, gw, gb))


DTYPES = ("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "int8", "int32", "int64")


'''
    + ROUNDED
)

KERNEL = """

def backward(x, w, b, dy, config):
    gx, gw, gb = gradients(x, w, b, dy, config)
{backward}
    return gx, gw, gb


@convfuzz.backend(dtypes=DTYPES, gradients=backward{declared})
def kernel(x, w, b, config):
    y = forward(x, w, b, config)
{forward}
    return y
"""

RIGHT = "pass"
LAST_TAP_DROPPED = """\
w = w.copy()
w.reshape(-1)[-1:] = 0
y = forward(x, w, b, config)
"""
FIRST_TAP_DOUBLED = """\
w = w.copy()
w.reshape(-1)[:1] *= w.dtype.type(2)
y = forward(x, w, b, config)
"""
GRADIENTS_WRONG = {
    "grad_input": "gx.reshape(-1)[-1:] += gx.dtype.type(3)",
    "grad_weight": "gw = gw[..., ::-1].copy() if gw.shape[-1] > 1 else gw + gw.dtype.type(3)",
    "grad_bias": "gb = gb * gb.dtype.type(0)",
}
ASSUMES_PLAIN_MEMORY = """\
for a in (x, w):
    if a.strides != np.empty(a.shape, a.dtype).strides or a.ctypes.data % 16:
        y = y + y.dtype.type(3)
"""


def whole_kernel(forward: str = RIGHT, backward: str = RIGHT, *, declared: str = "") -> str:
    """Return the source of a file with ``kernel``, whose result and gradients these statements change."""
    lines = {"forward": textwrap.indent(textwrap.dedent(forward), "    "), "backward": textwrap.indent(textwrap.dedent(backward), "    ")}
    return CORRECT + KERNEL.format(**lines, declared=f", {declared}" if declared else "")
