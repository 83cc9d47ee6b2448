"""A finding as a bug report in Markdown, which a maintainer of the framework concerned can act on without knowing convfuzz."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

import msgspec

from convfuzz.record.confirmation import Recurrence
from convfuzz.record.finding import Finding
from convfuzz.reproduction.draft import Draft
from convfuzz.system.markdown import code, fenced, text
from convfuzz.system.safe_text import lines
from convfuzz.verdicts import Verdict

_LONG_LINES = 60
_NOT_REDUCED = "**Not reduced:** there was no time to look for a simpler case, so this is not yet a report to send."
_MOST_PRINTED = 4000
_INSTALLED = re.compile(r'(?<=")[^"\n]*/(?:site|dist)-packages/')


class Printed(msgspec.Struct, frozen=True):
    """What the code of a report printed in a process of its own, and how that process ended; ``failed`` unless all was well."""

    text: str
    end: str
    failed: bool


def bug_report(finding: Finding, drafted: Draft, environment: Mapping[str, str], printed: Printed | None = None) -> str:
    """Return the report of ``finding`` as Markdown.

    ``environment`` names what it was found on, such as ``{"system": "Linux x86_64"}``; the finding knows its own versions.
    ``printed`` is ``None`` where the code has not been run. All text from a framework, a kernel or a file stays text.
    """
    parts = [
        *([_NOT_REDUCED] if finding.is_unreduced else []),
        f"# {text(f'{drafted.subject}: {drafted.symptom}')}",
        f"**Expected:** {text(drafted.expected)}",
        f"**Actual:** {text(drafted.actual)}",
        *([_output(finding.reason)] if _says_more(finding, printed) else []),
        *_program(drafted, printed),
        "## When it happens",
        _list(_occasions(finding)),
        "## Versions",
        _list(_versions(finding, drafted, environment)),
    ]
    if drafted.why:
        parts += ["## Where the expected value comes from", f"It is the sum of the products in float64 or wider. {text(drafted.why)}"]
    return "\n\n".join([*parts, _origin(finding, has_code=bool(drafted.code))]) + "\n"


def _says_more(finding: Finding, printed: Printed | None) -> bool:
    """Whether to quote the framework in full: it raised an exception, or left a trace that the code's own output does not show."""
    return bool(finding.reason) and (finding.verdict is Verdict.ERROR or (printed is None and "\n" in finding.reason.strip()))


def _program(drafted: Draft, printed: Printed | None) -> list[str]:
    if not drafted.code:
        return []
    block = fenced(drafted.code.rstrip("\n"), "python")
    count = drafted.code.count("\n")
    if count > _LONG_LINES:
        block = f"<details><summary>{count} lines, most of them the data</summary>\n\n{block}\n\n</details>"
    parts = ["## Code", block]
    if printed is None:
        return [*parts, "While the bug is there the code fails, by its last assertion or within the call."]
    if not printed.failed:
        parts.append("When it was run for this report the code did not fail.")
    if not printed.text.strip():
        return [*parts, f"It prints nothing: {text(printed.end)}."]
    return [*parts, f"Output of `python -X faulthandler repro.py` ({text(printed.end)}):", _output(printed.text)]


def _output(said: str) -> str:
    """Return what was printed as a block, without the paths of installed packages; only the end of long output."""
    shown = _INSTALLED.sub("…/site-packages/", lines(said.strip("\n").expandtabs()))
    return fenced(f"…{shown[-_MOST_PRINTED:]}" if len(shown) > _MOST_PRINTED else shown, "text")


def _list(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _occasions(finding: Finding) -> list[str]:
    again = finding.confirmation
    said = []
    if finding.companion:
        said.append(f"It {text(finding.boundary)}.")
    if again.recurrence is not Recurrence.NOT_CONFIRMED:
        said.append(f"Run again in fresh processes: {text(str(again))}.")
    if finding.count > 1:
        said.append(f"{finding.count:,} cases failed in this way.")
    if finding.features:
        said.append(f"What is not plain about the case: {', '.join(code(feature) for feature in finding.features)}.")
    return said or ["It was seen once and not run again."]


def _versions(finding: Finding, drafted: Draft, environment: Mapping[str, str]) -> list[str]:
    known = {name: version for name, version in finding.versions.items() if version} | dict(environment)
    listed = [f"{text(name)}: {code(value)}" for name, value in known.items()]
    return [*listed, f"setting: {text(drafted.setting)}"] if drafted.setting else listed


def _origin(finding: Finding, *, has_code: bool) -> str:
    cases, backends = finding.shown_by
    command = code(shlex.join(["convfuzz", "check", *cases, "--backends", ",".join(backends)]))
    needs = "The code above does not need it" if has_code else "The call cannot be written down without it"
    return f"---\n\nFound by fuzzing with convfuzz as {code(finding.fingerprint)}. {needs}; with it, {command} shows the case again."
