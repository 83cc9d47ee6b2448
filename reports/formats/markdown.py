"""The Markdown summary: the verdict line, the findings and the matrix, short enough for a job's page."""

from __future__ import annotations

from collections.abc import Sequence

from convfuzz.errors import UsageError
from convfuzz.record.nights import History, Standing
from convfuzz.record.run_directory import Run
from convfuzz.reports import commands
from convfuzz.reports.formatting import plural
from convfuzz.reports.merged import Merged
from convfuzz.reports.sections import breakdown, headline, matrix, ratios, trends
from convfuzz.reports.sections import findings as findings_view
from convfuzz.reports.sections import ledger as ledger_view
from convfuzz.system.markdown import cell, code, fenced, text
from convfuzz.system.safe_text import one_line

MOST_FINDINGS = 50
SIGN = {"bad": "❌", "doubt": "⚠️", "good": "✅"}


def render(runs: Sequence[Run], history: History | None = None) -> str:
    """Return the summary of ``runs`` as Markdown, with what is new in ``history``.

    Raises:
        UsageError: there is no run to report on.
    """
    if not runs:
        raise UsageError("a report needs at least one run")
    merged = Merged.of(runs)
    verdict, canary = headline.verdict_line(merged), headline.canary_line(merged)
    parts = [f"## {SIGN[verdict.tone]} {verdict.text}", f"{text(headline.extent_line(merged))}  \n{canary.text}"]
    parts += [f"{SIGN[line.tone]} {text(line.text)}" for line in headline.state_lines(merged)]
    parts += [
        _trends(merged, history),
        _findings(merged),
        _ledger(merged),
        _matrix(merged),
        _passes(merged),
        _not_run(merged),
        _rerun(merged),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _trends(merged: Merged, history: History | None) -> str:
    found = trends.view(merged, history)
    if found is None:
        return ""
    lines = [f"**Trends** {text(found.said)}"]
    for standing in (Standing.NEW, Standing.BACK, Standing.FIXED):
        rows = [row for row in found.met if row.now is standing][:MOST_FINDINGS]
        lines += [f"- {standing}: {row.fingerprint} {text(row.backend)} {row.verdict} {code(row.case)}" for row in rows]
    if found.nights[-1].steps:
        lines.append(f"- versions: {text(', '.join(found.nights[-1].steps))}")
    return "\n".join(lines)


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
            text(f"{found.verdict}{row.in_pass}{f' ({row.upstream.label})' if row.upstream else ' (known)' if row.known else ''}"),
            text(found.backend),
            cell(found.case),
            row.max_abs,
            text(found.model),
            f"{row.count:,}",
            text(row.again),
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
        cells = [entry.fingerprint, entry.action, text(entry.backend), text(row.said), text(entry.reason), text(entry.link)]
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
    lines.append(f"| | {' | '.join(text(name) for name in table.labels)} |")
    lines.append("|---" * (len(table.names) + 1) + "|")
    for name, cells in zip(table.labels, table.rows, strict=True):
        lines.append(f"| {text(name)} | {' | '.join(entry.text if entry else '·' for entry in cells)} |")
    return "\n".join(lines)


def _passes(merged: Merged) -> str:
    rows = ratios.pass_rows(merged)
    counts = [(in_pass, sum(row.compared[i] for row in rows)) for i, in_pass in enumerate(ratios.passes(merged))]
    if len(counts) < 2:
        return ""
    return f"Results compared: {', '.join(f'{n:,} {text(in_pass)}' for in_pass, n in counts)}."


def _not_run(merged: Merged) -> str:
    reasons = [f"{plural(n, 'case')}: {text(reason)}" for reason, n in breakdown.not_run(merged)]
    return f"Run on no backend: {'; '.join(reasons)}." if reasons else ""


def _rerun(merged: Merged) -> str:
    lines = [one_line(commands.rerun(run.info)) for run in merged.runs]
    return "Run again:\n\n" + fenced("\n".join(lines), "sh")
