"""How a run ended, and the exit status that says so."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args

from convfuzz.record.summary import Summary


class Stopped(StrEnum):
    """Why a campaign ended."""

    TIME = "time"
    MAX_CASES = "max-cases"
    INTERRUPTED = "interrupted"


Known = Literal["show", "tolerate", "ignore"]
"""What a run makes of what is known upstream: it shows it, it does not fail for it either, or it does not look it up."""
KNOWN: tuple[Known, ...] = get_args(Known)


def exit_status(summary: Summary, stopped: str, known: Known = "show") -> int:
    """Return the command line's exit status: 0 clean, 1 findings outside the ledger, 2 if the run proves nothing, 130 interrupted.

    What is known upstream counts as a finding too, unless it is ``"tolerate"``.
    """
    if stopped == Stopped.INTERRUPTED:
        return 130
    if summary.unknown_failures if known == "tolerate" else summary.new_failures:
        return 1
    return 2 if proves_nothing(summary) or shortcomings(summary) else 0


def proves_nothing(summary: Summary) -> str | None:
    """Return why a run without findings proves nothing: nothing was compared, or the canary was not caught; else ``None``."""
    if summary.comparisons == 0:
        return "nothing was compared"
    if summary.canary_caught < summary.canary_planted:
        return f"the planted canary was caught only {summary.canary_caught} of {summary.canary_planted} times"
    return None


def shortcomings(summary: Summary) -> list[str]:
    """Say of which backends a run proves nothing or little: they declined what was drawn, or saw a corner of their domain."""
    if proves_nothing(summary):
        return []
    return [said for name, backend in summary.backends.items() if (said := backend.shortcoming(name))]
