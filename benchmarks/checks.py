"""``convfuzz check`` as a function: the verdicts of some cases on some backends, in its sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Checked:
    """What one backend made of one case."""

    case: str
    backend: str
    verdict: str
    in_pass: str
    model: str = ""

    @property
    def fails(self) -> bool:
        """Whether the verdict is a failure."""
        return self.verdict not in {"agree", "unsupported"}

    @property
    def shown(self) -> str:
        """The verdict, with its pass where it is not the forward one."""
        return self.verdict if self.in_pass == "forward" else f"{self.verdict} ({self.in_pass})"


def checked(lines: list[str], backends: list[str], *, case_timeout: float = 20.0) -> list[Checked]:
    """Run ``lines`` on ``backends``; return the results case by case."""
    options = ["--backends", ",".join(backends), "--case-timeout", f"{case_timeout:g}s", "--json"]
    done = subprocess.run([sys.executable, "-m", "convfuzz", "check", *lines, *options], check=False, capture_output=True, text=True)
    if done.returncode not in {0, 1}:
        raise SystemExit(f"convfuzz check ended with {done.returncode}: {done.stderr.strip()}")
    return [
        Checked(line, result["backend"], result["verdict"], result["pass"], result["model"])
        for line, record in zip(lines, map(json.loads, done.stdout.splitlines()), strict=True)
        for result in record["results"]
    ]
