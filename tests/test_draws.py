"""What tests draw is the same each time, whichever modules are loaded."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import covering, sample

from convfuzz.case import Case
from convfuzz.case.features import features
from convfuzz.strategies import cases


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


def test_few_cases_show_all_that_many_do() -> None:
    """Of drawn cases those are chosen that show every value of every feature, gradients and none, and every regime: a fifth or fewer."""

    def shown(chosen: list[Case]) -> set[tuple[str, object]]:
        values = {item for case in chosen for item in features(case.config).items()}
        return values | {("grad", case.grad) for case in chosen} | {("regime", case.recipe.regime) for case in chosen}

    many = sample(cases(), 150)
    few = covering(many)
    assert shown(few) == shown(many)
    assert len(few) <= len(many) / 5
    assert covering([]) == []
