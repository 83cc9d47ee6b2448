"""Counts in words: a number with its noun."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return ``1 case``, ``12,345 cases``, ``2 entries``."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"
