"""Every pass of a convolution with its zeros written out: padded, stuffed between sites, and multiplied like any other number.

Where the reference leaves a tap out because no input is there, this multiplies by zero, and so gives NaN where the other
factor is NaN or Inf. In float64, tap by tap, for inputs with a batch axis.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig

Array = npt.NDArray[Any]
Tap = tuple[int, ...]

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def forward(config: ConvConfig, x: Array, w: Array) -> Array:
    """Return the layer's output without its bias."""
    if config.op == "conv_transpose":
        return _scattered(config, x, w, config.output_size)
    return _contracted(config, _windows(config, _padded(config, x)), w)


def gradients(config: ConvConfig, x: Array, w: Array, dy: Array) -> dict[str, Array]:
    """Return the gradients of Σ y·dy to weight and input; the latter only where padding copies nothing."""
    if config.op == "conv_transpose":
        windows = _windows(config, _uncropped(config, dy))
        return {"grad_input": _contracted(config, windows, w), "grad_weight": _weights(config, windows, x)}
    found = {"grad_weight": _weights(config, _windows(config, _padded(config, x)), dy)}
    return found | ({"grad_input": _scattered(config, dy, w, config.input_size)} if config.padding_mode == "zeros" else {})


def _at(axes: Iterable[Any]) -> Any:
    """Return the index that selects on the spatial axes, the last ones."""
    return (..., *axes)


def _padded(config: ConvConfig, x: Array) -> Array:
    kept = (slice(max(-lo, 0), size - max(-hi, 0)) for size, (lo, hi) in zip(config.input_size, config.pads, strict=True))
    amounts = [(0, 0), (0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in config.pads)]
    padded: Array = np.pad(x[_at(kept)], amounts, mode=_MODES[config.padding_mode])  # type: ignore[call-overload]
    return padded


def _uncropped(config: ConvConfig, dy: Array) -> Array:
    """Return a transposed convolution's output gradient on all that its kernels reach, zero where padding crops the output."""
    steps = zip(config.input_size, config.stride, config.effective_kernel, strict=True)
    whole = np.zeros((*dy.shape[:2], *((size - 1) * stride + extent for size, stride, extent in steps)))
    inside, kept = [], []
    for reached, size, (lo, _) in zip(whole.shape[2:], config.output_size, config.pads, strict=True):
        first, last = max(lo, 0), min(lo + size, reached)
        inside.append(slice(first, last))
        kept.append(slice(first - lo, last - lo))
    whole[_at(inside)] = dy[_at(kept)]
    return whole


def _windows(config: ConvConfig, padded: Array) -> dict[Tap, Array]:
    """Return for each tap what every site of the narrow side meets."""
    sites = config.output_size if config.op == "conv" else config.input_size
    windows = {}
    for tap in np.ndindex(config.kernel_size):
        steps = zip(tap, config.dilation, sites, config.stride, strict=True)
        windows[tap] = padded[_at(slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in steps)]
    return windows


def _contracted(config: ConvConfig, windows: dict[Tap, Array], w: Array) -> Array:
    total: Any = 0.0
    for tap, window in windows.items():
        kernels = w[_at(tap)].reshape(config.groups, -1, w.shape[1])
        total = total + np.einsum("ngcs,goc->ngos", window.reshape(window.shape[0], config.groups, w.shape[1], -1), kernels)
    sites = config.output_size if config.op == "conv" else config.input_size
    whole: Array = total.reshape(-1, w.shape[0], *sites)
    return whole


def _scattered(config: ConvConfig, narrow: Array, w: Array, size: tuple[int, ...]) -> Array:
    """Return what each of the ``size`` wide sites gathers from the narrow side, zeros between its sites and around it."""
    spread = [(n - 1) * s + 1 for n, s in zip(narrow.shape[2:], config.stride, strict=True)]
    first = [min(0, lo - extent + 1) for (lo, _), extent in zip(config.pads, config.effective_kernel, strict=True)]
    last = [max(n, reached + lo) for n, reached, (lo, _) in zip(spread, size, config.pads, strict=True)]
    stuffed = np.zeros((*narrow.shape[:2], *(b - a for a, b in zip(first, last, strict=True))))
    stuffed[_at(slice(-a, n - a, s) for a, n, s in zip(first, spread, config.stride, strict=True))] = narrow
    total: Any = 0.0
    for tap in np.ndindex(config.kernel_size):
        steps = zip(config.pads, tap, config.dilation, first, size, strict=True)
        window = stuffed[_at(slice(lo - k * d - a, lo - k * d - a + reached) for (lo, _), k, d, a, reached in steps)]
        rows = w[_at(tap)].reshape(config.groups, -1, w.shape[1])
        total = total + np.einsum("ngrs,grc->ngcs", window.reshape(window.shape[0], config.groups, rows.shape[1], -1), rows)
    whole: Array = total.reshape(narrow.shape[0], config.groups * w.shape[1], *size)
    return whole


def _weights(config: ConvConfig, windows: dict[Tap, Array], narrow: Array) -> Array:
    """Return the weight's gradient: what each tap met, against the narrow side."""
    found = np.empty(config.weight_shape)
    rows = narrow.reshape(narrow.shape[0], config.groups, config.weight_shape[0] // config.groups, -1)
    for tap, window in windows.items():
        columns = window.reshape(window.shape[0], config.groups, config.weight_shape[1], -1)
        found[_at(tap)] = np.einsum("ngrs,ngcs->grc", rows, columns).reshape(config.weight_shape[:2])
    return found
