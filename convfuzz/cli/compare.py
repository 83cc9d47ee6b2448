"""``convfuzz compare``: say what changed from one run to another."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convfuzz.campaign.plan import different_versions
from convfuzz.campaign.replay import RECHECKS, installed_versions, replay
from convfuzz.campaign.unreduced import reduced
from convfuzz.checking.limits import Limits
from convfuzz.checking.result_table import number, print_whole
from convfuzz.cli import Command
from convfuzz.cli.options import PathName, limits_options
from convfuzz.errors import UsageError
from convfuzz.record.comparison import BackendChange, Change, ChangedCause, Comparison
from convfuzz.record.comparison import compare as compare_runs
from convfuzz.record.events import Recheck
from convfuzz.record.finding import Finding
from convfuzz.record.run_directory import Run
from convfuzz.system.counted import counted
from convfuzz.system.json_records import encode_indented
from convfuzz.system.safe_text import first_line, one_line

_STYLES = {Change.NEW: "bold red", Change.NEWLY_MET: "bold red", Change.FIXED: "green", Change.UNKNOWN: "bold yellow"}


@click.command(cls=Command)
@click.argument("a", type=PathName(), metavar="RUN_A")
@click.argument("b", type=PathName(), metavar="RUN_B")
@click.option(
    "--replay",
    "replays",
    is_flag=True,
    help="Run those findings of A again that B does not have, and reduce what was not reduced; needs the versions that B ran with.",
)
@limits_options
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(a: Path, b: Path, limits: Limits, *, replays: bool, as_json: bool) -> int:
    """Say what changed from RUN_A to RUN_B, such as from one version of a framework to the next.

    A finding of A that B does not have counts as fixed only where something shows it: its own cases ran in B and agreed (they
    run there with the same strategy and seed), or --replay ran its minimal case again and it passed. Otherwise it is "not met
    again". Of findings that were not reduced, which may share a name, it "cannot be said" whether they are the same, unless their
    cases say it; --replay reduces them.

    Exit status: 0 if B has no cause of failure that A does not have, 1 if it has one, 2 if that cannot be said of one.
    """
    runs = Run.load(a), Run.load(b)
    comparison = compare_runs(*runs)
    if replays:
        by_now = _reduced(runs, comparison, limits)
        comparison = compare_runs(*runs, None, by_now)
        comparison = compare_runs(*runs, _replayed(*runs, comparison, limits), by_now)
    if as_json:
        click.echo(encode_indented(comparison).decode(), nl=False)
    else:
        _print(Console(highlight=False, emoji=False), runs, comparison)
    if any(one.change is Change.UNKNOWN for one in comparison.causes):
        return 2
    return int(bool(comparison.new))


def _replayed(a: Run, b: Run, comparison: Comparison, limits: Limits) -> dict[str, Recheck]:
    """Run the findings again that B did not meet, with the versions that B ran with.

    Raises:
        UsageError: other versions are installed here.
    """
    of_a = {finding.fingerprint for finding in a.findings}
    unsettled = [
        one.finding
        for one in comparison.findings
        if one.change is Change.NOT_MET or (one.change is Change.UNKNOWN and one.finding.fingerprint in of_a)
        if one.finding.backend in b.summary.backends
    ]
    _require_versions(b, unsettled)
    outcomes = {}
    for finding in unsettled:
        outcomes[finding.fingerprint] = RECHECKS[replay(finding, a.directory / "findings", limits=limits).outcome]
    return outcomes


def _reduced(runs: tuple[Run, Run], comparison: Comparison, limits: Limits) -> tuple[dict[str, Finding], dict[str, Finding]]:
    """Reduce the findings of either run of which nothing can be said without, as far as they still fail with the versions of B."""
    open_ones = {one.finding.fingerprint for one in comparison.findings if one.change is Change.UNKNOWN}
    found: tuple[dict[str, Finding], dict[str, Finding]] = {}, {}
    for run, by_name in zip(runs, found, strict=True):
        unreduced = [finding for finding in run.findings if finding.is_unreduced and finding.fingerprint in open_ones]
        _require_versions(runs[1], unreduced)
        for finding in unreduced:
            with contextlib.suppress(UsageError):  # it does not fail here any more, or a minute is too short: then it stays open
                by_name[finding.fingerprint] = reduced(finding, run.directory / "findings", limits=limits)
    return found


def _require_versions(b: Run, findings: Collection[Finding]) -> None:
    """Require the versions with which B ran.

    Raises:
        UsageError: other versions are installed here.
    """
    if not findings:
        return
    for name, here in installed_versions(dict.fromkeys(finding.backend for finding in findings)).items():
        changed = different_versions(b.info.backend_versions.get(name, {}), here)
        if changed:
            raise UsageError(f"--replay would say nothing about {b.directory}: {changed} here. Use the installation that it ran with")


# -- printing -------------------------------------------------------------------------------------------------------------


def _print(console: Console, runs: tuple[Run, Run], comparison: Comparison) -> None:
    for letter, run in zip("AB", runs, strict=True):
        info = run.info
        totals = f"{counted(info.cases, 'case')} · {counted(len(run.causes), 'cause')}"
        said = f"{run.directory} · {info.strategy} · seed {info.seed} · {totals}"
        console.print(f"[bold]{letter}[/]  {escape(one_line(said))}", soft_wrap=True)
    versions = ", ".join(map(str, comparison.versions))
    console.print(f"versions: {versions or 'the same'}", markup=False, soft_wrap=True)
    if not comparison.asks_the_same:
        console.print(
            "The runs draw different cases: what one of them did not meet, it may not have drawn.",
            style="dim",
            soft_wrap=True,
        )
    counts = Counter(one.change for one in comparison.causes)
    console.print()
    console.print(" · ".join(f"{counts[change]} {change}" for change in Change if counts[change]) or "No findings in either.", style="bold")
    for one in comparison.causes:
        _print_cause(console, one)
    console.print()
    _print_backends(console, comparison.backends)


def _print_cause(console: Console, one: ChangedCause) -> None:
    finding = one.lead.finding
    in_pass = "" if finding.in_pass == "forward" else f" in {finding.in_pass}"
    known = " · known" if one.is_known else ""
    also = f" · of the same cause: {', '.join(one.members)}" if one.members else ""
    style = _STYLES.get(one.change, "default")
    what = escape(one_line(f"{finding.backend}: {finding.verdict}{in_pass}  {finding.case}"))
    console.print(f"[{style}]{one.change:<15}[/]  {finding.fingerprint}  {what}", soft_wrap=True)
    console.print(f"{'':<15}  {first_line(one.lead.evidence)}{known}{also}", style="dim", markup=False, soft_wrap=True)


def _print_backends(console: Console, backends: tuple[BackendChange, ...]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backend")
    table.add_column("versions")
    for column in ("compared", "declined", "worst ratio", "ms each"):
        table.add_column(column, justify="right")
    for one in backends:
        sides = (one.a, one.b)
        table.add_row(
            escape(one_line(one.backend)),
            escape(one_line(_arrow(*(side.version if side else "–" for side in sides)))),
            _arrow(*(f"{side.compared:,}" if side else "–" for side in sides)),
            _arrow(*(f"{side.declined:,}" if side else "–" for side in sides)),
            _arrow(*(number(side.worst_ratio) if side else "–" for side in sides)),
            _arrow(*(number(side.seconds_each * 1e3) if side and side.seconds_each is not None else "–" for side in sides)),
        )
    print_whole(console, table)


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"
