"""The Markdown summary: the verdict line, the causes and the matrix, short enough for a job's page."""

from __future__ import annotations

from collections.abc import Sequence

from convfuzz.errors import UsageError
from convfuzz.record.nights import History, Standing
from convfuzz.record.run_directory import Run
from convfuzz.reports import commands
from convfuzz.reports.formatting import plural
from convfuzz.reports.merged import Merged
from convfuzz.reports.sections import arithmetic as arithmetic_view
from convfuzz.reports.sections import breakdown, headline, matrix, ratios, trends
from convfuzz.reports.sections import findings as findings_view
from convfuzz.reports.sections import ledger as ledger_view
from convfuzz.system.markdown import cell, code, fenced, text, with_code
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
    parts = [f"## {SIGN[verdict.tone]} {verdict.text}"]
    parts += ["\n".join(f"- {text(line.text)}" for line in headline.backend_lines(merged))]
    parts += [f"{text(headline.extent_line(merged))}  \n{canary.text}"]
    parts += [f"{SIGN[line.tone]} {text(line.text)}" for line in headline.state_lines(merged)]
    parts += [
        _trends(merged, history),
        *_causes(merged),
        _ledger(merged),
        _matrix(merged),
        _passes(merged),
        _arithmetic(merged),
        _not_run(merged),
        _rerun(merged),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _trends(merged: Merged, history: History | None) -> str:
    found = trends.view(merged, history)
    if found is None:
        return ""
    lines = [f"**Trends** {text(found.said)}"]
    for standing in (Standing.NEW, Standing.BACK, Standing.UNCLEAR, Standing.FIXED):
        rows = [row for row in found.met if row.now is standing][:MOST_FINDINGS]
        lines += [f"- {standing}: {row.fingerprint} {text(row.backend)} {row.verdict} {code(row.case)}" for row in rows]
    if found.nights[-1].steps:
        lines.append(f"- versions: {text(', '.join(found.nights[-1].steps))}")
    return "\n".join(lines)


def _causes(merged: Merged) -> list[str]:
    """Return the table of what is new, and a line for each cause that is known."""
    found = findings_view.view(merged)
    lines = [
        "| finding | verdict | backend | minimal case | max-abs | explained by | count | run again |",
        "|---|---|---|---|--:|---|--:|---|",
    ]
    for row in found.rows[:MOST_FINDINGS]:
        lead = row.finding
        cells = [
            f"{lead.fingerprint}{f' + {row.more:,}' if row.more else ''}",
            text(f"{lead.verdict}{row.in_pass}"),
            text(lead.backend),
            cell(lead.case),
            row.max_abs,
            text(lead.model),
            f"{row.count:,}",
            text(row.again),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if found.new > MOST_FINDINGS:
        lines.append(f"\nThe first {MOST_FINDINGS} of {plural(found.new, 'cause')}; the HTML report has more.")
    known = [f"- {row.finding.fingerprint} {text(f'{row.finding.backend}:')} {_known(row)}" for row in found.known[:MOST_FINDINGS]]
    if found.old > MOST_FINDINGS:
        known.append(f"- and {found.old - MOST_FINDINGS:,} more")
    return ["\n".join(lines) if found.rows else "", "\n".join(["**Known**", "", *known]) if known else ""]


def _known(row: findings_view.Row) -> str:
    """Return what is known of a cause, and where to read of it, as Markdown."""
    if row.known:
        return text(f"{row.known.reason} · {row.known.link}")
    assert row.upstream is not None, "a known cause is known to somebody"
    where = row.upstream.link if row.upstream.is_public else f"no thread known, {row.upstream.name}"
    return f"{with_code(row.upstream.title)} · {text(where)}"


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


def _arithmetic(merged: Merged) -> str:
    sheets = arithmetic_view.sheets(merged)
    if not sheets:
        return ""
    lines = ["**Arithmetic, as measured from outside**", "", "| backend | how it computes | to declare |", "|---|---|---|"]
    for sheet in sheets:
        said = f"not measured: {sheet.unmeasured}" if sheet.unmeasured else sheet.line
        lines.append(f"| {text(sheet.backend)} | {text(said)} | {cell(sheet.declare) if sheet.declare else ''} |")
    return "\n".join(lines)


def _not_run(merged: Merged) -> str:
    reasons = [f"{plural(n, 'case')}: {text(reason)}" for reason, n in breakdown.not_run(merged)]
    return f"Run on no backend: {'; '.join(reasons)}." if reasons else ""


def _rerun(merged: Merged) -> str:
    lines = [one_line(commands.rerun(run.info)) for run in merged.runs]
    return "Run again:\n\n" + fenced("\n".join(lines), "sh")
