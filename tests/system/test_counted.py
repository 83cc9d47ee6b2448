"""Counts in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convfuzz.system.counted import counted

ROOT = Path(__file__).parents[2]
_NOUNS = "cases|findings|comparisons|candidates|releases|environments|entries|configurations"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "case", "0 cases"), (1, "case", "1 case"), (12345, "case", "12,345 cases"), (1, "entry", "1 entry"), (2, "entry", "2 entries")],
)
def test_one_is_singular(number: int, noun: str, text: str) -> None:
    """One thing is named in the singular, any other number of them in the plural."""
    assert counted(number, noun) == text


@pytest.mark.parametrize("path", sorted((ROOT / "convfuzz" / "cli").glob("*.py")), ids=lambda path: path.name)
def test_commands_count_in_words(path: Path) -> None:
    """No command prints a number with a plural that may be wrong: ``1 cases``."""
    lines = [line for line in path.read_text().splitlines() if re.search(rf"\}} ({_NOUNS})\b(?!/s)", line)]
    assert lines == []
