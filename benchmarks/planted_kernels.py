"""The planted kernels by their names, as campaigns find them, and ten kernels with two independent bugs each."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from of_tests import planted as planted_tests
from of_tests.planted.dense import layer
from of_tests.planted.registry import entered

import convfuzz

if TYPE_CHECKING:
    from of_tests.planted.registry import Planted

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

_FOLDER = Path(planted_tests.__path__[0])


def planted(name: str) -> Planted:
    """Return a planted kernel; of the modules that have some, only its own is imported, as a user's file has few kernels in it."""
    module = next(path.stem for path in _FOLDER.glob("*_bugs.py") if f"\ndef {name}(" in path.read_text())
    importlib.import_module(f"{planted_tests.__name__}.{module}")
    return next(one for one in entered() if one.name == name)


def every_kernel() -> dict[str, Planted]:
    """Return all of them by their names."""
    from of_tests.planted.bugs import PLANTED  # noqa: PLC0415 - a process that runs one of them imports no other

    return {one.name: one for one in PLANTED}


def _kernel(name: str) -> Any:
    return planted(name).backend._kernel  # noqa: SLF001 - the function, with what it declares


def pair_name(one: str, other: str) -> str:
    """Return the name of the kernel that has both bugs."""
    return f"{one}__and__{other}"


def _with_both(one: str, other: str) -> Any:
    """Return a kernel that shows the first bug where it is, and the second one elsewhere, each in the operations that it is in."""
    bugs = [(_kernel(name), planted(name).backend.declared.ops or ("conv", "conv_transpose")) for name in (one, other)]
    all_ops = tuple(dict.fromkeys(op for _, ops in bugs for op in ops))

    @convfuzz.backend(ops=all_ops, dtypes=("float16", "bfloat16", "float32", "float64"))
    def kernel(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
        right = layer(x, w, b, config)
        for kernel_with_bug, ops in bugs:
            y = kernel_with_bug(x, w, b, config) if config.op in ops else right
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
    return planted(one).backend, planted(other).backend


def __getattr__(name: str) -> Any:
    """Return the kernel of that name: a planted one, or one with two bugs."""
    pair = next((pair for pair in PAIRS if pair_name(*pair) == name), None)
    try:
        return _with_both(*pair) if pair else _kernel(name)
    except StopIteration:
        raise AttributeError(name) from None
