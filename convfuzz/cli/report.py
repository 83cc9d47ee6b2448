"""``convfuzz report``: render run directories again, alone or merged, with the history that they stand in."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from convfuzz.cli import Command, completion
from convfuzz.cli.options import OutputFile, PathName
from convfuzz.entry_points import render
from convfuzz.errors import UsageError
from convfuzz.record.nights import History, Night, read_history, read_replays_beside
from convfuzz.record.run_directory import Run
from convfuzz.system.files import write_named

_SUFFIXES = {"html": ".html", "junit": ".xml", "markdown": ".md", "sarif": ".sarif"}


@click.command(cls=Command)
@click.argument("directories", nargs=-1, required=True, type=PathName(), metavar="RUN_DIR…")
@click.option(
    "--format",
    "form",
    default="html",
    show_default=True,
    shell_complete=completion.reports,
    help=f"One of {', '.join(sorted(_SUFFIXES))}, or a report of a plug-in.",
)
@click.option(
    "--history",
    "folder",
    type=PathName(),
    metavar="FOLDER",
    help="Show trends over the nights that FOLDER keeps: run directories, or folders of the several runs of a night. "
    "Only their totals are read.",
)
@click.option(
    "--out", type=OutputFile(may_be_stdout=True), help="File to write; - is standard output. Default: report.* in the first directory."
)
def report(directories: tuple[Path, ...], form: str, folder: Path | None, out: Path | None) -> None:
    """Render the report of one run directory, or of several together.

    With --history they are one night, the latest; without it, several runs are a night each, but for those at one time.
    """
    known: set[Path] = set()
    for directory in directories:
        if directory.resolve() in known:
            raise UsageError(f"{directory} is given twice, and a run counts once")
        known.add(directory.resolve())
    runs = [Run.load(directory) for directory in directories]
    data = render(form, runs, None if folder is None else _history(folder, runs))
    if out is not None and str(out) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = out or directories[0] / f"report{_SUFFIXES.get(form, f'.{form}')}"
    write_named(target, data, replace_all=out is None)
    click.echo(str(target))


def _history(folder: Path, runs: list[Run]) -> History:
    directories = [run.directory for run in runs]
    nights, left_out = read_history(folder, directories)
    tonight = Night.of(directories[0].name, [run.info for run in runs], read_replays_beside(directories))
    return History((*nights, tonight), tuple(left_out))
