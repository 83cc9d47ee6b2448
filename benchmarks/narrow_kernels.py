"""Kernels that compute a part of the operation, each right and with one mistake: what ``domains.py`` measures the search with."""

# ruff: noqa: ANN001, ANN201, ARG001, D103 - kernels as their authors write them

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

import convfuzz

Array = npt.NDArray[np.generic]
MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def convolution(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
    """Sum in float64 and round once."""
    wide = x.astype(np.float64).reshape(1 if config.batch is None else config.batch, config.in_channels, *config.input_size)
    weight = w.astype(np.float64)
    sizes, groups = config.output_size, config.groups
    inputs, outputs = config.in_channels // groups, config.out_channels // groups
    y = np.zeros((len(wide), groups, outputs, *sizes))
    with np.errstate(all="ignore"):
        if config.op == "conv":
            wide = np.pad(wide, [(0, 0), (0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in config.pads)], mode=MODES[config.padding_mode])
            wide = wide[(..., *(slice(max(-lo, 0), hi if hi < 0 else None) for lo, hi in config.pads))]
            wide = wide.reshape(len(wide), groups, inputs, *wide.shape[2:])
            weight = weight.reshape(groups, outputs, inputs, *config.kernel_size)
            for tap, at in taps(config):
                y += np.einsum("ngc...,goc->ngo...", wide[(..., *at)], weight[(..., *tap)])
        else:
            wide = wide.reshape(len(wide), groups, inputs, *config.input_size)
            weight = weight.reshape(groups, inputs, outputs, *config.kernel_size)
            reach = [(n - 1) * s + e for n, s, e in zip(config.input_size, config.stride, config.effective_kernel, strict=True)]
            full = np.zeros(
                (
                    *y.shape[:3],
                    *(r + max(o + max(-hi, 0), 0) for r, o, (_, hi) in zip(reach, config.output_padding, config.pads, strict=True)),
                )
            )
            for tap, at in taps(config):
                full[(..., *at)] += np.einsum("ngc...,gco->ngo...", wide, weight[(..., *tap)])
            full = np.pad(full, [(0, 0)] * 3 + [(max(-lo, 0), 0) for lo, _ in config.pads])
            y = full[(..., *(slice(max(lo, 0), max(lo, 0) + n) for (lo, _), n in zip(config.pads, sizes, strict=True)))]
        y = y.reshape(len(y), config.out_channels, *sizes)
        if b is not None:
            y = y + b.astype(np.float64).reshape(-1, *[1] * config.dims)
        return y.astype(w.dtype).reshape(config.output_shape)


def taps(config: convfuzz.ConvConfig) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield each tap and the sites, of the padded input or of the whole output of a transposed convolution, that it meets."""
    sites = config.output_size if config.op == "conv" else config.input_size
    for tap in np.ndindex(config.kernel_size):
        yield (
            tap,
            tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, s, n in zip(tap, config.dilation, config.stride, sites, strict=True)),
        )


def without(w: Array, *index: object) -> Array:
    """Return a weight with zeros in one place."""
    w = w.copy()
    w[index] = 0
    return w


# -- a depthwise causal 1-D convolution, as state-space models have it, said by a predicate -----------------------------------


def _is_causal(c: convfuzz.ConvConfig) -> bool:
    k = c.kernel_size[0]
    return (
        c.op == "conv"
        and c.dims == 1
        and c.groups == c.in_channels == c.out_channels
        and 2 <= k <= 4
        and c.padding == ((k - 1, 0),)
        and c.stride == c.dilation == (1,)
        and c.padding_mode == "zeros"
    )


CAUSAL = convfuzz.backend(supports=_is_causal)


@CAUSAL
def right_causal(x, w, b, config):
    return convolution(x, w, b, config)


@CAUSAL
def wrong_causal(x, w, b, config):
    """Runs through the taps in the wrong order."""
    return convolution(x, w[..., ::-1], b, config)


# -- the same, refused where it is called instead of declared ------------------------------------------------------------------


def _require_causal(config) -> None:
    if not _is_causal(config):
        raise convfuzz.Unsupported("depthwise causal layers only")


def right_refusing(x, w, b, config):
    _require_causal(config)
    return convolution(x, w, b, config)


def wrong_refusing(x, w, b, config):
    """Runs through three taps in the wrong order."""
    _require_causal(config)
    return convolution(x, w[..., ::-1] if config.kernel_size == (3,) else w, b, config)


# -- the stem of a residual network ------------------------------------------------------------------------------------


STEM = convfuzz.backend(
    dims=(2,),
    supports=lambda c: (
        c.op == "conv" and c.in_channels == 3 and c.kernel_size == (7, 7) and c.stride == (2, 2) and c.groups == 1
        and c.dilation == (1, 1) and c.padding_mode == "zeros"
    ),
)  # fmt: skip


@STEM
def right_stem(x, w, b, config):
    return convolution(x, w, b, config)


@STEM
def wrong_stem(x, w, b, config):
    """Drops the last tap of the last channel."""
    return convolution(x, without(w, slice(None), -1, -1, -1), b, config)


# -- a half-precision 3x3 over blocks of eight channels ----------------------------------------------------------------


HALF = convfuzz.backend(
    ops=("conv",), dims=(2,), dtypes=("float16",), kernel_sizes=(3,), paddings=(1,), padding_modes=("zeros",), strides=(1,),
    dilations=(1,), groups=("none",), channel_multiple=8,
)  # fmt: skip


@HALF
def right_half(x, w, b, config):
    return convolution(x, w, b, config)


@HALF
def wrong_half(x, w, b, config):
    """Leaves the last block of channels out where there are several."""
    return convolution(x, without(w, slice(None), slice(-8, None)) if config.in_channels > 8 else w, b, config)


# -- a volume in bfloat16 ----------------------------------------------------------------------------------------------


VOLUME = convfuzz.backend(
    dtypes=("bfloat16",),
    supports=lambda c: None if c.op == "conv" and c.kernel_size == (3, 3, 3) and c.pads == ((1, 1),) * 3 else "3x3x3 with padding 1 only",
)


@VOLUME
def right_volume(x, w, b, config):
    return convolution(x, w, b, config)


@VOLUME
def wrong_volume(x, w, b, config):
    """Gives the last slice of the output the first slice's values where there are several."""
    y = convolution(x, w, b, config)
    y[..., -1, :, :] = y[..., 0, :, :]
    return y


# -- a depthwise 3x3 that halves the resolution ------------------------------------------------------------------------


HALVING = convfuzz.backend(
    supports=lambda c: (
        c.op == "conv" and c.dims == 2 and 1 < c.groups == c.in_channels and set(c.kernel_size) == {3} and set(c.stride) == {2}
        and c.padding_mode == "zeros" and max(c.dilation) == 1
    )
)  # fmt: skip


@HALVING
def right_halving(x, w, b, config):
    return convolution(x, w, b, config)


@HALVING
def wrong_halving(x, w, b, config):
    """Takes the weight of the channel before where an output channel's number is odd."""
    return convolution(x, w[np.arange(len(w)) // 2 * 2], b, config)


# -- channels last only ------------------------------------------------------------------------------------------------


NHWC = convfuzz.backend(ops=("conv",), dims=(2,), layouts=("channels_last",))


@NHWC
def right_nhwc(x, w, b, config):
    return convolution(x, w, b, config)


@NHWC
def wrong_nhwc(x, w, b, config):
    """Swaps height and width of a kernel that is not square."""
    square = config.kernel_size[0] == config.kernel_size[1]
    return convolution(x, w if square else np.flip(w, -1), b, config)


# -- one layer of one network, which no search is asked to find ---------------------------------------------------------


FIXED = convfuzz.backend(
    dtypes=("float32",),
    supports=lambda c: (
        str(c.replace(batch=1, bias=False, layout="contiguous", weight_layout=None)) == "conv2d_c24_o40_i14x18_k5x3_s2x1_p2x1_f32"
    ),
    examples=["conv2d_c24_o40_i14x18_k5x3_s2x1_p2x1_f32"],
)


@FIXED
def right_fixed(x, w, b, config):
    return convolution(x, w, b, config)


@FIXED
def wrong_fixed(x, w, b, config):
    """Forgets the bias."""
    return convolution(x, w, None, config)


# -- the upsampling of a generator, in groups --------------------------------------------------------------------------


UPSAMPLING = convfuzz.backend(
    supports=lambda c: (
        c.op == "conv_transpose" and c.kernel_size == (4, 4) and c.stride == (2, 2) and c.padding == ((1, 1), (1, 1))
        and c.dilation == (1, 1) and 1 < c.groups < c.in_channels
    )
)  # fmt: skip


@UPSAMPLING
def right_upsampling(x, w, b, config):
    return convolution(x, w, b, config)


@UPSAMPLING
def wrong_upsampling(x, w, b, config):
    """Interleaves the groups' output channels."""
    y = convolution(x, w, b, config)
    axis = y.ndim - 3
    per_group = config.out_channels // config.groups
    return np.take(y, np.arange(config.out_channels).reshape(config.groups, per_group).T.ravel(), axis)


# -- a matrix product over many channels -------------------------------------------------------------------------------


POINTWISE = convfuzz.backend(
    supports=lambda c: c.op == "conv" and max(c.kernel_size) == 1 and c.in_channels >= 64 and c.in_channels % 32 == 0 and c.groups == 1
)


@POINTWISE
def right_pointwise(x, w, b, config):
    return convolution(x, w, b, config)


@POINTWISE
def wrong_pointwise(x, w, b, config):
    """Leaves the last 32 channels out where they are no whole block of 64."""
    return convolution(x, without(w, slice(None), slice(-32, None)) if config.in_channels % 64 else w, b, config)


# -- a dilated causal 1-D convolution of a vocoder ----------------------------------------------------------------------


def _is_of_vocoder(c: convfuzz.ConvConfig) -> str | None:
    if c.op != "conv" or c.dims != 1:
        return "1-D only"
    if c.kernel_size != (2,):
        return "kernel size 2 only"
    if c.dilation[0] & (c.dilation[0] - 1):
        return "the dilation is a power of two"
    if c.padding != ((c.dilation[0], 0),) or c.padding_mode != "zeros":
        return "causal only"
    return None if c.in_channels == c.out_channels and c.stride == (1,) and c.groups == 1 else "residual layers only"


VOCODER = convfuzz.backend(supports=_is_of_vocoder)


@VOCODER
def right_vocoder(x, w, b, config):
    return convolution(x, w, b, config)


@VOCODER
def wrong_vocoder(x, w, b, config):
    """Drops the older tap from dilation 4 on."""
    return convolution(x, without(w, ..., 0) if config.dilation[0] >= 4 else w, b, config)


# -- no batch axis -----------------------------------------------------------------------------------------------------


UNBATCHED = convfuzz.backend(ops=("conv",), supports=lambda c: c.batch is None)


@UNBATCHED
def right_unbatched(x, w, b, config):
    return convolution(x, w, b, config)


@UNBATCHED
def wrong_unbatched(x, w, b, config):
    """Adds the bias along the last axis where that has as many sites as there are channels."""
    y = convolution(x, w, b, config)
    return y + 1 if b is not None and config.stride[0] > 1 else y


# -- the patches of a vision transformer -------------------------------------------------------------------------------


PATCHES = convfuzz.backend(
    supports=lambda c: (
        c.op == "conv" and c.dims == 2 and c.kernel_size == c.stride == (16, 16) and c.in_channels == 3 and not any(map(any, c.pads))
        and c.input_size[0] % 16 == c.input_size[1] % 16 == 0 and c.groups == 1 and c.dilation == (1, 1)
    )
)  # fmt: skip


@PATCHES
def right_patches(x, w, b, config):
    return convolution(x, w, b, config)


@PATCHES
def wrong_patches(x, w, b, config):
    """Numbers the patches of a picture that is not square by columns."""
    y = convolution(x, w, b, config)
    rows, columns = config.output_size
    return y if rows == columns else np.swapaxes(y, -1, -2).reshape(y.shape)


NAMES = tuple(name.removeprefix("right_") for name in list(globals()) if name.startswith("right_"))
