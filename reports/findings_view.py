"""The findings as a page shows them: rows of a table, and a section each with its evidence and how to see it again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from convfuzz.case import Case
from convfuzz.errors import InvalidConfig
from convfuzz.findings import Finding

from . import commands, geometry
from .formatting import apart, max_abs, number, plural, ratio
from .headline import MEANING, kind
from .merged import GRAVITY, Found, Merged

FORWARD = "forward"
MOST_ROWS = 2000
MOST_SECTIONS = 60
MOST_SCRIPTS_BYTES = 256 * 2**10


@dataclass(frozen=True)
class Row:
    """A line of the table of findings; ``sort_…`` are what its columns are ordered by."""

    finding: Finding
    kind: str
    meaning: str
    gravity: int
    max_abs: str
    sort_max_abs: float
    extent: str
    sort_extent: float
    count: int
    has_section: bool


@dataclass(frozen=True)
class ElementRow:
    """One output element that is off."""

    index: str
    expected: str
    actual: str
    difference: str


@dataclass(frozen=True)
class Section:
    """All that is known about one finding."""

    row: Row
    reading: geometry.Reading | None
    reduction: str
    measures: tuple[tuple[str, str], ...]
    elements: tuple[ElementRow, ...]
    check: str
    script: str | None
    script_note: str
    seen: str


@dataclass(frozen=True)
class Findings:
    """The findings within the limits of a page; ``left_out`` says what did not fit."""

    rows: tuple[Row, ...]
    sections: tuple[Section, ...]
    kinds: tuple[tuple[str, str, int], ...]
    left_out: tuple[str, ...]


def view(merged: Merged) -> Findings:
    """Return what the page shows of the findings of ``merged``, gravest first."""
    found = merged.findings
    chosen = _representative(found[:MOST_ROWS])
    rows = tuple(_row(one, has_section=i in chosen) for i, one in enumerate(found[:MOST_ROWS]))
    budget = MOST_SCRIPTS_BYTES
    sections = {}
    for i in chosen:
        sections[i] = _section(found[i], rows[i], budget, runs=len(merged.runs))
        budget -= len(sections[i].script or "")
    left_out = []
    if len(found) > MOST_ROWS:
        left_out.append(f"The table holds the {MOST_ROWS:,} gravest of {plural(len(found), 'finding')}; the others are in findings/.")
    if len(found) > MOST_SECTIONS:
        left_out.append(f"{MOST_SECTIONS} findings of every kind are described below; the files in findings/ and repro/ hold the others.")
    verdicts = Counter(one.finding.verdict for one in found)
    kinds = tuple((str(v), kind(v), verdicts[v]) for v in GRAVITY if verdicts[v])
    return Findings(rows, tuple(sections[i] for i in sorted(sections)), kinds, tuple(left_out))


def _representative(found: Sequence[Found]) -> list[int]:
    """Choose the findings that get a section: the simplest of every kind first, then the second of every kind, and so on."""
    seen: Counter[tuple[str, str, str]] = Counter()
    turns = []
    for i, one in enumerate(found):
        group = (one.finding.verdict, one.finding.backend, one.finding.model)
        turns.append((seen[group], i))
        seen[group] += 1
    return [i for _, i in sorted(turns)[:MOST_SECTIONS]]


def _row(found: Found, *, has_section: bool) -> Row:
    finding = found.finding
    extent, sort_extent = _extent(finding)
    shown = max_abs(found.max_abs) if found.has_output else "no output"
    order = found.max_abs if found.has_output else -1.0
    sort_max_abs = 1e308 if math.isnan(order) or math.isinf(order) else order
    return Row(
        finding,
        kind(finding.verdict),
        MEANING.get(finding.verdict, ""),
        GRAVITY[finding.verdict],
        shown,
        sort_max_abs,
        extent,
        sort_extent,
        found.count,
        has_section,
    )


def _extent(finding: Finding) -> tuple[str, float]:
    """Return the error over its tolerance where there is one, else in units in the last place."""
    found = finding.discrepancy
    if found is None or not found.max_abs:
        return "", -1.0
    if found.ratio is not None:
        return f"{ratio(found.ratio)} × tol.", min(found.ratio, 1e308)
    return (f"{number(found.ulps)} ULP", 0.0) if found.ulps else ("", -1.0)


def _section(found: Found, row: Row, budget: int, *, runs: int) -> Section:
    finding = found.finding
    script = found.script()
    note = ""
    if script is not None and len(script) > budget:
        script, note = None, "is left out of this page for its size"
    elif script is None:
        note = "was not written" if found.run.script(finding) is None else "is too long for this page"
    seen = plural(found.count, "time")
    if runs > 1:
        seen += f", in {found.runs} of {runs} runs"
    return Section(
        row, _reading(finding), _reduction(found), _measures(finding), _elements(finding), commands.check(finding), script, note, seen
    )


def _reading(finding: Finding) -> geometry.Reading | None:
    try:
        case = Case.parse(finding.case)
    except InvalidConfig:
        return None
    found = finding.discrepancy
    worst = found.index if found and finding.in_pass == FORWARD else ()
    return geometry.read(case, worst)


def _reduction(found: Found) -> str:
    finding = found.finding
    if not found.in_file:
        return "not minimised yet: only the journal knows this finding"
    if finding.reduction == "minimal":
        return "already minimal when it was found" if finding.case == finding.first_case else "minimal: nothing more can be taken away"
    if finding.reduction == "not reproduced":
        return "not reproduced: the failure did not come back when the case was run again, so this is the first case"
    if finding.reduction == "budget spent":
        return "reduced until the budget was spent; a simpler case may exist"
    return finding.reduction


def _measures(finding: Finding) -> tuple[tuple[str, str], ...]:
    found = finding.discrepancy
    if found is None or not found.elements:
        return ()
    measures = [("max-abs", max_abs(math.inf if found.non_finite else found.max_abs))]
    if found.over:
        measures.append(("elements off", f"{found.over:,} of {found.elements:,}"))
    if found.non_finite:
        measures.append(("NaN or Inf", f"{found.non_finite:,} of {found.elements:,}"))
    if found.undecided:
        measures.append(("left open", f"{found.undecided:,} elements where NaN and Inf are unspecified"))
    if found.ratio is not None and not (found.non_finite and not found.ratio):
        measures.append(
            ("error / tolerance", f"{ratio(found.ratio)} at {_index(found.ratio_index)}" if found.ratio_index else ratio(found.ratio))
        )
    if found.ulps:
        measures.append(("ULPs", number(found.ulps)))
    if found.u_s:
        measures.append(("error / (u·S)", number(found.u_s)))
    if not found.non_finite:
        measures.append(("rtol needed", max_abs(found.required_rtol)))
        measures.append(("atol needed", max_abs(found.required_atol)))
    return tuple(measures)


def _elements(finding: Finding) -> tuple[ElementRow, ...]:
    rows = []
    for element in finding.elements:
        difference = element.actual - element.expected
        text = max_abs(difference) if not math.isfinite(difference) else f"{'+' if difference > 0 else ''}{number(difference)}"
        rows.append(ElementRow(_index(element.index), *apart(element.expected, element.actual), text))
    return tuple(rows)


def _index(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"
