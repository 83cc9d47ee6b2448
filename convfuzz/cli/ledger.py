"""``convfuzz ledger``: keep the file of known findings."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convfuzz.campaign.unreduced import reduced
from convfuzz.checking.limits import Limits
from convfuzz.checking.result_table import print_whole
from convfuzz.cli import NearestGroup, completion
from convfuzz.cli.options import Names, PathName, limits_options
from convfuzz.errors import BackendError, UnreadableFile
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.events import EntryRechecked, Recheck
from convfuzz.record.finding import MOST_BYTES, Finding, decode_finding
from convfuzz.record.ledger import Entry, Ledger, recheck
from convfuzz.record.ledger_file import add_entry, entry_of, read_ledger
from convfuzz.record.run_directory import Run
from convfuzz.system.files import require_writable
from convfuzz.system.safe_text import first_line, one_line

_STYLES = {Recheck.STILL_FAILING: "dim", Recheck.FIXED: "bold green", Recheck.CHANGED: "bold red", Recheck.ERROR: "bold red"}
_path = PathName()


@click.group(cls=NearestGroup)
def ledger() -> None:
    """Keep the file of known findings that `convfuzz run --ledger FILE` reads.

    What it tolerates still runs and is reported, but does not make a run fail; what it quarantines is never run.
    """


@ledger.command()
@click.argument("file", type=_path)
@click.argument("finding_file", type=_path, metavar="FINDING.json", shell_complete=completion.findings)
@click.option("--tolerate", "action", flag_value="tolerate", help="Keep running such cases; their failures are known.")
@click.option("--quarantine", "action", flag_value="quarantine", help="Run no such case on this backend: for crash, timeout and memory.")
@click.option("--reason", required=True, help="Why this is accepted, in one line.")
@click.option("--link", required=True, metavar="URL", help="Where that was decided, such as an issue.")
@click.option("--alone", is_flag=True, help="Only this finding, and not the others that the run found to have its cause.")
@limits_options
def add(
    file: Path,
    finding_file: Path,
    action: Literal["tolerate", "quarantine"] | None,
    reason: str,
    link: str,
    limits: Limits,
    *,
    alone: bool,
) -> None:
    """Add a finding of a run (RUN_DIR/findings/FINGERPRINT.json) to the ledger FILE, which is created if need be.

    With --tolerate the other findings of its cause get entries as well, so that the next run does not fail for another way in
    which the same bug shows. A finding that was not reduced, for want of time, is reduced first, since only then is it known which
    cases it is about. That loads the kernel that it names.
    """
    if action is None:
        raise click.UsageError("one of --tolerate and --quarantine is needed")
    require_writable(file)
    finding = _read_finding(finding_file)
    others = [] if alone or action == "quarantine" else _of_its_cause(finding, finding_file)
    for one in (finding, *others):
        if one.is_unreduced:
            click.echo(f"{one.fingerprint} was not reduced; reducing it …")
            one = reduced(one, finding_file.parent, limits=limits)  # noqa: PLW2901
            click.echo(f"{one.fingerprint}  {one_line(f'{one.backend}: {one.verdict}')}  {one.case}")
        entry = entry_of(one, action, reason=reason, link=link)
        if one in others and read_ledger(file).has(entry):
            continue
        add_entry(file, entry)
        click.echo(f"{file}: {entry.action} {entry.fingerprint}, {_scope(entry)}{', of the same cause' if one in others else ''}")


@ledger.command(name="list")
@click.argument("file", type=_path)
def list_entries(file: Path) -> None:
    """Print the entries of the ledger FILE."""
    entries = read_ledger(file).entries
    console = Console(highlight=False, emoji=False)
    if not entries:
        console.print("no entries", style="dim")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("entry", "action", "finding", "backend", "verdict", "features", "case", "reason", "link"):
        table.add_column(column, overflow="fold", justify="right" if column == "entry" else "left")
    for number, entry in enumerate(entries, 1):
        cells = (str(number), entry.action, entry.fingerprint, entry.backend, _verdict(entry), ", ".join(entry.features) or "any case")
        table.add_row(*map(Text, (*cells, entry.case, entry.reason, entry.link)))  # Text: what looks like markup stays text
    print_whole(console, table)


@ledger.command()
@click.argument("file", type=_path)
@click.option(
    "--backends",
    type=Names(),
    metavar="A,B",
    help="Only the entries about these. A kernel of your own (file.py::function) runs only when it is named here.",
)
@limits_options
def check(file: Path, backends: tuple[str, ...] | None, limits: Limits) -> int:
    """Run the case of every entry of the ledger FILE again, quarantined ones too, each in a process that may die of it.

    \b
    Exit status: 0 if every entry still fails as it states, 1 if some do not and can go,
    2 if the ledger cannot be read or an entry cannot be checked.
    """  # noqa: D301 - click wants the character itself
    whole = read_ledger(file)
    chosen = whole if backends is None else whole.about(backends)
    console = Console(highlight=False, emoji=False)
    outcomes: Counter[Recheck] = Counter()
    for entry, checked in _recheck_all(chosen, named=backends or (), limits=limits):
        outcomes[checked.outcome] += 1
        title = (f"{checked.outcome.upper():<15}", _STYLES[checked.outcome])
        console.print(Text.assemble(title, f"  {entry.fingerprint}  {_scope(entry)}"), soft_wrap=True)
        if checked.outcome is not Recheck.STILL_FAILING:
            console.print(Text(f"                 {first_line(checked.reason) or 'its case passes'} · {entry.link}", "dim"), soft_wrap=True)
    counted = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in Recheck if outcomes[outcome])
    console.print(counted or "no entries", style="dim")
    if outcomes[Recheck.FIXED] or outcomes[Recheck.CHANGED]:
        return 1
    return 2 if outcomes[Recheck.ERROR] else 0


def _recheck_all(ledger: Ledger, *, named: Collection[str], limits: Limits) -> Iterator[tuple[Entry, EntryRechecked]]:
    """Check entry by entry; a kernel in a file runs only where the user names it, not where the ledger does."""
    wanted = dict.fromkeys(entry.backend for entry in ledger.entries if "::" not in entry.backend or entry.backend in named)
    with _sandboxes(wanted, limits) as sandboxes:
        for entry in ledger.entries:
            sandbox = sandboxes.get(entry.backend, f"it runs only with --backends {entry.backend}")
            if isinstance(sandbox, str):
                yield entry, EntryRechecked(entry=entry.fingerprint, outcome=Recheck.ERROR, reason=sandbox)
            else:
                yield entry, recheck(entry, sandbox.evaluate)


@contextmanager
def _sandboxes(backends: Iterable[str], limits: Limits) -> Iterator[dict[str, Sandbox | str]]:
    """Give each backend a sandbox that has loaded it, or the reason why none could; all share one where all can be loaded."""
    names = list(backends)
    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="convfuzz-")), "check.log")

        def opened(together: list[str]) -> Sandbox:
            sandbox = Sandbox(together, None, log, limits=limits)
            stack.callback(sandbox.close)
            sandbox.open()
            return sandbox

        found: dict[str, Sandbox | str] = {}
        try:
            found.update(dict.fromkeys(names, opened(names)) if names else {})
        except BackendError:
            for name in names:
                try:
                    found[name] = opened([name])
                except BackendError as error:
                    found[name] = str(error)
        yield found


def _of_its_cause(finding: Finding, path: Path) -> list[Finding]:
    """Return the other findings of its cause, where ``path`` is in a run directory that says which they are."""
    directory = path.resolve().parent.parent
    if path.resolve().parent.name != "findings" or not (directory / "run.json").is_file():
        return []
    run = Run.load(directory)
    found = {one.fingerprint: one for one in run.findings}
    cause = next((cause for cause in run.causes if finding.fingerprint in cause.members), None)
    return [found[name] for name in cause.members if name != finding.fingerprint] if cause else []


def _read_finding(path: Path) -> Finding:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from None
    return decode_finding(data, str(path))


def _scope(entry: Entry) -> str:
    """Say in words which cases an entry is about."""
    return f"{entry.backend}: {_verdict(entry)} on {', '.join(entry.features) or 'any case'}"


def _verdict(entry: Entry) -> str:
    model = f" ({entry.model})" if entry.model else ""
    return f"{entry.verdict}{model}" + ("" if entry.in_pass == "forward" else f" in {entry.in_pass}")
