"""A call as source: what is run is what is shown, whatever the values are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convfuzz.backends.source import CallSource, indented, keywords, literal


def shown(source: CallSource, name: str, given: dict[str, object]) -> Any:
    """Return the function that the shown text defines."""
    scope = dict(given)
    exec(str(source), scope)  # noqa: S102 - that is what the text is for
    return scope[name]


@pytest.mark.parametrize("values", [{"start": 1, "mode": "wrap"}, {"start": (2, [3]), "mode": None}, {"start": "a'b$c", "mode": "{}"}])
def test_the_function_returns_what_the_shown_text_returns(values: dict[str, object]) -> None:
    """Values of any kind mean the same bound to names and written out."""
    source = CallSource(["def run(x):", *indented([f"return dict(x=x, {keywords(values)})"])], values)
    assert source.function("run", {})(5) == shown(source, "run", {})(5) == {"x": 5, **values}


def test_definitions_see_each_other_and_what_is_given() -> None:
    """A function may call one before it, decorators included, and names from outside."""
    lines = ["@twice", "def add(x):", "    return x + $step", "", "", "def run(x):", "    return add(x) * factor"]
    given = {"twice": lambda function: lambda x: function(function(x)), "factor": 10}
    source = CallSource(lines, {"step": 3})
    assert source.function("run", given)(1) == shown(source, "run", given)(1) == 70


def test_functions_of_one_text_keep_their_own_values() -> None:
    """Two calls that share their text and differ in a value do not see each other's."""
    first, second = (CallSource(["def run():", "    return $value"], {"value": value}).function("run", {}) for value in (1, 2))
    assert (first(), second()) == (1, 2)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ((..., slice(None, None, 2), slice(1, -1)), "..., ::2, 1:-1"),
        ((slice(None), slice(0, 3)), ":, 0:3"),
        ((slice(2, None),), "2:"),
    ],
)
def test_an_index_is_written_as_between_brackets(index: tuple[Any, ...], text: str) -> None:
    """Slices are written with colons, and select the same elements."""
    assert literal(index) == text
    a = np.arange(5 * 7).reshape(5, 7)
    source = CallSource(["def run(a):", "    return a[$index]"], {"index": index})
    np.testing.assert_array_equal(source.function("run", {})(a), a[index])
    np.testing.assert_array_equal(shown(source, "run", {})(a), a[index])
