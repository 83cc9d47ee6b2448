"""Command lines that a reader can copy: to run a campaign again, to check one case."""

from __future__ import annotations

import shlex

from convfuzz.record.finding import Finding
from convfuzz.record.run_directory import RunInfo

OPTIONS = ("time", "max_cases", "workers", "ledger")


def rerun(info: RunInfo) -> str:
    """Return the command that asks for the same campaign again."""
    words = ["convfuzz", "run"]
    if info.backends:
        words += ["--backends", ",".join(info.backends)]
    words += ["--strategy", info.strategy, "--seed", str(info.seed)]
    given = {name.lstrip("-").replace("-", "_"): value for name, value in info.arguments.items()}
    for name in OPTIONS:
        if (value := given.get(name)) not in (None, "", False):
            words += [f"--{name.replace('_', '-')}", _seconds(value) if name == "time" and isinstance(value, int | float) else str(value)]
    if (known := given.get("known", "show")) != "show":  # which is what a run does by itself
        words += ["--known", str(known)]
    for case in given.get("near") or ():
        words += ["--near", str(case)]
    return shlex.join(words)


def check(finding: Finding) -> str:
    """Return the command that shows the finding's discrepancy table again, after what has to run before it."""
    cases, backends = finding.shown_by
    return shlex.join(["convfuzz", "check", *cases, "--backends", ",".join(backends)])


def _seconds(seconds: float) -> str:
    """Return a length of time as ``--time`` reads it: without an exponent."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
