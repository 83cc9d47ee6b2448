"""Prints the end of a run: what was found of each backend, the causes, and what was left out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from convfuzz.checking.result_table import number
from convfuzz.record.by_backend import by_backend
from convfuzz.record.finding import Finding, alike
from convfuzz.record.outcome import proves_nothing, shortcomings
from convfuzz.record.run_directory import Run, RunInfo
from convfuzz.record.summary import Summary
from convfuzz.system.counted import counted
from convfuzz.system.safe_text import first_line, one_line

_MOST_CASES = 12
_MOST_MEMBERS = 6


def _print_preceding(console: Console, finding: Finding) -> None:
    """Print what has to run before ``finding`` shows itself."""
    preceding = finding.confirmation.preceding
    if not preceding:
        return
    minimal = "; none of them can be left out" if finding.confirmation.preceding_is_minimal and len(preceding) > 1 else ""
    console.print(f"          fails after, in one process{minimal}:", soft_wrap=True)
    for step in preceding[-_MOST_CASES:]:
        console.print(f"            {one_line(step.backend)}  {step.case}", markup=False, soft_wrap=True)
    if len(preceding) > _MOST_CASES:
        console.print(f"            the last {_MOST_CASES} of {len(preceding)}; findings/{finding.fingerprint}.json has all")


def print_run(console: Console, run: Run) -> None:
    """Print the end of a run: what was compared, what is new with how to reproduce it, what is known, and where the report is."""
    info, summary = run.info, run.summary
    findings = {finding.fingerprint: finding for finding in run.findings}
    for one in by_backend(info.backends, summary, run.causes, findings):
        console.print(one_line(str(one)), style="default" if one.is_sound else "bold red", markup=False, soft_wrap=True)
    console.print(
        f"{info.elapsed_s:.1f} s · canary caught {info.canary.caught} of {info.canary.planted} times · stopped by {one_line(info.stopped)}",
        markup=False,
        soft_wrap=True,
    )
    _print_causes(console, run, findings)
    if not run.findings:
        if nothing := proves_nothing(summary):
            console.print(f"[bold red]This run proves nothing: {nothing}.[/]")
        elif not shortcomings(summary):
            console.print("[bold green]No findings.[/]")
    for said in shortcomings(summary):
        console.print(f"This run proves {one_line(said)}.", style="bold red", markup=False, soft_wrap=True)
    for line, reason in summary.off_domain.items():
        console.print(f"--near {line} is declined: {one_line(reason)}", style="bold yellow", markup=False, soft_wrap=True)
    _print_ledger(console, summary)
    _print_gone(console, info)
    _print_left_out(console, summary)
    _print_arithmetic(console, info)
    console.print(f"report: {(run.directory / 'report.html').resolve().as_uri()}", soft_wrap=True, markup=False)


def _print_causes(console: Console, run: Run, findings: Mapping[str, Finding]) -> None:
    """Print the causes, what is new before what is known, and how many of each there are."""
    new = [cause for cause in run.causes if not cause.known]
    known = [cause for cause in run.causes if cause.known]
    if new and known:
        console.print(f"[bold red]{counted(len(new), 'new cause')}[/], and {len(known):,} known below:")
    for cause in new:
        _print_new(console, run, [findings[name] for name in cause.members])
    for cause in known:
        _print_known(console, run, findings[cause.lead])
    if known and not new and not run.summary.unknown_failures:
        console.print(f"[bold green]Nothing new:[/] {counted(len(known), 'known cause')}.")


def _print_new(console: Console, run: Run, members: Sequence[Finding]) -> None:
    """Print one cause by its lead: what it is, what else it has made, and how to reproduce it, on others that look the same too."""
    finding, *others = members
    same = next(group for group in alike(members) if finding in group)
    model = f" ({finding.model})" if finding.model else ""
    model += "" if finding.in_pass == "forward" else f" in {finding.in_pass}"
    what = escape(one_line(f"{finding.backend}: {finding.verdict}{model}"))
    count = sum(member.count for member in members)
    console.print(
        f"[bold red]{finding.fingerprint}[/]  {what} · "
        f"{count} case{'s'[: count > 1]} · max-abs {number(finding.max_abs)} · {finding.confirmation.label}"
        f"{' · not reduced' if finding.is_unreduced else ''}",
        soft_wrap=True,
    )
    _print_preceding(console, finding)
    _print_members(console, [other for other in others if other not in same])
    if len(same) > 1:
        said = ", ".join(f"{other.backend} ({other.fingerprint})" for other in same if other is not finding)
        console.print(f"          the same on {one_line(said)}", markup=False, soft_wrap=True)
    cases, backends = finding.shown_by
    backends += [other.backend for other in same if other.backend not in backends]
    if len(cases) <= _MOST_CASES:
        check = shlex.join(["convfuzz", "check", *cases, "--backends", ",".join(backends)])
        console.print(f"          {one_line(check)}", markup=False, soft_wrap=True)
    if finding.companion:
        console.print(f"          {one_line(f'{finding.boundary}: {finding.companion}')}", markup=False, soft_wrap=True)
    script = run.script(finding)
    if script is not None:
        console.print(f"          {one_line(shlex.join(['python', str(script)]))}", markup=False, soft_wrap=True)
    report = run.bug_report(finding)
    if report is not None:
        console.print(f"          bug report: {one_line(str(report))}", markup=False, soft_wrap=True)


def _print_members(console: Console, others: Sequence[Finding]) -> None:
    """Print a line for each of the ``others`` that have the cause of the finding above, as far as anybody reads."""
    for other in others[:_MOST_MEMBERS]:
        in_pass = "" if other.in_pass == "forward" else f" in {other.in_pass}"
        said = one_line(f"{other.fingerprint}  {other.backend}: {other.verdict}{in_pass}  {other.case}")
        console.print(f"          of the same cause: {said}", markup=False, soft_wrap=True)
    if len(others) > _MOST_MEMBERS:
        console.print(f"          and {len(others) - _MOST_MEMBERS} more of the same cause, in findings/")


def _print_known(console: Console, run: Run, finding: Finding) -> None:
    """Print the line of a known cause: what is known, and where to read of it."""
    entry, upstream = run.summary.tolerated(finding.fingerprint), run.info.upstream_of(finding.fingerprint)
    said = f"known: {entry.reason} · {entry.link}" if entry else ""
    if upstream and not entry:
        said = f"{upstream.said}{f' · {upstream.link}' if upstream.is_public else ''}"
    line = escape(one_line(f"{finding.backend}: {finding.verdict} · {said}"))
    console.print(f"[yellow]{finding.fingerprint}[/]  {line}", soft_wrap=True)


def _print_ledger(console: Console, summary: Summary) -> None:
    """Print which entries of the ledger can go, and how many were used."""
    if not summary.uses:
        return
    stale = [use for use in summary.uses.values() if use.is_stale]
    used = sum(bool(use.matched) for use in summary.uses.values())
    console.print(
        f"ledger: {used} of {counted(len(summary.uses), 'entry')} about these backends {'was' if used == 1 else 'were'} used",
        style="dim",
        soft_wrap=True,
    )
    for use in stale:
        line = f"stale: {use.entry.fingerprint}  {use.entry.backend}: {first_line(use.said)} · {use.entry.link}"
        console.print(line, style="bold yellow", markup=False, soft_wrap=True)


def _print_gone(console: Console, info: RunInfo) -> None:
    """Print which bugs, known upstream, no longer show."""
    for bug in info.gone:
        console.print(f"gone upstream: {one_line(bug.said)}", style="bold yellow", markup=False, soft_wrap=True)


def _print_arithmetic(console: Console, info: RunInfo) -> None:
    """Print a line for each backend whose arithmetic was measured, and one for those whose was not."""
    for one in info.arithmetic:
        if not one.unmeasured:
            console.print(f"arithmetic: {one_line(f'{one.backend}: {one.line}')}", style="dim", markup=False, soft_wrap=True)
    missing = ", ".join(f"{one.backend} ({one.unmeasured})" for one in info.arithmetic if one.unmeasured)
    if missing:
        console.print(f"arithmetic not measured: {one_line(missing)}", style="dim", markup=False, soft_wrap=True)


def _print_left_out(console: Console, summary: Summary) -> None:
    """Print what did not run, and on which backends."""
    for reason, rounds in summary.lost.items():
        lost = f"{rounds} round{'s'[: rounds != 1]} did not come back from the cluster: {one_line(reason)}"
        console.print(lost, style="bold yellow", markup=False, soft_wrap=True)
    for title, counts in (
        ("skipped as unsupported", {name: backend.skips.total() - backend.spared for name, backend in summary.backends.items()}),
        ("not called, since such cases end the process", {name: backend.spared for name, backend in summary.backends.items()}),
        ("quarantined by the ledger", {name: backend.quarantined.total() for name, backend in summary.backends.items()}),
    ):
        if any(counts.values()):
            listed = ", ".join(f"{one_line(name)} {n:,}" for name, n in counts.items() if n)
            console.print(f"{title}: {listed}", style="dim", markup=False, soft_wrap=True)
