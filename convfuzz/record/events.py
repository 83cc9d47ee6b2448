"""The events of a campaign: a journal is a sequence of these records, one JSON object per line.

Everything that is shown or kept (progress, report, resuming, merging) is a fold over them; see ``summary.py``. Within
one journal events are strictly sequential, so that an event belongs to the latest :class:`CaseStarted` before it, and
a :class:`BackendStarted` without its :class:`BackendEnded` is where the process died.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from convfuzz.case import Pass
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy, Verdict

FORMAT_VERSION = 1

FINGERPRINT = "[0-9a-f]{8}"
Fingerprint = Annotated[str, msgspec.Meta(pattern=rf"\A{FINGERPRINT}\Z")]
"""The name of a finding or of a ledger's entry: 8 hex digits."""
OptionalFingerprint = Annotated[str, msgspec.Meta(pattern=rf"\A({FINGERPRINT})?\Z")]
"""A fingerprint, or nothing where there is none."""


class JournalOpened(msgspec.Struct, frozen=True, tag="journal", tag_field="event"):
    """First line of every journal: its format and which worker writes it."""

    format: int
    worker: str
    time: float


class RoundStarted(msgspec.Struct, frozen=True, tag="round", tag_field="event"):
    """A bounded stretch of the campaign begins: round ``number``, generated from ``seed``."""

    number: int
    seed: int
    time: float


class CaseStarted(msgspec.Struct, frozen=True, tag="case", tag_field="event"):
    """A case begins: its one-line form."""

    case: str
    time: float


class BackendStarted(msgspec.Struct, frozen=True, tag="start", tag_field="event"):
    """A backend is about to run on the current case."""

    backend: str


class CompileStarted(msgspec.Struct, frozen=True, tag="compile", tag_field="event"):
    """The backend that runs compiles something first, which may take ``limit`` seconds."""

    limit: float


class CompileEnded(msgspec.Struct, frozen=True, tag="compiled", tag_field="event"):
    """It has compiled, and goes on."""


class JudgingStarted(msgspec.Struct, frozen=True, tag="judge", tag_field="event"):
    """The backend has returned, and is judged: that time is not its own."""


class JudgingEnded(msgspec.Struct, frozen=True, tag="judged", tag_field="event"):
    """It was judged, or is called again for that."""


class BackendEnded(msgspec.Struct, frozen=True, tag="end", tag_field="event", omit_defaults=True, kw_only=True):
    """A backend has been judged on the current case.

    ``seconds`` is the time inside the backend, without the ``compile_seconds`` of a kernel that compiles apart from running.
    ``discrepancies`` maps each pass that was compared to its discrepancy; ``in_pass`` names the pass that ``verdict``, the gravest, is
    about, and ``also`` the verdicts of other passes that fail.
    ``quarantine`` is the fingerprint of the ledger's entry that kept the case from running, whose verdict is ``unsupported``.
    """

    backend: str
    verdict: Verdict
    seconds: float
    reason: str = ""
    model: str = ""
    in_pass: Pass = "forward"
    discrepancies: dict[Pass, Discrepancy] = {}
    also: dict[Pass, Verdict] = {}
    quarantine: OptionalFingerprint = ""
    compile_seconds: float = 0.0

    @property
    def worst_ratio(self) -> float:
        """Largest error of any pass in units of its bound; 0 where no pass has one."""
        return max((found.ratio or 0.0 for found in self.discrepancies.values()), default=0.0)


class CaseEnded(msgspec.Struct, frozen=True, tag="done", tag_field="event", omit_defaults=True, kw_only=True):
    """The current case is over: ``pairs`` holds the max-abs discrepancy of each two outputs that were compared.

    ``reference_seconds`` went into the reference, ``overhead_seconds`` into drawing, filling tensors and judging.
    ``skipped`` says why the case as a whole was not run.
    """

    pairs: list[tuple[str, str, Real]] = []
    reference_seconds: float = 0.0
    overhead_seconds: float = 0.0
    skipped: str = ""


class CanaryEnded(msgspec.Struct, frozen=True, tag="canary", tag_field="event", omit_defaults=True):
    """The deliberately wrong backend was judged on the current case: was it caught?"""

    caught: bool
    verdict: Verdict


class FindingKept(msgspec.Struct, frozen=True, tag="finding", tag_field="event", omit_defaults=True, kw_only=True):
    """A failure on ``case`` belongs to the finding ``fingerprint``, whose minimal case is ``minimal`` now.

    ``tolerated_by`` is the fingerprint of the ledger's entry that tolerates it, and ``known_as`` the name of the bug that is
    known upstream and explains it; both are empty where there is none. ``absorbs`` names
    the findings that turn out to be this one: they are no longer there, and their failures count here.
    """

    fingerprint: Fingerprint
    backend: str
    verdict: Verdict
    case: str
    minimal: str
    model: str = ""
    in_pass: Pass = "forward"
    max_abs: Real = Real(0)
    tolerated_by: OptionalFingerprint = ""
    known_as: str = ""
    absorbs: list[Fingerprint] = []


class FailureExplained(msgspec.Struct, frozen=True, tag="explained", tag_field="event", kw_only=True):
    """A failure on ``case`` that belongs to the finding ``fingerprint`` turns out to be a sign of the bug ``known_as``, known upstream.

    Experiments have shown it, or what its finding was reduced to since.
    """

    fingerprint: Fingerprint
    case: str
    known_as: str


class Recheck(StrEnum):
    """What became of the case of a ledger's entry when it was run again."""

    STILL_FAILING = "still failing"
    FIXED = "fixed"
    CHANGED = "fails otherwise"
    ERROR = "error"


class EntryRechecked(msgspec.Struct, frozen=True, tag="recheck", tag_field="event", omit_defaults=True, kw_only=True):
    """The minimal case of the ledger's entry ``entry`` was run again."""

    entry: Fingerprint
    outcome: Recheck
    reason: str = ""


class RoundEnded(msgspec.Struct, frozen=True, tag="round-end", tag_field="event"):
    """The round is over, after ``cases`` cases in this process; its worker has seen ``pairs`` pairs of feature values so far.

    ``cut_short`` says that the process ends before the round is over: another one may resume it.
    """

    number: int
    cases: int
    time: float
    pairs: int = 0
    cut_short: bool = False


class DomainExplored(msgspec.Struct, frozen=True, tag="domain", tag_field="event", omit_defaults=True, kw_only=True):
    """What a search has found that a backend accepts, before any case runs.

    ``accepted`` counts the configurations found by each parameter's value; ``declined`` says of cases that were given as a start
    of the search why the backend declines them.
    """

    backend: str
    accepted: dict[str, dict[str, int]] = {}
    declined: dict[str, str] = {}


class RoundLost(msgspec.Struct, frozen=True, tag="lost", tag_field="event"):
    """Round ``number``, which ran elsewhere, did not come back, for ``reason``; the next one takes its place."""

    number: int
    reason: str
    time: float


Event = (
    JournalOpened
    | RoundStarted
    | CaseStarted
    | BackendStarted
    | CompileStarted
    | CompileEnded
    | JudgingStarted
    | JudgingEnded
    | BackendEnded
    | CaseEnded
    | CanaryEnded
    | FindingKept
    | FailureExplained
    | EntryRechecked
    | RoundEnded
    | RoundLost
    | DomainExplored
)
