"""``convfuzz run``: fuzz backends against the reference."""

from __future__ import annotations

import secrets
import shlex
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import click
import psutil
from click.core import ParameterSource
from rich.console import Console
from rich.markup import escape

from convfuzz.backend_names import default_backends
from convfuzz.backends import require_all
from convfuzz.campaign.dask_executor import dask_executor
from convfuzz.campaign.plan import Plan
from convfuzz.campaign.supervisor import Campaign
from convfuzz.checking.limits import Limits
from convfuzz.cli import Command, completion
from convfuzz.cli.options import LEAST_MEMORY, Duration, PathName, Whole, backends_option, limits_options, memory_text
from convfuzz.cli.progress import Progress, follow
from convfuzz.cli.streams import go_on_without_output, output_lost
from convfuzz.cli.tables import print_run
from convfuzz.entry_points import render, require_strategy
from convfuzz.errors import RunDirectoryError, UsageError
from convfuzz.record.ledger import Ledger
from convfuzz.record.ledger_file import read_ledger
from convfuzz.record.outcome import KNOWN, Known, ended_early
from convfuzz.record.run_directory import Run, read_run_info
from convfuzz.record.run_lock import new_run_directory, resumed_run_directory
from convfuzz.system.files import write_atomically
from convfuzz.system.interrupts import interrupts_held
from convfuzz.system.safe_text import one_line


@click.command(cls=Command)
@backends_option
@click.option(
    "--strategy",
    default="default",
    show_default=True,
    shell_complete=completion.strategies,
    help="Named search space; see `convfuzz strategies`.",
)
@click.option("--time", "seconds", type=Duration(), help="Stop after this long, such as 60s, 10m, 1h30m. Default: 60s without --max-cases.")
@click.option("--max-cases", type=Whole(min=1), help="Stop after this many cases.")
@click.option("--seed", type=Whole(min=0), help="The same seed draws the same cases. Default: a new one, printed.")
@click.option("--workers", type=Whole(min=1), help="Worker processes, one thread each. Default: 1, or a cluster's threads.")
@click.option("--dask", metavar="ADDRESS", help="Run on a Dask cluster: the address of its scheduler, such as tcp://host:8786, or `local`.")
@limits_options
@click.option(
    "--ledger",
    type=PathName(),
    metavar="FILE",
    help="Known findings: what it tolerates does not make the run fail, what it quarantines does not run; see `convfuzz ledger`.",
)
@click.option(
    "--near",
    multiple=True,
    metavar="CASE",
    shell_complete=completion.cases,
    help="A case from which the search for what a kernel computes starts; repeatable. For domains too rare to be found.",
)
@click.option(
    "--known",
    type=click.Choice(KNOWN),
    default="show",
    show_default=True,
    help="What is known upstream of released frameworks is labelled and listed last: with `tolerate` the run does not fail for it; "
    "`ignore` does not look it up.",
)
@click.option(
    "--arithmetic/--no-arithmetic",
    default=True,
    show_default=True,
    help="Measure how the backends compute when the run is over, as `convfuzz reveal` does, in at most a tenth of the time that it took.",
)
@click.option("--out", type=PathName(), help="Run directory. Default: convfuzz-runs/<time>-<id>.")
@click.option(
    "--resume",
    type=PathName(),
    metavar="DIR",
    help="Resume a run that was killed, interrupted or has ended. --time is then further time and --max-cases the new total; "
    "without either, the run's own limits hold. Loads the kernels that its run.json names.",
)
@click.pass_context
def run(  # noqa: PLR0913, PLR0917 - each is an option of its own
    context: click.Context,
    backends: tuple[str, ...] | None,
    strategy: str,
    seconds: float | None,
    max_cases: int | None,
    seed: int | None,
    workers: int | None,
    dask: str | None,
    limits: Limits,
    ledger: Path | None,
    near: tuple[str, ...],
    known: Known,
    out: Path | None,
    resume: Path | None,
    *,
    arithmetic: bool,
) -> int:
    """Fuzz BACKENDS against the reference; leaves a run directory with an HTML report.

    \b
    convfuzz run                                    torch, torch+split and tensorflow, 60 seconds
    convfuzz run --backends my_kernel.py::my_conv   your own kernel
    convfuzz run --resume DIR                       a run that has stopped
    """  # noqa: D301 - click wants the character itself
    go_on_without_output()  # the campaign is worth more than its terminal
    if resume is not None:
        with resumed_run_directory(resume) as info:
            plan = Plan.resuming(info, further_seconds=seconds, max_cases=max_cases)
            _refuse_other_options(context, plan)
            require_all(plan.backends)
            require_strategy(plan.strategy)
            with _executor(dask, plan.backends, plan.workers) as (executor, _):
                return _campaign(plan, resume, executor)
    names = backends if backends is not None else default_backends()
    require_all(names)
    require_strategy(strategy)
    if seconds is None and max_cases is None:
        seconds = 60.0
    with _executor(dask, names, workers) as (executor, count):
        plan = Plan(
            backends=names,
            strategy=strategy,
            seed=secrets.randbits(32) if seed is None else seed,
            seed_is_given=seed is not None,
            seconds=seconds,
            max_cases=max_cases,
            workers=count,
            limits=limits,
            ledger=Ledger() if ledger is None else read_ledger(ledger),
            ledger_file=None if ledger is None else str(ledger),
            near=near,
            known=known,
            arithmetic=arithmetic,
        )
        with new_run_directory(out) as directory:
            return _campaign(plan, directory, executor)


@contextmanager
def _executor(address: str | None, backends: Sequence[str], workers: int | None) -> Iterator[tuple[Executor | None, int]]:
    """Give the executor that runs the rounds, or none, and how many of them run at a time."""
    if address is None:
        _require_room(workers or 1)
        yield None, workers or 1
    else:
        with dask_executor(address, backends, workers) as cluster:
            yield cluster


def _require_room(workers: int) -> None:
    """Refuse more workers than can be in memory, whatever they run: a typing mistake that would bring the machine down."""
    total = psutil.virtual_memory().total
    if workers * LEAST_MEMORY > total:
        raise UsageError(
            f"--workers {workers}: each takes at least 128 MiB, and this machine has {total / 2**30:.1f} GiB of memory, "
            f"enough for {total // LEAST_MEMORY}"
        )


def _campaign(plan: Plan, directory: Path, executor: Executor | None) -> int:
    console = Console(highlight=False, emoji=False)
    what = escape(one_line(f"{plan.strategy} · seed {plan.seed} · {', '.join(plan.backends)}"))
    console.print(f"[bold]convfuzz[/bold] · {what}", soft_wrap=True)
    try:
        return _followed(console, plan, directory, executor)
    except KeyboardInterrupt:
        if (directory / "run.json").exists():
            with interrupts_held():
                click.echo(f"convfuzz: {_left_behind(directory)}", err=True)
        raise


def _followed(console: Console, plan: Plan, directory: Path, executor: Executor | None) -> int:
    """Run the campaign, write its report, and print how it ended; return the exit status."""
    with follow(Progress(console, plan.seconds, plan.max_cases)) as watcher:
        campaign = Campaign(plan, directory, watcher, executor)
        info = campaign.run()
    if campaign.had_nothing_to_do:
        console.print("Nothing is left to do: --time gives the run further time, --max-cases a new total.")
    print_run(console, _reported(directory))
    lost = output_lost()
    if ended_early(info.stopped):
        ended_by = signal.Signals((info.exit_status or 0) - 128).name
        saved = f"everything so far is saved{f', {_where_report_is(directory)}' if lost else ''}"
        click.echo(f"convfuzz: ended by {ended_by}; {saved}; {_way_on(directory)}", err=True)
    elif lost:
        click.echo(f"convfuzz: {lost}; the run is complete without it, {_where_report_is(directory)}", err=True)
    assert info.exit_status is not None, "a finished run has an exit status"
    return info.exit_status


def _reported(directory: Path) -> Run:
    """Write the report of a run, whoever is impatient meanwhile; return the run."""
    with interrupts_held():
        loaded_run = Run.load(directory)
        try:
            write_atomically(directory / "report.html", render("html", [loaded_run]))
        except OSError as error:
            raise RunDirectoryError(
                f"the report cannot be written: {error.strerror}. The run is saved; to render it again: convfuzz report {directory}"
            ) from None
    return loaded_run


def _left_behind(directory: Path) -> str:
    """Say what an interruption leaves that came while the run was being ended; a run that was over gets its report all the same."""
    stopped = read_run_info(directory).stopped
    is_over = bool(stopped) and not ended_early(stopped)
    report = directory / "report.html"
    is_new = report.exists() and report.stat().st_mtime_ns >= (directory / "run.json").stat().st_mtime_ns
    if is_over and not is_new:
        _reported(directory)
    if is_over:
        return f"the run is complete, {_where_report_is(directory)}"
    return f"everything so far is saved, {_where_report_is(directory) if is_new else 'without a new report'}; {_way_on(directory)}"


def _where_report_is(directory: Path) -> str:
    return f"its report: {(directory / 'report.html').resolve()}"


def _way_on(directory: Path) -> str:
    return f"to resume the run where it stopped: {shlex.join(['convfuzz', 'run', '--resume', str(directory)])}"


def _refuse_other_options(context: click.Context, plan: Plan) -> None:
    """A resumed run is the same run: an option that is given again must be what the run began with."""
    own = {
        "backends": ",".join(plan.backends),
        "strategy": plan.strategy,
        "seed": str(plan.seed),
        "workers": str(plan.workers),
        "case_timeout": f"{plan.limits.case_timeout:g}s",
        "memory_limit": memory_text(plan.limits.memory),
        "near": " ".join(plan.near),
        "known": plan.known,
        "arithmetic": str(plan.arithmetic),
        "out": "",
    }
    asked = {
        "backends": ",".join(context.params["backends"] or ()),
        "near": " ".join(context.params["near"]),
        "case_timeout": f"{context.params['case_timeout']:g}s",
        "memory_limit": memory_text(context.params["memory_limit"]),
    }
    for name, kept in own.items():
        given = asked.get(name, str(context.params[name]))
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and given != kept:
            why = f"the run has {kept}" if kept else "a run resumes in its own directory"
            raise UsageError(f"--{name.replace('_', '-')} {given} cannot be changed by --resume: {why}")
    ledger = context.params["ledger"]
    if ledger is not None and read_ledger(ledger).entries != plan.ledger.entries:
        raise UsageError(
            f"--ledger {ledger} cannot be changed by --resume: the run keeps the entries with which it began, and {ledger} has others; "
            "begin a new run with it"
        )
