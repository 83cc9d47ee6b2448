"""``convfuzz replay``: run findings again, to see whether each bug is still there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from convfuzz.campaign.replay import RECHECKS, Outcome, Replay, finding_files, read_finding
from convfuzz.campaign.replay import replay as run_again
from convfuzz.case import Case
from convfuzz.checking.limits import Limits
from convfuzz.checking.result_table import print_results
from convfuzz.cli import Command, completion
from convfuzz.cli.options import OutputFile, PathName, limits_options
from convfuzz.cli.streams import go_on_without_output
from convfuzz.errors import UnreadableFile
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding
from convfuzz.record.ledger import Ledger
from convfuzz.record.ledger_file import read_ledger
from convfuzz.record.nights import Replayed, write_replays
from convfuzz.system.safe_text import first_line, one_line

_KNOWN = "KNOWN"
_STYLES = {Outcome.FIXED: "green", Outcome.STILL_FAILING: "bold red", Outcome.ERROR: "bold yellow", _KNOWN: "dim"}


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, type=PathName(exists=True), metavar="DIR_OR_FINDING…", shell_complete=completion.findings)
@click.option("--prune", is_flag=True, help="Remove the files of findings that are fixed and were reduced.")
@click.option(
    "--ledger",
    "ledger_file",
    type=PathName(),
    metavar="FILE",
    help="Known findings: one that it tolerates is KNOWN if it still fails, one that it quarantines is KNOWN and does not run.",
)
@click.option(
    "--record",
    type=OutputFile(),
    metavar="FILE",
    help="Write what became of each finding to FILE; as replays.json in a run directory it becomes part of that night's trends.",
)
@limits_options
def replay(paths: tuple[Path, ...], ledger_file: Path | None, limits: Limits, record: Path | None, *, prune: bool) -> int:
    """Run findings again: FIXED, STILL FAILING or ERROR for each, or KNOWN to the ledger.

    DIR_OR_FINDING is a finding file, a run directory, or a folder with *.convfuzz.json files in it or below. Each finding
    runs in processes of its own, many times if its failure comes and goes. Loads the kernels that the findings name.

    Exit status: 0 if all are fixed or known, 1 if one still fails, 2 if one cannot be run.
    """
    if record is not None or prune:
        go_on_without_output()  # what it writes is worth more than what it prints
    console = Console(highlight=False, emoji=False)
    ledger = Ledger() if ledger_file is None else read_ledger(ledger_file)
    files = list(dict.fromkeys(file for path in paths for file in finding_files(path)))
    outcomes: Counter[str] = Counter()
    replayed: list[Replayed] = []
    for file in files:
        outcome, ran = _replay_one(console, file, ledger, limits)
        outcomes[outcome] += 1
        replayed += [] if ran is None else [ran]
        if prune and outcome is Outcome.FIXED:
            _prune(console, file)
    counted = " · ".join(f"{outcomes[outcome]} {outcome.lower()}" for outcome in (*Outcome, _KNOWN) if outcomes[outcome])
    console.print(counted or "no findings to run again")
    if record is not None:
        write_replays(record, replayed)
    return 2 if outcomes[Outcome.ERROR] else int(outcomes[Outcome.STILL_FAILING] > 0)


def _prune(console: Console, file: Path) -> None:
    """Remove the file of a finding that is fixed; that the case of one that was not reduced passes says little of what it stands for."""
    if read_finding(file).is_unreduced:
        console.print("  kept: it was not reduced, so other failures may go by its name", style="dim")
        return
    file.unlink()
    console.print("  removed", style="dim")


def _replay_one(console: Console, file: Path, ledger: Ledger, limits: Limits) -> tuple[str, Replayed | None]:
    """Run one finding again and print what became of it; return what the record keeps of it, whether or not the ledger knows it."""
    try:
        finding = read_finding(file)
    except (UnreadableFile, FileNotFoundError) as error:
        _say(console, Outcome.ERROR, file, first_line(str(error)))
        return Outcome.ERROR, None
    case = Case.parse(finding.case)
    withheld = ledger.withheld(finding.backend, case)
    if withheld is not None:
        _say(console, _KNOWN, file, one_line(f"{finding.backend}: {withheld.reason}"))
        return _KNOWN, None
    again = run_again(finding, file.parent, limits=limits)
    ran = Replayed(finding.fingerprint, finding.backend, finding.case, RECHECKS[again.outcome])
    if again.outcome is not Outcome.STILL_FAILING or again.result is None:
        _say(console, again.outcome, file, _said(finding, again))
        return again.outcome, ran
    ended = again.result.results[0]  # its backend may have another name here than in the ledger
    entry = ledger.tolerating(Signature(finding.backend, ended.verdict, ended.in_pass, ended.model), case)
    if entry is not None:
        _say(console, _KNOWN, file, one_line(f"{_said(finding, again)}; {entry.reason} · {entry.link}"))
        return _KNOWN, ran
    _say(console, again.outcome, file, _said(finding, again))
    print_results(console, again.result)
    return again.outcome, ran


def _say(console: Console, outcome: str, file: Path, text: str) -> None:
    console.print(f"[{_STYLES[outcome]}]{outcome:<13}[/]  {escape(one_line(str(file)))}  {escape(text)}", soft_wrap=True)


def _said(finding: Finding, again: Replay) -> str:
    if again.why:
        return first_line(again.why)
    known = f"{finding.backend}: {finding.verdict} on {finding.case}"
    now = again.result.results[0] if again.result else None
    changed = now is not None and now.verdict.failing and now.verdict is not finding.verdict
    return one_line(f"{known}; now {now.verdict}" if changed and now else known)
