"""Delta debugging of lists: the shortest part that still fails, in its order."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from convfuzz.triage.ddmin import ddmin
from convfuzz.triage.reduction import Budget

PLENTY = Budget(math.inf, candidates=10**9)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1, max_size=4))))
def test_what_it_takes_is_found(drawn: tuple[int, set[int]]) -> None:
    """Of a list that fails by some of its items together, exactly these are left, in their order."""
    size, culprits = drawn
    assert ddmin(range(size), culprits.issubset, PLENTY) == (sorted(culprits), True)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=24), st.data())
def test_nothing_that_is_left_can_be_left_out(items: list[int], data: st.DataObject) -> None:
    """Whatever the rule is, the result fails and no single item of it can be left out."""
    failing = {tuple(items)} | data.draw(st.sets(st.sampled_from([tuple(items[lo:]) for lo in range(len(items))])))
    failing |= {tuple(items[lo:hi]) for lo, hi in data.draw(st.sets(st.tuples(st.integers(0, 12), st.integers(13, 24))))}
    failing.discard(())

    def fails(part: list[int]) -> bool:
        return tuple(part) in failing

    left, is_minimal = ddmin(items, fails, PLENTY)
    assert is_minimal
    assert fails(left)
    assert len(left) == 1 or not any(fails(left[:i] + left[i + 1 :]) for i in range(len(left)))


def test_order_matters() -> None:
    """An item that counts only behind another keeps its place."""
    left, _ = ddmin(list("abcbcab"), lambda part: "cb" in "".join(part), PLENTY)
    assert left == ["c", "b"]


def test_one_culprit_of_many_takes_few_runs() -> None:
    """One of 512 is found by halving: two candidates for each halving at most."""
    tried: list[int] = []

    def fails(part: list[int]) -> bool:
        tried.append(len(part))
        return 300 in part

    assert ddmin(range(512), fails, PLENTY) == ([300], True)
    assert len(tried) <= 18


def test_the_best_so_far_when_the_budget_ends() -> None:
    """Where the budget ends the shortest list so far is returned, and not called minimal."""
    left, is_minimal = ddmin(range(64), lambda part: 63 in part, Budget(60.0, candidates=4))
    assert not is_minimal
    assert left == list(range(48, 64))
