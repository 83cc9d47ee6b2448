"""The one-line form of a case: what each token means, what is printed, and what an error says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import REGIMES, Case, DataRecipe
from convfuzz.case.config import DTYPES, LAYOUTS, OPS, ConvConfig
from convfuzz.case.line import FLAWS, PADDING_MODES
from convfuzz.errors import CaseSyntaxError, ConvfuzzError, InvalidConfig

EXAMPLE = "conv2d_n2_c8_o16_g2_i17x19_k3_s2x1_p1_d1_b_f32@normal.42"

TOKENS = [
    ("n7", "batch", 7),
    ("n0", "batch", 0),
    ("n-", "batch", None),
    ("n-2", "batch", -2),
    ("g4", "groups", 4),
    ("s2", "stride", (2, 2)),
    ("s2x3", "stride", (2, 3)),
    ("s-1", "stride", (-1, -1)),
    ("p1", "padding", ((1, 1), (1, 1))),
    ("p1x2", "padding", ((1, 1), (2, 2))),
    ("p1:2", "padding", ((1, 2), (1, 2))),
    ("p1:2x0:0", "padding", ((1, 2), (0, 0))),
    ("p-2:1", "padding", ((-2, 1), (-2, 1))),
    ("p0x-1:3", "padding", ((0, 0), (-1, 3))),
    ("psame", "padding", "same"),
    ("pvalid", "padding", "valid"),
    ("d3x1", "dilation", (3, 1)),
    ("op1x0", "output_padding", (1, 0)),
    ("pmreflect", "padding_mode", "reflect"),
    ("pmreplicate", "padding_mode", "replicate"),
    ("pmcircular", "padding_mode", "circular"),
    ("pmzeros", "padding_mode", "zeros"),
    ("b", "bias", True),
    ("cl", "layout", "channels_last"),
    ("nc", "layout", "non_contiguous"),
    ("tr", "layout", "transposed"),
    ("ex", "layout", "expanded"),
    ("of", "layout", "offset"),
    ("ls", "layout", "loose_strides"),
    ("wco", "weight_layout", None),  # what the input has too
    ("wcl", "weight_layout", "channels_last"),
    ("wnc", "weight_layout", "non_contiguous"),
    ("wtr", "weight_layout", "transposed"),
    ("wex", "weight_layout", "expanded"),
    ("wof", "weight_layout", "offset"),
    ("wls", "weight_layout", "loose_strides"),
    ("bad-input-rank", "flaw", "input-rank"),
    ("bad-stride-length", "flaw", "stride-length"),
]

DTYPE_TOKENS = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "c64": "complex64",
    "c128": "complex128",
    "i8": "int8",
    "i32": "int32",
    "i64": "int64",
}

ERRORS = [
    ("conv4d_c1_o1_i3_k3", "'conv4d'", "expected conv1d, conv2d, conv3d or convt1d"),
    ("c1_o1_i3_k3", "'c1'", "expected conv1d"),
    ("", "''", "expected conv1d"),
    ("conv2d_c1_o1_i3_k3_q7", "'q7'", "is unknown: expected n<batch> or n-"),
    ("conv2d_c1_o1_i3_k3_F32", "'F32'", "is unknown"),
    ("conv2d_c1_o1_i3_k3__f32", "''", "is unknown"),
    ("conv2d_c1_o1_i3_k3_f32_f32", "'f32'", "dtype is given twice"),
    ("conv2d_c1_o1_i3_k3_f32_f16", "'f16'", "dtype is given twice"),
    ("conv2d_c1_c2_o1_i3_k3", "'c2'", "in_channels is given twice"),
    ("conv2d_c1_o1_i3_k3_grad_grad", "'grad'", "given twice"),
    ("conv2d_c1_o1_i3_k3_b_b", "'b'", "bias is given twice"),
    ("conv2d_c1_o1_i3_k3_n2_n-", "'n-'", "batch is given twice"),
    ("conv2d_c1_o1_i3_k3_p1_psame", "'psame'", "padding is given twice"),
    ("conv2d_cx_o1_i3_k3", "'cx'", "expected one whole number"),
    ("conv2d_c1.5_o1_i3_k3", "'c1.5'", "expected one whole number"),
    ("conv2d_c_o1_i3_k3", "'c'", "expected one whole number"),
    ("conv2d_c+1_o1_i3_k3", "'c+1'", "expected one whole number"),
    ("conv2d_c\u0663_o1_i3_k3", "'c\u0663'", "expected one whole number"),
    ("conv2d_c1x2_o1_i3_k3", "'c1x2'", "expected one whole number"),
    ("conv2d_c1_o1_i3x4x5_k3", "'i3x4x5'", "3 values for 2 spatial dimensions"),
    ("conv3d_c1_o1_i3_k3x1", "'k3x1'", "2 values for 3 spatial dimensions; expected whole numbers joined by 'x'"),
    ("conv1d_c1_o1_i3_k3x1", "'k3x1'", "2 values for 1 spatial dimension;"),
    ("conv2d_c1_o1_i3_k3_s1:2", "'s1:2'", "expected one whole number"),
    ("conv2d_c1_o1_i3_k3_s1:2", "'s1:2'", "lo:hi is for padding alone"),
    ("conv2d_c1_o1_i3_k3_p1:", "'p1:'", "expected one whole number for both sides or two as lo:hi, such as 1 or 1:2"),
    ("conv2d_c1_o1_i3_k3_p:1", "'p:1'", "two as lo:hi"),
    ("conv2d_c1_o1_i3_k3_p1:2:3", "'p1:2:3'", "two as lo:hi"),
    ("conv2d_c1_o1_i3_k3_p1.5", "'p1.5'", "two as lo:hi"),
    ("conv2d_c1_o1_i3_k3_psmae", "'psmae'", "or psame, or pvalid"),
    ("conv2d_c1_o1_i3_k3_F32", "'F32'", "(closest: 'f32')"),
    ("conv2d_c1_o1_i3_k3x3x3", "'k3x3x3'", "3 values for 2 spatial dimensions"),
    ("conv2d_c1e1_o1_i3_k3", "'c1e1'", "expected one whole number"),
    ("conv2d_c1 _o1_i3_k3", "'c1 '", "expected one whole number"),
    ("conv2d_c1_o1_i3_k3_s\u00b2", "'s\u00b2'", "expected one whole number"),
    ("conv2d_c1_o1_i3_k3_n00_n0", "'n0'", "batch is given twice"),
    ("conv2d_c1_o1_i3_k3_f32@noraml.1", "'noraml'", "(closest: 'normal')"),
    ("conv2d_c1_o1_i3_k3_f32@normal.1e3", "'normal.1e3'", "expected regime.seed"),
    ("conv2d_c1_o1_i3_k3_f32@normal.\u0661", "expected regime.seed", ""),
    ("conv2d_c1_o1_i3_k3_p1x2x3", "'p1x2x3'", "lo:hi pairs"),
    ("conv2d_c1_o1_i3_k3_pmmirror", "'pmmirror'", "zeros, reflect, replicate, circular"),
    ("conv2d_c1_o1_i3_k3_cl_nc", "'nc'", "layout is given twice"),
    ("conv2d_c1_o1_i3_k3_wcl_wcl", "'wcl'", "weight_layout is given twice"),
    ("conv2d_c1_o1_i3_k3_wxx", "'wxx'", "the weight's own layout (wco wcl wnc wtr wex wof wls)"),
    ("conv2d_c1_o1_i3_k3_bad-luck", "'bad-luck'", "expected bad- followed by one of input-channels, input-rank,"),
    ("conv2d_c1_o1_i3_k3_bad-", "'bad-'", "expected bad- followed by one of"),
    ("conv2d_c1_o1_i3_k3_bad-input-rank_bad-weight-rank", "'bad-weight-rank'", "flaw is given twice"),
    *((f"conv2d_c1_o1_i3_k3_bad-{flaw}", f"'{flaw}'", "without a bias") for flaw in FLAWS if flaw.startswith("bias")),
    ("conv2d_c1_o1_i3_k3_bad-output-length", "'output-length'", "without a transposed convolution"),
    ("conv2d_o1_i3_k3", "in_channels", "c8"),
    ("conv2d_c1_i3_k3", "out_channels", "o16"),
    ("conv2d_c1_o1_k3", "input_size", "i32"),
    ("conv2d_c1_o1_i3", "kernel_size", "k3"),
    ("conv2d_c1_o1_i3_k3_f32@normal", "'normal'", "expected regime.seed"),
    ("conv2d_c1_o1_i3_k3_f32@", "''", "expected regime.seed"),
    (f"conv2d_c1_o1_i3_k3_f32@normal.{10**25}", f"seed '{10**25}'", "is not in 0 … 2^63 - 1"),
    ("conv2d_c1_o1_i3_k3_f32@normal.-1", "'normal.-1'", "expected regime.seed"),
    ("conv2d_c1_o1_i3_k3_f32@normal.1@normal.2", "'normal.1@normal.2'", "expected regime.seed"),
    ("conv2d_c1_o1_i3_k3_f32@gaussian.1", "'gaussian'", "integers, normal, positive"),
]


@pytest.mark.parametrize(
    "line",
    [
        "x" * 100_000,
        "conv2d_" + "c1" * 50_000,
        "conv2d_c1_o1_i3_k3_" + "s1x" * 40_000,
        "conv2d_c1_o1_i3_k3_bad-" + "x" * 100_000,
        "conv2d_c1_o1_i3_k3@" + "x" * 100_000,
        "conv2d_c1_o1_i3_k3@" + "x" * 100_000 + ".1",
        "conv2d_c1_o1_i3_k3@x0=" + "1" * 100_000,
        "conv2d_c1_o1_i3_k3@" + "x0=1_" * 4000 + "w0=1",
        "conv2d_c1_o1_i3_k3@" + "_".join(f"x{n}=1" for n in range(4000)),
        "conv2d_c1_o1_i3_k3" + "_f32" * 25_000,
    ],
)
def test_a_long_line_is_not_echoed_whole(line: str) -> None:
    """The error shows how a long text begins and how long it is, and still says what is wrong with it."""
    with pytest.raises(CaseSyntaxError, match=r"expected|given twice|is not one of|elements, of shape") as raised:
        Case.parse(line)
    assert len(str(raised.value)) < 1000


def test_the_example_of_the_design() -> None:
    """The documented example parses into its parameters and prints without its one default."""
    case = Case.parse(EXAMPLE)
    config = case.config
    assert (config.op, config.dims, config.batch) == ("conv", 2, 2)
    assert (config.in_channels, config.out_channels, config.groups) == (8, 16, 2)
    assert (config.input_size, config.kernel_size, config.stride) == ((17, 19), (3, 3), (2, 1))
    assert (config.padding, config.dilation, config.output_padding) == (((1, 1), (1, 1)), (1, 1), (0, 0))
    assert (config.bias, config.dtype, config.layout, config.padding_mode) == (True, "float32", "contiguous", "zeros")
    assert (case.recipe, case.grad) == (DataRecipe("normal", 42), False)
    assert str(case) == EXAMPLE.replace("_d1", "")


@pytest.mark.parametrize(("token", "name", "value"), TOKENS)
def test_token(token: str, name: str, value: Any) -> None:
    """A token sets its one parameter and leaves every other at its default."""
    plain = Case.parse("conv2d_c4_o8_i9_k3").config
    assert Case.parse(f"conv2d_c4_o8_i9_k3_{token}").config == plain.replace(**{name: value})


@pytest.mark.parametrize(("token", "dtype"), DTYPE_TOKENS.items())
def test_dtype_token(token: str, dtype: str) -> None:
    """Each dtype token is read and printed; without one the dtype is float32."""
    case = Case.parse(f"conv2d_c4_o8_i9_k3_{token}")
    assert case.config.dtype == dtype
    assert str(case) == f"conv2d_c4_o8_i9_k3_{token}"
    assert Case.parse("conv2d_c4_o8_i9_k3").config.dtype == "float32"


@pytest.mark.parametrize(
    ("line", "channels", "size", "dtype"),
    [
        ("conv1d_c64_o1_i32_k1_c64", 64, 32, "complex64"),
        ("conv1d_c128_o1_i64_k1_c128", 128, 64, "complex128"),
        ("conv1d_c64_c128_o1_i8_k1", 64, 8, "complex128"),
        ("conv1d_c64_o1_i8_k1_i8", 64, 8, "int8"),
        ("conv1d_c64_o1_i32_k1_i32", 64, 32, "int32"),
        ("conv1d_i64_i64_c64_o1_k1", 64, 64, "int64"),
        ("conv1d_c64_o1_i64_k1_f32", 64, 64, "float32"),
    ],
)
def test_ambiguous_tokens(line: str, channels: int, size: int, dtype: str) -> None:
    """c64, c128, i8, i32 and i64 are channels or a size where they come first, and a dtype after that."""
    config = Case.parse(line).config
    assert (config.in_channels, config.input_size, config.dtype) == (channels, (size,), dtype)
    assert Case.parse(str(config)).config == config


def test_canonical_order() -> None:
    """Tokens in another order give the same case, which prints in the one canonical order."""
    canonical = "convt2d_n3_c4_o6_g2_i5_k3_s2_p1_d2x1_op1_b_f16_cl_wnc_bad-bias-size_grad@one-hot.7"
    shuffled = "convt2d_grad_bad-bias-size_wnc_cl_b_f16_op1_d2x1_p1_s2_k3_i5_g2_o6_c4_n3@one-hot.7"
    assert str(Case.parse(shuffled)) == canonical
    assert Case.parse(shuffled) == Case.parse(canonical)


@st.composite
def any_configuration(draw: st.DrawFn) -> ConvConfig:
    """Draw a configuration without asking whether such a convolution exists."""
    dims, number = draw(st.sampled_from([1, 2, 3])), st.one_of(st.integers(-3, 9), st.integers(-(2**63), 2**63))
    per_axis = st.tuples(*[number] * dims)
    padding = st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.tuples(number, number)] * dims))
    op, bias = draw(st.sampled_from(OPS)), draw(st.booleans())
    flaws = [flaw for flaw in FLAWS if (bias or not flaw.startswith("bias")) and (op == "conv_transpose" or flaw != "output-length")]
    numbers: dict[str, Any] = {name: draw(number) for name in ("in_channels", "out_channels", "groups")}
    numbers |= {name: draw(per_axis) for name in ("input_size", "kernel_size", "stride", "dilation", "output_padding")}
    return ConvConfig(
        op=op,  # type: ignore[arg-type]
        dims=dims,
        batch=draw(st.none() | number),
        **numbers,
        padding=draw(padding),
        padding_mode=draw(st.sampled_from(PADDING_MODES)),
        bias=bias,
        dtype=draw(st.sampled_from(DTYPES)),
        layout=draw(st.sampled_from(LAYOUTS)),
        weight_layout=draw(st.sampled_from([None, *LAYOUTS])),
        flaw=draw(st.sampled_from([None, *flaws])),
    )


@settings(deadline=None, max_examples=300)
@given(config=any_configuration(), regime=st.sampled_from(list(REGIMES)), seed=st.integers(0, 2**63 - 1), grad=st.booleans())
def test_round_trip(config: ConvConfig, regime: str, seed: int, grad: bool) -> None:  # noqa: FBT001 - Hypothesis draws it
    """Every case, of a convolution that exists or not, is read back from its line, which no shell would change."""
    case = Case(config, DataRecipe(regime, seed), grad)
    line = str(case)
    assert re.fullmatch(r"[a-z0-9:@._-]+", line)
    assert Case.parse(line) == case
    assert str(Case.parse(line)) == line
    assert ConvConfig.parse(str(config)) == config


def test_the_weight_s_own_layout_is_printed_where_it_is_another() -> None:
    """A weight's layout that is the input's is one configuration with none of its own, and so one line."""
    assert str(Case.parse("conv2d_c1_o1_i3_k3_cl_wcl")) == "conv2d_c1_o1_i3_k3_f32_cl"
    assert Case.parse("conv2d_c1_o1_i3_k3_cl_wcl") == Case.parse("conv2d_c1_o1_i3_k3_cl")
    assert str(Case.parse("conv2d_c1_o1_i3_k3_cl_wco")) == "conv2d_c1_o1_i3_k3_f32_cl_wco"
    assert str(Case.parse("conv2d_c1_o1_i3_k3_wco")) == "conv2d_c1_o1_i3_k3_f32"


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaw_token(flaw: str) -> None:
    """Each flaw of a call is read and printed; a transposed convolution with a bias can have every one of them."""
    line = f"convt2d_c4_o8_i9_k3_b_f32_bad-{flaw}"
    assert Case.parse(line).config.flaw == flaw
    assert str(Case.parse(line)) == line


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("conv2d_n1_c1_o1_g1_i3x3_k3x3_s1x1_p0:0_d1_op0_pmzeros_f32@normal.0", "conv2d_c1_o1_i3_k3_f32"),
        ("conv2d_c1_o1_i3_k3_p1:1x1", "conv2d_c1_o1_i3_k3_p1_f32"),
        ("conv2d_c1_o1_i3_k3_p0:0x1:2", "conv2d_c1_o1_i3_k3_p0x1:2_f32"),
        ("conv2d_c01_o1_i3_k-0", "conv2d_c1_o1_i3_k0_f32"),
        ("conv2d_c1_o1_i3_k3_pvalid", "conv2d_c1_o1_i3_k3_pvalid_f32"),
        ("conv2d_c1_o1_i3_k3_f32@normal.007", "conv2d_c1_o1_i3_k3_f32@normal.7"),
        ("  conv2d_c1_o1_i3_k3_f32\n", "conv2d_c1_o1_i3_k3_f32"),
    ],
)
def test_printing(written: str, printed: str) -> None:
    """Defaults and repetition are left out, and one value stands for equal axes and sides."""
    assert str(Case.parse(written)) == printed


@pytest.mark.parametrize(("line", "token", "expected"), ERRORS)
def test_errors(line: str, token: str, expected: str) -> None:
    """A line that is no case names the token and what was expected in its place."""
    with pytest.raises(CaseSyntaxError) as caught:
        Case.parse(line)
    assert token in str(caught.value)
    assert expected in str(caught.value)


def test_error_classes() -> None:
    """A syntax error can be caught as an invalid configuration, as convfuzz's error, and as a ValueError."""
    for kind in (InvalidConfig, ConvfuzzError, ValueError):
        with pytest.raises(kind):
            Case.parse("nonsense")


def test_a_configuration_has_no_gradients_and_no_data() -> None:
    """ConvConfig.parse takes the part before "@" alone and sends "grad" to Case.parse."""
    with pytest.raises(InvalidConfig, match=r"'grad' belongs to Case\.parse"):
        ConvConfig.parse("conv2d_c1_o1_i3_k3_grad")
    with pytest.raises(CaseSyntaxError, match=r"'f32@normal\.1'"):
        ConvConfig.parse("conv2d_c1_o1_i3_k3_f32@normal.1")
    assert str(ConvConfig.parse("conv2d_c1_o1_i3_k3_p0")) == "conv2d_c1_o1_i3_k3_f32"


def test_an_invalid_convolution_is_still_a_case() -> None:
    """A line may describe a convolution that does not exist: it parses, prints, and says what is wrong with it."""
    case = Case.parse("conv2d_c3_o4_g2_i3_k3_f32")
    assert str(case) == "conv2d_c3_o4_g2_i3_k3_f32"
    assert case.config.invalid_reason == "groups=2 does not divide in_channels=3"


@pytest.mark.parametrize("regime", REGIMES)
def test_recipe_round_trip(regime: str) -> None:
    """Every regime prints and parses, up to the largest seed."""
    for seed in (0, 1, 2**63 - 1):
        recipe = DataRecipe(regime, seed)
        assert DataRecipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "1", True])
def test_recipe_seeds(seed: Any) -> None:
    """A seed that is no whole number in 0 … 2^63 − 1 is refused with its value."""
    with pytest.raises(InvalidConfig, match=f"seed={seed!r} is not a whole number"):
        DataRecipe("normal", seed)


def test_recipe_regimes() -> None:
    """An unknown regime is refused with the list of those that exist."""
    with pytest.raises(InvalidConfig, match="regime='gauss' is not one of integers, normal, positive"):
        DataRecipe("gauss")


@pytest.mark.parametrize("seed", [2**63, 10**19 - 1])
def test_a_seed_that_is_too_large_is_a_syntax_error(seed: int) -> None:
    """A line whose seed is beyond 2^63 − 1 does not parse, and the error names the seed."""
    with pytest.raises(CaseSyntaxError, match=str(seed)):
        Case.parse(f"conv2d_c1_o1_i3_k3_f32@normal.{seed}")


def test_passes() -> None:
    """Gradients run after the forward pass, the bias's only where there is one."""
    assert Case.parse("conv2d_c1_o1_i3_k3_b").passes == ("forward",)
    assert Case.parse("conv2d_c1_o1_i3_k3_grad").passes == ("forward", "grad_input", "grad_weight")
    assert Case.parse("conv2d_c1_o1_i3_k3_b_grad").passes == ("forward", "grad_input", "grad_weight", "grad_bias")
