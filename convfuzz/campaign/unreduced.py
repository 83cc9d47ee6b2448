"""Reduces findings whose reduction was cut off, where they are to be compared or known by: only then does their name say what they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from convfuzz.campaign.replay import located
from convfuzz.case import Case
from convfuzz.checking.limits import Limits
from convfuzz.errors import BackendError, UsageError
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.confirmation import Recurrence
from convfuzz.record.finding import Finding
from convfuzz.triage.triage import reduce_finding, renamed

_SECONDS = 60.0


def reduced(finding: Finding, folder: Path, *, limits: Limits | None = None, progress: Callable[[Case], None] = lambda _: None) -> Finding:
    """Return ``finding`` reduced, for about a minute, in a process that may die of it; one that was not cut off is returned as it is.

    A kernel's file is looked for as :func:`~convfuzz.campaign.replay.replay` does.

    Raises:
        UsageError: it cannot be reduced here: its backend does not load, its case no longer fails, or a minute is not enough.
    """
    if not finding.is_unreduced:
        return finding
    here = located(finding, folder)
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as scratch:
        sandbox = Sandbox([here.backend], None, Path(scratch, "reduce.log"), limits=limits)
        try:
            sandbox.open()
            found = reduce_finding(sandbox, here, _SECONDS, progress)
        except BackendError as error:
            raise UsageError(f"{_said(finding)}; it cannot be reduced here: {error}") from None
        finally:
            sandbox.close()
    if found.confirmation.recurrence is Recurrence.NOT_REPRODUCED:
        raise UsageError(f"{_said(finding)}; it cannot be reduced here: its case does not fail any more")
    if found.is_unreduced:
        raise UsageError(f"{_said(finding)}, and a minute is not enough. Run: convfuzz reduce {finding.case} --backends {finding.backend}")
    return renamed(msgspec.structs.replace(found, count=finding.count, versions=finding.versions), finding.backend)


def _said(finding: Finding) -> str:
    return f"finding {finding.fingerprint} ({finding.backend}: {finding.verdict}) was not reduced, so its name may be another failure's too"
