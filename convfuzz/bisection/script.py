"""A finding's standalone script, and what it says of one release."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from convfuzz.bisection.search import Answer
from convfuzz.errors import UsageError
from convfuzz.record.finding import MOST_BYTES, decode_finding
from convfuzz.system.files import read_regular
from convfuzz.system.safe_text import one_line

_MOST_SCRIPT_BYTES = 64 * 2**20
_VERDICT = re.compile(r"^Verdict: ([a-z-]+)", re.MULTILINE)
_REASON = re.compile(r"^Reason: (.+?)\n(?=Run again:|Found with |\n)", re.MULTILINE | re.DOTALL)
_LACKS = re.compile(r"ModuleNotFoundError: No module named '(\w+)'")
_WORD = re.compile(r"[A-Za-z_]{3,}")
_ALIKE = 0.5
"""The share of a message's words that another one has to have to say the same: numbers, names and paths differ between releases."""
_RAISED = "BUG: raised on a valid configuration"
_ELSEWHERE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""What would lead an environment's interpreter to packages that are not its own."""


@dataclass(frozen=True)
class Said:
    """What a script says of one release, and by which of its lines; ``lacks`` is the module that its environment does not have."""

    answer: Answer
    why: str
    lacks: str = ""


@dataclass(frozen=True)
class Script:
    """A finding's script, the ``verdict`` that it is about, and what is raised where that is ``error``.

    Of a script that is none of ours nothing is known but that it exits with 1 while the bug is there, and with 0 when it is gone.
    """

    path: Path
    verdict: str = ""
    raises: str = ""

    @classmethod
    def of(cls, path: Path) -> Script:
        """Take a script, or the script beside the finding ``path``: ``repro/<fingerprint>.py`` in the same run directory.

        Raises:
            UsageError: it has no script.
            UnreadableFile: it is neither a script nor a finding.
        """
        script = path if path.suffix == ".py" else _beside(path)
        try:
            head = read_regular(script, _MOST_SCRIPT_BYTES)[:8192].decode(errors="replace")
        except FileNotFoundError:
            raise UsageError(f"{script} is not there; give the script itself") from None
        verdict, reason = _VERDICT.search(head), _REASON.search(head)
        named = verdict[1] if verdict else ""
        return cls(script, named, " ".join(reason[1].split()) if reason and named == "error" else "")

    def run(self, interpreter: Path, seconds: float) -> Said:
        """Run it with ``interpreter`` for at most ``seconds``."""
        environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | {"PYTHONNOUSERSITE": "1"}
        command = [str(interpreter), str(self.path.absolute())]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds, env=environment)  # noqa: S603 - what the user asks for
        except subprocess.TimeoutExpired:
            return Said(Answer.UNKNOWN, f"the script did not end within {seconds:g} s")
        return self.read(done.returncode, done.stdout, done.stderr)

    def read(self, status: int, output: str, errors: str) -> Said:
        """Say what a run of the script shows: the bug only where it fails as the finding does."""
        lines = [line for line in output.splitlines() if line.strip()]
        said = [one_line(line) for line in lines if line.startswith(("BUG", "fixed"))]
        why = next(iter(said), one_line(lines[-1]) if lines else "")
        raised = _last_line(errors)
        if status == 0:
            return Said(Answer.GOOD, why)
        if status != 1 or (self.verdict and not why.startswith("BUG")):
            ended = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            lacks = _LACKS.fullmatch(raised)
            return Said(Answer.UNKNOWN, f"the script does not run: {raised or ended}", lacks[1] if lacks else "")
        if self.verdict and why == _RAISED:
            if self.verdict != "error":
                return Said(Answer.UNKNOWN, f"it raises instead: {raised}")
            if self.raises and not _says_the_same(self.raises, raised):
                return Said(Answer.UNKNOWN, f"it raises something else: {raised}")
            return Said(Answer.BAD, raised)
        return Said(Answer.BAD, why)


def brought_by_another(module: str, package: str) -> str:
    """Return the package that has a module here, where ``package`` is none that has it; empty where none has it."""
    having = packages_distributions().get(module, [])
    own = canonicalize_name(package) in map(canonicalize_name, having)
    return "" if own else next(iter(having), "")


def _says_the_same(message: str, other: str) -> bool:
    """Whether two messages are of one exception and mostly of the same words; a module's name before the exception is no part of it."""
    first, second = message.partition(":"), other.partition(":")
    if first[0].rpartition(".")[2] != second[0].rpartition(".")[2]:
        return False
    words = set(_WORD.findall(first[2]))
    return len(words & set(_WORD.findall(second[2]))) >= _ALIKE * len(words)


def _last_line(errors: str) -> str:
    """Return the last line of a traceback, where there is one."""
    lines = [line for line in errors.splitlines() if line.strip()]
    at = max((i for i, line in enumerate(lines) if line.startswith("Traceback")), default=None)
    if at is None:
        return ""
    return next((one_line(line) for line in lines[at + 1 :] if not line.startswith(" ")), "")


def _beside(path: Path) -> Path:
    try:
        finding = decode_finding(read_regular(path, MOST_BYTES), str(path))
    except FileNotFoundError:
        raise UsageError(f"{path} is not there") from None
    script = path.parent.parent / "repro" / f"{finding.fingerprint}.py"
    if path.parent.name != "findings" or not script.is_file():
        raise UsageError(f"there is no script of {path} at {script}; give the script itself")
    return script
