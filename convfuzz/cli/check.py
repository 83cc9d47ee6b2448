"""``convfuzz check``: run given cases and print what every backend makes of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from convfuzz.backend_names import default_backends
from convfuzz.backends import require_all
from convfuzz.checking.checker import CheckResult, parse_cases
from convfuzz.checking.limits import Limits
from convfuzz.checking.result_table import print_check
from convfuzz.cli import Command, completion
from convfuzz.cli.options import CaseLine, backends_option, limits_options
from convfuzz.cli.streams import read_input
from convfuzz.processes.sandbox import Sandbox
from convfuzz.system.json_records import encode
from convfuzz.verdicts import Verdict


@click.command(cls=Command)
@click.argument("cases", nargs=-1, required=True, type=CaseLine(), metavar="CASE…", shell_complete=completion.cases)
@backends_option
@limits_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object per case instead of tables.")
def check(cases: tuple[str, ...], backends: tuple[str, ...] | None, limits: Limits, *, as_json: bool) -> int:
    """Run given cases on BACKENDS and print the discrepancies and verdicts.

    CASE is the one-line form; - reads lines from standard input.
    """
    lines = [line for case in cases for line in (read_input().split() if case == "-" else [case])]
    parsed = parse_cases(lines)
    names = list(backends if backends is not None else default_backends())
    require_all(names)
    console = Console(highlight=False, emoji=False)
    compared: Counter[bool] = Counter()
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as scratch:
        sandbox = Sandbox(names, None, Path(scratch, "check.log"), limits=limits)
        try:
            sandbox.open()
            for case in parsed:
                result = sandbox.check(case)
                compared[bool(result.failures)] += result.compared
                if as_json:
                    click.echo(encode(as_record(result)).decode())
                else:
                    print_check(console, result)
        finally:
            sandbox.close()
    if compared[True]:
        return 1
    if not compared[False]:
        click.echo("convfuzz: nothing was compared: no backend computes any of these cases", err=True)
        return 2
    return 0


def as_record(result: CheckResult) -> dict[str, Any]:
    """Return a result as plain data for JSON."""
    return {
        "case": str(result.case),
        "valid": result.case.config.is_valid,
        "invalid_reason": result.case.config.invalid_reason,
        "skipped": result.skipped,
        "results": [
            {
                "backend": r.backend,
                "verdict": r.verdict,
                "failing": Verdict(r.verdict).failing,
                "reason": r.reason,
                "model": r.model,
                "pass": r.in_pass,
                "seconds": r.seconds,
                **({"compile_seconds": r.compile_seconds} if r.compile_seconds else {}),
                "discrepancies": r.discrepancies,
            }
            for r in result.results
        ],
        "pairs": [{"a": a, "b": b, "max_abs": d} for a, b, d in result.pairs],
    }
