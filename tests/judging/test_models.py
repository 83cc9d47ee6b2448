"""Which arithmetic explains an output: the narrowest one that does, and one that can be tried out only if it really gives it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from convfuzz import Case, Numerics, Verdict
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import Judgement
from convfuzz.judging.models import MODELS
from convfuzz.judging.numerics import INPUT_ROUNDINGS
from convfuzz.tensors.generator import Tensors

Array = npt.NDArray[Any]


def operands(taps: int, dtype: str, *, seed: int = 1, scale: float = 1.0) -> tuple[Array, Array]:
    """Draw x (taps, sites) and w (kernels, taps)."""
    draw = np.random.default_rng(seed)
    return tuple((scale * draw.standard_normal(shape)).astype(numpy_dtype(dtype)) for shape in ((taps, 6), (5, taps)))


def judged(x: Array, w: Array, y: Array, declared: Numerics | None = None) -> Judgement:
    """Judge the sums of a 1x1 convolution."""
    config = ConvConfig(dims=1, in_channels=len(x), out_channels=len(w), input_size=(x.shape[1],), kernel_size=(1,), dtype=x.dtype.name)
    output = y.astype(x.dtype)[None]
    return Judge(Case(config), Tensors(x[None], w[:, :, None], None)).judge(output, declared or Numerics())


def exact(x: Array, w: Array) -> Array:
    """Return the sums in float64."""
    return w.astype(np.float64) @ x.astype(np.float64)


def running(x: Array, w: Array) -> Array:
    """Add up in the operands' own dtype."""
    total = np.zeros((len(w), x.shape[1]), x.dtype)
    for k in range(len(x)):
        total = total + w[:, k, None] * x[k]
    return total


@pytest.mark.parametrize(("inputs", "model"), [(c["inputs"], name) for name, c in MODELS.items() if "inputs" in c])
@pytest.mark.parametrize("taps", [1, 30, 1000])
def test_rounded_operands_are_shown(inputs: Any, model: str, taps: int) -> None:
    """Each rounding of the operands is told from the others, by really rounding them, and passes when it is declared."""
    x, w = operands(taps, "float32")
    y = exact(*(INPUT_ROUNDINGS[inputs].apply(a.astype(np.float64)) for a in (x, w)))
    found = judged(x, w, y)
    assert (found.verdict, found.model, found.shown) == (Verdict.IMPRECISE, model, True)
    assert not judged(x, w, y, Numerics(inputs=inputs)).verdict.failing


@pytest.mark.parametrize("outputs", ["float16", "bfloat16"])
def test_rounded_results_are_shown(outputs: Any) -> None:
    """Results that are all numbers of a narrower format are explained by being stored in it, and pass when that is declared."""
    x, w = operands(100, "float32")
    y = exact(x, w).astype(numpy_dtype(outputs)).astype(np.float32)
    found = judged(x, w, y)
    assert (found.verdict, found.model, found.shown) == (Verdict.IMPRECISE, f"{outputs} results", True)
    assert not judged(x, w, y, Numerics(outputs=outputs)).verdict.failing
    y[2, 3] += np.float32(2.0**-12)
    assert judged(x, w, y).model != f"{outputs} results"


def test_whole_numbers_that_are_rounded_when_stored() -> None:
    """Sums of integers beyond what a format holds are imprecise if they are stored in it, and wrong if a tap is missing."""
    draw = np.random.default_rng(3)
    x, w = draw.integers(1, 9, (400, 6)).astype(np.float32), draw.integers(1, 9, (5, 400)).astype(np.float32)
    config = ConvConfig(dims=1, in_channels=400, out_channels=5, input_size=(6,), kernel_size=(1,))
    judge = Judge(Case(config), Tensors(x[None], w[:, :, None], None), integers=True)
    found = judge.judge(exact(x, w).astype(ml_dtypes.bfloat16).astype(np.float32)[None], Numerics())
    assert (found.verdict, found.model) == (Verdict.IMPRECISE, "bfloat16 results")
    assert judge.judge((exact(x, w) - 64.0).astype(np.float32)[None], Numerics()).verdict is Verdict.WRONG


def test_truncated_results_are_one_unit_off() -> None:
    """A bfloat16 result that is cut off has the narrow explanation, no short accumulator."""
    x, w = operands(100, "bfloat16")
    cut = (exact(x, w).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    assert judged(x, w, cut).model == "bfloat16 results"
    assert not judged(x, w, cut, Numerics(outputs="bfloat16")).verdict.failing


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("taps", [100, 2000])
def test_short_accumulators_are_shown(dtype: Any, taps: int) -> None:
    """Sums that were kept in the 16-bit dtype are explained by that, and pass when it is declared."""
    x, w = operands(taps, dtype)
    y = running(x, w)
    found = judged(x, w, y)
    assert (found.verdict, found.model, found.shown) == (Verdict.IMPRECISE, f"{dtype} accumulation", True)
    assert not judged(x, w, y, Numerics(accumulator=dtype)).verdict.failing


def test_no_bfloat16_sum_is_explained_by_float16_accumulation() -> None:
    """What sums in float16 would be off by is, of bfloat16 data, laid to sums in bfloat16."""
    x, w = operands(1000, "bfloat16", scale=0.125)
    y = running(x.astype(np.float16), w.astype(np.float16))
    assert judged(x, w, y.astype(ml_dtypes.bfloat16)).model in ("bfloat16 results", "bfloat16 accumulation", "")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_inputs_that_are_short_already_explain_nothing(dtype: str) -> None:
    """Rounding inputs to a format that has all numbers of their dtype changes none of them, so that it explains no error."""
    x, w = operands(64, dtype)
    y = exact(x, w)
    for error in np.geomspace(1e-6, 10.0, 60):
        assert "inputs" not in MODELS.get(judged(x, w, y * (1.0 + error)).model, {})


def test_a_narrow_range_explains_no_vanished_sum() -> None:
    """float64 sums far below the range of a shorter format do not become explained by being lost in it."""
    x, w = operands(20, "float64", scale=2.0**-200)
    found = judged(x, w, np.zeros((5, 6)))
    assert (found.verdict, found.model) == (Verdict.WRONG, "")


def test_a_short_accumulator_that_is_declared_is_no_licence() -> None:
    """With sums in bfloat16 declared, a transform in such a format is not offered as an explanation of nonsense."""
    x, w = operands(576, "bfloat16")
    declared = Numerics(accumulator="bfloat16")
    for nonsense in (0.0, 2.0, -1.0):
        found = judged(x, w, nonsense * exact(x, w), declared)
        assert (found.verdict, found.model) == (Verdict.WRONG, "")


def test_the_middle_of_two_stored_numbers_may_be_either() -> None:
    """A result that lies as near to two numbers of the declared format may be stored as either, and as no other."""
    declared = Numerics(outputs="bfloat16")
    for actual, stored in ((256.0, 256.0), (258.0, 258.0), (260.0, 256.0), (257.0, 257.0)):
        assert declared.stored(np.array([257.0]), np.array([actual])).tolist() == [stored]
