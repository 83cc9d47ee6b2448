"""A finding: one distinct failure with its minimal case, its evidence and what identifies it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import groupby

import msgspec

from convfuzz.backend_names import family_of
from convfuzz.case import Case, Pass
from convfuzz.case.features import particular
from convfuzz.errors import UnreadableFile
from convfuzz.record.confirmation import MOST_STEPS, Confirmation, Recurrence, Step
from convfuzz.record.error_map import ErrorMap
from convfuzz.record.events import Fingerprint
from convfuzz.system.json_records import Real, decode_file, encode_indented
from convfuzz.verdicts import Discrepancy, Verdict

FORMAT_VERSION = 1
MOST_BYTES = 4 * 2**20


class ReductionOutcome(StrEnum):
    """Where the reduction of a failing case ended."""

    MINIMAL = "minimal"
    """No single simplification of the structure fails."""
    BUDGET_SPENT = "budget spent"
    INTERRUPTED = "interrupted"
    NOT_REPRODUCED = "not reproduced"
    """The case itself did not fail again."""
    NOT_REDUCED = "not reduced"
    """The case fails now and then, so that a candidate that passes shows nothing."""


LUMPED = (ReductionOutcome.NOT_REDUCED, ReductionOutcome.NOT_REPRODUCED)
"""Failures of one kind with these outcomes are one finding, since their cases do not tell them apart."""


class Element(msgspec.Struct, frozen=True):
    """One output element that is wrong."""

    index: tuple[int, ...]
    expected: Real
    actual: Real


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One distinct failure of one backend.

    ``case`` is the minimal case and ``first_case`` the one it was found on; ``reduction`` says how the minimal one was
    reached: ``minimal``, ``budget spent``, or, where ``case`` is the first case and all such failures of a kind are one
    finding, ``not reduced`` when it came back sometimes and ``not reproduced`` when it never did. ``dense`` says why the
    data of ``case`` are still drawn, where they are and it is minimal otherwise. ``confirmation`` says how often ``case``
    failed when it was run again. ``elements`` are the worst elements of the minimal case's output, and
    ``error_map`` says where the errors sit in that of ``first_case``, which is the larger picture. ``companion`` is the nearest
    case that passes and ``boundary`` says what the two differ in, such as "fails at batch 16, works at 15"; where no such case
    is known, it is empty and ``boundary`` says why.
    """

    fingerprint: Fingerprint
    verdict: Verdict
    backend: str
    case: str
    first_case: str
    in_pass: Pass = "forward"
    model: str = ""
    reason: str = ""
    reduction: str = ReductionOutcome.MINIMAL
    dense: str = ""
    companion: str = ""
    boundary: str = ""
    count: int = 1
    features: list[str] = []
    confirmation: Confirmation = Confirmation()
    discrepancy: Discrepancy | None = None
    elements: list[Element] = []
    error_map: ErrorMap | None = None
    versions: dict[str, str] = {}
    format: int = FORMAT_VERSION

    @property
    def max_abs(self) -> Real:
        """Largest |error| of the minimal case; 0 where there is no output to compare."""
        return self.discrepancy.max_abs if self.discrepancy else Real(0)

    @property
    def is_lump(self) -> bool:
        """Whether it stands for all failures of its kind that come and go."""
        return self.reduction in LUMPED

    @property
    def is_telling(self) -> bool:
        """Whether its features tell it from other findings, so that a failure on a case that has them counts as one of it."""
        if self.confirmation.recurrence is Recurrence.DEPENDS:  # its preceding runs are needed as well
            return True
        return self.reduction == ReductionOutcome.MINIMAL or (self.verdict is Verdict.IMPRECISE and not self.is_lump)

    @property
    def is_unreduced(self) -> bool:
        """Whether its reduction was cut off, so that its case may be any and its fingerprint is that of other failures of its kind too.

        What comes and goes is no such finding: it cannot be reduced, and all of its kind is one.
        """
        return self.reduction in (ReductionOutcome.BUDGET_SPENT, ReductionOutcome.INTERRUPTED)

    def features_are_in(self, features: frozenset[str]) -> bool:
        """Whether a case whose particular features are ``features`` has all those that tell this finding from others."""
        return features.issuperset(self.features)

    @property
    def shown_by(self) -> tuple[list[str], list[str]]:
        """The cases that show the failure when one process runs them in this order, and the backends to run them on."""
        preceding = self.confirmation.preceding
        cases = [line for line, _ in groupby(step.case for step in preceding)]
        return [*cases, self.case], list(dict.fromkeys([*(step.backend for step in preceding), self.backend]))


def alike(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Group findings that look alike on one case in several modes or variants of one framework: they have one cause.

    That is the same minimal case, verdict, pass and model, without preceding runs of its own. Kernels count as one framework.
    Groups and their members keep the order in which they come.
    """
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        looks = (family_of(finding.backend), finding.case, finding.verdict, finding.in_pass, finding.model)
        groups.setdefault(finding.fingerprint if finding.confirmation.preceding else looks, []).append(finding)
    return list(groups.values())


def fingerprint(
    case: Case, backend: str, verdict: Verdict, in_pass: Pass = "forward", model: str = "", features: Sequence[str] | None = None
) -> str:
    """Name a failure by what its minimal case says: 8 hex digits over backend, verdict, pass, model and features.

    ``features`` are those that tell, where they are not all that is particular about the case.
    """
    text = "|".join([backend, verdict, in_pass, model, *(particular(case.config) if features is None else features)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def encode_finding(finding: Finding) -> bytes:
    """Return the finding as indented JSON."""
    return encode_indented(finding)


def decode_finding(data: bytes, source: str) -> Finding:
    """Read a finding from a file of any origin, as data that is validated.

    Raises:
        UnreadableFile: it is too large, of another format version, not a finding, or its cases do not parse.
    """
    finding = decode_file(data, Finding, source=source, name="finding", version=FORMAT_VERSION, most_bytes=MOST_BYTES)
    try:
        case, first_case = str(Case.parse(finding.case)), str(Case.parse(finding.first_case))
        companion = str(Case.parse(finding.companion)) if finding.companion else ""
        if finding.error_map is not None:
            Case.parse(finding.error_map.case)
        confirmation = _validated(finding.confirmation)
    except ValueError as error:
        raise UnreadableFile(f"{source} is not a finding: {error}") from None
    # The cases are as we print them: they are pasted into shells.
    return msgspec.structs.replace(finding, case=case, first_case=first_case, companion=companion, confirmation=confirmation)


def _validated(confirmation: Confirmation) -> Confirmation:
    """Check the rules of a confirmation that its types do not express.

    Raises:
        ValueError: a count is impossible, there are too many steps, or the case of one does not parse.
    """
    for name, tally in (("alone", confirmation.alone), ("after", confirmation.after)):
        if not 0 <= tally.failed <= tally.tried:
            raise ValueError(f"confirmation.{name}: failed={tally.failed} is not in 0 … tried={tally.tried}")
    if len(confirmation.preceding) > MOST_STEPS:
        raise ValueError(f"confirmation.history has {len(confirmation.preceding)} steps; a finding has at most {MOST_STEPS}")
    preceding = [Step(step.backend, str(Case.parse(step.case))) for step in confirmation.preceding]
    return msgspec.structs.replace(confirmation, preceding=preceding)
