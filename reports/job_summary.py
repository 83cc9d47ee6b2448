"""The Markdown summary: the verdict line, the findings and the matrix, short enough for a job's page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from convfuzz.errors import UsageError
from convfuzz.printable import one_line
from convfuzz.run_directory import Run

from . import breakdown, commands, findings_view, headline, ledger_view, matrix, ratios
from .formatting import plural
from .merged import Merged

MOST_FINDINGS = 50
SIGN = {"bad": "❌", "doubt": "⚠️", "good": "✅"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$:-])")


def render(runs: Sequence[Run]) -> str:
    """Return the summary of ``runs`` as Markdown.

    Raises:
        UsageError: there is no run to report on.
    """
    if not runs:
        raise UsageError("a report needs at least one run")
    merged = Merged.of(runs)
    verdict, canary = headline.verdict_line(merged), headline.canary_line(merged)
    parts = [f"## {SIGN[verdict.tone]} {verdict.text}", f"{headline.extent_line(merged)}  \n{canary.text}"]
    parts += [f"{SIGN[line.tone]} {_text(line.text)}" for line in headline.state_lines(merged)]
    parts += [_findings(merged), _ledger(merged), _matrix(merged), _passes(merged), _not_run(merged), _rerun(merged)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _findings(merged: Merged) -> str:
    rows = findings_view.view(merged).rows
    if not rows:
        return ""
    lines = [
        "| finding | verdict | backend | minimal case | max-abs | explained by | count | run again |",
        "|---|---|---|---|--:|---|--:|---|",
    ]
    for row in rows[:MOST_FINDINGS]:
        found = row.finding
        cells = [
            found.fingerprint,
            _text(f"{found.verdict}{row.in_pass}{' (known)' if row.known else ''}"),
            _text(found.backend),
            _code(found.case),
            row.max_abs,
            _text(found.model),
            f"{row.count:,}",
            _text(row.again),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if len(merged.findings) > MOST_FINDINGS:
        lines.append(f"\nThe {MOST_FINDINGS} gravest of {plural(len(merged.findings), 'finding')}; the HTML report has more.")
    return "\n".join(lines)


def _ledger(merged: Merged) -> str:
    rows = ledger_view.rows(merged)
    if not rows:
        return ""
    lines = ["| ledger | action | backend | what became of it | reason | link |", "|---|---|---|---|---|---|"]
    for row in rows[:MOST_FINDINGS]:
        entry = row.entry
        cells = [entry.fingerprint, entry.action, _text(entry.backend), _text(row.said), _text(entry.reason), _text(entry.link)]
        lines.append(f"| {' | '.join(cells)} |")
    if len(rows) > MOST_FINDINGS:
        lines.append(f"\n{MOST_FINDINGS} of {len(rows):,} entries; the HTML report has more.")
    return "\n".join(lines)


def _matrix(merged: Merged) -> str:
    tables = matrix.matrices(merged)
    if not tables:
        return ""
    table = tables[0]
    lines = [f"**Max-abs discrepancies of the forward pass, {table.dtype}**", ""]
    lines.append(f"| | {' | '.join(_text(name) for name in table.labels)} |")
    lines.append("|---" * (len(table.names) + 1) + "|")
    for name, cells in zip(table.labels, table.rows, strict=True):
        lines.append(f"| {_text(name)} | {' | '.join(cell.text if cell else '·' for cell in cells)} |")
    return "\n".join(lines)


def _passes(merged: Merged) -> str:
    rows = ratios.pass_rows(merged)
    counts = [(in_pass, sum(row.compared[i] for row in rows)) for i, in_pass in enumerate(ratios.passes(merged))]
    if len(counts) < 2:
        return ""
    return f"Results compared: {', '.join(f'{n:,} {_text(in_pass)}' for in_pass, n in counts)}."


def _not_run(merged: Merged) -> str:
    reasons = [f"{plural(n, 'case')}: {_text(reason)}" for reason, n in breakdown.not_run(merged)]
    return f"Run on no backend: {'; '.join(reasons)}." if reasons else ""


def _rerun(merged: Merged) -> str:
    lines = [one_line(commands.rerun(run.info)) for run in merged.runs]
    fence = "`" * max(3, *(len(run) + 1 for line in lines for run in re.findall("`+", line)), 3)
    return f"Run again:\n\n{fence}sh\n" + "\n".join(lines) + f"\n{fence}"


def _text(text: str) -> str:
    """Escape text from outside for a table cell: no markup, no HTML, no line break, no mention."""
    flat = one_line(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return _SPECIAL.sub(r"\\\1", flat)


def _code(text: str) -> str:
    return "`" + one_line(" ".join(text.split())).replace("`", "'").replace("|", "\\|") + "`"
