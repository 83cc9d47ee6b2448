"""Every planted kernel is really one mistake: right outside its trigger, wrong inside it, and wrong in the way it says."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz import Case
from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.case.dtypes import is_integer, numpy_dtype
from convfuzz.tensors.generator import Tensors, make_tensors

from .allowed import Allowed, allowed, widened
from .bugs import PLANTED, Planted
from .pairs import PAIRS
from .receptive_field import Array
from .registry import MISREAD

CALLS = 6

by_name = pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)


def failures(bug: Planted, line: str) -> set[str]:
    """Return how the kernel fails in a few calls on fresh tensors, in the words of verdicts.

    On integers an error of 0.5 or more is ``wrong``; on other data one beyond the rounding bound is ``deviation``,
    since only a tie-breaker on integers can tell ``wrong`` from ``imprecise``.
    """
    case = Case.parse(line)
    assert bug.backend.supports(case), bug.backend.supports(case).reason
    untouched = make_tensors(case)
    bounds = allowed(case, untouched) if case.config.is_valid else {}
    outputs: list[bytes] = []
    found: set[str] = set()
    for _ in range(CALLS):
        tensors = make_tensors(case)
        try:
            results = bug.backend.run(case, tensors)
        except (NotImplementedError, ValueError, NotAnArrayError):
            return {"error"} if case.config.is_valid else set()
        if _bytes(tensors) != _bytes(untouched):
            found.add("corrupted-input")
        if not case.config.is_valid:
            return found | {"accepted-invalid"}
        for in_pass, bound in bounds.items():
            found |= _pass_failures(case, results[in_pass], bound)
        outputs.append(b"".join(result.tobytes() for result in results.values()))
    return found | ({"nondeterministic"} if len(set(outputs)) > 1 else set())


def _pass_failures(case: Case, result: Array, bound: Allowed) -> set[str]:
    if result.shape != bound.value.shape:
        return {"wrong-shape"}
    if result.dtype != numpy_dtype(case.config.dtype):
        return {"wrong-dtype"}
    found = {"non-finite"} if bound.misplaces_non_finite(result) else set()
    if case.recipe.regime == "integers" or is_integer(case.config.dtype):
        with np.errstate(invalid="ignore"):
            error = np.abs(widened(result) - bound.value)
        found |= {"wrong"} if (error >= 0.5).any() else {"imprecise"} if (error > 0).any() else set()
    elif bound.deviates(result):
        found.add("deviation")
    return found


def _bytes(tensors: Tensors) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in tensors.named().items()}


def test_every_kernel_has_its_cases() -> None:
    """The table of cases and the list of planted kernels name the same kernels, each once."""
    assert sorted(bug.name for bug in PLANTED) == sorted(PAIRS)


@by_name
def test_kernel_is_correct_outside_its_trigger(bug: Planted) -> None:
    """A neighbouring configuration, or other data, gives what a correct kernel gives."""
    assert failures(bug, PAIRS[bug.name].outside) == set()


@by_name
def test_kernel_fails_inside_its_trigger(bug: Planted) -> None:
    """Inside its trigger the kernel fails, and in no other way than its verdicts say."""
    found = failures(bug, PAIRS[bug.name].inside)
    verdicts = bug.verdicts | ({"deviation"} if bug.verdicts & {"wrong", "imprecise"} else set())
    assert found
    assert found <= verdicts


@by_name
def test_kernel_says_what_is_wrong_with_it(bug: Planted) -> None:
    """Each kernel has a docstring for its mistake and a trigger for where it shows."""
    assert bug.function.__doc__
    assert bug.trigger
    assert bug.verdicts


@pytest.mark.parametrize("bug", [bug for bug in PLANTED if bug.verdicts == set(MISREAD)], ids=lambda bug: bug.name)
def test_misreading_is_wrong_by_more_than_rounding(bug: Planted) -> None:
    """A kernel that adds the wrong numbers is off by whole units, or reads NaN, on integers."""
    assert failures(bug, PAIRS[bug.name].inside) & {"wrong", "non-finite"}
