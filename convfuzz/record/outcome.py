"""How a run ended, and the exit status that says so."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, get_args

from convfuzz.backend_names import family_of
from convfuzz.record.summary import Summary
from convfuzz.system.interrupts import signal_of


class Stopped(StrEnum):
    """Why a campaign ended."""

    TIME = "time"
    MAX_CASES = "max-cases"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    HANGUP = "hangup"


_EARLY = {Stopped.INTERRUPTED: 130, Stopped.TERMINATED: 143, Stopped.HANGUP: 129}
"""The exit statuses of campaigns that a signal ended, as shells have them: 128 and the signal's number."""


def ended_early(stopped: str) -> bool:
    """Whether a signal ended the run: Ctrl-C, SIGTERM, or SIGHUP of a closed terminal."""
    return stopped in _EARLY


def stopped_by(error: KeyboardInterrupt) -> Stopped:
    """Return why a campaign ended that an interruption has ended."""
    return {signal.SIGTERM: Stopped.TERMINATED, signal.SIGHUP: Stopped.HANGUP}.get(signal_of(error), Stopped.INTERRUPTED)


Known = Literal["show", "tolerate", "ignore"]
"""What a run makes of what is known upstream: it shows it, it does not fail for it either, or it does not look it up."""
KNOWN: tuple[Known, ...] = get_args(Known)


def exit_status(summary: Summary, stopped: str, known: Known = "show") -> int:
    """Return the command line's exit status: 0 clean, 1 findings outside the ledger, 2 if the run proves nothing.

    Where Ctrl-C, SIGTERM or SIGHUP ended the run, it is 130, 143 or 129.

    What is known upstream counts as a finding too, unless :func:`tolerates_known` says otherwise.
    """
    if stopped in _EARLY:
        return _EARLY[Stopped(stopped)]
    known_ones = (finding for finding in summary.findings.values() if finding.known)
    if summary.new_failures > sum(one.known for one in known_ones if tolerates_known(one.backend, summary.backends, known)):
        return 1
    return 2 if proves_nothing(summary) or shortcomings(summary) else 0


def tolerates_known(backend: str, backends: Iterable[str], known: Known) -> bool:
    """Whether a run of ``backends`` does not fail for what is known upstream of one of them.

    A framework that stands beside a user's kernel is there for comparison: what is known of it says nothing of the kernel.
    """
    return known == "tolerate" or (bool(family_of(backend)) and any(not family_of(name) for name in backends))


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
