"""The causes as a page shows them: rows of a table and a section for each with its evidence, and a line for each that is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from convfuzz.case import Case
from convfuzz.case.dtypes import is_integer
from convfuzz.errors import InvalidConfig
from convfuzz.record.cause import Cause
from convfuzz.record.confirmation import Confirmation, Recurrence, Step
from convfuzz.record.finding import Element, Finding
from convfuzz.record.ledger import Entry
from convfuzz.record.run_directory import UpstreamLine
from convfuzz.reports import commands
from convfuzz.reports import result_axes as places
from convfuzz.reports.formatting import apart, max_abs, number, plural, ratio, sortable
from convfuzz.reports.merged import Found, Merged
from convfuzz.reports.pictures import error_maps
from convfuzz.reports.result_axes import Place
from convfuzz.reports.sections import case_reading as geometry
from convfuzz.reports.sections.headline import MEANING, kind
from convfuzz.verdicts import Verdict

MOST_ROWS = 500
MOST_MEMBERS = 12
MOST_SECTIONS = 40
MOST_SCRIPTS_BYTES, MOST_MAPS_BYTES = 140_000, 90_000
MOST_STEPS_SHOWN = 50


@dataclass(frozen=True)
class Row:
    """A line of the table, by the lead of a cause; ``sort_…`` are what its columns are ordered by, ``in_pass`` follows the verdict.

    ``known`` is the entry of the ledger that tolerates the finding, and ``upstream`` the bug, known upstream, that it is a sign of.
    ``count`` is how many cases failed, with those of the ``more`` other findings of the cause.
    """

    finding: Finding
    in_pass: str
    kind: str
    meaning: str
    gravity: int
    max_abs: str
    sort_max_abs: float
    extent: str
    sort_extent: float
    count: int
    more: int
    again: str
    has_section: bool
    known: Entry | None
    upstream: UpstreamLine | None


@dataclass(frozen=True)
class ElementRow:
    """One element of a result that is off."""

    place: str
    expected: str
    actual: str
    difference: str
    is_worst: bool


@dataclass(frozen=True)
class Section:
    """All that is known about one cause, by its lead; ``result`` is what the failing pass computes, ``axes`` how it is indexed.

    ``file`` is what the files of its run are called by.
    ``members`` are its other findings, as far as ``members_left_out`` does not count them.
    """

    row: Row
    file: str
    reading: geometry.Reading | None
    result: str
    axes: str
    reduction: str
    confirmation: str
    history: tuple[Step, ...]
    history_note: str
    measures: tuple[tuple[str, str], ...]
    elements: tuple[ElementRow, ...]
    error_map: error_maps.MapView | None
    check: str
    script: str | None
    script_note: str
    bug_report: str | None
    seen: str
    members: tuple[Member, ...]
    members_left_out: int


@dataclass(frozen=True)
class Member:
    """Another finding of a cause."""

    finding: Finding
    in_pass: str
    kind: str


@dataclass(frozen=True)
class Findings:
    """The causes within the limits of a page: ``rows`` of what is new, ``known`` ones, and sections of both; ``left_out`` did not fit.

    ``anchors`` are the fingerprints that the page has a place for, ``new`` and ``old`` count the causes, and ``findings`` what they made.
    """

    rows: tuple[Row, ...]
    sections: tuple[Section, ...]
    known: tuple[Row, ...]
    known_sections: tuple[Section, ...]
    kinds: tuple[tuple[str, str, int], ...]
    left_out: tuple[str, ...]
    anchors: frozenset[str]
    new: int
    old: int
    findings: int


def view(merged: Merged) -> Findings:
    """Return what the page shows of the causes of ``merged``: what is new first, as :mod:`convfuzz.record.cause` orders it."""
    causes = merged.causes[:MOST_ROWS]
    found = [merged.by_fingerprint[cause.lead] for cause in causes]
    chosen = _representative(found)
    rows = [_row(merged, cause, has_section=i in chosen) for i, cause in enumerate(causes)]
    script_room, map_room = MOST_SCRIPTS_BYTES, MOST_MAPS_BYTES
    sections = {}
    for i in chosen:
        sections[i] = one = _section(merged, causes[i], rows[i], script_room, map_room)
        script_room -= len(one.script or "") + len(one.bug_report or "")
        map_room -= len(one.error_map.plane or "") if one.error_map else 0
    left_out = []
    if len(merged.causes) > MOST_ROWS:
        counted = plural(len(merged.causes), "cause")
        left_out.append(f"The page holds the first {MOST_ROWS:,} of {counted}; the findings of the others are in findings/.")
    if len(causes) > MOST_SECTIONS:
        left_out.append(
            f"{MOST_SECTIONS} of them, some of every kind, are described below; the files in findings/ and repro/ hold the others."
        )
    new = sum(not cause.known for cause in causes)
    verdicts = Counter(one.finding.verdict for one in found[:new])
    kinds = tuple((str(v), kind(v), verdicts[v]) for v in Verdict if verdicts[v])
    shown = [cause.lead for cause in causes] + [member.finding.fingerprint for one in sections.values() for member in one.members]
    return Findings(
        rows=tuple(rows[:new]),
        sections=tuple(sections[i] for i in sorted(sections) if i < new),
        known=tuple(rows[new:]),
        known_sections=tuple(sections[i] for i in sorted(sections) if i >= new),
        kinds=kinds,
        left_out=tuple(left_out),
        anchors=frozenset(shown),
        new=len(merged.new),
        old=len(merged.causes) - len(merged.new),
        findings=len(merged.findings),
    )


def _representative(found: Sequence[Found]) -> list[int]:
    """Choose the causes that get a section: the first of every kind first, then the second of every kind, and so on."""
    seen: Counter[tuple[str, ...]] = Counter()
    turns = []
    for i, one in enumerate(found):
        group = (one.finding.verdict, one.finding.backend, one.finding.in_pass, one.finding.model)
        turns.append((seen[group], i))
        seen[group] += 1
    return [i for _, i in sorted(turns)[:MOST_SECTIONS]]


def _row(merged: Merged, cause: Cause, *, has_section: bool) -> Row:
    found = merged.by_fingerprint[cause.lead]
    finding = found.finding
    extent, sort_extent = _extent(finding)
    shown = max_abs(found.max_abs, integer=_has_integers(_case(finding))) if found.has_output else "no output"
    return Row(
        finding,
        places.suffix(finding.in_pass),
        kind(finding.verdict),
        MEANING.get(finding.verdict, ""),
        finding.verdict.gravity,
        shown,
        sortable(found.max_abs if found.has_output else None),
        extent,
        sortable(sort_extent),
        sum(merged.by_fingerprint[name].count for name in cause.members),
        len(cause.members) - 1,
        _again(finding.confirmation),
        has_section,
        merged.known(found) if cause.known else None,
        merged.upstream(found) if cause.known else None,
    )


def _extent(finding: Finding) -> tuple[str, float | None]:
    """Return the error over its tolerance where there is one, else in units in the last place, else in how many elements it is."""
    found = finding.discrepancy
    if found is not None and found.non_finite:
        return f"in {found.non_finite:,} of {found.elements:,}", math.inf
    if found is None or not found.max_abs:
        return "", None
    if found.ratio is not None:
        return f"{ratio(found.ratio)} × tol.", found.ratio
    if found.ulps:
        return f"{number(found.ulps)} ULP", 0.0
    return (f"in {found.over:,} of {found.elements:,}", 0.0) if found.over else ("", None)


def _section(merged: Merged, cause: Cause, row: Row, script_room: int, map_room: int) -> Section:
    found, runs = merged.by_fingerprint[cause.lead], len(merged.runs)
    finding, others = found.finding, [merged.by_fingerprint[name].finding for name in cause.members if name != cause.lead]
    case = _case(finding)
    script, bug_report = found.script(), found.bug_report()
    note = ""
    if script is not None and len(script) > script_room:
        script, note = None, "is left out of this page for its size"
    elif script is None:
        note = "was not written" if found.script_file is None else "is too long for this page"
    seen = plural(found.count, "time")
    if runs > 1:
        seen += f", in {found.runs} of {runs} runs"
    return Section(
        row=row,
        file=found.in_run,
        reading=_reading(finding, case),
        result=places.MEANING.get(finding.in_pass, finding.in_pass),
        axes=_axes(finding, case),
        reduction=_reduction(found),
        confirmation=str(finding.confirmation),
        history=tuple(finding.confirmation.preceding[-MOST_STEPS_SHOWN:]),
        history_note=_history_note(finding.confirmation),
        measures=_measures(finding, case),
        elements=tuple(_element(element, case, is_worst=element.index == _worst(finding)) for element in finding.elements),
        error_map=error_maps.view(finding, map_room),
        check=commands.check(finding),
        script=script,
        script_note=note,
        bug_report=bug_report if len(bug_report or "") + len(script or "") <= script_room else None,
        seen=seen,
        members=tuple(Member(one, places.suffix(one.in_pass), kind(one.verdict)) for one in others[:MOST_MEMBERS]),
        members_left_out=max(len(others) - MOST_MEMBERS, 0),
    )


def _case(finding: Finding) -> Case | None:
    try:
        return Case.parse(finding.case)
    except InvalidConfig:
        return None


def _reading(finding: Finding, case: Case | None) -> geometry.Reading | None:
    if case is None:
        return None
    return geometry.read(case, finding.in_pass, Place.of(case, _worst(finding)))


def _worst(finding: Finding) -> tuple[int, ...]:
    """Return the index of what the failure is about: the element furthest beyond its tolerance, which need not be the largest error."""
    found = finding.discrepancy
    if found is None:
        return ()
    return found.index if found.non_finite else found.ratio_index or found.index


def _axes(finding: Finding, case: Case | None) -> str:
    """Return the names of the axes of the failing result, as an index is written."""
    names = places.axes(case, finding.in_pass) if case else ()
    return f"[{', '.join(names)}]" if names else "index"


def _has_integers(case: Case | None) -> bool:
    return case is not None and is_integer(case.config.dtype)


def _place(case: Case | None, index: tuple[int, ...]) -> str:
    return str(Place.of(case, index) if case else Place(index))


def _reduction(found: Found) -> str:
    finding = found.finding
    if not found.in_file:
        return "not minimised yet: only the journal knows this finding"
    if finding.reduction == "minimal":
        dense = f"; its data are as drawn: {finding.dense}" if finding.dense else ""
        already = finding.case == finding.first_case
        return ("already minimal when it was found" if already else "minimal: nothing more can be taken away") + dense
    if finding.reduction == "not reduced":
        return "not reduced: the failure comes and goes, so this is the first case"
    if finding.reduction == "not reproduced":
        return "not reproduced: the failure did not come back when the case was run again, so this is the first case"
    if finding.reduction == "budget spent":
        return "not reduced to the end, for want of time: a simpler case may exist, and its name may be that of other failures too"
    return finding.reduction


def _again(confirmation: Confirmation) -> str:
    """Return the result of running it again, for a column of the table."""
    recurrence = confirmation.recurrence
    if recurrence is Recurrence.NOT_CONFIRMED:
        return ""
    if recurrence is Recurrence.DEPENDS:
        return f"after {plural(len(confirmation.preceding), 'run')}"
    return f"flaky {confirmation.rate}" if recurrence is Recurrence.FLAKY else str(recurrence)


def _history_note(confirmation: Confirmation) -> str:
    steps = len(confirmation.preceding)
    note = f"The last {MOST_STEPS_SHOWN} of {steps}, which findings/ has all. " if steps > MOST_STEPS_SHOWN else ""
    note += "In one process and in this order; alone, the case does not fail."
    if steps == 1:
        return note
    return note + (" None of them can be left out." if confirmation.preceding_is_minimal else " Not all of them may be needed.")


def _measures(finding: Finding, case: Case | None) -> tuple[tuple[str, str], ...]:
    found, integer = finding.discrepancy, _has_integers(case)
    if found is None or not found.elements:
        return ()
    measures = [("max-abs", max_abs(math.inf if found.non_finite else found.max_abs, integer=integer))]
    measures += [("sample", found.judged_of)] * bool(found.out_of)
    if found.over:
        measures.append(("elements off", f"{found.over:,} of {found.elements:,}"))
    if found.non_finite:
        measures.append(("NaN or Inf", f"wrong in {found.non_finite:,} of {found.elements:,}"))
    if found.undecided:
        measures.append(("left open", f"{found.undecided:,} elements where NaN and Inf are unspecified"))
    if found.ratio is not None and not (found.non_finite and not found.ratio):
        at = f" at {_place(case, found.ratio_index)}" if found.ratio_index else ""
        measures.append(("error / tolerance", f"{ratio(found.ratio)}{at}"))
    if found.ulps:
        measures.append(("ULPs", number(found.ulps)))
    if found.u_s:
        measures.append(("error / (u·S)", number(found.u_s)))
    if integer:
        measures.append(("tolerance", "none: integers are exact"))
    elif not found.non_finite:
        enough = math.isfinite(found.required_rtol)
        measures.append(("rtol needed", number(found.required_rtol) if enough else "none is enough: 0 was expected"))
        measures.append(("atol needed", number(found.required_atol)))
    return tuple(measures)


def _element(element: Element, case: Case | None, *, is_worst: bool) -> ElementRow:
    integer = _has_integers(case)
    expected, actual = apart(element.expected, element.actual, integer=integer)
    difference = element.actual - element.expected
    if not math.isfinite(difference):
        text = max_abs(difference)
    elif integer and not difference:
        text = "1 or more"  # two integers that are one float64
    else:
        text = f"{'+' if difference > 0 else ''}{max_abs(difference, integer=integer)}"
    return ElementRow(_place(case, element.index), expected, actual, text, is_worst)
