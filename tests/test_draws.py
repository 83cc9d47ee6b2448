"""What tests draw is the same each time, whichever modules are loaded."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def drawn() -> list[int]:
    """Return what a test draws."""
    seen: list[int] = []

    @settings(max_examples=300)
    @given(st.integers())
    def collect(n: int) -> None:
        seen.append(n)

    collect()
    return seen


def test_a_test_draws_the_same_after_a_module_with_new_constants_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis would try constants of the modules that are loaded: then what a test draws depends on which ran before it."""
    before = drawn()
    constants = range(10**6 + 1, 10**6 + 2000, 7)
    (tmp_path / "constants_of_another.py").write_text(f"NUMBERS = {[*constants]}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("constants_of_another")
    assert drawn() == before
    assert len({*before}) > 100
    assert not {*before} & {*constants}
