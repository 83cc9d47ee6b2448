"""Whatever arithmetic is declared, a kernel that computes in it is right: made one operation at a time, on every kind of data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convfuzz import Case, Numerics, Verdict
from convfuzz.case import REGIMES
from convfuzz.case.dtypes import FloatFormat, component_format, is_complex, numpy_dtype
from convfuzz.judging.element_products import products_in_two_orders
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import INPUT_ROUNDINGS, OUTPUT_ROUNDINGS, Rounding
from convfuzz.tensors.generator import Tensors, make_tensors

Floats = npt.NDArray[np.float64]

LAYERS = (
    "conv1d_c3_o2_i9_k3_p1_b_{}",
    "conv1d_c40_o2_i7_k5_b_{}",
    "conv1d_c1_o2_i4_k1_{}",
    "conv2d_n2_c4_o2_g2_i5_k3_s2_p1_b_{}",
    "convt1d_c5_o3_i6_k4_s2_{}",
    "conv1d_c300_o3_i2_k2_b_{}",
    "conv1d_n2_c3_o2_i7_k3_d2_pmreflect_p3:2_b_{}",
)
DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "complex64": "c64", "float64": "f64"}


class Kernel:
    """A kernel that computes in a declared arithmetic, in an order of its own, which is drawn."""

    def __init__(self, numerics: Numerics, dtype: str, draw: np.random.Generator) -> None:
        self.numerics, self.dtype, self.own, self._draw = numerics, dtype, component_format(dtype), draw
        self._accumulator = Rounding(numerics.accumulator_format(dtype), truncated=numerics.truncates)
        self._rounds_products, self._lanes = bool(draw.integers(2)), int(draw.choice([1, 4, 16]))

    def output(self, case: Case, tensors: Tensors, in_pass: str) -> npt.NDArray[Any]:
        """Return one pass."""
        numerics, shape = self.numerics, (*case.shape_of(in_pass), *([2] if is_complex(self.dtype) else []))
        given = {name: self._operand(array, name) for name, array in tensors.named().items()}
        places = np.stack(np.unravel_index(np.arange(int(np.prod(shape))), shape), axis=1)
        with np.errstate(all="ignore"):
            rounded = Tensors(given["x"], given["w"], given.get("b"), given.get("dy"))
            terms = products_in_two_orders(case.config, rounded, in_pass, places)[0]
            has_bias = in_pass == "forward" and "b" in given
            bias = terms[-1] if has_bias else np.zeros(len(places))
            y = self._sum(terms[:-1] if has_bias else terms)
            if has_bias and numerics.bias == "separate":
                y = self._stored(self._stored(y) + bias)
            else:
                y = self._added(y, bias) if has_bias else y
            if numerics.outputs != "exact":
                y = OUTPUT_ROUNDINGS[numerics.outputs].apply(y)
            y = self._stored(y).reshape(shape)
            made = np.empty(shape[:-1], np.complex128) if is_complex(self.dtype) else y
            if is_complex(self.dtype):
                made.real, made.imag = y[..., 0], y[..., 1]
            return made.astype(numpy_dtype(self.dtype))

    def _operand(self, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        if array.dtype.kind != "c":
            return self._coarse(array.astype(np.float64), name)
        made = np.empty(array.shape, np.complex128)
        made.real, made.imag = (self._coarse(part.astype(np.float64), name) for part in (array.real, array.imag))
        return made

    def _coarse(self, values: Floats, name: str) -> Floats:
        if self.numerics.inputs != "exact" and name != "b":
            with np.errstate(all="ignore"):
                values = INPUT_ROUNDINGS[self.numerics.inputs].apply(values)
        return self._flushed(values, self.own)

    def _flushed(self, values: Floats, form: FloatFormat) -> Floats:
        return np.where(np.abs(values) < form.tiny, 0.0, values) if self.numerics.flushes_subnormals else values

    def _sum(self, terms: Floats) -> Floats:
        if self._rounds_products:
            terms = self._flushed(self._accumulator.apply(terms), self._accumulator.form)
        terms = terms[self._draw.permutation(len(terms))]
        lanes = np.zeros((self._lanes, terms.shape[1]))
        for first in range(0, len(terms), self._lanes):
            part = terms[first : first + self._lanes]
            lanes[: len(part)] = self._added(lanes[: len(part)], part)
        total = lanes[0]
        for lane in lanes[1:]:
            total = self._added(total, lane)
        return total

    def _added(self, one: Floats, other: Floats) -> Floats:
        return self._flushed(self._accumulator.apply(one + other), self._accumulator.form)

    def _stored(self, values: Floats) -> Floats:
        return self._flushed(self.own.round(values), self.own)


def declarations(dtype: str) -> Iterator[Numerics]:
    """Yield declarations that a dtype can have."""
    is_long = dtype in {"float64", "float32", "complex64"}
    accumulators = [None, "float32", *(name for name in ("float16", "bfloat16") if is_long or dtype == name)]
    inputs = ["exact", *INPUT_ROUNDINGS] if is_long else ["exact"]
    outputs = [name for name in ("exact", "float16", "bfloat16") if is_long or name in {dtype, "exact"}]
    for accumulator, of_inputs, stored, bias in product(accumulators, inputs, outputs, ("fused", "separate")):
        for truncates, flushes in product((False, True), repeat=2):
            made: dict[str, Any] = {"accumulator": accumulator, "inputs": of_inputs, "outputs": stored, "bias": bias}
            yield Numerics(**made, truncates=truncates, flushes_subnormals=flushes)


def drawn(seed: int) -> tuple[Case, Numerics]:
    """Return a case and a declaration."""
    draw = np.random.default_rng(seed)
    dtype = str(draw.choice(list(DTYPES)))
    allowed = list(declarations(dtype))
    layer = str(draw.choice(LAYERS)).format(DTYPES[dtype])
    regimes = [name for name in REGIMES if name != "special" or not is_complex(dtype)]
    return Case.parse(f"{layer}_grad@{draw.choice(regimes)}.{draw.integers(1000)}"), allowed[int(draw.integers(len(allowed)))]


def accusations(seed: int) -> list[str]:
    """Return what is said against a kernel that computes as it declares."""
    case, numerics = drawn(seed)
    tensors, said = make_tensors(case), []
    judge, kernel = Judge(case, tensors), Kernel(numerics, case.config.dtype, np.random.default_rng(seed))
    for in_pass in case.passes:
        found = judge.judge(kernel.output(case, tensors, in_pass), numerics, in_pass)
        if found.verdict is not Verdict.AGREE:
            said.append(f"{seed}: {case} {in_pass} {numerics}: {found.verdict} {found.reason}")
    return said


@pytest.mark.parametrize("block", range(8))
def test_what_computes_as_it_declares_is_right(block: int) -> None:
    """Layers, data, declarations, orders and passes are drawn."""
    assert not [said for seed in range(block * 25, block * 25 + 25) for said in accusations(seed)]


@pytest.mark.parametrize(
    ("numerics", "given", "honest", "wrong"),
    [
        # 257 is no bfloat16, and 256 + 1 is no sum of that.
        (Numerics(accumulator="bfloat16"), {"x": [1] * 257, "w": [1] * 257}, 256.0, 300.0),
        (Numerics(inputs="bfloat16"), {"x": [257], "w": [3]}, 768.0, 790.0),
        (Numerics(inputs="bfloat16-truncated"), {"x": [511], "w": [1]}, 510.0, 500.0),
    ],
    ids=["accumulator", "inputs", "truncated"],
)
def test_integers_that_the_declared_arithmetic_rounds(numerics: Numerics, given: dict[str, list[int]], honest: float, wrong: float) -> None:
    """Integers are exact up to what is declared only."""
    taps = len(given["x"])
    case = Case.parse(f"conv1d_c{taps}_o1_i1_k1_f32@integers.0")
    x, w = (np.array(given[name], np.float32).reshape(1, taps, 1) for name in "xw")
    judge = Judge(case, Tensors(x, w, None))
    verdicts = [judge.judge(np.full((1, 1, 1), value, np.float32), numerics).verdict for value in (honest, wrong)]
    assert (verdicts[0], verdicts[1].failing) == (Verdict.AGREE, True)
    assert judge.judge(np.full((1, 1, 1), honest, np.float32), Numerics()).verdict.failing


def test_truncated_short_sums_are_right() -> None:
    """A sum that is truncated to bfloat16 after each addition stays behind one that is rounded."""
    case = Case.parse("conv1d_c64_o1_i1_k1_f32@zeros")
    x = np.full((1, 64, 1), 1.99, np.float32)
    judge = Judge(case, Tensors(x, np.ones((1, 64, 1), np.float32), None), integers=False)
    numerics = Numerics(accumulator="bfloat16", truncates=True)
    total = np.zeros(1)
    for value in x.reshape(-1):
        total = Rounding(component_format("bfloat16"), truncated=True).apply(total + float(value))
    output = total.reshape(1, 1, 1).astype(np.float32)
    assert judge.judge(output, numerics).verdict is Verdict.AGREE
    assert judge.judge(output, Numerics(accumulator="bfloat16")).verdict.failing
    assert judge.judge(-output, numerics).verdict.failing


def test_a_result_that_is_stored_as_inf_may_have_the_other_sign() -> None:
    """Of a sum whose rounding in float32 is larger than itself and than float16's largest number the sign is open."""
    case = Case.parse("conv1d_c3_o1_i1_k1_f32@zeros")
    x = np.array([3e12, -3e12, -1.0], np.float32).reshape(1, 3, 1)
    judge = Judge(case, Tensors(x, np.ones((1, 3, 1), np.float32), None), integers=False)
    up, down, nan = (np.full((1, 1, 1), value, np.float32) for value in (np.inf, -np.inf, np.nan))
    assert [judge.judge(y, Numerics(outputs="float16")).verdict for y in (up, down)] == [Verdict.AGREE] * 2
    assert judge.judge(nan, Numerics(outputs="float16")).verdict is Verdict.NON_FINITE
    assert judge.judge(up, Numerics()).verdict is Verdict.NON_FINITE


def test_inf_times_a_flushed_operand_may_be_nan() -> None:
    """Inf · 1e-40 is Inf, and NaN where 1e-40 is zero; another element without such a product is not NaN."""
    case = Case.parse("conv1d_c2_o2_i1_k1_f32@zeros")
    x, w = np.array([np.inf, 1.0], np.float32).reshape(1, 2, 1), np.array([[1e-40, 1.0], [1.0, 1e-40]], np.float32).reshape(2, 2, 1)
    judge = Judge(case, Tensors(x, w, None), integers=False)
    flushed, both = (np.array([np.nan, other], np.float32).reshape(1, 2, 1) for other in (np.inf, np.nan))
    assert judge.judge(flushed, Numerics(flushes_subnormals=True)).verdict is Verdict.AGREE
    assert judge.judge(both, Numerics(flushes_subnormals=True)).verdict is Verdict.NON_FINITE
    assert judge.judge(flushed, Numerics()).verdict is Verdict.NON_FINITE


def test_an_operand_that_is_rounded_to_inf() -> None:
    """float32's largest number is Inf in bfloat16, to nearest; truncated it is not."""
    case = Case.parse("conv1d_c1_o1_i1_k1_f32@zeros")
    x, w = np.full((1, 1, 1), np.finfo(np.float32).max), np.full((1, 1, 1), np.float32(1e-3))
    judge, inf = Judge(case, Tensors(x, w, None), integers=False), np.full((1, 1, 1), np.inf, np.float32)
    assert judge.judge(inf, Numerics(inputs="bfloat16")).verdict is Verdict.AGREE
    assert judge.judge(inf, Numerics(inputs="bfloat16-truncated")).verdict is Verdict.NON_FINITE
