"""Verdicts on integer dtypes: exact, modulo 2^bits where a sum is beyond the dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors.drawn import WHOLE, seeds, whole_layers

from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Verdict

from .rounding import Array, correct

PLAIN = Numerics()
REGIMES = ["integers", "normal", "positive", "sparse", "one-hot", "huge"]
every_dtype = pytest.mark.parametrize("dtype", ["i8", "i32", "i64"])


def summed(tensors: Tensors, dtype: str) -> Array:
    """Sum a one-dimensional convolution of stride one in Python's own integers, without their remainder taken."""
    x, w = tensors.x.astype(object), tensors.w.astype(object)
    size = x.shape[2] - w.shape[2] + 1
    y = sum(w[None, :, c, k, None] * x[:, c, None, k : k + size] for c in range(w.shape[1]) for k in range(w.shape[2]))
    assert isinstance(y, np.ndarray)
    return y if tensors.b is None else y + tensors.b.astype(object)[:, None]


@settings(deadline=None, max_examples=100)
@given(config=whole_layers(dtypes=WHOLE), regime=st.sampled_from(REGIMES), seed=seeds)
def test_the_reference_agrees(config: ConvConfig, regime: str, seed: int) -> None:
    """The reference's own sums agree, on data that wrap around too."""
    case = Case(config, DataRecipe(regime, seed))
    tensors = make_tensors(case)
    output = correct(case, tensors)["forward"]
    found = Judge(case, tensors).judge(output, PLAIN)
    assert (found.verdict, found.suspect) == (Verdict.AGREE, False)
    assert found.discrepancy is not None
    assert (found.discrepancy.elements, found.discrepancy.over) == (output.size, 0)


@every_dtype
@pytest.mark.parametrize("regime", REGIMES)
def test_sums_wrap_around(dtype: str, regime: str) -> None:
    """What agrees is the true sum modulo 2^bits; saturated at the dtype's limits it does not agree where that differs."""
    case = Case.parse(f"conv1d_n2_c3_o4_i9_k3_b_{dtype}@{regime}.3")
    tensors = make_tensors(case)
    judge, limits = Judge(case, tensors), np.iinfo(case.config.dtype)
    true = summed(tensors, dtype)
    span = int(limits.max) - int(limits.min) + 1
    wrapped = ((true - int(limits.min)) % span + int(limits.min)).astype(case.config.dtype)
    assert judge.judge(wrapped, PLAIN).verdict is Verdict.AGREE
    saturated = np.clip(true, int(limits.min), int(limits.max)).astype(case.config.dtype)
    assert (judge.judge(saturated, PLAIN).verdict is Verdict.WRONG) == bool((saturated != wrapped).any())
    if regime == "huge":
        assert (saturated != wrapped).any()


@every_dtype
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("numerics", [PLAIN, Numerics(algorithm="transform"), Numerics(accumulator="float16")])
def test_one_unit_is_wrong(dtype: str, regime: str, numerics: Numerics) -> None:
    """A single unit off is wrong on any data, whatever is declared, and needs nothing to settle it."""
    case = Case.parse(f"conv2d_n2_c3_o4_i9_k3_b_{dtype}@{regime}.3")
    tensors = make_tensors(case)
    judge, output = Judge(case, tensors), correct(case, tensors)["forward"]
    at = (1, 2, 3, 4)
    output[at] ^= 1
    found = judge.judge(output, numerics)
    assert (found.verdict, found.suspect, found.model) == (Verdict.WRONG, False, "")
    assert found.discrepancy is not None
    assert (found.discrepancy.over, found.discrepancy.index, found.discrepancy.elements) == (1, at, output.size)
    assert found.discrepancy.max_abs >= 1.0
    assert found.discrepancy.expected == float(judge.expected.y[at])
    assert f"got {int(output[at])}" in found.reason


def test_differences_beyond_float64_are_seen() -> None:
    """Two 64-bit integers that float64 does not tell apart are told apart."""
    case = Case.parse("conv1d_c1_o1_i2_k1_i64@huge.0")
    x, w = np.array([[[2**62 + 1, 5]]]), np.array([[[1]]])
    judge = Judge(case, Tensors(x, w, None))
    assert judge.judge(np.array([[[2**62 + 1, 5]]]), PLAIN).verdict is Verdict.AGREE
    found = judge.judge(np.array([[[2**62, 5]]]), PLAIN)
    assert found.verdict is Verdict.WRONG
    assert found.discrepancy is not None
    assert (found.discrepancy.max_abs, found.discrepancy.index) == (1.0, (0, 0, 0))


def test_the_worst_integer_is_shown() -> None:
    """The element shown is the one that is furthest off, with the relative tolerance that would pass."""
    case = Case.parse("conv1d_c1_o1_i4_k1_i32@normal.0")
    judge = Judge(case, Tensors(np.array([[[10, 20, 0, 40]]], np.int32), np.array([[[1]]], np.int32), None))
    found = judge.judge(np.array([[[11, 20, 0, 80]]], np.int32), PLAIN).discrepancy
    assert found is not None
    assert (found.index, found.expected, found.actual, found.max_abs, found.over) == ((0, 0, 3), 40.0, 80.0, 40.0, 2)
    assert found.required_rtol == 1.0
    assert (found.ratio, found.u_s) == (None, None)


@every_dtype
def test_another_integer_type_is_another_dtype(dtype: str) -> None:
    """A sum in a wider integer type, or in floating point, is the wrong dtype even where its numbers are right."""
    case = Case.parse(f"conv2d_c1_o2_i5_k3_{dtype}@integers.1")
    tensors = make_tensors(case)
    judge, output = Judge(case, tensors), correct(case, tensors)["forward"]
    for other in (np.int16, np.float32, np.uint8):
        assert judge.judge(output.astype(other), PLAIN).verdict is Verdict.WRONG_DTYPE


@every_dtype
@pytest.mark.parametrize("shape", ["n0_c2_o2_i5_k3", "c2_o0_i5_k3", "c0_o2_i5_k3"])
def test_empty_integers_agree(shape: str, dtype: str) -> None:
    """Without a batch, inputs or outputs there is nothing, or nothing but the bias."""
    case = Case.parse(f"conv2d_{shape}_b_{dtype}@integers.1")
    tensors = make_tensors(case)
    output = correct(case, tensors)["forward"]
    assert Judge(case, tensors).judge(output, PLAIN).verdict is Verdict.AGREE
    if output.size:
        assert tensors.b is not None
        np.testing.assert_array_equal(output, np.broadcast_to(tensors.b[:, None, None], (2, 3, 3))[None])
