"""Configurations: what the constructor takes, the shapes and costs that follow, and every rule that makes one invalid."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.line import FLAWS
from convfuzz.errors import InvalidConfig

PLAIN: dict[str, Any] = {"in_channels": 8, "out_channels": 8, "input_size": 9, "kernel_size": 3}
WHOLE: list[tuple[str, Any, Any]] = [
    ("dims", np.int64(2), 2),
    ("batch", np.array(3), 3),
    ("in_channels", np.uint8(8), 8),
    ("groups", np.int64(4), 4),
    ("stride", np.int64(2), (2, 2)),
    ("stride", np.array([2, 1]), (2, 1)),
    ("stride", np.array([2]), (2, 2)),
    ("kernel_size", [np.int32(1), 2], (1, 2)),
    ("input_size", range(5, 7), (5, 6)),
    ("dilation", np.array(2), (2, 2)),
    ("padding", np.array([1, 2]), ((1, 1), (2, 2))),
    ("padding", np.array([[1, 2], [0, -1]]), ((1, 2), (0, -1))),
    ("padding", [np.int64(1), (np.int8(0), 2)], ((1, 1), (0, 2))),
    ("padding", np.int64(1), ((1, 1), (1, 1))),
]


@pytest.mark.parametrize(("name", "given", "stored"), WHOLE)
def test_whole_numbers_of_any_library(name: str, given: Any, stored: Any) -> None:
    """What ``operator.index`` takes is a whole number, in any sequence, and the configuration has plain ones of its own."""
    value = getattr(ConvConfig(**(PLAIN | {name: given})), name)
    assert value == stored

    def kinds(value: Any) -> set[type]:
        return {type(value)} if not isinstance(value, tuple) else set().union(*map(kinds, value))

    assert kinds(value) == {int}


def test_tensors_are_whole_numbers_too() -> None:
    """``torch.Size`` and integer tensors are taken like NumPy's arrays, and bool ones are not."""
    torch = pytest.importorskip("torch", reason="PyTorch's kinds of numbers")
    config = ConvConfig(**(PLAIN | {"input_size": torch.Size((7, 5)), "stride": torch.tensor([2, 1]), "groups": torch.tensor(4)}))
    assert (config.input_size, config.stride, config.groups) == ((7, 5), (2, 1), 4)
    with pytest.raises(InvalidConfig, match=r"groups=tensor\(\[True\]\) is not a whole number"):
        ConvConfig(**(PLAIN | {"groups": torch.tensor([True])}))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"op": "convolve"}, "op='convolve' is not one of conv, conv_transpose"),
    ({"dims": 4}, "dims=4 is not one of 1, 2, 3"),
    ({"dims": "2"}, "dims='2' is not one of 1, 2, 3"),
    ({"dims": 2.0}, r"dims=2\.0 is not"),
    ({"dims": True, "input_size": 9, "kernel_size": 3}, "dims=True is not"),
    ({"padding_mode": "mirror"}, "padding_mode='mirror' is not one of zeros, reflect, replicate, circular"),
    ({"dtype": "float8"}, "dtype='float8' is not one of float64, float32"),
    ({"dtype": "flaot32"}, r"dtype='flaot32' is not one of .* \(closest: 'float32'\)"),
    ({"dtype": np.dtype("float16")}, r"dtype=dtype\('float16'\) is not one of .* \(closest: 'float16'\)"),
    ({"stride": np.True_}, r"stride=np\.True_ is not one whole number or 2 of them"),
    ({"stride": np.array([1.0, 2.0])}, r"stride=np\.float64\(1\.0\) is not a whole number"),
    ({"padding": np.array([[1, 2, 3], [1, 2, 3]])}, r"array\(\[1, 2, 3\]\) is not a whole number or a \(lo, hi\) pair"),
    ({"dims": np.float32(2)}, r"dims=np\.float32\(2\.0\) is not one of 1, 2, 3"),
    (
        {"layout": "nhwc"},
        "layout='nhwc' is not one of contiguous, channels_last, non_contiguous, transposed, expanded, offset, loose_strides",
    ),
    ({"weight_layout": "oihw"}, "weight_layout='oihw' is not one of None, contiguous, channels_last"),
    ({"flaw": "bad luck"}, "flaw='bad luck' is not one of None, input-channels, input-rank"),
    ({"flaw": "bias-size"}, "flaw='bias-size' without a bias"),
    ({"flaw": "output-length"}, "flaw='output-length' without a transposed convolution"),
    ({"in_channels": 1.0}, r"in_channels=1\.0 is not a whole number"),
    ({"out_channels": True}, "out_channels=True is not a whole number"),
    ({"groups": None}, "groups=None is not a whole number"),
    ({"batch": "2"}, "batch='2' is not a whole number"),
    ({"bias": 1}, "bias=1 is not a bool"),
    ({"input_size": (1, 2, 3)}, r"input_size=\(1, 2, 3\) is not one whole number or 2 of them"),
    ({"kernel_size": 2.5}, r"kernel_size=2\.5 is not one whole number or 2 of them"),
    ({"kernel_size": (3, 2.5)}, r"kernel_size=2\.5 is not a whole number"),
    ({"kernel_size": ()}, r"kernel_size=\(\) is not one whole number or 2 of them"),
    ({"stride": "2"}, "stride='2' is not one whole number"),
    ({"dilation": True}, "dilation=True is not one whole number or 2 of them"),
    ({"output_padding": None}, "output_padding=None is not one whole number"),
    ({"padding": "full"}, "padding='full' is not 'same', 'valid', a number, or 2 numbers"),
    ({"padding": (1, 2, 3)}, r"padding=\(1, 2, 3\) is not 'same'"),
    ({"padding": ((1, 2, 3), 0)}, r"\(1, 2, 3\) is not a whole number or a \(lo, hi\) pair"),
    ({"padding": ((1, None), 0)}, "padding=None is not a whole number"),
    ({"padding": True}, "padding=True is not 'same', 'valid', a number, or 2 numbers"),
    ({"padding": None}, "padding=None is not 'same'"),
]

INVALID = [
    # channels, groups, batch
    ("conv2d_c-1_o1_i3_k3", "in_channels=-1 is less than 0"),
    ("conv2d_c1_o-2_i3_k3", "out_channels=-2 is less than 0"),
    ("conv2d_c1_o1_g0_i3_k3", "groups=0 is less than 1"),
    ("conv2d_n-3_c1_o1_i3_k3", "batch=-3 is less than 0"),
    ("conv2d_c8_o3_g3_i3_k3", "groups=3 does not divide in_channels=8"),
    ("conv2d_c3_o8_g3_i3_k3", "groups=3 does not divide out_channels=8"),
    # each axis on its own
    ("conv2d_c1_o1_i-1x3_k1", "input_size=(-1, 3) is less than 0"),
    ("conv2d_c1_o1_i3_k0", "kernel_size=0 is less than 1"),
    ("conv2d_c1_o1_i3_k1_s0", "stride=0 is less than 1"),
    ("conv2d_c1_o1_i3_k1_s1x-2", "stride=(1, -2) is less than 1"),
    ("conv2d_c1_o1_i3_k1_d0", "dilation=0 is less than 1"),
    ("convt2d_c1_o1_i3_k1_op-1", "output_padding=-1 is less than 0"),
    # output padding
    ("conv2d_c1_o1_i3_k3_op1", "output_padding=1 without conv_transpose"),
    ("convt2d_c1_o1_i3_k3_op1", "output_padding=1 on axis 0 is not less than max(stride=1, dilation=1)"),
    ("convt2d_c1_o1_i3_k3_s2_op1x2", "output_padding=2 on axis 1 is not less than max(stride=2, dilation=1)"),
    ("convt2d_c1_o1_i3_k3_s1x3_d2_op2", "output_padding=2 on axis 0 is not less than max(stride=1, dilation=2)"),
    (
        "convt2d_c1_o1_i3_k3_s2_psame_op1",
        "output_padding=1 with padding='same', which gives the output size by itself",
    ),
    # padding modes
    ("convt2d_c1_o1_i3_k3_p1_pmreflect", "padding_mode='reflect' with conv_transpose: only 'zeros' is defined"),
    (
        "conv2d_c1_o1_i3_k1_p3_pmreflect",
        "padding=3 on axis 0 is more than 2, the most that padding_mode='reflect' has for input size 3",
    ),
    (
        "conv2d_c1_o1_i3_k1_p0x4_pmcircular",
        "padding=4 on axis 1 is more than 3, the most that padding_mode='circular' has for input size 3",
    ),
    (
        "conv1d_c1_o1_i0_k1_p1_pmreplicate",
        "padding=1 on axis 0 is more than 0, the most that padding_mode='replicate' has for input size 0",
    ),
    ("conv2d_c1_o1_i3_k1_p-1:1_pmreflect", "padding=-1 on axis 0 is negative with padding_mode='reflect': only zeros can crop"),
    # sizes
    ("conv2d_c1_o1_i3x2_k3", "kernel extent 3 on axis 1 is larger than the padded input 2 (input 2, padding 0+0)"),
    ("conv1d_c1_o1_i4_k3_d2", "kernel extent 5 on axis 0 is larger than the padded input 4 (input 4, padding 0+0)"),
    ("conv1d_c1_o1_i4_k2_p-2:-1", "kernel extent 2 on axis 0 is larger than the padded input 1 (input 4, padding -2+-1)"),
    ("conv1d_c1_o1_i3_k1_p-4:9", "padding (-4, 9) on axis 0 crops more than the input size 3"),
    ("convt1d_c1_o1_i1_k1_p1", "output size -1 is less than 1"),
    ("convt1d_c1_o1_i0_k1", "output size 0 is less than 1"),
    # flaws of the call, after what the numbers break
    *((f"convt2d_c2_o2_i3_k3_b_bad-{flaw}", rule) for flaw, rule in FLAWS.items()),
    ("conv2d_c1_o1_i3_k3_s0_bad-input-rank", "stride=0 is less than 1"),
]

VALID = [
    "conv2d_n0_c1_o1_i3_k3",
    "conv2d_c0_o2_i3_k3",
    "conv2d_c2_o0_i3_k3",
    "conv2d_c8_o16_g8_i3_k3",
    "conv1d_c1_o1_i3_k1_p2_pmreflect",
    "conv1d_c1_o1_i3_k1_p3_pmcircular",
    "conv1d_c1_o1_i3_k1_p50_pmreplicate",
    "conv1d_c1_o1_i5_k3_d2",
    "conv1d_c1_o1_i4_k1_p-2:-1",
    "conv1d_c1_o1_i3_k1_p9",
    "conv1d_c1_o1_i0_k3_p2",
    "convt1d_c1_o1_i3_k3_s2_op1",
    "convt1d_c1_o1_i3_k3_d3_op2",
    "convt1d_c1_o1_i3_k3_p1:-4",
    "conv1d_c1_o1_i3_k5_psame",
    "convt1d_c1_o1_i3_k5_psame",
    "convt1d_c1_o1_i3_k1_s4_psame",
    "convt1d_c1_o1_i3_k3_s3_d2_op2",
    "convt1d_c1_o1_i3_k2_s2_d4_op3",
]


def config(**changes: Any) -> ConvConfig:
    """Build a small two-dimensional configuration with some parameters changed."""
    return ConvConfig(**({"in_channels": 2, "out_channels": 4, "input_size": 9, "kernel_size": 3} | changes))


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refused(changes: dict[str, Any], message: str) -> None:
    """The constructor refuses what is no configuration at all, naming the parameter and the value."""
    with pytest.raises(InvalidConfig, match=message):
        config(**changes)


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "input_size", "kernel_size"])
def test_required(name: str) -> None:
    """Channels and sizes have no default."""
    parameters = {"in_channels": 2, "out_channels": 4, "input_size": 9, "kernel_size": 3}
    del parameters[name]
    with pytest.raises(TypeError, match=name):
        ConvConfig(**parameters)  # type: ignore[arg-type]


def test_spellings_of_one_configuration_are_equal() -> None:
    """Numbers, lists and tuples that mean the same are one configuration, with one hash."""
    short = config(stride=2, padding=1, dilation=[1])
    long = config(input_size=[9, 9], kernel_size=(3, 3), stride=(2, 2), padding=[(1, 1), [1, 1]], dilation=(1, 1))
    assert short == long
    assert hash(short) == hash(long)
    assert len({short, long, config(stride=2)}) == 2
    assert config(padding=[1, (2, 3)]).padding == ((1, 1), (2, 3))


def test_as_fields_builds_the_same_configuration() -> None:
    """The parameters by name are the constructor's arguments and hold nothing derived."""
    original = config(stride=(1, 2), padding="same", bias=True, batch=None)
    fields = original.as_fields()
    assert ConvConfig(**fields) == original
    assert "pads" not in fields
    assert original.replace(stride=1) == config(padding="same", bias=True, batch=None)


@pytest.mark.parametrize(("line", "reason"), INVALID)
def test_invalid(line: str, reason: str) -> None:
    """Each rule that is broken is named with the values that break it."""
    found = Case.parse(line).config
    assert found.invalid_reason == reason
    assert not found.is_valid


@pytest.mark.parametrize("line", VALID)
def test_valid(line: str) -> None:
    """What lies just inside a rule is valid."""
    found = Case.parse(line).config
    assert found.invalid_reason is None
    assert found.is_valid


@pytest.mark.parametrize(
    ("line", "output_size"),
    [
        ("conv1d_c1_o1_i10_k3", 8),  # 10 - 3 + 1
        ("conv1d_c1_o1_i10_k3_s2", 4),  # windows at 0, 2, 4, 6
        ("conv1d_c1_o1_i10_k3_s3_p1", 4),  # 12 padded sites; windows at 0, 3, 6, 9
        ("conv1d_c1_o1_i10_k3_d3", 4),  # the kernel spans 7
        ("conv1d_c1_o1_i10_k2_p-3:1", 7),  # 8 padded sites
        ("conv1d_c1_o1_i10_k4_psame", 10),
        ("conv1d_c1_o1_i10_k4_s3_psame", 4),  # ceil(10 / 3)
        ("conv1d_c1_o1_i10_k4_s3_pvalid", 3),
        ("convt1d_c1_o1_i4_k3", 6),  # last input at 3, its kernel reaches 5
        ("convt1d_c1_o1_i4_k3_s2", 9),  # last input at 6, its kernel reaches 8
        ("convt1d_c1_o1_i4_k3_s2_p1_op1", 8),  # 9 less 2, and 1 more
        ("convt1d_c1_o1_i4_k3_d2", 8),  # last input at 3, its kernel reaches 7
    ],
)
def test_output_size_by_hand(line: str, output_size: int) -> None:
    """The output has one site for each place of the kernel."""
    found = Case.parse(line).config
    assert found.output_size == (output_size,)
    assert found.is_valid


@pytest.mark.parametrize(
    ("line", "pads"),
    [
        ("conv1d_c1_o1_i5_k3_psame", (1, 1)),
        ("conv1d_c1_o1_i5_k4_psame", (1, 2)),  # three zeros, the odd one at the end
        ("conv1d_c1_o1_i5_k3_d2_psame", (2, 2)),
        ("conv1d_c1_o1_i5_k3_s2_psame", (1, 1)),  # outputs at 0, 2, 4 reach 7 sites
        ("conv1d_c1_o1_i6_k3_s2_psame", (0, 1)),  # outputs at 0, 2, 4 reach 7 sites, one more than 6
        ("conv1d_c1_o1_i5_k1_s3_psame", (0, 0)),  # the stride's tail needs none
        ("convt1d_c1_o1_i5_k3_psame", (1, 1)),
        ("convt1d_c1_o1_i5_k4_psame", (1, 2)),  # 8 sites are reached, 5 wanted
        ("convt1d_c1_o1_i5_k3_d2_psame", (2, 2)),
        ("convt1d_c1_o1_i5_k3_s2_psame", (0, 1)),  # 11 sites are reached, 10 wanted
        ("convt1d_c1_o1_i5_k2_s2_psame", (0, 0)),
        ("convt1d_c1_o1_i5_k1_s3_psame", (0, -2)),  # 13 sites are reached, 15 wanted
        ("conv1d_c1_o1_i5_k3_pvalid", (0, 0)),
        ("conv1d_c1_o1_i5_k3_p-1:2", (-1, 2)),
    ],
)
def test_pads_by_hand(line: str, pads: tuple[int, int]) -> None:
    """The pads of "same" make ceil(input / stride) outputs, transposed input · stride, the odd one at the high end; "valid" has none."""
    assert Case.parse(line).config.pads == (pads,)


def test_same_of_a_transposed_convolution_is_what_same_maps_back() -> None:
    """Transposed, "same" gives input · stride, also where the kernel is shorter than the stride, and is the adjoint of "same"."""
    for size, kernel, stride, dilation in itertools.product(range(1, 6), range(1, 6), range(1, 5), range(1, 4)):
        line = f"c1_o1_i{size}_k{kernel}_s{stride}_psame_d{dilation}"
        transposed = Case.parse(f"convt1d_{line}").config
        assert transposed.is_valid, line
        assert transposed.output_size == (size * stride,), line
        back = Case.parse(f"conv1d_c1_o1_i{size * stride}_k{kernel}_s{stride}_psame_d{dilation}").config
        assert back.output_size == (size,), line
        if transposed.effective_kernel[0] >= stride:
            assert back.pads == transposed.pads, line


def test_shapes_by_hand() -> None:
    """Shapes follow PyTorch: the transposed weight has its input channels first, the unbatched input no batch axis."""
    found = Case.parse("conv2d_n2_c4_o6_g2_i5x7_k3x1").config
    assert (found.input_shape, found.weight_shape, found.output_shape) == ((2, 4, 5, 7), (6, 2, 3, 1), (2, 6, 3, 7))
    found = Case.parse("convt2d_n-_c4_o6_g2_i5x7_k3x1").config
    assert (found.input_shape, found.weight_shape, found.output_shape) == ((4, 5, 7), (4, 3, 3, 1), (6, 7, 7))
    assert Case.parse("conv3d_c1_o1_i9_k3x2x1_d1x2x3").config.effective_kernel == (3, 3, 1)


def test_cost_by_hand() -> None:
    """Cost is two operations per product, one per bias added, and the bytes of all four tensors."""
    found = Case.parse("conv2d_n2_c4_o6_g2_i5x7_k3_p1_b_f32").config
    assert found.taps == 2 * 9
    outputs = 2 * 6 * 35
    assert found.flops == 2 * 18 * outputs + outputs
    assert found.nbytes == 4 * (2 * 4 * 35 + 6 * 2 * 9 + 6 + outputs)
    assert found.replace(bias=False, dtype="bfloat16").nbytes == 2 * (2 * 4 * 35 + 6 * 2 * 9 + outputs)


def test_memory_by_hand() -> None:
    """Judging needs the tensors, and in float64 the padded input, the weight and four sums per output element."""
    found = Case.parse("conv2d_n2_c4_o6_g2_i5x7_k3_p1x-1:2_b_f32").config
    assert found.padded_shape == (2, 4, 7, 9)  # what is cropped is there first
    outputs = 2 * 6 * 5 * 6
    assert found.output_shape == (2, 6, 5, 6)
    assert found.working_nbytes == found.nbytes + 8 * (2 * 4 * 63 + 6 * 2 * 9 + 4 * outputs)
    assert found.replace(batch=None).padded_shape == (4, 7, 9)
    wide = found.replace(dtype="complex64")
    assert wide.working_nbytes == wide.nbytes + 2 * 8 * (2 * 4 * 63 + 6 * 2 * 9 + 4 * outputs)
    assert Case.parse("convt1d_c2_o3_i4_k3_p1").config.padded_shape == (1, 2, 4)


@pytest.mark.parametrize(
    "line",
    [
        "conv2d_c{}_o1_i3_k3",
        "conv2d_c1_o{}_i3_k3",
        "conv2d_n{}_c1_o1_i3_k3",
        "conv2d_c1_o1_i3x{}_k3",
        "conv2d_c1_o1_i3_k{}x3",
        "conv2d_c1_o1_i3_k3_s{}",
        "conv2d_c1_o1_i3_k3_d1x{}",
        "conv2d_c1_o1_i3_k3_p0:{}",
        "conv2d_c1_o1_i3_k3_g{}",
        "convt2d_c1_o1_i3_k3_op{}",
    ],
)
def test_extreme(line: str) -> None:
    """Beyond the range of a 32-bit integer, in either direction, a number makes a configuration extreme; up to it none does."""
    assert not Case.parse(line.format(2**30 - 1)).config.is_extreme
    assert Case.parse(line.format(2**31)).config.is_extreme
    assert Case.parse(line.format(-(2**63))).config.is_extreme


def test_extreme_in_what_follows() -> None:
    """A dilated kernel may reach further than any number in the line."""
    assert Case.parse("conv1d_c1_o1_i3_k3_d1073741824").config.is_extreme
    assert not Case.parse("conv1d_c1_o1_i3_k2_d1073741824").config.is_extreme
    assert not Case.parse("conv1d_c1_o1_i2147483647_k1_s2147483647").config.is_extreme


def test_arguments_of_another_length() -> None:
    """A call with one value too many repeats the last one; the configuration keeps its own."""
    for name in ("stride", "padding", "dilation"):
        flawed = config(stride=(1, 2), flaw=f"{name}-length")
        assert flawed.as_called(name, (1, 2)) == (1, 2, 2)
        assert {other: flawed.as_called(other, (1, 2)) for other in ("stride", "padding", "dilation") if other != name} == {
            other: (1, 2) for other in ("stride", "padding", "dilation") if other != name
        }
        assert flawed.stride == (1, 2)


def test_cost_of_the_transposed_by_hand() -> None:
    """A transposed convolution multiplies each input element with every tap of its group's kernels."""
    found = Case.parse("convt1d_c2_o3_i4_k3_s5_f64").config
    assert found.flops == 2 * (2 * 4) * (3 * 3)
    assert found.nbytes == 8 * (2 * 4 + 2 * 3 * 3 + 3 * 18)
    assert Case.parse("convt1d_c4_o6_g2_i4_k3_f64").config.flops == 2 * (4 * 4) * (3 * 3)
