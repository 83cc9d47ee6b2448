"""Numbers as the report writes them."""

from __future__ import annotations

import math

import pytest

from convfuzz.reports import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (65504.0, "65504"),
        (213400.0, "2.13e5"),
        (36790.4, "3.68e4"),
        (31.4159, "31.4"),
        (0.5, "0.5"),
        (0.00683, "0.00683"),
        (0.000913, "9.13e-4"),
        (1.1920929e-07, "1.19e-7"),
        (-2.5e-10, "-2.5e-10"),
        (9.999, "10"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (math.nan, "NaN"),
        (None, "–"),
    ],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    """A number has three significant digits and no padding; small whole numbers stay whole."""
    assert formatting.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(math.inf, "∞/NaN"), (math.nan, "∞/NaN"), (0.0, "0"), (2.0, "2")])
def test_a_discrepancy_that_is_not_finite_says_so(value: float, text: str) -> None:
    """NaN or Inf on one side only reads ∞/NaN, never a number."""
    assert formatting.max_abs(value) == text


def test_no_error_at_all_is_exact() -> None:
    """A ratio of 0 is the word exact; one to a tolerance of 0 is infinite, which is not NaN."""
    assert formatting.ratio(0.0) == "exact"
    assert formatting.ratio(0.25) == "0.25"
    assert formatting.ratio(math.inf) == "∞"


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (-1.0, "-1"), (4294967296.0, "4294967296"), (2.0**63, "≈9.22e18")])
def test_integers_have_all_their_digits(value: float, text: str) -> None:
    """A number of an integer dtype is written in full up to where float64 holds it."""
    assert formatting.max_abs(value, integer=True) == text


def test_what_a_script_orders_by_is_finite() -> None:
    """NaN and infinity sort above every number, nothing at all below: JavaScript reads neither of Python's words."""
    assert formatting.sortable(None) < 0.0 < formatting.sortable(3.0) < formatting.sortable(math.inf)
    assert formatting.sortable(math.nan) == formatting.sortable(math.inf) < math.inf


def test_a_list_reads_as_a_sentence() -> None:
    """Commas, and one and."""
    assert formatting.listed(["depth"]) == "depth"
    assert formatting.listed(["depth", "height", "width"]) == "depth, height and width"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 s"), (0.00042, "420 µs"), (0.35, "350 ms"), (60.0, "60 s"), (320.0, "5 min 20 s"), (29000.0, "8 h 3 min")],
)
def test_durations_have_the_unit_they_are_thought_of_in(value: float, text: str) -> None:
    """A duration is in microseconds, milliseconds, seconds, minutes or hours by its size."""
    assert formatting.seconds(value) == text


def test_a_small_share_is_not_none() -> None:
    """One of a million is more than nothing."""
    assert formatting.share(1, 1_000_000) == "< 0.1 %"
    assert formatting.share(0, 10) == "0 %"
    assert formatting.share(1, 3) == "33 %"


@pytest.mark.parametrize(("one", "other"), [(0.1, 0.1 + 1.5e-8), (0.5, 0.5 + 2**-53), (1e15, 1e15 + 0.125)])
def test_values_that_differ_are_written_differently(one: float, other: float) -> None:
    """Expected and actual always have enough digits to tell them apart."""
    written = formatting.apart(one, other)
    assert written[0] != written[1]


@pytest.mark.parametrize("write", [formatting.case_line, formatting.name, formatting.command])
def test_text_from_outside_is_escaped(write: object) -> None:
    """Whatever may wrap is escaped first."""
    assert callable(write)
    assert "<img" not in write("a/b --x <img src=x>@c_d")
    assert "&lt;img" in write("a/b --x <img src=x>@c_d")
