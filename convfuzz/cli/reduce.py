"""``convfuzz reduce``: the simplest case that fails in the same way."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from rich.console import Console

from convfuzz.case import Case
from convfuzz.cli.options import Duration, backends_option, default_backends
from convfuzz.cli.tables import print_check
from convfuzz.confirmation import Confirmation
from convfuzz.events import BackendEnded
from convfuzz.features import particular
from convfuzz.reduce import Budget, Reduction, reduce_case
from convfuzz.reruns import Reruns
from convfuzz.sandbox import Sandbox
from convfuzz.signature import Signature


@click.command()
@click.argument("case", metavar="CASE")
@backends_option
@click.option("--time", "seconds", type=Duration(), default="60s", show_default=True, help="Most time for the reduction of one backend.")
@click.option(
    "--case-timeout", type=Duration(), default="20s", show_default=True, help="A backend that takes longer on one case is a `timeout`."
)
def reduce(case: str, backends: tuple[str, ...] | None, seconds: float, case_timeout: float) -> int:
    """Reduce a failing CASE for each backend that fails on it, keeping backend, verdict and explaining model.

    Candidates run in a process that may die of them, so that crashes and hangs are reduced too; the minimal case is then
    run in fresh processes, to say whether it always fails. Ctrl-C keeps the best so far.
    """
    parsed = Case.parse(case)
    names = list(backends if backends is not None else default_backends())
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as scratch:
        sandbox = Sandbox(names, None, Path(scratch, "reduce.log"), case_timeout=case_timeout)
        try:
            sandbox.open()
            failures = sandbox.check(parsed).failures
            if not failures:
                console.print(f"nothing to reduce: no backend fails on {parsed}", soft_wrap=True)
                return 0
            for failure in failures:
                _reduce_one(console, sandbox, parsed, failure, seconds)
        finally:
            sandbox.close()
    return 1


def _reduce_one(console: Console, sandbox: Sandbox, case: Case, failure: BackendEnded, seconds: float) -> None:
    signature, best, confirmation = Signature.of(failure), [case], Confirmation()
    with console.status("") as status:

        def fails(candidate: Case) -> bool:
            status.update(f"{signature.backend}: {candidate}")
            result = sandbox.evaluate(candidate, signature.backend)
            if result.verdict.failing and Signature.of(result) == signature:
                best.append(candidate)
                return True
            return False

        try:
            reduction = reduce_case(case, fails, Budget(seconds, candidates=10**6))
            status.update(f"{signature.backend}: {reduction.case} in fresh processes")
            confirmation = Reruns(sandbox, reduction.case, failure, Budget(seconds), lambda _: None).confirmed()
        except KeyboardInterrupt:
            reduction = Reduction(best[-1], "interrupted", len(best))
    still = ", ".join(particular(reduction.case.config)) or "nothing"
    console.print(
        f"{signature.backend}: {signature.verdict}; {reduction.outcome} after {reduction.tried} candidates; still particular: {still}",
        markup=False,
        soft_wrap=True,
    )
    console.print(str(confirmation), markup=False, soft_wrap=True)
    print_check(console, sandbox.check(reduction.case))
