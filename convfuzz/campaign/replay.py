"""Runs findings again, each in a process of its own that may die of it: is the bug still there?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

import msgspec

from convfuzz.backend_names import family_of
from convfuzz.case import Case
from convfuzz.checking.checker import CheckResult
from convfuzz.checking.limits import Limits
from convfuzz.errors import BackendError, UsageError
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.confirmation import Step
from convfuzz.record.events import BackendEnded, Recheck
from convfuzz.record.finding import MOST_BYTES, Finding, decode_finding
from convfuzz.record.run_directory import finding_paths
from convfuzz.system.files import read_regular
from convfuzz.triage.reruns import RETRIES
from convfuzz.verdicts import Verdict

SUFFIX = ".convfuzz.json"
"""The ending of the names of finding files that are kept as regression tests."""
_OF_WHAT_COMES_AND_GOES = 20
_PRECEDING_SECONDS = 60.0


class Outcome(StrEnum):
    """What became of a finding."""

    FIXED = "FIXED"
    STILL_FAILING = "STILL FAILING"
    ERROR = "ERROR"


RECHECKS = {Outcome.FIXED: Recheck.FIXED, Outcome.STILL_FAILING: Recheck.STILL_FAILING, Outcome.ERROR: Recheck.ERROR}
"""Each outcome as a record keeps it."""


@dataclass(frozen=True)
class Replay:
    """A finding that was run again: what became of it, the last result where there is one, and ``why`` it is an error."""

    outcome: Outcome
    result: CheckResult | None = None
    why: str = ""
    missing: str = ""
    """The framework that it needs and that is not installed."""


def finding_files(where: Path) -> list[Path]:
    """Return the finding files that ``where`` names: itself, those of a run directory, or those below a folder.

    Raises:
        UsageError: it is a folder without any; a run directory may have none.
        UnreadableFile: what should be the folder of a run directory's findings is something else.
    """
    if not where.is_dir():
        return [where]
    if (where / "run.json").is_file():
        return finding_paths(where)
    below = (Path(folder, name) for folder, _, names in os.walk(where) for name in names)  # what may not be read, or goes, is passed over
    files = sorted(path for path in below if path.name.endswith(SUFFIX)) or sorted(where.glob("*.json"))
    if not files:
        raise UsageError(f"{where} is not a run directory and holds no finding (*{SUFFIX})")
    return files


def read_finding(path: Path) -> Finding:
    """Read a finding file, as data.

    Raises:
        UnreadableFile: it is not a finding, or not a plain file.
        FileNotFoundError: there is no such file.
    """
    return decode_finding(read_regular(path, MOST_BYTES), str(path))


def replay(finding: Finding, folder: Path, *, limits: Limits | None = None) -> Replay:
    """Run a finding's minimal case again, after the runs that it depends on where there are any.

    A failure that comes and goes is run many times. A kernel's file is looked for in the current folder, then in ``folder`` and
    those above it. Any failure of the backend counts as the bug, since a result that is wrong in another way is wrong too.
    """
    finding = located(finding, folder)
    preceding, names = finding.confirmation.preceding, finding.shown_by[1]
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as scratch:
        sandbox = Sandbox(names, None, Path(scratch, "replay.log"), limits=limits)
        try:
            sandbox.open()
            for ended in _results(sandbox, finding, preceding):
                if ended is None:
                    return Replay(Outcome.ERROR, why="the runs before it end the process or take too long")
                result = CheckResult(Case.parse(finding.case), (ended,), ())
                if ended.verdict is Verdict.UNSUPPORTED:
                    return Replay(Outcome.ERROR, result, f"the backend declines its case now: {ended.reason}")
                if ended.verdict.failing:
                    return Replay(Outcome.STILL_FAILING, result)
        except BackendError as error:
            return Replay(Outcome.ERROR, why=str(error), missing=_missing(names))
        finally:
            sandbox.close()
    return Replay(Outcome.FIXED, result)


def installed_versions(backends: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the libraries behind each backend with the versions that are installed here.

    Raises:
        BackendError: one of them cannot be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as scratch:
        sandbox = Sandbox(list(backends), None, Path(scratch, "versions.log"))
        try:
            return sandbox.open().versions
        finally:
            sandbox.close()


def _results(sandbox: Sandbox, finding: Finding, preceding: list[Step]) -> Iterator[BackendEnded | None]:
    case = Case.parse(finding.case)
    tries = _OF_WHAT_COMES_AND_GOES if finding.confirmation.comes_and_goes else RETRIES.get(finding.verdict, 1)
    for _ in range(tries):
        yield sandbox.rerun(case, finding.backend, preceding, _PRECEDING_SECONDS)


def located(finding: Finding, folder: Path) -> Finding:
    """Return the finding with its kernels' files as they are found from the current folder, or from ``folder`` and those above it."""
    confirmation = finding.confirmation
    preceding = [Step(_found(step.backend, folder), step.case) for step in confirmation.preceding]
    return msgspec.structs.replace(
        finding, backend=_found(finding.backend, folder), confirmation=msgspec.structs.replace(confirmation, preceding=preceding)
    )


def _found(backend: str, folder: Path) -> str:
    file, separator, function = backend.partition("::")
    if not separator or not file.endswith(".py") or Path(file).is_file():
        return backend
    start = folder.resolve()
    for parent in (start, *start.parents):
        if (parent / file).is_file():
            return f"{parent / file}::{function}"
    return backend


def _missing(backends: Iterable[str]) -> str:
    """Return the first framework of these backends that is not installed; empty where all are."""
    frameworks = map(family_of, backends)
    return next((name for name in frameworks if name.isidentifier() and name != "reference" and find_spec(name) is None), "")
