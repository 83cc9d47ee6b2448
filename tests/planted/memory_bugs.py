"""Kernels that misread the memory of an argument, write to it, or return memory they did not fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.stride_tricks import as_strided

from .dense import convolve
from .receptive_field import with_batch
from .registry import MISREAD, planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


def allocation(array: Array) -> Array:
    """Return the array that owns the memory of a view."""
    owner: Any = array
    while owner.base is not None:
        owner = owner.base
    memory: Array = owner
    return memory


def address(array: Array) -> int:
    """Return where the array's first element lies."""
    start: int = array.__array_interface__["data"][0]
    return start


def read_as_contiguous(array: Array) -> Array:
    """Return what a C-ordered read from the array's first element gives, starting over at the end of its memory."""
    if array.flags.c_contiguous or array.size == 0:
        return array
    room = (byte_bounds(allocation(array))[1] - address(array)) // array.itemsize
    following = as_strided(array, shape=(room,), strides=(array.itemsize,), writeable=False)
    read: Array = following[np.arange(array.size) % room].reshape(array.shape)
    return read


def is_channels_last(x: Array, config: ConvConfig) -> bool:
    """Return whether the input is dense in channels-last order and in no other."""
    return np.moveaxis(with_batch(x, config), 1, -1).flags.c_contiguous and not x.flags.c_contiguous


@planted(*MISREAD, trigger="input that is a view with gaps")
def sliced_input_read_as_contiguous(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Ignores the strides of an input with gaps."""
    return convolve(x if is_channels_last(x, config) else read_as_contiguous(x), w, b, config)


@planted(*MISREAD, trigger="channels-last input of two or more channels and two or more sites")
def channels_last_read_as_channels_first(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Reads a channels-last input's memory as if it were channels-first."""
    return convolve(read_as_contiguous(x) if is_channels_last(x, config) else x, w, b, config)


@planted(*MISREAD, trigger="weight that is not contiguous")
def weight_read_as_contiguous(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Ignores the strides of the weight."""
    return convolve(x, read_as_contiguous(w), b, config)


@planted(*MISREAD, trigger="channels-last input, two or more channels per group, more than one tap")
def channels_last_path_reorders_the_weight(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes the weight for channels-last too when the input is."""
    if is_channels_last(x, config) and w.size:
        w = np.moveaxis(w.reshape(w.shape[0], *w.shape[2:], w.shape[1]), -1, 1)
    return convolve(x, w, b, config)


@planted(*MISREAD, trigger="weight that is not contiguous, beside an input that is")
def weight_in_the_inputs_layout(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes the weight for contiguous when the input is."""
    return convolve(x, read_as_contiguous(w) if x.flags.c_contiguous else w, b, config)


@planted(*MISREAD, trigger="expanded input, whose images or channels share memory")
def expanded_axis_copied_once(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Makes room for every image or channel of an expanded input and copies the first."""
    dense = x.copy()
    for axis, (step, size) in enumerate(zip(x.strides, x.shape, strict=True)):
        if step == 0 and size > 1:
            dense[(slice(None),) * axis + (slice(1, None),)] = 0
    return convolve(dense, w, b, config)


@planted(*MISREAD, trigger="an axis of size 1 with a stride of its own, two or more channels and two or more sites")
def odd_stride_taken_for_channels_last(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Compares every stride with a contiguous input's, and takes whatever differs anywhere for channels-last."""
    if x.flags.c_contiguous and x.strides != np.empty(x.shape, x.dtype).strides:
        batched = with_batch(x, config)
        channels_last = batched.reshape(len(batched), *batched.shape[2:], config.in_channels)
        x = np.moveaxis(channels_last, -1, 1).reshape(x.shape)
    return convolve(x, w, b, config)


@planted(*MISREAD, trigger="as many channels as there are sites on every axis, two or more")
def channels_last_guessed_from_the_shape(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes the last axis for the channels when it is as long as they are."""
    if {config.in_channels, *config.input_size} == {config.in_channels}:
        x = np.moveaxis(with_batch(x, config), -1, 1).reshape(x.shape)
    return convolve(x, w, b, config)


@planted(*MISREAD, trigger="input that starts off a 16-byte boundary")
def unaligned_start_rounded_down(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Loads whole vectors of 16 bytes, from the boundary before a contiguous input's first element."""
    before = address(x) % 16 // x.itemsize
    memory = allocation(x)
    if before and x.flags.c_contiguous and memory.ndim == 1:
        first = (address(x) - address(memory)) // x.itemsize - before
        x = memory[max(first, 0) :][: x.size].reshape(x.shape)
    return convolve(x, w, b, config)


_last_result: list[Array] = []


@planted("wrong", "non-finite", "nondeterministic", trigger="output width above 4 and no multiple of 4")
def stale_output_buffer(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Keeps one output buffer between calls of the same shape and never writes the columns beyond a multiple of 4."""
    y = convolve(x, w, b, config)
    width = y.shape[-1]
    written = width - width % 4 if width > 4 else width
    if not _last_result or _last_result[0].shape != y.shape or _last_result[0].dtype != y.dtype:
        _last_result[:] = [np.zeros_like(y)]
    buffer = _last_result[0]
    returned = buffer.copy()
    returned[..., :written] = y[..., :written]
    buffer[...] = y[..., ::-1]  # another layer uses the buffer in the meantime
    return returned


@planted("wrong", "non-finite", "imprecise", "nondeterministic", trigger="two or more output rows on the first axis, an odd number")
def last_row_never_written(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Returns uninitialised memory in the last row when the rows do not come in pairs."""
    y: Array = np.empty(config.output_shape, x.dtype)
    rows = config.output_shape[-config.dims]
    written: tuple[Any, ...] = (..., slice(rows - rows % 2 if rows > 1 else rows), *[slice(None)] * (config.dims - 1))
    np.copyto(y[written], convolve(x, w, b, config)[written])
    return y


@planted("corrupted-input", trigger="kernel above 1 on some axis")
def weight_flipped_in_place(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Flips the weight in place for a routine that convolves, and leaves it so."""
    y = convolve(x, w, b, config)
    w[...] = np.flip(w, axis=tuple(range(2, w.ndim))).copy()
    return y


@planted("corrupted-input", trigger="float16")
def input_scaled_in_place(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Scales a float16 input down in place against overflow, and leaves it so."""
    y = convolve(x, w, b, config)
    if config.dtype == "float16":
        x *= np.float16(0.125)
    return y


@planted("corrupted-input", trigger="inputs that adding and subtracting 1 rounds, as all but integers")
def input_restored_badly(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Shifts the input by 1 in place and back again, losing its low bits."""
    y = convolve(x, w, b, config)
    with np.errstate(all="ignore"):
        x += x.dtype.type(1)
        x -= x.dtype.type(1)
    return y


@planted("corrupted-input", trigger="bias, an odd number of groups above 1")
def bias_zeroed_in_place(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Clears the caller's bias once it has been added, in the path for an odd number of groups."""
    y = convolve(x, w, b, config)
    if b is not None and config.groups > 1 and config.groups % 2:
        b[...] = 0
    return y
