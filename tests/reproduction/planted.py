"""Findings of planted bugs, and what they are shown by."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

import pytest

from convfuzz import Case, Finding, Verdict
from convfuzz.backends import resolve
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.record.finding import fingerprint
from convfuzz.record.versions import environment
from convfuzz.reproduction import bug_report, draft, reproduction_script

from . import plants


@dataclass(frozen=True)
class Bug:
    """A bug planted as ``plant`` says, the case that shows it on a backend, and the verdict that is due."""

    verdict: str
    line: str
    plant: str
    backend: str = "torch"
    in_pass: str = "forward"

    @property
    def name(self) -> str:
        """What a test is called."""
        return f"{self.backend}-{self.verdict}-{self.in_pass}-{self.plant.partition(':')[2].replace('=', '-')}"

    @property
    def ends_the_process(self) -> bool:
        """Whether it cannot be found in this process."""
        return self.verdict in ("crash", "timeout", "memory")


def finding_of(bug: Bug) -> Finding:
    """Return the finding of a bug: what the check of its case says while the bug is planted here."""
    found: dict[str, Any] = {"verdict": Verdict(bug.verdict), "reason": f"planted: {bug.verdict}"}
    if not bug.ends_the_process:
        with pytest.MonkeyPatch.context() as patch:
            module_name, _, rest = bug.plant.partition(":")
            function, _, kind = rest.partition("=")
            module = importlib.import_module(module_name)
            patch.setattr(module, function, vars(plants)[kind](getattr(module, function)))
            case = Case.parse(bug.line)
            (result,) = fold_check(case, Checker([resolve(bug.backend)], repeat_one_in=1).events(case)).results
        assert (result.verdict, result.in_pass) == (bug.verdict, bug.in_pass), result.reason
        discrepancy = result.discrepancies.get(result.in_pass)
        found = {"verdict": result.verdict, "reason": result.reason, "model": result.model, "discrepancy": discrepancy}
    case = Case.parse(bug.line)
    name = fingerprint(case, bug.backend, found["verdict"], bug.in_pass)
    versions = dict(resolve(bug.backend).versions)
    return Finding(
        fingerprint=name, backend=bug.backend, case=str(case), first_case=str(case), in_pass=bug.in_pass, versions=versions, **found
    )


def report_of(finding: Finding) -> str:
    """Return the bug report of a finding, before its code has been run."""
    return bug_report(finding, draft(finding, resolve(finding.backend)), environment())


def script_of(finding: Finding) -> str:
    """Return the script of a finding."""
    source = reproduction_script(finding, resolve(finding.backend))
    assert source is not None
    return source


def code_of(report: str) -> str:
    """Return the code block of a bug report, as its reader copies it."""
    (block,) = re.findall(r"^(`{3,})python\n(.*?)\n\1$", report, re.MULTILINE | re.DOTALL)
    return str(block[1]) + "\n"
