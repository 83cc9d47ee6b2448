"""The planted kernels by their names, as campaigns find them, and ten kernels with two independent bugs each."""

from __future__ import annotations

from typing import Any

import numpy as np
from of_tests.planted.bugs import PLANTED
from of_tests.planted.dense import layer

import convfuzz
from convfuzz.backends.kernels.backend import KernelBackend

PAIRS = (
    ("bias_on_first_image_only", "last_dilation_ignored"),
    ("groups_interleaved", "reflect_as_replicate"),
    ("channel_tail_ignored", "padding_sides_swapped"),
    ("accumulator_returned", "negative_padding_ignored"),
    ("unbatched_keeps_its_batch_axis", "circular_off_by_one"),
    ("refuses_grouped_dilation", "kernel_axes_transposed"),
    ("output_block_repeated", "weight_read_as_contiguous"),
    ("bias_promotes_to_float64", "first_stride_everywhere"),
    ("sliced_input_read_as_contiguous", "depth_stride_ignored"),
    ("output_size_rounded_up", "bias_missing_when_grouped"),
)
"""The names of two planted kernels whose bugs have nothing to do with each other."""

KERNELS = {planted.name: planted for planted in PLANTED}


def _kernel(name: str) -> Any:
    return KERNELS[name].backend._kernel  # noqa: SLF001 - the function, with what it declares


def pair_name(one: str, other: str) -> str:
    """Return the name of the kernel that has both bugs."""
    return f"{one}__and__{other}"


def _with_both(one: str, other: str) -> Any:
    """Return a kernel that shows the first bug where it is, and the second one elsewhere, each in the operations that it is in."""
    ops_of = {name: KERNELS[name].backend.declared.ops or ("conv", "conv_transpose") for name in (one, other)}

    all_ops = tuple(dict.fromkeys(op for ops in ops_of.values() for op in ops))

    @convfuzz.backend(ops=all_ops, dtypes=("float16", "bfloat16", "float32", "float64"))
    def kernel(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
        right = layer(x, w, b, config)
        for name, ops in ops_of.items():
            y = _kernel(name)(x, w, b, config) if config.op in ops else right
            if not _same(y, right):
                return y
        return right

    return kernel


def _same(a: Any, b: Any) -> bool:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    with np.errstate(all="ignore"):
        return bool(np.allclose(a.astype(np.float64), b.astype(np.float64), rtol=0.05, equal_nan=True))


def backends_of(one: str, other: str) -> tuple[KernelBackend, KernelBackend]:
    """Return the two kernels with one of the bugs each."""
    return KERNELS[one].backend, KERNELS[other].backend


globals().update({name: _kernel(name) for name in KERNELS} | {pair_name(*pair): _with_both(*pair) for pair in PAIRS})
