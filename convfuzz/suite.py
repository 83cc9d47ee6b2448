"""The ready test suite, which needs no test file.

::

    pytest --pyargs convfuzz.suite --convfuzz-backends torch,my_kernel.py::my_conv --convfuzz-cases 1000

Every case runs on all backends, which are compared with the reference and with each other. Each test checks a part of the
cases, so that xdist's workers can share them.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from convfuzz.case import Case
from convfuzz.testing.agreement import assert_agrees
from convfuzz.testing.fuzzing import run_fuzz
from convfuzz.testing.options import chosen

if TYPE_CHECKING:
    import pytest

_CASES = 200
_CASES_OF_A_TEST = 100


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Share the cases out: the same tests in every worker, whatever the seed."""
    parts = -(-chosen("cases", None, _CASES) // _CASES_OF_A_TEST)
    shares = [(part, parts) for part in range(1, parts + 1)]
    metafunc.parametrize(("part", "parts"), shares, ids=[f"{part} of {parts}" for part, _ in shares])


def test_backends_agree(part: int, parts: int) -> None:
    """Every backend agrees with the reference on drawn cases."""
    __tracebackhide__ = True
    total, seed = chosen("cases", None, _CASES), chosen("seed", None, None)

    def check(case: Case) -> None:
        __tracebackhide__ = True
        assert_agrees(case)

    check.__name__ = "backends_agree"
    cases = total // parts + (part <= total % parts)
    own = None if seed is None else Random(f"{seed}/{part}").getrandbits(32)  # noqa: S311 - no secret
    run_fuzz(check, chosen("strategy", None, "default"), cases, own, name=f"_{part}")
