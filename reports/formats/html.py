"""The HTML report: one self-contained, offline page made of folded journals."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from convfuzz.errors import UsageError
from convfuzz.record.nights import History
from convfuzz.record.run_directory import Run
from convfuzz.reports import commands, formatting
from convfuzz.reports.merged import Merged
from convfuzz.reports.sections import arithmetic as arithmetic_view
from convfuzz.reports.sections import breakdown, headline, matrix, ratios, trends
from convfuzz.reports.sections import findings as findings_view
from convfuzz.reports.sections import ledger as ledger_view


def render(runs: Sequence[Run], history: History | None = None) -> str:
    """Return the report of ``runs`` as an HTML page, with the trends of ``history``; several runs are one of their own.

    Raises:
        UsageError: there is no run to report on.
    """
    if not runs:
        raise UsageError("a report needs at least one run")
    merged = Merged.of(runs)
    css, js = _source("page.css"), _source("page.js")
    findings = findings_view.view(merged)
    return (
        _environment()
        .get_template("page.html")
        .render(
            css=Markup(css),  # noqa: S704 - our own file
            js=Markup(js),  # noqa: S704 - our own file
            policy=_policy(css, js),
            merged=merged,
            summary=merged.summary,
            verdict=headline.verdict_line(merged),
            backend_lines=headline.backend_lines(merged),
            extent=headline.extent_line(merged),
            canary=headline.canary_line(merged),
            states=headline.state_lines(merged),
            runs=[(run, breakdown.asked(run), commands.rerun(run.info)) for run in merged.runs],
            started=breakdown.started,
            findings=findings,
            shown=findings.anchors,
            trends=trends.view(merged, history),
            ledger=ledger_view.rows(merged),
            matrices=matrix.matrices(merged),
            pair_rows=matrix.pair_rows(merged),
            distributions=ratios.distributions(merged),
            dtypes=ratios.dtypes(merged),
            backend_rows=ratios.backend_rows(merged),
            passes=ratios.passes(merged),
            pass_rows=ratios.pass_rows(merged),
            arithmetic=arithmetic_view.sheets(merged),
            axes=breakdown.coverage(merged),
            compared=breakdown.compared(merged),
            not_run=breakdown.not_run(merged),
            declined=breakdown.declined(merged),
            times=breakdown.time_rows(merged),
            accounted=breakdown.accounted(merged),
            environments=breakdown.environments(merged.runs),
            meanings=[(str(verdict), headline.kind(verdict), text) for verdict, text in headline.MEANING.items()],
        )
    )


def _policy(css: str, js: str) -> str:
    """Return a content security policy that allows this page's own style and script and nothing else."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, js))
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _source(name: str) -> str:
    return (files("convfuzz.reports") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=formatting.shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formatting.number,
        ratio=formatting.ratio,
        sortable=formatting.sortable,
        count=formatting.count,
        seconds=formatting.seconds,
        case_line=formatting.case_line,
        name=formatting.name,
        command=formatting.command,
        code_spans=formatting.code_spans,
    )
    environment.globals.update(plural=formatting.plural, share=formatting.share)
    environment.globals.update(
        picture=arithmetic_view.picture, facts_of=arithmetic_view.facts, changing=arithmetic_view.changing, steady=arithmetic_view.steady
    )
    return environment
