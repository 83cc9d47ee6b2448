"""A script has the very data of its case, and sums and tolerances of its own that are convfuzz's."""

from __future__ import annotations

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from judging.rounding import rounded
from sampling import sample

from convfuzz import Case, Numerics
from convfuzz.backends import resolve
from convfuzz.case import DataRecipe, regimes_of
from convfuzz.case.config import DTYPES
from convfuzz.case.dtypes import is_complex, numpy_dtype
from convfuzz.case.line import DTYPE_TOKENS
from convfuzz.judging import bounds
from convfuzz.judging import tolerance as terms_of_tolerance
from convfuzz.judging.float_judge import exact_limit
from convfuzz.judging.judge import Judge
from convfuzz.judging.pass_sums import LayerSums, PassSums
from convfuzz.judging.tolerance import Term
from convfuzz.oracle import reference
from convfuzz.strategies import cases
from convfuzz.tensors.generator import Array, make_tensors
from convfuzz.tensors.layouts import placements

from .scripts import KernelFile, loaded, script_of

SHAPES = (
    "conv2d_n2_c4_o4_g2_i6_k3_s2x1_p1_b",
    "conv2d_n2_c16_o4_g2_i14_k3_s2x1_p1_b",
    "conv3d_n-_c3_o5_i3_k2",
    "conv1d_c7_o200_i40_k9_b",
    "convt2d_n3_c20_o6_g2_i7_k3_s2_p1_op1_b",
)
"""The second and the fifth have too many numbers for a script to spell them out."""
TOKENS = {dtype: token for token, dtype in DTYPE_TOKENS.items()}


def in_case_dtype(array: Array, dtype: str) -> Array:
    """Return an operand of ``run``, which has bfloat16 as bits, in the case's dtype."""
    return array.view(numpy_dtype("bfloat16")) if dtype == "bfloat16" else array


def assert_same(here: Array, there: Array) -> None:
    """Compare two operands: dtype, shape, strides and, but for the kinds of NaN, bytes."""
    assert (here.dtype, here.shape, here.strides) == (there.dtype, there.shape, there.strides)
    numbers = here == here  # noqa: PLR0124 - NaN alone differs from itself
    assert np.array_equal(numbers, there == there)  # noqa: PLR0124 - the same
    assert here[numbers].tobytes() == there[numbers].tobytes()


def buffer_of(array: Array) -> Array:
    """Return the array that owns the memory of a view."""
    owner: Any = array
    while owner.base is not None:
        owner = owner.base
    assert isinstance(owner, np.ndarray)
    return owner


@pytest.mark.parametrize("dtype", DTYPES)
def test_script_has_the_very_same_data(kernel_file: KernelFile, dtype: str) -> None:
    """In every regime and dtype, spelled out or generated, what ``run`` is handed is what a backend is handed."""
    backend = kernel_file.write_whole()
    for regime in regimes_of(dtype):
        for grad in ("", "_grad") if numpy_dtype(dtype).kind != "i" else ("",):
            for shape in SHAPES:
                case = Case.parse(f"{shape}_{TOKENS[dtype]}{grad}@{regime}.77")
                script, made = loaded(script_of(str(case), backend)), make_tensors(case)
                arrays = [made.x, made.w, made.b, *([made.dy] if grad else [])]
                for operand, array in zip(script.operands, arrays, strict=True):
                    assert (operand is None) == (array is None)
                    if array is not None:
                        assert_same(in_case_dtype(operand, dtype), array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_script_of_a_framework_imports_nothing_else(dtype: str) -> None:
    """In every regime and dtype, spelled out or generated, a script needs NumPy and the framework beside the standard library."""
    pytest.importorskip("torch", reason="the script is torch's")
    allowed = {"numpy", "torch", *sys.stdlib_module_names}
    for regime in regimes_of(dtype):
        for shape in SHAPES[:2]:
            tree = ast.parse(script_of(f"{shape}_{TOKENS[dtype]}@{regime}.1", resolve("torch")))
            names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
            names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert {name.partition(".")[0] for name in names} <= allowed


@pytest.mark.parametrize("dtype", ["f32", "bf16", "i8", "c64"])
@pytest.mark.parametrize("weight", ["", "_wco", "_wtr", "_wex"])
@pytest.mark.parametrize("layout", ["", "_cl", "_nc", "_tr", "_ex", "_of", "_ls"])
def test_script_has_the_very_same_memory(kernel_file: KernelFile, layout: str, weight: str, dtype: str) -> None:
    """In every layout of input and weight, an operand lies at the same place of as large a buffer with the same gaps."""
    backend = kernel_file.write_whole()
    for shape in ("conv2d_n2_c1_o4_i3x5_k2_b", "convt1d_n-_c4_o3_i5_k3", "conv2d_n2_c24_o4_i12_k1_b"):
        case = Case.parse(f"{shape}_{dtype}{layout}{weight}{'' if dtype == 'i8' else '_grad'}")
        places, made = placements(case.config), make_tensors(case).named()
        operands = dict(zip(("x", "w", "b", "dy"), loaded(script_of(str(case), backend)).operands, strict=False))
        for name, array in made.items():
            assert_same(in_case_dtype(operands[name], case.config.dtype), array)
            if not places[name].is_plain:
                assert_same(in_case_dtype(buffer_of(operands[name]), case.config.dtype), buffer_of(array))


DECLARED = [
    Numerics(),
    Numerics(algorithm="transform", complex_products="three"),
    Numerics(inputs="tfloat32"),
    Numerics(inputs="bfloat16", accumulator="float32"),
    Numerics(inputs="bfloat16", outputs="bfloat16", flushes_subnormals=True),
    Numerics(bias="separate", flushes_subnormals=True),
    Numerics(accumulator="float16", bias="separate"),
    Numerics(accumulator="bfloat16", algorithm="transform"),
    Numerics(accumulator="bfloat16", complex_products="three"),
    Numerics(accumulator="float16", truncates=True, inputs="bfloat16-truncated"),
    Numerics(inputs="tfloat32-truncated", outputs="float16"),
    Numerics(accumulator="float64", flushes_subnormals=True, bias="separate"),
    Numerics(algorithm="transform", gradients=Numerics(accumulator="float16", flushes_subnormals=True)),
]


SMALLEST = 2.0**-1060
"""Below it float64 has a thousandth of no number."""


def parts_last(sums: Array, case: Case) -> Array:
    """Give the sums of a complex case convfuzz's axes, where real and imaginary part come last."""
    return np.moveaxis(sums, 0, -1) if is_complex(case.config.dtype) else sums


@pytest.mark.parametrize("declared", DECLARED, ids=range(len(DECLARED)))
def test_script_has_the_same_sums_and_tolerance(kernel_file: KernelFile, declared: Numerics) -> None:
    """The sums of every pass and the tolerance that the script computes by the definition are convfuzz's to one part in 10^9.

    Near the end of float64's range the squares of products underflow in one and not in the script's wider type; that
    far down, a few of the smallest steps either way are no difference.
    """
    backend = kernel_file.write_whole(declared=f"numerics=convfuzz.{declared!r}".replace("=Numerics", "=convfuzz.Numerics"))
    for case in sample(cases(max_flops=20_000, max_elements=2**11), 40, seed=5):
        made = make_tensors(case)
        layer = LayerSums(case.config, made, integers=case.recipe.regime == "integers")
        for in_pass in case.passes:
            script, sums = loaded(script_of(str(case), backend, in_pass=in_pass)), layer.of(in_pass)
            arguments = inspect.signature(script.expected).parameters
            found = script.expected(*(getattr(script, name) for name in arguments))
            y, *moments = found if isinstance(found, tuple) else (found,)
            expected = sums.expected
            with np.errstate(all="ignore"):
                assert_close(parts_last(y, case), expected.y, case)
                numerics = declared.in_pass(in_pass)
                above = np.arange(expected.y.size).reshape(expected.y.shape) % 3 == 0
                if not is_rounded(sums, case, numerics):
                    continue
                if hasattr(script, "bound"):
                    assert np.array_equal(parts_last(moments[2], case), expected.n), str(case)
                    side = y + np.where(parts_first(above, case), 1.0, -1.0) * np.maximum(np.abs(y), 1.0)
                    takes_side = "output" in inspect.signature(script.bound).parameters
                    ours = parts_last(script.bound(y, *moments[:3], *([side] if takes_side else [])), case)
                    # Of many products the judge simulates a short accumulator where an output is worst: here, where the script has done so.
                    theirs = sums.tolerance(numerics, np.where(np.isfinite(ours), np.inf, 0.0), above)
                    if (certified := sums.certified(numerics)) is not None:
                        theirs = np.where(certified, exact_limit(sums, numerics), theirs)
                    assert_close(np.where(np.isfinite(ours), ours, theirs), theirs, case)
                else:
                    theirs = sums.tolerance(numerics, np.full(expected.y.shape, np.inf), above)
                    assert_judges_alike(
                        script, y, parts_first(theirs, case), parts_first(above, case), partial(refused, sums, numerics, above, case)
                    )


def test_script_of_an_empty_result_is_written(kernel_file: KernelFile) -> None:
    """Of a result without elements a short accumulator loses nothing, and the script accepts it."""
    backend = kernel_file.write_whole(declared='numerics=convfuzz.Numerics(accumulator="float16")')
    line = "conv3d_n0_c1_o1_i2x3x5_k2x3x3_s2x1x4_f32@special.9957"
    assert status_of(script_of(line, backend), np.zeros(Case.parse(line).config.output_shape, np.float32)) == 0


def test_a_new_term_is_written_once(kernel_file: KernelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A term that is added to the list of terms is in the judge's tolerance, and in the scripts of small and large layers."""
    backend = kernel_file.write_whole()
    of_results = terms_of_tolerance._of_results

    def with_one_more(*arguments: Any, **named: Any) -> list[Term]:
        return [*of_results(*arguments, **named), Term(bounds.underflow, ("n",), {"step": 0.25})]

    for line in ("conv1d_c3_o2_i5_k2_f32", "conv1d_c3_o9_i20_k2_f32"):
        case = Case.parse(line)
        tensors = make_tensors(case)
        wrong = reference(case.config, tensors.x, tensors.w).y.astype(np.float32) + np.float32(1.0)
        assert Judge(case, tensors).judge(wrong, Numerics()).verdict.failing
        assert status_of(script_of(line, backend), wrong) == 1
        with monkeypatch.context() as patched:
            patched.setattr(terms_of_tolerance, "_of_results", with_one_more)
            assert not Judge(case, tensors).judge(wrong, Numerics()).verdict.failing
            assert status_of(script_of(line, backend), wrong) == 0


@pytest.mark.parametrize("sites", [8, 9])
def test_script_judges_all_errors_together(kernel_file: KernelFile, sites: int) -> None:
    """Of 64 elements and of more, a script refuses sums of which each alone may be right, and takes those of one order."""
    backend = kernel_file.write_whole(declared='numerics=convfuzz.Numerics(accumulator="float16")')
    line = f"conv1d_c1024_o8_i{sites}_k1_f16@positive.3"
    tensors, source = make_tensors(Case.parse(line)), script_of(line, backend)
    products = tensors.w[:, :, 0].T[:, :, None] * tensors.x[0][:, None, :]
    judge, status = Judge(Case.parse(line), tensors), {}
    for dropped in (0, 16):
        total = np.zeros(products.shape[1:], np.float16)
        for term in products[dropped:]:
            total = total + term
        assert judge.judge(total[None], Numerics(accumulator="float16")).verdict.failing == bool(dropped)
        error, tolerance = judge.errors(total[None], Numerics(accumulator="float16"))
        assert np.any(error > tolerance) == bool(dropped)
        status[dropped] = status_of(source, total[None])
    assert status == {0: 0, 16: 1}


def test_script_tells_sums_from_their_negatives(kernel_file: KernelFile) -> None:
    """Where errors are as large as sums that cancel, a script has the sums of many orders, and refuses what goes against one of them."""
    backend = kernel_file.write_whole(declared='numerics=convfuzz.Numerics(accumulator="bfloat16")')
    numerics = Numerics(accumulator="bfloat16")
    line = "conv1d_c4096_o8_i8_k1_bf16@cancellation.3"
    tensors, source = make_tensors(Case.parse(line)), script_of(line, backend)
    products = tensors.w[:, :, 0].T[:, :, None] * tensors.x[0][:, None, :]
    total = np.zeros_like(products[0])
    for term in products:
        total = total + term
    assert "along_sums(" in source
    for output, is_wrong in ((total[None], False), (-total[None], True)):
        assert Judge(Case.parse(line), tensors).judge(output, numerics).verdict.failing == is_wrong
        assert status_of(source, output.astype(np.float32)) == is_wrong


OF_NAN = [
    Numerics(),
    Numerics(algorithm="transform"),
    Numerics(inputs="tfloat32-truncated", outputs="float16"),
    Numerics(bias="separate", flushes_subnormals=True),
]


@pytest.mark.parametrize("declared", OF_NAN, ids=range(len(OF_NAN)))
def test_script_says_of_nan_and_inf_what_the_judge_says(kernel_file: KernelFile, declared: Numerics) -> None:
    """NaN and Inf that are lost, added, or turned into each other are bugs for a script where they are failures for the judge."""
    backend = kernel_file.write_whole(declared=f"numerics=convfuzz.{declared!r}".replace("=Numerics", "=convfuzz.Numerics"))
    drawn = sample(cases(max_flops=20_000, max_elements=2**10), 60, seed=9)
    of_floats = [case.config for case in drawn if numpy_dtype(case.config.dtype).kind == "f" or case.config.dtype == "bfloat16"]
    failures: Counter[bool] = Counter()
    for seed, config in enumerate([*of_floats[:10], Case.parse("conv2d_n2_c2_o6_g2_i6x17_k6_pvalid_f64").config]):
        case = Case(config, DataRecipe("special" if seed % 3 else "huge", 9612 + seed), grad=True)
        made = make_tensors(case)
        judge = Judge(case, made)
        for in_pass in case.passes:
            right = rounded(judge.of(in_pass).expected.y, case)
            script = loaded(script_of(str(case), backend, in_pass=in_pass))
            sums = script.expected(*(getattr(script, name) for name in inspect.signature(script.expected).parameters))
            for output in with_another_number(right.reshape(case.shape_of(in_pass)), seed):
                fails = judge.judge(output, declared, in_pass).verdict.failing
                held = output.astype(np.float32) if case.config.dtype == "bfloat16" else output
                assert script.differs(held, *(sums if isinstance(sums, tuple) else (sums,))) is fails, (str(case), in_pass)
                failures[fails] += 1
    assert min(failures[False], failures[True]) > 20


def with_another_number(right: Array, seed: int) -> Iterator[Array]:
    """Yield a result, and the result with one NaN, Inf or number in place of another."""
    yield right
    values = right.astype(np.float64)
    for kind in (np.isnan(values), np.isinf(values), np.isfinite(values)):
        places = np.argwhere(kind)
        for other in (0.0, np.nan, np.inf, -np.inf) if len(places) else ():
            changed = right.copy()
            changed[tuple(places[seed % len(places)])] = other
            yield changed


def status_of(source: str, output: Array) -> int:
    """Return the exit status of a script whose call returns ``output``."""
    script = loaded(source)
    script.run = lambda *_: output
    result: int = script.main()
    return result


def parts_first(values: Array, case: Case) -> Array:
    """Give an array of convfuzz's the axes of a script."""
    return np.moveaxis(values, -1, 0) if is_complex(case.config.dtype) else values


def is_rounded(sums: PassSums, case: Case, numerics: Numerics) -> bool:
    """Whether the judge allows an error: sums of floats that are not certain to be exact, finite ones."""
    certified = sums.certified(numerics)
    return numpy_dtype(case.config.dtype).kind not in "iu" and (certified is None or not certified.all())


def refused(sums: PassSums, numerics: Numerics, above: Array, case: Case, error: Array) -> bool:
    """Whether the judge refuses an error, which one element's tolerance may allow and the tolerance of all together not."""
    size = np.abs(parts_last(error, case))
    return bool(np.any(size > sums.tolerance(numerics, size, above)))


def assert_judges_alike(script: Any, y: Array, tolerance: Array, above: Array, is_refused: Callable[[Array], bool]) -> None:
    """See that a script refuses errors just within these tolerances as the judge does, and any that is beyond one of them."""
    for k in range(0, y.size, max(y.size // 4, 1)):
        if tolerance.flat[k] < SMALLEST:  # there are no numbers just within it and just beyond
            continue
        for share in (0.999, 1.001):
            error = np.zeros(y.shape)
            error.flat[k] = share * tolerance.flat[k] * (1.0 if above.flat[k] else -1.0)
            output = (y + error)[0] + 1j * (y + error)[1] if script_is_complex(script) else y + error
            assert script.differs(output, y) is (share > 1.0 or is_refused(error))


def script_is_complex(script: Any) -> bool:
    """Whether a script adds up real and imaginary parts."""
    return script.x.dtype.kind == "c"


def assert_close(ours: Array, theirs: Array, case: Case) -> None:
    """Compare where the one that convfuzz has is finite, in float64; integers exactly."""
    assert ours.shape == theirs.shape, str(case)
    if theirs.dtype.kind == "i":
        assert np.array_equal(ours, theirs), str(case)
        return
    finite = np.isfinite(theirs)
    scale = np.max(np.abs(theirs), where=finite, initial=0.0)
    np.testing.assert_allclose(ours.astype(np.float64)[finite], theirs[finite], rtol=1e-9, atol=scale * 1e-12 + SMALLEST, err_msg=str(case))
