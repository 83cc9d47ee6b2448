"""``@convfuzz.fuzz``: a test that draws its cases and goes on behind the failures that it finds."""

from __future__ import annotations

import functools
import inspect
import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from convfuzz.backends.kernels.backend import FUZZED
from convfuzz.case import Case
from convfuzz.case.arguments import whole_number
from convfuzz.case.domain import Domain
from convfuzz.checking.checker import CheckResult
from convfuzz.checking.tally import count_draw, tallied
from convfuzz.entry_points import load_strategy, require_strategy
from convfuzz.errors import UsageError
from convfuzz.testing.agreement import NothingComparedError, assert_agrees
from convfuzz.testing.disagreement import Disagreement, disagreement
from convfuzz.testing.looking import domains_in
from convfuzz.testing.options import chosen
from convfuzz.testing.subject import MADE, require_nothing_returned, require_test_or_kernel

Test = Callable[..., Any]

_MOST_ROUNDS = 8
"""A test that has found new failures in so many rounds has shown enough."""
_CAUGHT = (
    "The test caught this failure and went on, so that it would have passed. Let it through; "
    "convfuzz.check(case, [my_kernel]) returns its result and raises nothing."
)
_FIRST = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
_FURTHER = (Phase.generate, Phase.target, Phase.shrink)


def fuzz(strategy: str | SearchStrategy[Case] | Test | None = None, *, cases: int | None = None, seed: int | None = None) -> Any:
    """Make a test that checks drawn cases out of a test with a parameter ``case``, out of a kernel, or of a backend's name.

    ::

        @convfuzz.fuzz("default", cases=200)
        def test_my_conv(case):
            case.check(my_conv)


        test_my_conv = convfuzz.fuzz(cases=200)(my_conv)

    Every bug that is found is shrunk, and the test goes on behind it, so that a known failure, remembered by Hypothesis, hides
    no new one. Hypothesis's deadline and health checks do not apply. Other parameters of a test are fixtures as ever.

    Args:
        strategy: the name of a search space (see ``convfuzz strategies``) or a strategy of cases such as
            ``convfuzz.strategies.cases(dims=(2,))``. Default: the option ``--convfuzz-strategy``, else ``"default"``.
        cases: how many cases to check. Default: ``--convfuzz-cases``, else what Hypothesis's profile says.
        seed: draws the same cases each time. Default: ``--convfuzz-seed``, else Hypothesis's choice.

    Cases that the kernel declines do not count, and others are drawn in their place. A test that compares nothing, or next to nothing
    because its kernel declines nearly all cases, fails; so does one that catches the failure of a check and goes on.

    An option on pytest's command line goes before an argument here, which goes before one in its ini file.

    Raises:
        UsageError: an argument has another type or is out of range, no search space has the name, or what it is put on is no
            plain test or kernel: an async function or a generator, which nobody would run, or a test that draws already.
    """
    given = [_at_least(name, value, least) for name, value, least in (("cases", cases, 1), ("seed", seed, 0))]
    if callable(strategy):
        return _fuzzed(strategy, None, *given)
    if isinstance(strategy, str):
        require_strategy(strategy)
    elif strategy is not None and not isinstance(strategy, SearchStrategy):
        raise UsageError(f"strategy={strategy!r} is neither the name of a search space nor a strategy of cases")
    return lambda subject: _fuzzed(subject, strategy, *given)


def _at_least(name: str, value: object, least: int) -> int | None:
    number = whole_number(value)
    if value is not None and (number is None or number < least):
        raise UsageError(f"{name}={value!r} is not a whole number of at least {least}")
    return number


def _fuzzed(subject: Test | str, strategy: str | SearchStrategy[Case] | None, cases: int | None, seed: int | None) -> Test:
    test = subject if require_test_or_kernel(subject) and callable(subject) else _check_of(subject)
    signature = inspect.signature(test)

    @functools.wraps(test)
    def fuzzed(*args: Any, **fixtures: Any) -> None:
        __tracebackhide__ = True
        space, count = chosen("strategy", strategy, "default"), chosen("cases", cases, settings().max_examples)
        run_fuzz(test, space, count, chosen("seed", seed, None), args=args, fixtures=fixtures)

    kept = [parameter for name, parameter in signature.parameters.items() if name != "case"]
    fuzzed.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    setattr(fuzzed, MADE, True)
    if test is not subject:
        setattr(fuzzed, FUZZED, subject)
    return fuzzed


def _check_of(kernel: Test | str) -> Test:
    """Return the test of a kernel; it has the kernel's name, by which Hypothesis files what it remembers."""

    def check(case: Case) -> None:
        __tracebackhide__ = True
        assert_agrees(case, kernel)

    if callable(kernel):
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(check, name, getattr(kernel, name, getattr(check, name)))
    else:
        check.__name__ = check.__qualname__ = kernel
    return check


def run_fuzz(
    test: Test,
    strategy: str | SearchStrategy[Case],
    cases: int,
    seed: int | None,
    *,
    name: str = "",
    args: Sequence[Any] = (),
    fixtures: Mapping[str, Any] | None = None,
) -> None:
    """Run ``test`` on drawn cases, round after round until one finds nothing new; ``name`` tells it from others of its name.

    Without a ``seed`` Hypothesis chooses one.

    Raises:
        ExceptionGroup: several distinct failures; a single one is raised as it is.
        NothingComparedError: no case was checked, no backend computes any, or a kernel declines nearly all.
    """
    __tracebackhide__ = True
    space, base = _cases_of(strategy, lambda: domains_in(test, args, fixtures or {})), _usual_seed(test, name) if seed is None else seed
    found: list[Exception] = []
    with tallied() as tally:
        for number in range(_MOST_ROUNDS):
            drawn = _Drawn(test, f"{getattr(test, '__name__', 'test')}{name}", {type(failure) for failure in found})
            failures = drawn.run(space, cases, None if base is None else base + number, number > 0, args, fixtures or {})
            found += failures
            if not failures or not all(isinstance(failure, Disagreement) for failure in failures):
                break
    if len(found) == 1:
        raise found[0]
    if found:
        raise ExceptionGroup(f"convfuzz found {len(found)} distinct failures", found)
    too_little = tally.proves_too_little(cases)
    if too_little:
        raise NothingComparedError(too_little)


@dataclass(frozen=True)
class _Drawn:
    """One run of Hypothesis over ``test``, which passes over failures of the ``known`` classes."""

    test: Test
    name: str
    known: Collection[type]

    def run(
        self,
        space: SearchStrategy[Case],
        count: int,
        seed: int | None,
        is_further: bool,  # noqa: FBT001
        args: Sequence[Any],
        fixtures: Mapping[str, Any],
    ) -> list[Exception]:
        """Draw ``count`` cases, and return the distinct failures, each shrunk; none is remembered from before ``is_further``."""
        __tracebackhide__ = True

        @functools.wraps(self.test)
        def once(*positional: Any, case: Case, **rest: Any) -> None:
            __tracebackhide__ = True
            try:
                covered = self._checks(case, positional, rest)
            except Disagreement as failure:
                if type(failure) not in self.known:
                    raise
            else:
                hypothesis.assume(covered)  # what is not compared does not count, and another is drawn

        if signature := _without_defaults(self.test):
            once.__signature__ = signature  # type: ignore[attr-defined]
        once.__name__ = re.sub(r"\W", "_", self.name)  # Hypothesis files what it remembers by it
        phases = _FURTHER if is_further else _FIRST
        drawn = settings(max_examples=count, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))(
            hypothesis.given(case=space)(once)
        )
        drawn = drawn if seed is None else hypothesis.seed(seed)(drawn)
        try:
            drawn(*args, **fixtures)
        except Unsatisfiable:
            return []  # no case was covered, which the tally tells with its reasons
        except Flaky as failure:
            return [failure]
        except ExceptionGroup as group:
            return list(group.exceptions)
        except Exception as failure:  # noqa: BLE001 - it is raised once the other failures are known
            return [failure]
        return []

    def _checks(self, case: Case, positional: Sequence[Any], rest: Mapping[str, Any]) -> bool:
        """Run the test on one case, and say whether it compared anything that counts.

        Raises:
            Disagreement: a check fails, whether the test lets that through or not.
            UsageError: the case is none, or the test returns something.
        """
        __tracebackhide__ = True
        if not isinstance(case, Case):
            raise UsageError(
                f"the strategy draws {case!r}, which is no case: give a strategy such as convfuzz.strategies.cases(), or a name"
            )
        covered = False
        try:
            with tallied() as tally:
                returned = self.test(*positional, case=case, **rest)
            covered = tally.covers
        finally:
            count_draw(covered=covered)
        if returned is not None and not isinstance(returned, CheckResult):
            require_nothing_returned(getattr(self.test, "__name__", repr(self.test)), returned)
        if tally.raised is not None:
            failure = disagreement(tally.raised)
            failure.add_note(_CAUGHT)
            raise failure
        return covered


def _without_defaults(test: Test) -> inspect.Signature | None:
    """Return the signature of a test without the parameters that have defaults, which Hypothesis refuses; ``None`` where there are none."""
    signature = inspect.signature(test)
    parameters = [one.replace(kind=one.KEYWORD_ONLY) if name == "case" else one for name, one in signature.parameters.items()]
    if all(one.default is one.empty for one in parameters):
        return None
    needed = [one for one in parameters if one.default is one.empty or one.name == "case"]
    return signature.replace(parameters=[one.replace(default=one.empty) for one in sorted(needed, key=lambda one: one.kind)])


def _cases_of(strategy: str | SearchStrategy[Case], domains: Callable[[], tuple[Domain, ...]]) -> SearchStrategy[Case]:
    """Return a strategy of single cases; search spaces draw them in batches, a named one within ``domains`` where there are any."""
    if isinstance(strategy, str):
        return load_strategy(strategy, domains()).flatmap(st.sampled_from)
    return strategy.flatmap(lambda drawn: st.sampled_from(drawn) if isinstance(drawn, tuple) and drawn else st.just(drawn))


def _usual_seed(test: Test, name: str) -> int | None:
    """Return a seed of the test's own where Hypothesis's profile asks for the same cases each time, as on CI."""
    if not settings().derandomize:
        return None
    return Random(zlib.crc32(f"{getattr(test, '__qualname__', '')}{name}".encode())).getrandbits(32)  # noqa: S311 - no secret
