"""Small layers of every kind, evenly spread: each op, padding, dtype and memory layout; every one is valid.

They come from a random generator and not from choices that Hypothesis makes one by one: a hundred of them are a hundred
different ones, and small enough to be read without shrinking.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from convfuzz.case.config import DTYPES, LAYOUTS, OPS, ConvConfig

FLOATING = ("float32", "float64", "float16", "bfloat16")
COMPLEX = ("complex64", "complex128")
WHOLE = ("int32", "int8", "int64")
MODES = ("zeros", "zeros", "zeros", "reflect", "replicate", "circular")
BATCHES = (None, None, 0, 1, 1, 1, 1, 2, 2, 2, 3, 5)

seeds = st.integers(0, 2**63 - 1)


def layer(rng: random.Random, *, dtypes: Sequence[str] = DTYPES, layouts: Sequence[str] = LAYOUTS, most: int = 3) -> ConvConfig:
    """Return a layer with everything that a case can say of it, within the given dtypes and layouts.

    ``most`` bounds the channels of a group and what an axis is longer than its kernel needs.
    """
    op, dims, groups = rng.choice(OPS), rng.randint(1, 3), rng.choice((1, 1, 1, 2, 3))
    mode = rng.choice(MODES) if op == "conv" else "zeros"
    axes = [_axis(rng, op, mode, most) for _ in range(dims)]
    per_axis: dict[str, Any] = {name: tuple(axis[name] for axis in axes) for name in axes[0]}
    config = ConvConfig(
        op=op,  # type: ignore[arg-type]
        dims=dims,
        batch=rng.choice(BATCHES),
        in_channels=groups * rng.randint(0 if rng.random() < 0.05 else 1, most),
        out_channels=groups * rng.randint(1, most),
        groups=groups,
        padding_mode=mode,  # type: ignore[arg-type]
        bias=rng.random() < 0.5,
        dtype=rng.choice(dtypes),
        layout=rng.choice(layouts),
        weight_layout=rng.choice((None, *layouts)),
        **per_axis,
    )
    resolved = config.replace(padding="same", output_padding=0)
    return resolved if rng.random() < 0.1 and resolved.is_valid else config


def _axis(rng: random.Random, op: str, mode: str, most: int) -> dict[str, Any]:
    kernel, stride, dilation = rng.randint(1, 3), rng.choice((1, 1, 1, 2, 3)), rng.choice((1, 1, 1, 2, 3))
    extent = dilation * (kernel - 1) + 1
    extra = 0
    if op == "conv_transpose":
        lo = rng.choice((0, 0, 0, -1, extent - 1))
        pads, size = (lo, rng.choice((lo, 0, extent - 1 - max(lo, 0), -1))), rng.randint(2, 2 + most)
        if pads[0] + pads[1] >= extent:
            pads = (0, 0)
        extra = rng.choice((0, 0, rng.randrange(max(stride, dilation))))
    elif mode == "zeros":
        pads = rng.choice(((0, 0), (0, 0), (1, 1), (2, 2), (rng.randint(-1, 2), rng.randint(-1, 2))))
        size = max(extent - sum(pads), 2) + rng.randint(0, most)
    else:
        size = extent + rng.randint(0, most)
        limit = min(2, size - 1)
        pads = (rng.randint(0, limit), rng.randint(0, limit))
    return {"input_size": size, "kernel_size": kernel, "stride": stride, "padding": pads, "dilation": dilation, "output_padding": extra}


def whole_layers(**options: Any) -> st.SearchStrategy[ConvConfig]:
    """Draw layers; the options are those of :func:`layer`."""
    return st.randoms(use_true_random=True).map(lambda rng: layer(rng, **options))
