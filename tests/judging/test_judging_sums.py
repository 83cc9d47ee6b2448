"""Verdicts on finite outputs: exact on integers, within the derived tolerance elsewhere, and settled by integers in doubt."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convfuzz
from convfuzz.case import REGIMES, Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import Judgement, settle
from convfuzz.judging.numerics import Numerics
from convfuzz.oracle import reference
from convfuzz.strategies import cases
from convfuzz.tensors.generator import Array, Tensors, make_tensors
from convfuzz.verdicts import Verdict

from .rounding import correct, rounded

PLAIN = Numerics()
TRANSFORM = Numerics(algorithm="transform")
LAYER = "conv2d_n2_c8_o4_i9_k3_p1_b"


def prepare(line: str) -> tuple[Case, Tensors, Judge]:
    """Fill the tensors of a case and make its judge."""
    case = Case.parse(line)
    tensors = make_tensors(case)
    return case, tensors, Judge(case, tensors)


def with_rounded_inputs(case: Case, tensors: Tensors, name: str) -> npt.NDArray[Any]:
    """Compute what hardware gives that rounds its inputs to a shorter format first."""
    x, w = (FLOATS[name].round(a.astype(np.float64)) for a in (tensors.x, tensors.w))
    return rounded(reference(case.config, x, w, tensors.b).y, case)


def without_a_tap(case: Case, tensors: Tensors) -> npt.NDArray[Any]:
    """Compute the layer without one tap of the first output channel."""
    w = tensors.w.astype(np.float64)
    w[0, 0].flat[w[0, 0].size // 2] = 0.0
    return rounded(reference(case.config, tensors.x, w, tensors.b).y, case)


def in_sequence(case: Case, tensors: Tensors, dtype: str) -> npt.NDArray[Any]:
    """Sum a one-dimensional convolution tap by tap, rounding products and sums to ``dtype``."""
    form, config = FLOATS[dtype], case.config
    x, w = tensors.x.astype(np.float64), tensors.w.astype(np.float64)
    total = np.zeros(config.output_shape)
    for channel in range(config.in_channels):
        for tap in range(config.kernel_size[0]):
            window = x[:, channel, None, tap : tap + config.output_size[0]]
            total = form.round(total + form.round(w[None, :, channel, tap, None] * window))
    return rounded(total, case)


# -- integers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
def test_exact_integers_agree(dtype: str) -> None:
    """The exact sums agree, and the discrepancy says how many elements were compared and nothing else."""
    case, _, judge = prepare(f"{LAYER}_{dtype}@integers.1")
    found = judge.judge(rounded(judge.expected.y, case), PLAIN)
    assert (found.verdict, found.suspect, found.reason) == (Verdict.AGREE, False, "")
    assert found.discrepancy is not None
    assert (found.discrepancy.elements, found.discrepancy.max_abs, found.discrepancy.over) == (2 * 4 * 81, 0.0, 0)


@pytest.mark.parametrize(
    ("offset", "numerics", "verdict"),
    [
        (1.0, PLAIN, Verdict.WRONG),
        (-1.0, TRANSFORM, Verdict.WRONG),
        (0.5, PLAIN, Verdict.WRONG),
        (0.5, TRANSFORM, Verdict.WRONG),
        (0.25, PLAIN, Verdict.IMPRECISE),
        (-0.25, PLAIN, Verdict.IMPRECISE),
        (0.25, TRANSFORM, Verdict.AGREE),
        (1e6, TRANSFORM, Verdict.WRONG),
    ],
)
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_integers_that_are_off(offset: float, numerics: Numerics, verdict: Verdict, dtype: str) -> None:
    """Half a unit is a wrong sum whatever the algorithm; less is rounding, which only a transform may have. No doubt remains."""
    case, _, judge = prepare(f"{LAYER}_{dtype}@integers.1")
    y = judge.expected.y.copy()
    y[1, 2, 3, 4] += offset
    found = judge.judge(rounded(y, case), numerics)
    assert (found.verdict, found.suspect) == (verdict, False)
    assert found.discrepancy is not None
    assert (found.discrepancy.max_abs, found.discrepancy.index, found.discrepancy.over) == (abs(offset), (1, 2, 3, 4), 1)
    assert (found.discrepancy.ratio, found.discrepancy.u_s) == (None, None)
    if verdict is Verdict.IMPRECISE:
        assert found.model == "Winograd or FFT"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("numerics", [PLAIN, TRANSFORM])
def test_integers_that_are_not_finite(value: float, numerics: Numerics) -> None:
    """NaN and Inf among integers are a failure of their own, whatever the algorithm."""
    case, _, judge = prepare(f"{LAYER}_f32@integers.1")
    y = judge.expected.y.copy()
    y[0, 1, 2, 3] = value
    found = judge.judge(rounded(y, case), numerics)
    assert found.verdict is Verdict.NON_FINITE
    assert found.discrepancy is not None
    assert (found.discrepancy.non_finite, found.discrepancy.index) == (1, (0, 1, 2, 3))


# -- everything else --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=250)
@given(case=cases(), numerics=st.sampled_from([PLAIN, TRANSFORM, Numerics(accumulator="float64"), Numerics(bias="separate")]))
def test_correct_rounding_agrees(case: Case, numerics: Numerics) -> None:
    """The reference itself, rounded once to the output's dtype, agrees on every case and pass, whatever a backend declares."""
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    for in_pass, output in correct(case, tensors).items():
        found = judge.judge(output, numerics, in_pass)
        assert found.verdict is Verdict.AGREE, (in_pass, found)


@settings(deadline=None, max_examples=150)
@given(
    dtype=st.sampled_from(["f64", "f32", "f16", "bf16"]),
    regime=st.sampled_from([r for r in REGIMES if r not in ("special", "huge")]),
    channels=st.integers(1, 40),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_plain_loop_agrees(dtype: str, regime: str, channels: int, seed: int) -> None:
    """A loop over the taps in the accumulator's dtype agrees on every regime and dtype, subnormal numbers included."""
    case = Case.parse(f"conv1d_n2_c{channels}_o3_i12_k4_{dtype}@{regime}.{seed}")
    tensors = make_tensors(case)
    output = in_sequence(case, tensors, PLAIN.accumulator_format(case.config.dtype).name)
    found = Judge(case, tensors).judge(output, PLAIN)
    assert found.verdict is Verdict.AGREE, found


@pytest.mark.parametrize("regime", ["normal", "positive", "tiny", "cancellation"])
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
def test_a_dropped_tap_is_wrong(dtype: str, regime: str) -> None:
    """One tap less in one kernel is suspected on any data, at any scale, and wrong once integers are asked."""
    case, tensors, judge = prepare(f"{LAYER}_{dtype}@{regime}.3")
    found = judge.judge(without_a_tap(case, tensors), PLAIN)
    assert found.verdict in (Verdict.WRONG, Verdict.IMPRECISE)
    assert found.suspect
    assert found.discrepancy is not None
    assert found.discrepancy.ratio is not None
    assert found.discrepancy.ratio > 1.0
    _, integers, exact = prepare(f"{LAYER}_{dtype}@integers.3")
    settled = settle(found, exact.judge(without_a_tap(exact.case, integers), PLAIN))
    assert (settled.verdict, settled.model, settled.suspect) == (Verdict.WRONG, "", False)
    assert "wrong on integers too" in settled.reason


@pytest.mark.parametrize(("inputs", "model"), [("tfloat32", "TF32 inputs"), ("bfloat16", "bfloat16 inputs")])
def test_rounded_inputs_are_imprecise(inputs: Any, model: str) -> None:
    """Silently rounded inputs are imprecise and named, also after integers showed the taps right; declared they agree."""
    case, tensors, judge = prepare(f"{LAYER}_f32@normal.3")
    output = with_rounded_inputs(case, tensors, inputs)
    found = judge.judge(output, PLAIN)
    assert (found.verdict, found.model, found.suspect) == (Verdict.IMPRECISE, model, True)
    integers_case, integers, exact = prepare(f"{LAYER}_f32@integers.3")
    tie_breaker = exact.judge(with_rounded_inputs(integers_case, integers, inputs), PLAIN)
    assert tie_breaker.verdict is Verdict.AGREE
    settled = settle(found, tie_breaker)
    assert (settled.verdict, settled.model, settled.suspect) == (Verdict.IMPRECISE, model, False)
    assert model in settled.reason
    assert judge.judge(output, Numerics(inputs=inputs)).verdict is Verdict.AGREE


@pytest.mark.parametrize("regime", ["integers", "normal"])
def test_results_that_may_be_rounded_to_bfloat16(regime: str) -> None:
    """Declared, all or some results may be bfloat16, rounded to nearest; undeclared they may not, and a dropped tap is none of it."""
    case, tensors, judge = prepare(f"conv2d_n2_c40_o4_i9_k3_p1_b_f32@{regime}.3")
    declared = Numerics(outputs="bfloat16")
    exact = correct(case, tensors)["forward"]
    narrow = FLOATS["bfloat16"].round(exact.astype(np.float64)).astype(np.float32)
    some = np.where(np.arange(exact.size).reshape(exact.shape) % 2, exact, narrow)
    assert not np.array_equal(narrow, exact)
    for output in (exact, narrow, some):
        assert judge.judge(output, declared).verdict is Verdict.AGREE
    assert judge.judge(narrow, PLAIN).verdict is not Verdict.AGREE
    assert judge.judge(without_a_tap(case, tensors), declared).verdict is not Verdict.AGREE
    if regime == "integers":
        towards_zero = (exact.view(np.uint32) & 0xFFFF0000).view(np.float32)
        assert judge.judge(towards_zero, declared).verdict is not Verdict.AGREE


def test_a_declaration_covers_no_more_than_it_says() -> None:
    """bfloat16 inputs exceed a declaration of TF32 inputs."""
    case, tensors, judge = prepare(f"{LAYER}_f32@normal.3")
    found = judge.judge(with_rounded_inputs(case, tensors, "bfloat16"), Numerics(inputs="tfloat32"))
    assert (found.verdict, found.model) == (Verdict.IMPRECISE, "bfloat16 inputs")


@pytest.mark.parametrize(
    ("dtype", "accumulator", "models"),
    [
        ("f16", "float16", {"bfloat16 inputs", "float16 accumulation"}),  # an input rounding that loses as much explains it as well
        ("bf16", "bfloat16", {"bfloat16 accumulation"}),
    ],
)
def test_low_precision_accumulation_is_imprecise(dtype: str, accumulator: str, models: set[str]) -> None:
    """Sums kept in the 16-bit type itself are imprecise, and no rounding of inputs that the type has anyway explains them."""
    case, tensors, judge = prepare(f"conv1d_n4_c64_o8_i40_k3_{dtype}@normal.1")
    output = in_sequence(case, tensors, accumulator)
    found = judge.judge(output, PLAIN)
    assert found.verdict is Verdict.IMPRECISE
    assert found.model in models
    assert judge.judge(output, Numerics(accumulator=accumulator)).verdict is Verdict.AGREE


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
def test_flushed_subnormals(dtype: str) -> None:
    """Subnormal operands taken for zero are imprecise and named where it is not declared, and agree where it is."""
    case, _, judge = prepare(f"conv1d_n2_c6_o4_i12_k3_{dtype}@subnormal.1")
    output = rounded(np.zeros(case.config.output_shape), case)
    assert judge.judge(output, Numerics(flushes_subnormals=True)).verdict is Verdict.AGREE
    found = judge.judge(output, PLAIN)
    assert (found.verdict, found.model) == (Verdict.IMPRECISE, "flushed subnormals")


@pytest.mark.parametrize("dtype", ["f64", "f32", "bf16"])
def test_flushed_normals_are_no_flushed_subnormals(dtype: str) -> None:
    """A backend that flushes subnormals may not lose sums of tiny but normal products."""
    case, _, judge = prepare(f"conv1d_n2_c6_o4_i12_k3_{dtype}@tiny.1")
    output = rounded(np.zeros(case.config.output_shape), case)
    assert judge.judge(output, Numerics(flushes_subnormals=True)).verdict is Verdict.WRONG


def test_the_smallest_float64_products_are_judged_fairly() -> None:
    """Half of the smallest subnormal number is no number: either neighbour of a product there agrees, two steps off does not."""
    case = Case.parse("conv1d_c1_o1_i3_k1_f64@subnormal.0")
    x, w = np.array([[[5e-324, 3 * 5e-324, 2e-320]]]), np.array([[[1.5]]])
    judge = Judge(case, Tensors(x, w, None))
    with np.errstate(under="ignore"):
        product = x * w
    for off in (-1, 0, 1):
        assert judge.judge(product + off * 5e-324, PLAIN).verdict is Verdict.AGREE
    assert judge.judge(product + 4 * 5e-324, PLAIN).verdict is not Verdict.AGREE


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**63 - 1))
def test_the_order_of_subnormal_float64_sums_is_free(seed: int) -> None:
    """float64 loops over subnormal data agree forwards and backwards."""
    case = Case.parse(f"conv1d_c9_o2_i7_k3_f64@subnormal.{seed}")
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    products = tensors.w[:, :, :, None] * np.stack([tensors.x[0, :, k : k + 5] for k in range(3)], axis=1)
    flat = products.reshape(2, 27, 5)
    for order in (flat, flat[:, ::-1]):
        total = np.zeros((2, 5))
        for tap in range(27):
            total = total + order[:, tap]
        assert judge.judge(total[None], PLAIN).verdict is Verdict.AGREE


def test_a_proof_is_said() -> None:
    """The reason says whether no order of summation explains an error, or only that it is unlikely."""
    case, _, judge = prepare("conv1d_n1_c64_o1_i9_k3_f32@normal.1")
    y = judge.expected.y
    assert judge.expected.S is not None
    unlikely, impossible = y.copy(), y.copy()
    unlikely[0, 0, 0] += 0.5 * 192 * 2.0**-24 * judge.expected.S[0, 0, 0]
    impossible[0, 0, 0] += 2.0 * 192 * 2.0**-24 * judge.expected.S[0, 0, 0]
    for output, said in ((unlikely, "beyond the statistical bound"), (impossible, "no order of summation explains")):
        found = judge.judge(rounded(output, case), PLAIN)
        assert found.suspect
        assert said in found.reason
        assert found.reason.startswith("1 of 7 elements")


# -- what settles a doubt ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suspect", "model", "integers", "settled", "kept_model"),
    [
        (Verdict.IMPRECISE, "TF32 inputs", Verdict.AGREE, Verdict.IMPRECISE, "TF32 inputs"),
        (Verdict.IMPRECISE, "Winograd or FFT", Verdict.IMPRECISE, Verdict.IMPRECISE, "Winograd or FFT"),
        (Verdict.IMPRECISE, "bfloat16 inputs", Verdict.WRONG, Verdict.WRONG, ""),
        (Verdict.IMPRECISE, "bfloat16 inputs", Verdict.NON_FINITE, Verdict.WRONG, ""),
        (Verdict.WRONG, "", Verdict.WRONG, Verdict.WRONG, ""),
        (Verdict.WRONG, "", Verdict.AGREE, Verdict.WRONG, ""),
    ],
)
def test_settle(suspect: Verdict, model: str, integers: Verdict, settled: Verdict, kept_model: str) -> None:
    """Clean integers leave the explaining model standing; without one, or wrong on integers, it is wrong."""
    doubt = Judgement(verdict=suspect, reason="doubt", model=model, suspect=True)
    found = settle(doubt, Judgement(verdict=integers, reason="why"))
    assert (found.verdict, found.model, found.suspect) == (settled, kept_model, False)
    assert found.reason.startswith("doubt; ")


# -- form before content ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regime", ["integers", "normal"])
def test_shape_and_dtype_come_first(regime: str) -> None:
    """Another shape or dtype is its own verdict that names both, whatever the values."""
    case, _, judge = prepare(f"conv2d_n2_c1_o4_i5_k3_f32@{regime}.1")
    y = rounded(judge.expected.y, case)
    found = judge.judge(y[0], PLAIN)
    assert (found.verdict, found.reason) == (Verdict.WRONG_SHAPE, "shape (4, 3, 3), expected (2, 4, 3, 3)")
    found = judge.judge(y.transpose(0, 2, 3, 1), PLAIN)
    assert found.verdict is Verdict.WRONG_SHAPE
    found = judge.judge(judge.expected.y, PLAIN)
    assert (found.verdict, found.reason) == (Verdict.WRONG_DTYPE, "dtype float64, expected float32")
    assert judge.judge(np.asfortranarray(y), PLAIN).verdict is Verdict.AGREE


@pytest.mark.parametrize("regime", ["integers", "normal", "special"])
@pytest.mark.parametrize("shape", ["n0_c2_o2_i5_k3", "c2_o0_i5_k3"])
def test_empty_outputs_agree(shape: str, regime: str) -> None:
    """An output without elements agrees; that nothing was compared is recorded."""
    case, _, judge = prepare(f"conv2d_{shape}_b_f32@{regime}.1")
    found = judge.judge(rounded(judge.expected.y, case), PLAIN)
    assert found.verdict is Verdict.AGREE
    assert found.discrepancy is not None
    assert found.discrepancy.elements == 0


def test_windows_without_taps_hold_the_bias() -> None:
    """Where a window lies on padding alone, only the bias counts as a tap: it is due, and without one zero is."""
    case, tensors, judge = prepare("conv1d_c0_o2_i3_k1_b_f32@normal.1")
    assert tensors.b is not None
    y = np.broadcast_to(tensors.b[None, :, None], (1, 2, 3))
    assert judge.judge(y.copy(), PLAIN).verdict is Verdict.AGREE
    assert judge.judge(np.zeros_like(y), PLAIN).verdict is not Verdict.AGREE
    case, _, judge = prepare("conv1d_c1_o1_i2_k1_p2_f32@normal.1")
    y = rounded(judge.expected.y, case)
    assert judge.judge(y, PLAIN).verdict is Verdict.AGREE
    y[0, 0, 0] = 1e-3
    assert judge.judge(y, PLAIN).verdict is Verdict.WRONG


def test_failing_verdicts() -> None:
    """Every verdict but agreement and a declined case is a failure, the gravest first."""
    assert [v.value for v in Verdict if not v.failing] == ["agree", "unsupported"]
    assert [v.value for v in Verdict if v.failing] == [
        "crash",
        "timeout",
        "memory",
        "corrupted-input",
        "wrong-shape",
        "wrong-dtype",
        "non-finite",
        "wrong",
        "error",
        "accepted-invalid",
        "imprecise",
        "nondeterministic",
    ]


def test_the_recipe_decides_the_tier() -> None:
    """The same configuration is exact on integers and has a tolerance on any other data."""
    config = Case.parse("conv1d_c2_o2_i5_k3_f32").config
    for regime in REGIMES:
        case = Case(config, DataRecipe(regime, 1))
        judge = Judge(case, make_tensors(case))
        found = judge.judge(rounded(judge.expected.y, case), PLAIN).discrepancy
        assert found is not None
        assert (found.ratio is None) == (regime == "integers")


def test_a_declared_transform_may_round_inputs_that_no_tap_reads() -> None:
    """An FFT's rounding is relative to its whole map, of which a dilated kernel that fits once keeps one site."""

    @convfuzz.backend(dims=(1,), numerics=Numerics(algorithm="transform"))
    def fft(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        del b
        size, spread = x.shape[-1], np.zeros((*w.shape[:2], *config.effective_kernel), np.float32)
        spread[..., :: config.dilation[0]] = w
        spectra = np.fft.rfft(x)[:, None] * np.fft.rfft(spread, size).conj()[None]
        y: Array = np.fft.irfft(spectra.sum(axis=2), size)[..., : config.output_size[0]]
        return y.astype(np.float32)

    for seed in range(40):
        (result,) = convfuzz.check(f"conv1d_o3_c1_i7_k3_d3_f32@sparse.{seed}", [fft]).results
        assert result.verdict is Verdict.AGREE, (seed, result.reason)
