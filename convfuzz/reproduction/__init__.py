"""Reproduction scripts: one standalone file per finding, for people who do not have convfuzz.

A script needs NumPy and the framework concerned only. It holds the minimal tensors, or the generator that makes the
very same bytes, computes the judged pass by its definition, and exits 1 while the bug is there.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace

from convfuzz.backends import Backend, Scripted
from convfuzz.case import Case
from convfuzz.findings import Finding
from convfuzz.judging import Verdict
from convfuzz.reproduction.data import WIDTH, data
from convfuzz.reproduction.definition import definition
from convfuzz.reproduction.earlier import MOST_EARLIER, ran_before
from convfuzz.reproduction.subject import Subject
from convfuzz.reproduction.tolerance import tolerance
from convfuzz.reproduction.verdict import acceptance, comparison, start
from convfuzz.tensors import make_tensors

__all__ = ["reproduction_script"]

_MANY_RUNS = 20

_HEADER = '''\
#!/usr/bin/env python3
"""{title}

{body}

Exits 1 while the bug is there and 0 when it is gone. Written by convfuzz; does not need it.
"""

from __future__ import annotations

import sys
import traceback

import numpy as np
'''


def reproduction_script(finding: Finding, backend: Backend) -> str | None:
    """Write the script of ``finding``.

    ``None`` when the backend cannot be written down (it has no ``script``), or what has to run before cannot: other
    backends, or more than a reader would look through.
    """
    written = _call_of(finding.case, finding.in_pass, backend)
    history = finding.confirmation.history
    if written is None or len(history) > MOST_EARLIER or any(step.backend != finding.backend for step in history):
        return None
    earlier = [run for step in history if (run := _call_of(step.case, "forward", backend))]
    if len(earlier) < len(history):
        return None
    subject, call = written
    case, numerics = subject.case, backend.numerics(subject.case)
    parts = [f"{_header(finding)}{call}", data(subject), ran_before(earlier) if earlier else ""]
    if case.config.is_valid:
        comes_and_goes = finding.verdict is Verdict.NONDETERMINISTIC or finding.confirmation.comes_and_goes
        runs = _MANY_RUNS if comes_and_goes else 1 + numerics.deterministic
        parts += [definition(subject), tolerance(subject), comparison(subject, runs=runs, same=numerics.deterministic)]
    else:
        parts.append(acceptance(subject))
    parts.append(start(finding.verdict, after_others=bool(earlier)))
    return "\n\n\n".join(part.strip() for part in parts if part) + "\n"


def _call_of(line: str, in_pass: str, backend: Backend) -> tuple[Subject, str] | None:
    """Return what the backend ran of a case, and its call as source where there is one."""
    case = _case_run(Case.parse(line), backend)
    call = backend.script(case) if isinstance(backend, Scripted) else None
    if call is None:
        return None
    return Subject(case, in_pass, make_tensors(case), backend.numerics(case).in_pass(in_pass)), call


def _case_run(case: Case, backend: Backend) -> Case:
    """Return what the backend ran of ``case``: the forward pass alone where there are no gradients."""
    return replace(case, grad=False) if case.grad and not (case.config.is_valid and backend.supports(case)) else case


def _header(finding: Finding) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in finding.versions.items())
    body = [f"Case: {finding.case}", f"Verdict: {finding.verdict}{f' ({finding.model})' if finding.model else ''}"]
    body += [f"Pass: {finding.in_pass}"] if finding.in_pass != "forward" else []
    body += [f"Boundary: {finding.boundary} ({finding.companion})"] if finding.companion else []
    body += [f"Reason: {finding.reason}", f"Run again: {finding.confirmation}.", *([f"Found with {versions}."] if versions else [])]
    title = f"convfuzz finding {finding.fingerprint}: {finding.backend} is {finding.verdict} on one convolution."
    return _HEADER.format(title=_docstring(title), body="\n".join(_docstring(line) for line in body))


def _docstring(text: str) -> str:
    """Make text from a framework or a kernel safe inside a docstring: it can neither end it nor escape from it."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return "\n".join(textwrap.wrap(printable.replace("\\", "/").replace('"', "'"), WIDTH, break_long_words=False))
