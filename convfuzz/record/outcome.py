"""How a run ended, and the exit status that says so."""

from __future__ import annotations

from enum import StrEnum

from convfuzz.record.summary import Summary


class Stopped(StrEnum):
    """Why a campaign ended."""

    TIME = "time"
    MAX_CASES = "max-cases"
    INTERRUPTED = "interrupted"


def exit_status(summary: Summary, stopped: str) -> int:
    """Return the command line's exit status: 0 clean, 1 findings outside the ledger, 2 if the run proves nothing, 130 interrupted."""
    if stopped == Stopped.INTERRUPTED:
        return 130
    if summary.new_failures:
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
