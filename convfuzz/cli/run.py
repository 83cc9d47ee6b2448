"""``convfuzz run``: the main job."""

from __future__ import annotations

import secrets
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from hypothesis.strategies import SearchStrategy
from rich.console import Console

from convfuzz.backends import resolve_all
from convfuzz.campaign import Campaign, Plan, proves_nothing
from convfuzz.cli.options import Duration, backends_option, default_backends
from convfuzz.cli.progress import Progress, follow
from convfuzz.cli.tables import print_run
from convfuzz.errors import UsageError
from convfuzz.run_directory import Run, new_run_directory, write_atomically


@click.command()
@backends_option
@click.option("--strategy", default="default", show_default=True, help="Named search space; see `convfuzz strategies`.")
@click.option("--time", "seconds", type=Duration(), help="Stop after this long, such as 60s, 10m, 1h30m. Default: 60s without --max-cases.")
@click.option("--max-cases", type=click.IntRange(min=1), help="Stop after this many cases.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed draws the same cases. Default: a new one, printed.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. Default: convfuzz-runs/<time>-<id>.")
def run(
    backends: tuple[str, ...] | None,
    strategy: str,
    seconds: float | None,
    max_cases: int | None,
    seed: int | None,
    out: Path | None,
) -> int:
    """Fuzz BACKENDS against the reference; leaves a run directory with an HTML report.

    \b
    convfuzz run                                    torch, torch+split and tensorflow, 60 seconds
    convfuzz run --backends my_kernel.py::my_conv   your own kernel
    """
    console = Console(highlight=False)
    space = load_strategy(strategy)
    names = backends if backends is not None else default_backends()
    loaded = resolve_all(names)
    directory = new_run_directory(out)
    if seconds is None and max_cases is None:
        seconds = 60.0
    plan = Plan(
        batches=space,
        strategy=strategy,
        backends=loaded,
        seed=secrets.randbits(32) if seed is None else seed,
        seconds=seconds,
        max_cases=max_cases,
        arguments={"backends": list(names), "strategy": strategy, "time": seconds, "max_cases": max_cases, "seed": seed},
    )
    console.print(f"[bold]convfuzz[/bold] · {strategy} · seed {plan.seed} · {', '.join(b.name for b in loaded)}", soft_wrap=True)
    with follow(Progress(console, seconds, max_cases)) as watcher:
        info = Campaign(plan, directory, watcher).run()
    loaded_run = Run.load(directory)
    write_atomically(directory / "report.html", render("html", [loaded_run]))
    print_run(console, loaded_run, proves_nothing(loaded_run.summary))
    assert info.exit_status is not None, "a finished run has an exit status"
    return info.exit_status


def load_strategy(name: str) -> SearchStrategy[Any]:
    """Build the search space registered under ``name``.

    Raises:
        UsageError: there is none; the known ones are listed.
    """
    points = {point.name: point for point in entry_points(group="convfuzz.strategies")}
    if name not in points:
        raise UsageError(f"unknown strategy {name!r}; known are {', '.join(sorted(points))}")
    space: SearchStrategy[Any] = points[name].load()()
    return space


def render(form: str, runs: list[Run]) -> bytes:
    """Render ``runs`` with the report registered under ``form``.

    Raises:
        UsageError: there is none; the known ones are listed.
    """
    points = {point.name: point for point in entry_points(group="convfuzz.reports")}
    if form not in points:
        raise UsageError(f"unknown report {form!r}; known are {', '.join(sorted(points))}")
    data: bytes = points[form].load()(runs)
    return data
