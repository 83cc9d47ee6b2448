"""Hypothesis strategies for small layers and their operands; every draw is a valid configuration."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig

OPS: tuple[Literal["conv", "conv_transpose"], ...] = ("conv", "conv_transpose")
MODES: tuple[Literal["zeros", "reflect", "replicate", "circular"], ...] = ("zeros", "zeros", "reflect", "replicate", "circular")


@st.composite
def layers(draw: st.DrawFn, *, dtype: str = "float32", most: int = 3) -> ConvConfig:
    """Draw a layer: each op, rank and padding mode, uneven and negative padding, empty batches and channels."""

    def number(lo: int, hi: int) -> int:
        return draw(st.integers(lo, hi))

    op = draw(st.sampled_from(OPS))
    mode = draw(st.sampled_from(MODES)) if op == "conv" else "zeros"
    dims, groups = number(1, 3), number(1, 2)
    axes: list[dict[str, Any]] = []
    for _ in range(dims):
        kernel, stride, dilation = number(1, 3), number(1, 3), number(1, 2)
        extent = dilation * (kernel - 1) + 1
        if op == "conv_transpose":
            lo = number(-1, extent - 1)
            pads, size = (lo, number(-1, extent - 1 - max(lo, 0))), number(2, 2 + most)
        elif mode == "zeros":
            pads = (number(-1, 2), number(-1, 2))
            size = max(extent - sum(pads), 2) + number(0, most)
        else:
            size = extent + number(0, most)
            limit = min(2, size - 1)
            pads = (number(0, limit), number(0, limit))
        extra = number(0, max(stride, dilation) - 1) if op == "conv_transpose" else 0
        axes.append(
            {"input_size": size, "kernel_size": kernel, "stride": stride, "padding": pads, "dilation": dilation, "output_padding": extra}
        )
    parameters: dict[str, Any] = {name: tuple(axis[name] for axis in axes) for name in axes[0]}
    return ConvConfig(
        op=op,
        dims=dims,
        batch=draw(st.sampled_from([None, 0, 1, 2])),
        in_channels=groups * number(0, most),
        out_channels=groups * number(1, most),
        groups=groups,
        padding_mode=mode,
        dtype=dtype,
        **parameters,
    )


def normal(config: ConvConfig, seed: int, dtype: Any = np.float32) -> tuple[Any, Any, Any]:
    """Return normally distributed x, w and dy."""
    rng = np.random.default_rng(seed)
    shapes = (config.input_shape, config.weight_shape, config.output_shape)
    x, w, dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return x, w, dy


def integers(config: ConvConfig, seed: int) -> tuple[Any, Any, Any]:
    """Return x, w and dy of small integers, so that every sum is exact."""
    rng = np.random.default_rng(seed)
    shapes = (config.input_shape, config.weight_shape, config.output_shape)
    x, w, dy = (rng.integers(-8, 9, shape).astype(np.float32) for shape in shapes)
    return x, w, dy


seeds = st.integers(0, 2**32 - 1)
