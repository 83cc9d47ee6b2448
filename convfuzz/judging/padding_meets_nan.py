"""Where the zeros that an implementation writes as padding may meet NaN and Inf, so that a sum may be NaN or not."""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

from convfuzz import oracle
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex
from convfuzz.tensors.generator import Tensors
from convfuzz.tensors.regimes import rows_per_output_kernel

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

_MET_BY_ZEROS: dict[str, tuple[str, ...]] = {"forward": ("w",), "grad_input": ("w",), "grad_weight": ("dy", "x"), "grad_bias": ()}
"""The operands that an implementation may multiply by zeros that it writes around and between the sites of the other one."""
_COPIES = (("grad_input", "w"), ("grad_weight", "x"))


def may_be_nan(config: ConvConfig, tensors: Tensors, in_pass: str, shape: tuple[int, ...]) -> Bools | None:
    """Mark elements of a result whose sum has a place where padding, which is no tap, meets a NaN or an Inf; ``None`` where none has.

    The reference leaves such places out; who multiplies the zero that is written there gets NaN. Both are accepted, and
    nothing else: a NaN more in a sum makes it NaN, and takes none away that a tap brings.
    """
    if is_complex(config.dtype):
        return None
    return reduce(_either, (_open_by(name, config, tensors, in_pass, shape) for name in _MET_BY_ZEROS[in_pass]), None)


def _open_by(name: str, config: ConvConfig, tensors: Tensors, in_pass: str, shape: tuple[int, ...]) -> Bools | None:
    """Mark elements of whose NaN and Inf in one operand not all meet a site of the other that exists."""
    finite = np.isfinite(tensors.named()[name])
    if finite.all():
        return None
    bad = ~finite
    there = _count(bad, name, config, in_pass)
    there = there.reshape(*there.shape, *(1,) * config.dims)
    if config.padding_mode != "zeros":
        # Copied sites are taps like any other; where a copy's share comes from, or goes to, is not asked.
        return np.broadcast_to(there > 0, shape) if (in_pass, name) in _COPIES else None
    ones = {other: np.ones(array.shape) for other, array in tensors.named().items()} | {name: bad.astype(np.float64)}
    if in_pass == "forward":
        met = oracle.reference(config, ones["x"], ones["w"], moments=False)
    else:
        met = oracle.gradients(config, ones["x"], ones["w"], ones["dy"], moments=False, passes=(in_pass,))[in_pass]
    return np.asarray(met.y < there)


def _count(bad: Bools, name: str, config: ConvConfig, in_pass: str) -> Counts:
    """Count the marked elements of an operand that the sums of each channel of the result have before them, padding aside."""
    counts: Counts
    if name != "w":
        channels = np.moveaxis(bad, int(config.batch is not None), 0).reshape(bad.shape[-config.dims - 1], -1).sum(axis=1)
        rows = config.weight_shape[0]
        if (name == "dy") == (config.op == "conv"):  # the operand of a weight's rows; the other is that of its columns
            counts = channels[:, None]
        else:
            counts = np.repeat(channels.reshape(config.groups, -1), rows // config.groups, axis=0)
    elif in_pass == "forward":
        counts = rows_per_output_kernel(bad, config).sum(axis=1)
    elif config.op == "conv":
        by_group = bad.reshape(config.groups, config.out_channels // config.groups, bad.shape[1], -1)
        counts = by_group.sum(axis=(1, 3)).reshape(-1)
    else:
        counts = bad.reshape(config.in_channels, -1).sum(axis=1)
    return counts


def _either(a: Bools | None, b: Bools | None) -> Bools | None:
    return b if a is None else a if b is None else a | b
