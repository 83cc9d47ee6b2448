"""``convfuzz replay``: is each bug still there?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from convfuzz.case import Case
from convfuzz.cli.options import Duration
from convfuzz.cli.tables import print_results
from convfuzz.errors import UnreadableFile
from convfuzz.findings import Finding
from convfuzz.ledger import Ledger
from convfuzz.ledger_file import read_ledger
from convfuzz.printable import first_line, one_line
from convfuzz.replaying import Outcome, Replay, finding_files, read_finding
from convfuzz.replaying import replay as run_again
from convfuzz.signature import Signature

_KNOWN = "KNOWN"
_STYLES = {Outcome.FIXED: "green", Outcome.STILL_FAILING: "bold red", Outcome.ERROR: "bold yellow", _KNOWN: "dim"}


@click.command()
@click.argument("places", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="DIR_OR_FINDING…")
@click.option("--prune", is_flag=True, help="Remove the files of findings that are fixed.")
@click.option(
    "--ledger",
    "ledger_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Known findings: what it tolerates is KNOWN where it still fails, what it quarantines is KNOWN and not run.",
)
@click.option(
    "--case-timeout", type=Duration(), default="20s", show_default=True, help="A backend that takes longer on one case is a `timeout`."
)
def replay(places: tuple[Path, ...], ledger_file: Path | None, case_timeout: float, *, prune: bool) -> int:
    """Run findings again: FIXED, STILL FAILING or ERROR for each, or KNOWN to the ledger.

    DIR_OR_FINDING is a finding file, a run directory, or a folder with *.convfuzz.json files in it or below. Each finding
    runs in processes of its own; what comes and goes, many times. Loads the kernels that the findings name.

    Exit status: 0 all are fixed or known, 1 one still fails, 2 of one it cannot be said.
    """
    console = Console(highlight=False)
    ledger = Ledger() if ledger_file is None else read_ledger(ledger_file)
    files = list(dict.fromkeys(file for place in places for file in finding_files(place)))
    outcomes: Counter[str] = Counter()
    for file in files:
        outcome = _replay_one(console, file, ledger, case_timeout)
        outcomes[outcome] += 1
        if prune and outcome is Outcome.FIXED:
            file.unlink()
            console.print("  removed", style="dim")
    counted = " · ".join(f"{outcomes[outcome]} {outcome.lower()}" for outcome in (*Outcome, _KNOWN) if outcomes[outcome])
    console.print(counted or "no findings to run again")
    return 2 if outcomes[Outcome.ERROR] else int(outcomes[Outcome.STILL_FAILING] > 0)


def _replay_one(console: Console, file: Path, ledger: Ledger, case_timeout: float) -> str:
    try:
        finding = read_finding(file)
    except (UnreadableFile, FileNotFoundError) as error:
        _say(console, Outcome.ERROR, file, first_line(str(error)))
        return Outcome.ERROR
    case = Case.parse(finding.case)
    withheld = ledger.withheld(finding.backend, case)
    if withheld is not None:
        _say(console, _KNOWN, file, one_line(f"{finding.backend}: {withheld.reason}"))
        return _KNOWN
    again = run_again(finding, file.parent, case_timeout=case_timeout)
    if again.outcome is not Outcome.STILL_FAILING or again.result is None:
        _say(console, again.outcome, file, _said(finding, again))
        return again.outcome
    ended = again.result.results[0]  # by the name that its backend has from here, which need not be the ledger's
    entry = ledger.tolerating(Signature(finding.backend, ended.verdict, ended.in_pass, ended.model), case)
    if entry is not None:
        _say(console, _KNOWN, file, one_line(f"{_said(finding, again)}; {entry.reason} · {entry.link}"))
        return _KNOWN
    _say(console, again.outcome, file, _said(finding, again))
    print_results(console, again.result)
    return again.outcome


def _say(console: Console, outcome: str, file: Path, text: str) -> None:
    console.print(f"[{_STYLES[outcome]}]{outcome:<13}[/]  {escape(one_line(str(file)))}  {escape(text)}", soft_wrap=True)


def _said(finding: Finding, again: Replay) -> str:
    if again.why:
        return first_line(again.why)
    known = f"{finding.backend}: {finding.verdict} on {finding.case}"
    now = again.result.results[0] if again.result else None
    changed = now is not None and now.verdict.failing and now.verdict is not finding.verdict
    return one_line(f"{known}; now {now.verdict}" if changed and now else known)
