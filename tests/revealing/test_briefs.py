"""The sheet that a campaign's report shows: on a layer that the backend computes, in words, or why there is none."""

from __future__ import annotations

import numpy as np

import convfuzz
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.revealing.brief import LAYERS, brief

from .kernels import Array, Kernel, lanes


def test_a_sheet_in_words() -> None:
    """The sheet of a kernel says the same as its fields do, with an outline to draw and a declaration to paste."""

    @convfuzz.backend(ops=("conv",), dtypes=("float32",), dims=(1,), groups=("none",), dilations=(1,), padding_modes=("zeros",))
    def of_signals(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        return Kernel(lanes(8), accumulator=np.float64)(x, w, b, config)

    sheet = brief(KernelBackend("of_signals", of_signals), 2.0)
    assert sheet.case == "conv1d_n8_c16_o16_i16_k5_p2_f32"
    assert sheet.line.startswith("8 lanes, each one after the other")
    assert "in float64" in sheet.line
    assert dict(sheet.rows)["accumulator"] == "float64, to nearest, ties to even"
    assert (sheet.declare, sheet.unmeasured, sheet.not_understood) == ("Numerics(accumulator='float64')", "", ())
    assert sheet.outline[0].terms == 80
    assert {change.same for change in sheet.changes} == {True}


def test_a_kernel_of_a_narrow_domain_has_another_layer() -> None:
    """A kernel that computes depthwise layers in one dimension only is measured on one of those."""

    @convfuzz.backend(ops=("conv",), dims=(1,), dtypes=("float32",), supports=lambda c: c.groups == c.in_channels, numerics=None)
    def depthwise(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        padded = np.pad(x, [(0, 0), (0, 0), *config.pads])
        read = np.lib.stride_tricks.sliding_window_view(padded, config.kernel_size[0], axis=2)
        total = np.zeros(config.output_shape, np.float32)
        for k in range(config.kernel_size[0]):
            total += read[..., k] * w[None, :, 0, None, k]
        return total

    sheet = brief(KernelBackend("depthwise", depthwise), 2.0)
    assert (sheet.case, sheet.unmeasured) == ("conv1d_n8_c16_o16_g16_i16_k4_p3:0_f32", "")
    assert sheet.line.startswith("one after the other")


def test_what_cannot_be_measured_says_why() -> None:
    """A kernel that computes none of the layers, and one that is wrong, are told as such instead of ending anything."""

    @convfuzz.backend(dtypes=("int8",))
    def integers(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        raise AssertionError

    def wrong(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        return np.zeros(config.output_shape, x.dtype)

    assert "computes none of the layers" in brief(KernelBackend("integers", integers), 2.0).unmeasured
    sheet = brief(KernelBackend("wrong", wrong), 2.0)
    assert "it is wrong, and its arithmetic is not measured" in sheet.unmeasured
    assert sheet.case == LAYERS[0]
