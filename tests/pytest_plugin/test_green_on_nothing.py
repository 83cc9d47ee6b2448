"""Tests of ``@convfuzz.fuzz`` that would pass without comparing anything: each is refused, or fails with the reason."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, reject

import convfuzz
from convfuzz import Case, Disagreement
from convfuzz.checking.tally import tallied
from convfuzz.errors import UsageError
from convfuzz.tensors.generator import make_tensors
from convfuzz.testing.agreement import NothingComparedError

from .conftest import Folder


def correct(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Compute the convolution by the reference."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def wrong(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Add one."""
    return correct(x, w, b, config) + 1


@convfuzz.backend(supports=lambda config: (config.kernel_size == (2,) and config.dilation == (1,)) or "kernel size 2 only")
def narrow(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Compute one layer in twenty."""
    return correct(x, w, b, config)


@convfuzz.backend(supports=lambda config: config.stride == (2,) or "stride 2 only")
def narrow_and_wrong(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Compute one layer in twenty, and that wrong where the kernel is 3."""
    return correct(x, w, b, config) + (config.kernel_size == (3,))


SINGLES = convfuzz.strategies.cases(ops=("conv",), dims=(1, 2), dtypes=("float32",), layouts=("contiguous",), grad=(False,), empty=False)
"""Cases whatever the kernel's domain, which only a search space with a name follows."""


def fuzzed(test: Any, cases: int = 20, **options: Any) -> None:
    """Make a test and run it."""
    convfuzz.fuzz("smoke", cases=cases, **options)(test)()


# -- what is refused when it is decorated ---------------------------------------------------------------------------------


async def awaits(case: Case) -> None:
    """Check in an async test, which nobody awaits."""
    case.check(wrong)


async def yields_later(case: Case) -> AsyncIterator[None]:
    """Check in an async generator."""
    case.check(wrong)
    yield


def yields(case: Case) -> Iterator[None]:
    """Check in a generator, over which nobody iterates."""
    case.check(wrong)
    yield


class Called:
    """A test that is an object with an async call."""

    async def __call__(self, case: Case) -> None:
        """Check."""
        case.check(wrong)


class LikeATest:
    """A class of tests."""

    def __init__(self, case: Case) -> None:
        self.case = case


@given(case=convfuzz.strategies.cases())
def drawn_already(case: Case) -> None:
    """Check what Hypothesis draws."""
    case.check(wrong)


def without_case() -> None:
    """Take nothing."""


def positional(case: Case, /) -> None:
    """Take a case by position only."""
    case.check(wrong)


REFUSED: dict[str, tuple[Any, str]] = {
    "async": (awaits, "awaits: nobody would await an async function; make it 'def', and run what it awaits with asyncio.run(…)"),
    "async generator": (yields_later, "yields_later: nobody would await an async function"),
    "generator": (yields, "yields: nobody would iterate over a generator"),
    "partial of async": (functools.partial(awaits), "nobody would await an async function"),
    "object": (Called(), "nobody would await an async function"),
    "async kernel": (Called().__call__, "nobody would await an async function"),
    "class": (LikeATest, "LikeATest: a class is no test: put it on the methods"),
    "static method": (staticmethod(lambda case: case.check(wrong)), "put @staticmethod above @convfuzz.fuzz, not below"),
    "given": (drawn_already, "drawn_already: it is a test of hypothesis.given already"),
    "twice": (convfuzz.fuzz("smoke")(lambda case: case.check(correct)), "it is a test of @convfuzz.fuzz already"),
    "twice, a kernel": (convfuzz.fuzz("smoke")(correct), "correct: it is a test of @convfuzz.fuzz already"),
    "no case": (
        without_case,
        "a test has a parameter 'case', which is the drawn case, and a kernel takes (x, w, b, config)",
    ),
    "a case by position": (positional, "positional: its parameter 'case' cannot be given by name; remove the '/' behind it"),
    "a number": (5, "5: it is neither a test, a kernel, nor a backend's name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nobody_would_run_is_refused_at_once(name: str) -> None:
    """Decorating raises, with the name and the reason; so does the decorator without parentheses."""
    subject, said = REFUSED[name]
    with pytest.raises(UsageError, match=r"^@convfuzz\.fuzz on ") as raised:
        convfuzz.fuzz("smoke", cases=3)(subject)
    assert said in str(raised.value)
    if callable(subject):
        with pytest.raises(UsageError):
            convfuzz.fuzz(subject)


def test_async_tests_are_refused_whatever_else_decorates_them(folder: Folder) -> None:
    """A marker of an asyncio plugin changes nothing: the file is not collected, and the session fails."""
    folder.write(
        "test_it.py",
        "import convfuzz\nimport pytest\nfrom kernels import wrong\n\n\n@pytest.mark.asyncio\n"
        '@convfuzz.fuzz("smoke", cases=30)\nasync def test_it(case):\n    case.check(wrong)\n',
    )
    session = folder.pytest("test_it.py", "-W", "ignore")
    assert session.status == 2
    assert "@convfuzz.fuzz on test_it: nobody would await an async function" in session.output


# -- what fails when it runs ----------------------------------------------------------------------------------------------


def checks_nothing(case: Case) -> None:
    """Look at the case and compare nothing."""
    assert case.config.is_valid


def test_a_test_that_checks_nothing_fails() -> None:
    """Without any check there is nothing that the test says of the cases that it was given."""
    with pytest.raises(NothingComparedError, match=r"^no case was checked: the test was given \d+ and compared none of them"):
        fuzzed(checks_nothing)


def test_a_test_that_always_returns_early_fails() -> None:
    """A check behind a condition that no case meets is none."""

    def returns_early(case: Case) -> None:
        if case.config.dims == 4:
            case.check(wrong)

    with pytest.raises(NothingComparedError, match=r"^no case was checked"):
        fuzzed(returns_early)


def test_a_test_that_nearly_always_returns_early_fails() -> None:
    """A few checks of many cases are no more."""
    seen: list[Case] = []

    def checks_one(case: Case) -> None:
        seen.append(case)
        if len(seen) == 50:
            case.check(correct)

    with pytest.raises(NothingComparedError, match=r"^the test compared something on 1 of \d+ cases only, and 20 were asked for"):
        fuzzed(checks_one)


def test_cases_that_a_test_leaves_out_do_not_count() -> None:
    """A test that leaves out two thirds of the cases, by returning or by an assumption, checks as many as were asked for."""
    for leave_out in (lambda: None, reject):
        checked: list[Case] = []

        def some(case: Case, leave_out: Callable[[], object] = leave_out, checked: list[Case] = checked) -> None:
            if case.config.dims != 2:
                leave_out()
                return
            case.check(correct)
            checked.append(case)

        fuzzed(some, seed=1)
        assert len(checked) == 20


def test_a_failure_that_the_test_catches_fails_it() -> None:
    """A check that fails fails its test, also where the test catches that and goes on; the failure says so."""

    def catches(case: Case) -> None:
        with contextlib.suppress(Disagreement):
            case.check(wrong)

    with pytest.raises(Disagreement, match=r"conv1d_c1_o1_i1_k1_f32@integers\.0") as raised:
        fuzzed(catches)
    assert any(note.startswith("The test caught this failure and went on") for note in raised.value.__notes__)


def awaiting(case: Case) -> Any:
    """Hand on a coroutine."""
    return awaits(case)


def yielding(case: Case) -> Any:
    """Hand on a generator."""
    return yields(case)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (awaiting, "returned a coroutine, which nobody awaits: nothing of it has run"),
        (yielding, "returned a generator: nothing of it has run"),
        (lambda case: not convfuzz.check(case, [wrong]).failures, "returned False, which nobody looks at"),
        (lambda case: convfuzz.check(case, [wrong]).failures, "which nobody looks at"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_a_test_returns_is_no_verdict(test: Callable[[Case], Any], said: str) -> None:
    """A test that returns something that has not run, or that was meant to be the verdict, fails."""
    with pytest.raises(UsageError, match=re.escape(said)):
        fuzzed(test)


def test_what_is_no_case_is_named() -> None:
    """A strategy of something else fails with what it draws."""
    with pytest.raises(UsageError, match=r"the strategy draws ConvConfig\(.*, which is no case"):
        convfuzz.fuzz(convfuzz.strategies.configs(), cases=3)(lambda case: case.check(correct))()


def asserts(case: Case) -> None:
    """Judge by the assertion."""
    tensors = make_tensors(case)
    y = correct(tensors.x, tensors.w, tensors.b, case.config)
    c = case.config
    parameters: dict[str, Any] = {"stride": c.stride, "padding": c.padding, "dilation": c.dilation, "groups": c.groups}
    convfuzz.assert_conv_close(y, tensors.x, tensors.w, tensors.b, **parameters)


def returns_the_result(case: Case) -> Any:
    """Return what a check returns."""
    return case.check(correct)


def tells_by_itself(case: Case) -> None:
    """Judge the result of a check that raises nothing."""
    assert not convfuzz.check(case, [correct]).failures


@pytest.mark.parametrize(
    "test",
    [
        asserts,
        returns_the_result,
        tells_by_itself,
        lambda case: case.check(correct),
        functools.partial(lambda case, kernel: case.check(kernel), kernel=correct),
        correct,
        functools.partial(lambda x, w, b, config, alpha: alpha * correct(x, w, b, config), alpha=1),
        "reference",
    ],
)
def test_every_way_to_compare_counts(test: Any) -> None:
    """Checks, their results, and assertions compare; so do lambdas, partial functions and kernels."""
    with tallied() as tally:
        fuzzed(test)
    assert (tally.covered, tally.drawn) == (20, 20)
    assert tally.said == "20 of 20 cases compared"


def test_a_search_space_of_strategies_is_one_of_cases() -> None:
    """``convfuzz.strategies.smoke()`` draws batches of cases, of which a test gets one at a time."""
    with tallied() as tally:
        convfuzz.fuzz(convfuzz.strategies.smoke(), cases=20)(correct)()
    assert tally.covered == 20


# -- what a kernel declines -----------------------------------------------------------------------------------------------


def test_cases_that_the_kernel_declines_do_not_count() -> None:
    """As many cases are compared as were asked for, however many the kernel declines on the way."""
    with tallied() as tally:
        convfuzz.fuzz(SINGLES, cases=40)(narrow)()
    assert tally.covered == 40
    assert tally.drawn > 80
    assert tally.said == f"40 of {tally.drawn:,} cases compared"


@pytest.mark.parametrize("seed", range(6))
def test_a_bug_in_a_corner_of_the_domain_is_found_each_time(seed: int) -> None:
    """A kernel that declines most cases, and is wrong on some of the others, fails whatever the seed."""
    with pytest.raises((Disagreement, ExceptionGroup)):
        fuzzed(narrow_and_wrong, cases=100, seed=seed)


def test_a_kernel_that_declines_all_but_one_case_fails() -> None:
    """One comparison where a hundred were asked for proves nothing; the message has the numbers, the reason and what to do."""
    computed: list[Any] = []

    @convfuzz.backend(supports=lambda _: not computed or "only once")
    def once(x: Any, w: Any, b: Any, config: Any) -> Any:
        computed.append(config)
        return correct(x, w, b, config)

    said = (
        r"once declined [\d,]+ of [\d,]+ cases: 1 were compared, 100 were asked for \(.*only once \(\d+\)\)\. Say what the kernel computes"
    )
    with pytest.raises(NothingComparedError, match=said):
        fuzzed(once, cases=100)


def test_a_framework_beside_the_kernel_hides_nothing() -> None:
    """Where the kernel declines nearly all cases the test fails, though another backend computes every one."""
    double = convfuzz.backend(dtypes=("float64",))(functools.partial(correct))

    def both(case: Case) -> None:
        case.check("reference", double)

    with pytest.raises(NothingComparedError, match=r"<partial> declined \d+ of \d+ cases: 0 were compared, 20 were asked for"):
        convfuzz.fuzz(SINGLES, cases=20)(both)()


# -- what a session says --------------------------------------------------------------------------------------------------

TESTS = """
import convfuzz
from hypothesis import given, settings
from kernels import right, only_double

MIXED = convfuzz.strategies.cases(dims=(1,), dtypes=("float32", "float64"), ops=("conv",), grad=(False,))


@convfuzz.fuzz(MIXED, cases=10, seed=1)
def test_fuzz(case):
    case.check(only_double)


@settings(max_examples=20, derandomize=True)
@given(case=MIXED)
def test_given(case):
    case.check(only_double)


def test_one():
    convfuzz.Case.parse("conv1d_c1_o1_i1_k1_f32").check(right)


def test_nothing():
    pass
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_session_says_how_many_cases_were_compared(folder: Folder, workers: tuple[str, ...]) -> None:
    """With ``-v`` each passing test says how many of its cases were compared, and so do the report and a JUnit file."""
    folder.write("test_it.py", TESTS)
    session = folder.pytest("test_it.py", "-vv", "--convfuzz-report", "out.html", "--junit-xml", "out.xml", *workers)
    assert session.outcomes() == {"passed": 4}
    said = dict(re.findall(r"::(test_\w+) PASSED \((.*? cases compared)\)", session.output) or _of_workers(session.output))
    assert re.fullmatch(r"10 of \d\d cases compared", said["test_fuzz"])
    assert re.fullmatch(r"\d+ of \d+ cases compared", said["test_given"])
    assert said["test_one"] == "1 of 1 cases compared"
    assert "test_nothing" not in said
    assert {name.rpartition("::")[2]: text for name, text in session.run.info.tests.items()} == said
    page = (folder.path / "out.html").read_text()
    assert said["test_fuzz"] in page
    assert said["test_given"] in (folder.path / "out.xml").read_text()


def _of_workers(output: str) -> list[tuple[str, str]]:
    """Read the lines of xdist, which have the outcome before the test."""
    return [(test, said) for said, test in re.findall(r"PASSED \((.*? cases compared)\)[^\n]*::(test_\w+)", output)]
