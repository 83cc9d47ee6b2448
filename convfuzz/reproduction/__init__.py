"""Shows a finding to people who do not have convfuzz: a standalone script, and a bug report with a few lines of code.

A script needs NumPy and the framework concerned only. It holds the minimal tensors, or the generator that makes the
very same bytes, computes the judged pass by its definition, and exits 1 while the bug is there.
"""

from __future__ import annotations

import textwrap

from convfuzz.backends import Backend
from convfuzz.record.finding import Finding
from convfuzz.reproduction.bug_report import Printed, bug_report
from convfuzz.reproduction.call_source import MANY_RUNS, comes_and_goes, written_down
from convfuzz.reproduction.check_source import acceptance, comparison, start
from convfuzz.reproduction.definition import definition
from convfuzz.reproduction.draft import Draft, draft, draft_of_finding
from convfuzz.reproduction.guard_source import guard_source, is_overrun
from convfuzz.reproduction.preceding_runs import ran_before
from convfuzz.reproduction.tensors_source import WIDTH, data_of, tensor_files
from convfuzz.reproduction.tolerance import tolerance
from convfuzz.verdicts import Verdict

__all__ = ["Draft", "Printed", "bug_report", "draft", "draft_of_finding", "reproduction_script", "tensor_files"]

_HEADER = '''\
#!/usr/bin/env python3
"""{title}

{body}

Exits 1 while the bug is there and 0 when it is gone. Written by convfuzz{needs}.
"""

from __future__ import annotations

import sys
import traceback

import numpy as np
'''


def reproduction_script(finding: Finding, backend: Backend) -> str | None:
    """Write the script of ``finding``.

    ``None`` if the backend has no ``script``, or if what has to run before cannot be written: runs of other backends, or
    too many runs to read.
    """
    written = written_down(finding, backend)
    if written is None:
        return None
    subject = written.subject
    parts = [
        f"{_header(finding, written.call)}{written.call}",
        data_of(finding, subject),
        guard_source(finding, written.call),
        ran_before(written.earlier) if written.earlier else "",
    ]
    if subject.config.is_valid:
        same = backend.numerics(subject.case).deterministic
        runs = MANY_RUNS if comes_and_goes(finding) else 1 + same
        judged = subject.of_tile
        parts += [definition(judged), tolerance(judged), comparison(subject, runs=runs, same=same)]
    else:
        parts.append(acceptance(subject))
    dies = Verdict.CRASH if is_overrun(finding) else finding.verdict
    parts.append(start(dies, after_others=bool(written.earlier)))
    return "\n\n\n".join(part.strip() for part in parts if part) + "\n"


def _header(finding: Finding, call: str) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in finding.versions.items())
    body = [f"Case: {finding.case}", f"Verdict: {finding.verdict}{f' ({finding.model})' if finding.model else ''}"]
    body += [f"Pass: {finding.in_pass}"] if finding.in_pass != "forward" else []
    body += [f"Boundary: {finding.boundary} ({finding.companion})"] if finding.companion else []
    if finding.discrepancy is not None and finding.discrepancy.out_of:
        body += [f"Sample: {finding.discrepancy.judged_of}; here the tile of the worst of them is compared"]
    body += [f"Reason: {finding.reason}", f"Run again: {finding.confirmation}.", *([f"Found with {versions}."] if versions else [])]
    mark = ", not reduced" if finding.is_unreduced else ""
    title = f"convfuzz finding {finding.fingerprint}{mark}: {finding.backend} is {finding.verdict} on one convolution."
    needs = ", which the kernel needs" if "from convfuzz import" in call else "; does not need it"
    return _HEADER.format(title=_docstring(title), body="\n".join(_docstring(line) for line in body), needs=needs)


def _docstring(text: str) -> str:
    """Make text from a framework or a kernel safe inside a docstring: it can neither end it nor escape from it."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return "\n".join(textwrap.wrap(printable.replace("\\", "/").replace('"', "'"), WIDTH, break_long_words=False))
