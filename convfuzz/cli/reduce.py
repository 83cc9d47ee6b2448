"""``convfuzz reduce``: find the simplest case that fails in the same way."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from convfuzz.backend_names import default_backends
from convfuzz.backends import require_all
from convfuzz.case import Case
from convfuzz.case.features import particular
from convfuzz.checking.checker import CheckResult
from convfuzz.checking.limits import Limits
from convfuzz.checking.result_table import print_check
from convfuzz.cli import Command, completion
from convfuzz.cli.options import CaseLine, Duration, backends_option, limits_options
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.events import BackendEnded
from convfuzz.system.counted import counted
from convfuzz.system.safe_text import first_line
from convfuzz.triage.reduction import Budget, Companion
from convfuzz.triage.reruns import Reruns

_NO_LIMIT = 10**6
"""Candidates: the time is what counts."""


@click.command(cls=Command)
@click.argument("case", type=CaseLine(), metavar="CASE", shell_complete=completion.cases)
@backends_option
@click.option(
    "--time",
    "seconds",
    type=Duration(),
    default="60s",
    show_default=True,
    help="Most time for the reduction of one backend.",
)
@limits_options
def reduce(case: str, backends: tuple[str, ...] | None, seconds: float, limits: Limits) -> int:
    """Reduce a failing CASE for each backend that fails on it, keeping backend, verdict and explaining model.

    First the configuration is made simpler, then the data, down to as few non-zeros as possible. Candidates run in a process
    that may die of them, so that crashes and hangs are reduced too. The minimal case is then run in fresh processes, to see
    whether it always fails. Ctrl-C keeps the best case so far.
    """
    parsed = Case.parse(case)
    names = list(backends if backends is not None else default_backends())
    require_all(names)
    console = Console(highlight=False, emoji=False)
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as scratch:
        sandbox = Sandbox(names, None, Path(scratch, "reduce.log"), limits=limits)
        try:
            sandbox.open()
            result = sandbox.check(parsed)
            failures = result.failures
            if not result.compared and not failures:
                click.echo(f"convfuzz: nothing was compared: no backend computes {parsed}{_why(result)}", err=True)
                return 2
            if not failures:
                console.print(f"nothing to reduce: no backend fails on {parsed}", soft_wrap=True)
                return 0
            for failure in failures:
                _reduce_one(console, sandbox, parsed, failure, seconds)
        finally:
            sandbox.close()
    return 1


def _why(result: CheckResult) -> str:
    """Return the first reason why nothing was compared."""
    reasons = [result.skipped, *(f"{one.backend}: {one.reason}" for one in result.results)]
    return next((f": {first_line(reason)}" for reason in reasons if reason), "")


def _reduce_one(console: Console, sandbox: Sandbox, case: Case, failure: BackendEnded, seconds: float) -> None:
    with console.status("") as status:

        def progress(candidate: Case) -> None:
            status.update(escape(f"{failure.backend}: {candidate}"))

        budget = Budget(seconds, candidates=_NO_LIMIT)
        settled = Reruns(sandbox, case, failure, budget, progress, interruptible=True).reduced_alone()
    reduction = settled.reduction
    still = ", ".join(particular(reduction.case.config)) or "nothing"
    tried = counted(reduction.tried, "candidate")
    console.print(
        f"{failure.backend}: {failure.verdict}; {reduction.outcome} after {tried}; not at its default: {still}",
        markup=False,
        soft_wrap=True,
    )
    data = f"its data are still as drawn: {reduction.dense}" if reduction.dense else ""
    for line in filter(None, (data, _said(settled.companion), str(settled.confirmation))):
        console.print(line, markup=False, soft_wrap=True)
    print_check(console, sandbox.check(reduction.case))


def _said(companion: Companion) -> str:
    if companion.case:
        return f"{companion.boundary}: {companion.case}"
    return f"no companion: {companion.boundary}" if companion.boundary else ""
