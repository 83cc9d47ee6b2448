"""Configurations read out in words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import PASSES, Case
from convfuzz.case.config import DTYPES, LAYOUTS, ConvConfig
from convfuzz.case.line import FLAWS
from convfuzz.reports.result_axes import Place
from convfuzz.reports.sections.case_reading import Reading, read


def reading(line: str) -> Reading:
    """Read a case's line out."""
    return read(Case.parse(line))


def words(line: str, name: str) -> str:
    """Return what the reading says about one tensor."""
    return next(t.meaning for t in reading(line).tensors if t.name == name).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("conv2d_c3_o10_i8_k3_f32", "10 kernels each over all 3 input channels, 3 × 3 taps: 27 products an element"),
        ("conv2d_c8_o16_g2_i8_k3x5_f32", "16 kernels each over 4 of 8 input channels (2 groups), 3 × 5 taps: 60 products an element"),
        ("conv1d_c1_o1_i4_k1_f32", "1 kernel over the one input channel, 1 tap: 1 product an element"),
        ("convt1d_c1_o2_i3_k2_f32", "the one input channel spreads over 2 output channels by 2 taps"),
        ("convt2d_c4_o6_g2_i3_k2_f32", "each of 4 input channels spreads over 3 output channels by 2 × 2 taps"),
    ],
)
def test_a_kernel_is_said_to_span_the_channels_of_its_group(line: str, meaning: str) -> None:
    """The weight's line says how many kernels there are and which channels each one sees."""
    assert words(line, "w") == meaning


@pytest.mark.parametrize(
    ("line", "axis", "arithmetic"),
    [
        ("conv2d_c1_o1_i17_k3_s2_p1_f32", "height and width", "⌊(17 + 1 + 1 − 3) / 2⌋ + 1 = 9"),
        ("conv1d_c1_o1_i9_k3_d2_f32", "length", "⌊(9 − (2·(3 − 1) + 1)) / 1⌋ + 1 = 5"),
        ("conv1d_c1_o1_i9_k3_p-2:1_f32", "length", "⌊(9 − 2 + 1 − 3) / 1⌋ + 1 = 6"),
        ("convt1d_c1_o1_i3_k3_s2_p1_op1_f32", "length", "(3 − 1)·2 − 1 − 1 + 3 + 1 = 6"),
    ],
)
def test_the_output_size_comes_with_its_arithmetic(line: str, axis: str, arithmetic: str) -> None:
    """Each axis has the formula with its numbers, and equal axes share one line."""
    assert reading(line).sizes[0] == (axis, arithmetic)


@pytest.mark.parametrize(
    "line", ["conv2d_c3_o2_g2_i4_k3_f32", "conv2d_c1_o1_i2_k5_f32", "conv1d_c1_o1_g0_i4_k3_f32", "conv1d_c1_o1_i4_k3_s0_f32"]
)
def test_an_invalid_configuration_says_which_rule_it_breaks(line: str) -> None:
    """What is no convolution has its reason and no picture."""
    said = reading(line)
    assert said.invalid == Case.parse(line).config.invalid_reason
    assert said.incidence is None


def test_an_invalid_configuration_has_no_output() -> None:
    """It has operands, no result and no arithmetic, but still the numbers and the data that were handed over."""
    said = reading("conv2d_c3_o2_g2_i4_k3_f16_cl@integers.3")
    assert [t.name for t in said.tensors] == ["x", "w"]
    assert said.sizes == ()
    assert dict(said.facts)["numbers"] == "float16"
    assert dict(said.facts)["in memory"] == "channels last"


@pytest.mark.parametrize(
    ("in_pass", "meaning"),
    [
        ("grad_input", "each element sums dy·w over the output elements that it has a part in"),
        ("grad_weight", "each element sums dy·x over the batch and all sites: up to 18 products"),
        ("grad_bias", "each element sums dy over the batch and all sites: 18 numbers"),
    ],
)
def test_the_failing_gradient_is_among_the_tensors(in_pass: str, meaning: str) -> None:
    """A case with gradients shows dy, and of the gradients the one that failed, with what it sums."""
    said = read(Case.parse("conv2d_n2_c3_o4_i5_k3_b_f32_grad"), in_pass)
    names = [t.name for t in said.tensors]
    assert names == ["x", "w", "b", "y", "dy", in_pass]
    assert said.tensors[-1].meaning == meaning
    assert dict(said.facts)["passes"] == "forward, grad_input, grad_weight, grad_bias"


def test_a_transposed_weight_sums_over_the_input() -> None:
    """Its gradient has a product for each input site."""
    said = read(Case.parse("convt1d_n-_c3_o4_i5_k3_s2_f32_grad"), "grad_weight")
    assert said.tensors[-1].meaning == "each element sums dy·x over all sites: up to 5 products"


@pytest.mark.parametrize(
    ("line", "name", "fact"),
    [
        ("convt1d_c1_o1_i3_k3_s2_p1_f32", "padding", "1 on both sides, which crops the output"),
        ("convt1d_c1_o1_i3_k3_s2_p-1:2_f32", "padding", "-1 before and 2 after, where negative extends the output"),
        ("conv1d_c1_o1_i3_k1_p-1:2_f32", "padding", "-1 before and 2 after, where negative crops"),
        ("convt2d_c1_o1_i3_k3_s2_op0x1_f32", "output padding", "0 × 1 more at the high end"),
        ("conv1d_c1_o1_i3_k1_f32_cl_wof", "in memory", "channels last, the weight offset"),
        ("conv1d_c1_o1_i3_k1_c64", "numbers", "complex64: real and imaginary parts are judged each"),
        ("conv1d_c1_o1_i3_k1_i8", "numbers", "int8: exact, modulo 2^8"),
        ("conv1d_c1_o1_i3_k1_i8@huge.1", "data", "huge (seed 1): any integers of the dtype, so that sums wrap around"),
        ("conv1d_c1_o1_i3_k1_f32@zeros", "data", "all zeros"),
        ("conv2d_c2_o1_i3_k1_f32@x13=1_w1=-0.5", "data", "zeros but for x[0, 1, 1, 1] = 1 and w[0, 1, 0, 0] = -0.5"),
        (
            f"conv1d_c1_o1_i9_k1_f32@{'_'.join(f'x{i}=1' for i in range(9))}_w0=1",
            "data",
            f"zeros but for {', '.join(f'x[0, 0, {i}] = 1' for i in range(8))} and 2 more",
        ),
    ],
)
def test_facts_are_those_of_the_operation_and_the_dtype(line: str, name: str, fact: str) -> None:
    """Padding, memory, numbers and data read as what they are in this case."""
    assert dict(reading(line).facts)[name].replace("\N{NO-BREAK SPACE}", " ") == fact


_SIZES = st.sampled_from([-(2**63), -2, 0, 1, 1, 1, 2, 3, 5, 31, 2**31 + 1, 2**63 - 1])


@st.composite
def _any_case(draw: st.DrawFn) -> Case:
    """Draw any configuration that can be written down, valid or not."""
    dims = draw(st.sampled_from([1, 2, 3]))
    per_axis = st.tuples(*[_SIZES] * dims)
    op = draw(st.sampled_from(["conv", "conv_transpose"]))
    bias = draw(st.booleans())
    flaws = [name for name in FLAWS if (bias or not name.startswith("bias")) and (op == "conv_transpose" or name != "output-length")]
    config = ConvConfig(
        op=op,
        dims=dims,
        batch=draw(st.none() | _SIZES),
        in_channels=draw(_SIZES),
        out_channels=draw(_SIZES),
        groups=draw(st.just(1) | _SIZES),
        input_size=draw(per_axis),
        kernel_size=draw(per_axis),
        stride=draw(st.just((1,)) | per_axis),
        padding=draw(st.sampled_from(["same", "valid"]) | st.tuples(*[st.tuples(_SIZES, _SIZES)] * dims)),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        dilation=draw(st.just((1,)) | per_axis),
        output_padding=draw(st.just((0,)) | per_axis),
        bias=bias,
        dtype=draw(st.sampled_from(DTYPES)),
        weight_layout=draw(st.none() | st.sampled_from(LAYOUTS)),
        flaw=draw(st.none() | st.sampled_from(flaws)),
    )
    return Case(config, grad=draw(st.booleans()))


@given(_any_case(), st.sampled_from([*PASSES, "sideways"]), st.lists(st.integers(-1, 40), max_size=6))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_anything_can_be_read_out(case: Case, in_pass: str, index: list[int]) -> None:
    """No configuration, pass or index from a file makes the reading fail; what is invalid is said to be."""
    said = read(case, in_pass, Place.of(case, tuple(index)))
    assert bool(said.invalid) is not case.config.is_valid
    assert said.tensors[0].shape == str(case.config.input_shape)
