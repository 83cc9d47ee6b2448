"""``convfuzz bisect``: which release brought a bug, or took it away."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import click
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convfuzz.bisection.environments import CannotBeInstalled, Environments, Installer, default_installer
from convfuzz.bisection.releases import Sources, releases
from convfuzz.bisection.script import Said, Script, brought_by_another
from convfuzz.bisection.search import Answer, Change, Unchanged, most_tries
from convfuzz.bisection.search import bisect as search
from convfuzz.cli import Command, completion
from convfuzz.cli.options import Duration, ParamType, PathName, Whole
from convfuzz.errors import UsageError
from convfuzz.system.counted import counted

_STYLES = {Answer.BAD: "bold red", Answer.GOOD: "green", Answer.UNKNOWN: "yellow"}


class RequirementLine(ParamType[str]):
    """What pip installs, such as ``numpy<2``."""

    name = "requirement"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it is."""
        try:
            Requirement(str(value))
        except InvalidRequirement as error:
            self.fail(f"{value!r} is not a requirement such as numpy<2: {str(error).splitlines()[0]}", param, ctx)
        return str(value)


@click.command(cls=Command)
@click.argument("finding", type=PathName(exists=True), shell_complete=completion.findings)
@click.option("--package", required=True, help="The package whose releases are tried, as its index names it, such as torch.")
@click.option("--from", "first", required=True, metavar="VERSION", help="The oldest release.")
@click.option("--to", "last", required=True, metavar="VERSION", help="The newest release; 2.13 covers 2.13.1.")
@click.option("--pre", is_flag=True, help="Try pre-releases too.")
@click.option(
    "--with",
    "wanted",
    multiple=True,
    type=RequirementLine(),
    metavar="REQUIREMENT",
    help='What each environment has besides, such as "numpy<2", or onnx for a script that imports it; repeatable.',
)
@click.option("--index-url", default="", metavar="URL", help="As in pip.")
@click.option("--extra-index-url", multiple=True, metavar="URL", help="As in pip; repeatable.")
@click.option("--find-links", multiple=True, metavar="PLACE", help="As in pip; repeatable.")
@click.option("--no-index", is_flag=True, help="As in pip.")
@click.option("--constraint", "constraints", multiple=True, type=PathName(exists=True), metavar="FILE", help="As in pip; repeatable.")
@click.option("--installer", type=click.Choice(["uv", "pip"]), help="Default: uv where it is there, else venv and pip.")
@click.option("--cache", type=PathName(), metavar="DIR", help="Where the environments are kept. Default: ~/.cache/convfuzz/bisect.")
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="What one run of the script may take.")
@click.option("--repeat", type=Whole(min=1), default=1, show_default=True, help="Run the script so often: it is bad when one run is.")
@click.option("--dry-run", is_flag=True, help="Say which releases there are, what would be installed and where; install nothing.")
def bisect(  # noqa: PLR0913, PLR0917 - each is an option of its own
    finding: Path,
    package: str,
    first: str,
    last: str,
    wanted: tuple[str, ...],
    index_url: str,
    extra_index_url: tuple[str, ...],
    find_links: tuple[str, ...],
    constraints: tuple[Path, ...],
    installer: Installer | None,
    cache: Path | None,
    timeout: float,
    repeat: int,
    *,
    pre: bool,
    no_index: bool,
    dry_run: bool,
) -> int:
    r"""Find the release that brought a bug, or the one that mended it, by bisection.

    FINDING is a finding of a run (RUN_DIR/findings/FINGERPRINT.json), whose script is RUN_DIR/repro/FINGERPRINT.py, or a script.
    It is run in an environment of its own for each release that is tried. A release that cannot be installed, and one in
    which the script fails in another way, says nothing and is passed over.

    \b
    convfuzz bisect RUN_DIR/findings/a3f54fb9.json --package onnxruntime --from 1.20 --to 1.32 --with onnx

    \b
    Exit status: 0 the release is found, 1 the oldest and the newest agree, 2 it cannot be said.
    """
    if no_index and (index_url or extra_index_url or not find_links):
        index = "--index-url" if index_url else "--extra-index-url"
        exclude = f"--no-index and {index} exclude each other; give one of them"
        raise click.UsageError(f"{exclude if index_url or extra_index_url else '--no-index leaves only --find-links, which is not given'}.")
    script = Script.of(finding)
    sources = Sources(index_url, extra_index_url, find_links, no_index, tuple(map(str, constraints)))
    environments = Environments(cache or _default_cache(), package, sources, installer or default_installer(), wanted)
    found = releases(package, sources, first, last, pre=pre)
    console = Console(highlight=False, emoji=False)
    _say_what_it_takes(console, environments, found)
    if dry_run:
        for version in found:
            console.print(Text(f"  {version}{'  (made already)' if environments.has(version) else ''}"))
        console.print("for each one that is tried:")
        for command in environments.commands(found[0]):
            console.print(Text(f"  {shlex.join(command)}"), soft_wrap=True)
        return 0
    told: dict[Version, Said] = {}

    def answer(version: Version) -> Answer:
        with console.status(Text(f"{package} {version}")):
            told[version] = _try(environments, script, version, timeout, repeat)
        console.print(Text(f"{version}: {told[version].answer}", "dim"))
        _refuse_without(told[version].lacks, package, version)
        return told[version].answer

    result = search(found, answer)
    _print_table(console, package, told)
    _print_disk(console, environments, list(told))
    return _conclude(console, package, result, told)


def _try(environments: Environments, script: Script, version: Version, timeout: float, repeat: int) -> Said:
    try:
        interpreter = environments.make(version)
    except CannotBeInstalled as error:
        return Said(Answer.UNKNOWN, f"it cannot be installed: {error}")
    said = script.run(interpreter, timeout)
    for _ in range(repeat - 1):
        if said.answer is Answer.BAD:
            break
        said = script.run(interpreter, timeout)
    return said


def _refuse_without(module: str, package: str, version: Version) -> None:
    """Stop at a module that another package brings: no other release would have it, and each takes an environment to find that out."""
    other = brought_by_another(module, package)
    if other:
        raise UsageError(f"the script imports {module}, which the environment of {package} {version} does not have: add --with {other}")


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convfuzz" / "bisect"


def _say_what_it_takes(console: Console, environments: Environments, found: list[Version]) -> None:
    """Say before anything is installed how many environments there will be, and how much room there is for them."""
    made = sum(map(environments.has, found))
    existing = next(folder for folder in (environments.folder.absolute(), *environments.folder.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 2**30
    console.print(
        Text(
            f"{environments.package}: {counted(len(found), 'release')}, {found[0]} to {found[-1]}; "
            f"about {most_tries(len(found))} of them are tried, "
            f"each in an environment of its own, made by {environments.installer} in {environments.folder}\n"
            f"{made} of them are there already; {free:.1f} GiB are free on that disk, and a large framework takes 1 to 6 GiB for each"
        ),
        soft_wrap=True,
    )


def _print_table(console: Console, package: str, told: dict[Version, Said]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (package, "answer", "what the script says"):
        table.add_column(column, overflow="fold")
    for version in sorted(told):
        said = told[version]
        table.add_row(Text(str(version)), Text(said.answer, _STYLES[said.answer]), Text(said.why))
    console.print(table)


def _print_disk(console: Console, environments: Environments, tried: list[Version]) -> None:
    kept = [version for version in tried if environments.has(version)]
    if kept:
        size = environments.nbytes(kept) / 2**20
        console.print(
            Text(f"{counted(len(kept), 'environment')} in {environments.folder}: {size:,.0f} MiB, which can be removed", "dim"),
            soft_wrap=True,
        )


def _conclude(console: Console, package: str, result: Change[Version] | Unchanged, told: dict[Version, Said]) -> int:
    """Print the line for the bug report."""
    if isinstance(result, Unchanged):
        if result.answer is Answer.UNKNOWN:
            console.print("It cannot be said: the script tells no two of these releases apart.")
            return 2
        known = sorted(version for version, said in told.items() if said.answer is not Answer.UNKNOWN)
        state = "have the bug" if result.answer is Answer.BAD else "are without the bug"
        console.print(Text(f"No change: {package} {known[0]} and {known[-1]} both {state}. Try older or newer ones."))
        return 1
    what = "First bad" if result.new is Answer.BAD else "First good"
    old = "good" if result.new is Answer.BAD else "bad"
    if result.between:
        unclear = ", ".join(map(str, result.between))
        console.print(
            Text(f"{what} release: {package} {result.after} or one of {unclear}, which cannot be said ({result.before} is {old}).")
        )
    else:
        console.print(Text(f"{what} release: {package} {result.after} ({result.before} is {old})."))
    return 0
