"""The bounds on rounding errors, against exact rational arithmetic and against sums that were really rounded."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convfuzz.case.dtypes import FLOATS
from convfuzz.errors import InvalidConfig
from convfuzz.judging import bounds
from convfuzz.judging.numerics import INPUT_ROUNDINGS, Numerics
from convfuzz.judging.tolerance import Operands, tolerance
from convfuzz.oracle import Expectation

Floats = npt.NDArray[np.float64]
U32 = 2.0**-24
OPERANDS = Operands(dtype="float32", maps=lambda: np.full((1, 1), 1e6))
ORDERS = 2000


def expectation(products: Floats) -> Expectation:
    """Return the exact sums over the last axis of ``products``, each rounded once, as an expectation."""
    rows = np.atleast_2d(products)
    sums = np.array([exact_sums(row) for row in rows])
    n = np.full(len(rows), products.shape[-1], dtype=np.int64)
    return Expectation(y=sums[:, 0], y_lo=None, S=sums[:, 1], Q=sums[:, 2], n=n)


def exact_sums(products: Floats) -> tuple[float, float, float]:
    """Return Σp, Σ|p| and Σp², each rounded once: as whole multiples of a power of two, which are added up faster than fractions."""
    significands, exponents = np.frexp(products)
    unit = int(exponents.min()) - 53
    whole = [int(m) << e for m, e in zip(np.ldexp(significands, 53).tolist(), (exponents - 53 - unit).tolist(), strict=True)]
    sums = (sum(whole), sum(map(abs, whole)), sum(a * a for a in whole))
    scale = Fraction(2) ** unit
    return float(sums[0] * scale), float(sums[1] * scale), float(sums[2] * scale**2)


def test_exact_sums_are_those_of_fractions() -> None:
    """The sums that the bounds are held against are those of rational arithmetic, whatever the products' exponents."""
    rng = np.random.default_rng(4)
    for scale in (0, 30, 500):
        products = np.ldexp(rng.standard_normal(50), rng.integers(-scale, scale + 1, 50))
        fractions = [Fraction(p) for p in products.tolist()]
        wanted = (float(sum(fractions)), float(sum(map(abs, fractions))), float(sum(p * p for p in fractions)))
        assert exact_sums(products) == wanted


def statistical(found: Expectation, u: float) -> Floats:
    """Return the statistical bound alone."""
    return bounds.statistical(0.0, found.y, found.S, found.Q, found.n, u=u)


def proven(products: Floats) -> float:
    """Return the proven bound of a float32 sum."""
    found = expectation(products)
    bound: float = bounds.proven(found.S, found.n, u=U32)[0]
    return bound


def float32_sums(products: Floats, seed: int) -> Floats:
    """Return the errors of many float32 sums of ``products``, each in an order of its own, each product rounded first."""
    rounded = products.astype(np.float32)
    orders = np.argsort(np.random.default_rng(seed).random((ORDERS, products.size)), axis=1)
    sums = np.add.accumulate(rounded[orders], axis=1, dtype=np.float32)[:, -1].astype(np.float64)
    exact = sum((Fraction(float(p)) for p in products), Fraction())
    high = float(exact)
    low = float(exact - Fraction(high))
    errors: Floats = np.abs((sums - high) - low)
    return errors


def products_of(kind: str, n: int, seed: int) -> Floats:
    """Return ``n`` products of float32 numbers, exact in float64."""
    rng = np.random.default_rng(seed)
    x: npt.NDArray[Any] = rng.standard_normal(n).astype(np.float32)
    w: npt.NDArray[Any] = rng.standard_normal(n).astype(np.float32)
    if kind == "positive":
        x, w = np.abs(x), np.abs(w)
    elif kind == "cancellation":
        x, w = 1 + x / 64, np.where(np.arange(n) % 2, -1, 1).astype(np.float32) * (1 + w / 64)
    elif kind == "wide":
        x = x * np.exp2(rng.integers(-12, 13, n)).astype(np.float32)
    elif kind == "sparse":
        x = np.where(np.arange(n) % 5 == 0, x, np.float32(0))
    return x.astype(np.float64) * w.astype(np.float64)


KINDS = ["normal", "positive", "cancellation", "wide", "sparse"]


def test_statistical_bound_outlives_squares_that_vanish() -> None:
    """Products whose squares underflow are still allowed the rounding of their sum."""
    products = np.full(54, 2.0**-1022)
    found = expectation(products)
    assert found.Q is not None
    assert found.Q.max() == 0.0
    assert statistical(found, 2.0**-53).min() >= 54 * 2.0**-1075


@pytest.mark.parametrize("n", [2, 9, 100, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_statistical_bound_holds(kind: str, n: int) -> None:
    """No float32 sum in any of many random orders errs beyond the statistical bound."""
    products = products_of(kind, n, seed=n)
    assert float32_sums(products, seed=1).max() <= statistical(expectation(products), U32)[0]


@pytest.mark.parametrize("n", [9, 100, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_statistical_bound_is_tight(kind: str, n: int) -> None:
    """The worst of many random orders comes within a factor of 20 of the statistical bound."""
    products = products_of(kind, n, seed=n)
    assert float32_sums(products, seed=1).max() * 20.0 >= statistical(expectation(products), U32)[0]


def test_statistical_bound_follows_the_random_walk() -> None:
    """For products of mean zero the bound grows linearly in n beyond the products' own size, and for equal ones as n^1.5."""
    n = np.array([100, 10_000], dtype=np.int64)
    ones, zeros = np.ones(2), np.zeros(2)
    walk = statistical(Expectation(y=zeros, y_lo=None, S=n * ones, Q=n * ones, n=n), U32)
    assert walk[1] / walk[0] == pytest.approx(100.0, rel=0.05)
    straight = statistical(Expectation(y=n * ones, y_lo=None, S=n * ones, Q=n * ones, n=n), U32)
    assert straight[1] / straight[0] == pytest.approx(1000.0, rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 9, 1000, 100_000])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_proven_bound_is_gamma_times_the_magnitude(n: int, name: str) -> None:
    """γ_n·S equals its rational value n·u / (1 − n·u) · S, and is infinite where n·u reaches 1."""
    u = Fraction(FLOATS[name].unit_roundoff)
    found = bounds.proven(np.array([3.0]), np.array([n]), u=float(u))[0]
    if n * u >= 1:
        assert found == np.inf
    else:
        assert abs(Fraction(float(found)) / (3 * n * u / (1 - n * u)) - 1) < Fraction(1, 2**48)


@pytest.mark.parametrize("order", ["up", "down", "alternating"])
@pytest.mark.parametrize("kind", KINDS)
def test_proven_bound_holds_for_sorted_sums(kind: str, order: str) -> None:
    """Not even orders that are chosen by the data, which the statistical bound does not cover, err beyond the proven one."""
    products = np.sort(products_of(kind, 500, seed=3))
    if order == "down":
        products = products[::-1]
    elif order == "alternating":
        products = products[np.argsort(-np.abs(products))]
    rounded = np.add.accumulate(products.astype(np.float32), dtype=np.float32)[-1]
    exact = sum((Fraction(float(p)) for p in products), Fraction())
    assert abs(Fraction(float(rounded)) - exact) <= Fraction(proven(products))


def test_proven_bound_is_reached_in_order() -> None:
    """Halves of a unit that are lost one by one come within a factor of two of the proven bound."""
    products = np.array([1.0] + [U32 * (1 + 2**-20)] * 1000 + [U32] * 1000)
    lost = np.add.accumulate(np.array([1.0] + [U32] * 2000, dtype=np.float32), dtype=np.float32)[-1]
    assert lost == 1.0
    error = float(sum(products)) - float(lost)
    assert error <= proven(products) <= 2.0 * error


@pytest.mark.parametrize(
    "looser",
    [
        {"accumulator": "float16"},
        {"accumulator": "bfloat16"},
        {"inputs": "tfloat32"},
        {"inputs": "bfloat16"},
        {"algorithm": "transform"},
        {"inputs": "tfloat32-truncated"},
        {"inputs": "bfloat16-truncated"},
        {"outputs": "bfloat16"},
        {"outputs": "float16"},
    ],
)
def test_each_declaration_widens_the_tolerance(looser: dict[str, Any]) -> None:
    """Whatever a backend declares beyond the plain arithmetic makes its tolerance larger, for every element."""
    expected = expectation(np.stack([products_of(kind, 50, seed=7) for kind in KINDS]))
    assert np.all(tolerance(expected, Numerics(**looser), OPERANDS) > tolerance(expected, Numerics(), OPERANDS))


def complex_expectation(x: Floats, w: Floats) -> Expectation:
    """Return the exact real and imaginary part of Σ x·w, for factors given as (number, part)."""
    real = np.concatenate([x[:, 0] * w[:, 0], -x[:, 1] * w[:, 1]])
    found = expectation(np.stack([real, np.concatenate([x[:, 0] * w[:, 1], x[:, 1] * w[:, 0]])]))
    assert found.S is not None
    assert found.Q is not None
    return Expectation(found.y[None], None, found.S[None], found.Q[None], found.n[None])


@pytest.mark.parametrize("n", [1, 2, 9, 100, 1000])
@pytest.mark.parametrize("kind", ["normal", "positive", "nearly real"])
def test_bound_of_three_products_holds(kind: str, n: int) -> None:
    """Complex float32 sums made of three real ones, each in random orders, stay within their bound in both parts."""
    rng = np.random.default_rng(n)
    x, w = (rng.standard_normal((n, 2)).astype(np.float32) for _ in range(2))
    if kind == "positive":
        x, w = np.abs(x), np.abs(w)
    elif kind == "nearly real":
        x, w = (a * np.array([1, 1e-5], np.float32) for a in (x, w))
    expected = complex_expectation(x.astype(np.float64), w.astype(np.float64))
    bound, worst = bounds.three_products(np.zeros(1), expected.S.sum(-1, keepdims=True), expected.n, u=U32)[0], np.zeros(2)
    factors = ((x[:, 0], w[:, 0]), (x[:, 1], w[:, 1]), (x.sum(axis=1), w.sum(axis=1)))
    for _ in range(200):
        order = rng.permutation(n)
        a, b, c = (np.add.accumulate((left * right)[order], dtype=np.float32)[-1] for left, right in factors)
        worst = np.maximum(worst, np.abs(np.array([a - b, c - a - b], np.float64) - expected.y[0]))
    assert np.all(worst <= bound)


@pytest.mark.parametrize("n", [2, 30, 1000])
@pytest.mark.parametrize("kind", ["normal", "positive"])
def test_bound_of_four_products_holds_for_sums_that_are_added_up_apart(kind: str, n: int) -> None:
    """Σxr·wr and Σxi·wi each in an order of its own, then their difference: where both are large and it is small, too."""
    rng = np.random.default_rng(n)
    draw = rng.standard_normal if kind == "normal" else rng.random
    x, w = (draw((200, n, 2)).astype(np.float32) for _ in range(2))
    for layer_x, layer_w in zip(x, w, strict=True):
        expected = complex_expectation(layer_x.astype(np.float64), layer_w.astype(np.float64))
        bound = bounds.four_products(np.zeros(1), expected.S, expected.Q, expected.n, u=U32)[0]
        halves = [np.add.accumulate(layer_x[:, p] * layer_w[:, p], dtype=np.float32)[-1] for p in range(2)]
        crossed = [np.add.accumulate(layer_x[:, p] * layer_w[:, 1 - p], dtype=np.float32)[-1] for p in range(2)]
        got = np.array([halves[0] - halves[1], crossed[0] + crossed[1]], np.float64)
        assert np.all(np.abs(got - expected.y[0]) <= bound + U32 * np.abs(expected.y[0]))


def test_three_products_are_for_complex_numbers() -> None:
    """Declaring three products widens the tolerance of a complex layer, most where one part is small, and of no other."""
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal((40, 2)) * [1.0, 1e-5] for _ in range(2))
    expected, three = complex_expectation(x, w), Numerics(complex_products="three")
    operands = Operands(dtype="complex64")
    ratio = (tolerance(expected, three, operands) / tolerance(expected, Numerics(), operands))[0]
    assert 1.0 <= ratio[0] < 100.0
    assert ratio[1] > 1000.0
    real = replace(operands, dtype="float32")
    assert np.array_equal(tolerance(expected, three, real), tolerance(expected, Numerics(), real))


def test_flushing_widens_the_tolerance_of_small_sums_only() -> None:
    """Where subnormals may be flushed all of a tiny sum may be lost, and of others a few smallest normal numbers, which is nothing."""
    ordinary, tiny = expectation(products_of("normal", 50, seed=7)), expectation(products_of("normal", 50, seed=7) * 2.0**-130)
    flushing = Numerics(flushes_subnormals=True)
    assert tiny.S is not None
    assert tolerance(tiny, flushing, OPERANDS)[0] >= tiny.S[0]
    assert tolerance(tiny, Numerics(), OPERANDS)[0] < FLOATS["float32"].tiny
    assert tolerance(ordinary, flushing, OPERANDS)[0] == tolerance(ordinary, Numerics(), OPERANDS)[0]


def test_a_wider_accumulator_narrows_the_tolerance() -> None:
    """float32 sums in float64 leave little more than the rounding of the result."""
    expected = expectation(products_of("normal", 100, seed=1))
    bound = tolerance(expected, Numerics(accumulator="float64"), OPERANDS)
    assert U32 * abs(expected.y[0]) <= bound[0] <= 1.001 * U32 * abs(expected.y[0])


def test_a_separate_bias_costs_one_more_rounding() -> None:
    """Rounding the sum to the output's dtype before the bias is added costs at most u_out of that sum."""
    bias = np.array([100.0])
    products = np.append(products_of("normal", 20, seed=2), bias)
    operands = Operands(dtype="bfloat16", bias=bias)
    expected = expectation(products)
    fused = tolerance(expected, Numerics(), operands)[0]
    separate = tolerance(expected, Numerics(bias="separate"), operands)[0]
    added = 2.0**-8 * abs(expected.y[0] - 100.0)
    assert added <= separate - fused <= 1.01 * added


def test_default_accumulators() -> None:
    """16-bit types are summed in float32, complex ones in their parts, others in themselves, unless something else is declared."""
    formats = {"float64": "float64", "float32": "float32", "float16": "float32", "bfloat16": "float32"}
    parts = {"complex64": "float32", "complex128": "float64"}
    assert {dtype: Numerics().accumulator_format(dtype).name for dtype in formats | parts} == formats | parts
    assert Numerics(accumulator="bfloat16").accumulator_format("float64").name == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulator": "float8"}, "accumulator='float8' is not one of None, float64"),
        ({"inputs": "float16"}, "inputs='float16' is not one of exact, tfloat32, tfloat32-truncated, bfloat16, bfloat16-truncated"),
        ({"outputs": "float32"}, "outputs='float32' is not one of exact, float16, bfloat16"),
        ({"algorithm": "winograd"}, "algorithm='winograd' is not one of direct, transform"),
        ({"bias": "none"}, "bias='none' is not one of fused, separate"),
        ({"complex_products": "two"}, "complex_products='two' is not one of four, three"),
    ],
)
def test_a_declaration_is_validated(changes: dict[str, Any], message: str) -> None:
    """A value that is none of the known ones is refused with its name."""
    with pytest.raises(InvalidConfig, match=message):
        Numerics(**changes)


def on_tensor_cores(products: Floats, block: int, bits: int) -> Floats:
    """Add up as tensor cores do: a block of products and the sum so far, aligned to the largest and cut off ``bits`` below its top."""
    total = np.zeros(products.shape[:-1])
    for first in range(0, products.shape[-1], block):
        parts = np.concatenate([total[..., None], products[..., first : first + block]], axis=-1)
        quantum = np.ldexp(1.0, np.frexp(np.abs(parts).max(axis=-1, keepdims=True))[1] - bits)
        added = np.sum(np.trunc(parts / quantum) * quantum, axis=-1)
        unit = np.ldexp(1.0, np.frexp(added)[1] - 24)
        total = np.trunc(added / unit) * unit
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_sums_are_within_what_is_declared_of_them(kind: str) -> None:
    """What tensor cores of every generation cut off, in blocks of 4 to 16 products, is within the tolerance of ``truncates=True``."""
    rng, truncating = np.random.default_rng(5), Numerics(accumulator="float32", truncates=True)
    for n in (1, 7, 64, 1000, 6912):
        products = products_of(kind, n, seed=n)
        expected = expectation(products)
        allowed = tolerance(expected, truncating, OPERANDS)[0]
        shuffled = products[np.argsort(rng.random((40, n)), axis=1)]
        for block, bits in ((4, 23), (8, 24), (16, 25)):
            assert np.abs(on_tensor_cores(shuffled, block, bits) - expected.y[0]).max() <= allowed


def test_truncated_sums_need_a_declaration() -> None:
    """A long positive sum that is always cut off to the same side ends beyond what rounding to nearest explains."""
    products = products_of("positive", 20_000, seed=0)
    expected = expectation(products)
    error = abs(on_tensor_cores(products, 4, 23) - expected.y[0])
    assert tolerance(expected, Numerics(), OPERANDS)[0] < error < tolerance(expected, Numerics(truncates=True), OPERANDS)[0]


def test_three_products_round_the_sums_of_both_parts_first() -> None:
    """A complex sum of three real ones, whose operands xr + xi and wr + wi are rounded to TF32, is within its tolerance."""
    rng, cut = np.random.default_rng(3), INPUT_ROUNDINGS["tfloat32-truncated"].apply
    x, w = (rng.standard_normal((40, 2)) for _ in range(2))
    x[:, 1] *= 1e-3  # the imaginary part of a sum is smaller than the errors of its real one
    expected = complex_expectation(x, w)
    c = cut(x.sum(axis=1)) @ cut(w.sum(axis=1))
    a, b = (cut(x[:, i]) @ cut(w[:, i]) for i in range(2))
    declared = Numerics(inputs="tfloat32-truncated", complex_products="three")
    assert np.all(np.abs(np.array([a - b, c - a - b]) - expected.y) <= tolerance(expected, declared, Operands(dtype="complex64")))
