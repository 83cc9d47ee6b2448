"""``convfuzz run``: the main job."""

from __future__ import annotations

import secrets
from pathlib import Path

import click
from rich.console import Console

from convfuzz.campaign import Campaign, Plan, proves_nothing
from convfuzz.cli.options import Duration, backends_option, default_backends
from convfuzz.cli.progress import Progress, follow
from convfuzz.cli.tables import print_run
from convfuzz.errors import UsageError
from convfuzz.ledger import Ledger
from convfuzz.ledger_file import read_ledger
from convfuzz.plugins import render
from convfuzz.run_directory import Run, new_run_directory, remove_empty_run, write_atomically


@click.command()
@backends_option
@click.option("--strategy", default="default", show_default=True, help="Named search space; see `convfuzz strategies`.")
@click.option("--time", "seconds", type=Duration(), help="Stop after this long, such as 60s, 10m, 1h30m. Default: 60s without --max-cases.")
@click.option("--max-cases", type=click.IntRange(min=1), help="Stop after this many cases.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed draws the same cases. Default: a new one, printed.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes, one thread each.")
@click.option(
    "--case-timeout", type=Duration(), default="20s", show_default=True, help="A backend that takes longer on one case is a `timeout`."
)
@click.option(
    "--memory-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=4.0,
    show_default=True,
    metavar="GIB",
    help="Resident memory of a worker beyond which its backend is a `memory` finding.",
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Known findings: what it tolerates does not make the run fail, what it quarantines is not run; see `convfuzz ledger`.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. Default: convfuzz-runs/<time>-<id>.")
def run(  # noqa: PLR0913, PLR0917 - one for each option
    backends: tuple[str, ...] | None,
    strategy: str,
    seconds: float | None,
    max_cases: int | None,
    seed: int | None,
    workers: int,
    case_timeout: float,
    memory_limit: float,
    ledger: Path | None,
    out: Path | None,
) -> int:
    r"""Fuzz BACKENDS against the reference; leaves a run directory with an HTML report.

    \b
    convfuzz run                                    torch, torch+split and tensorflow, 60 seconds
    convfuzz run --backends my_kernel.py::my_conv   your own kernel
    """
    console = Console(highlight=False)
    names = backends if backends is not None else default_backends()
    if seconds is None and max_cases is None:
        seconds = 60.0
    plan = Plan(
        backends=names,
        strategy=strategy,
        seed=secrets.randbits(32) if seed is None else seed,
        seconds=seconds,
        max_cases=max_cases,
        workers=workers,
        case_timeout=case_timeout,
        memory_limit=int(memory_limit * 2**30),
        ledger=Ledger() if ledger is None else read_ledger(ledger),
        arguments={
            "backends": list(names), "strategy": strategy, "time": seconds, "max_cases": max_cases, "seed": seed, "workers": workers,
            "ledger": None if ledger is None else str(ledger),
        },
    )  # fmt: skip
    was_there = out is not None and out.exists()
    directory = new_run_directory(out)
    console.print(f"[bold]convfuzz[/bold] · {strategy} · seed {plan.seed} · {', '.join(names)}", soft_wrap=True)
    try:
        with follow(Progress(console, seconds, max_cases)) as watcher:
            info = Campaign(plan, directory, watcher).run()
    except UsageError:
        remove_empty_run(directory, keep=was_there)
        raise
    loaded_run = Run.load(directory)
    write_atomically(directory / "report.html", render("html", [loaded_run]))
    print_run(console, loaded_run, proves_nothing(loaded_run.summary))
    assert info.exit_status is not None, "a finished run has an exit status"
    return info.exit_status
