"""Drafts what a bug report says about a finding, in the terms of its framework, and the code that shows it."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from convfuzz.backends import Backend, Titled, summary_of
from convfuzz.case import Case
from convfuzz.judging.sampled_judge import is_large
from convfuzz.record.finding import Finding
from convfuzz.reproduction.call_source import case_run, written_down
from convfuzz.reproduction.expected_element import Expected, worst_element
from convfuzz.reproduction.snippet import snippet
from convfuzz.reproduction.subject import Subject
from convfuzz.system.safe_text import first_line
from convfuzz.tensors.generator import make_tensors
from convfuzz.verdicts import VALUES, Discrepancy, Verdict

_WHAT = {
    Verdict.CRASH: "the process dies",
    Verdict.TIMEOUT: "the call does not return",
    Verdict.MEMORY: "the call fills the memory",
    Verdict.CORRUPTED_INPUT: "an input is changed",
    Verdict.WRONG_SHAPE: "wrong shape",
    Verdict.WRONG_DTYPE: "wrong dtype",
    Verdict.NON_FINITE: "NaN or Inf is wrong",
    Verdict.WRONG: "wrong result",
    Verdict.ERROR: "valid arguments are rejected",
    Verdict.ACCEPTED_INVALID: "invalid arguments are accepted",
    Verdict.IMPRECISE: "imprecise result",
    Verdict.NONDETERMINISTIC: "results differ from run to run",
}
_PASSES = {"grad_input": "gradient of the input", "grad_weight": "gradient of the weight", "grad_bias": "gradient of the bias"}


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A bug report without what its code prints and the machine that it ran on.

    ``subject`` is what is called and ``symptom`` what is wrong with it, together the title; ``setting`` says how the framework
    is asked to compute. ``why`` is where expected value and tolerance come from. ``code`` is empty where the call cannot be
    written down.
    """

    subject: str
    symptom: str
    setting: str = ""
    expected: str
    actual: str
    why: str = ""
    code: str = ""


def draft(finding: Finding, backend: Backend) -> Draft:
    """Draft the bug report of a finding of ``backend``."""
    case = case_run(Case.parse(finding.case), backend)
    written = written_down(finding, backend)
    element, is_sampled = None, is_large(case) and finding.verdict in VALUES
    if case.config.is_valid and not is_sampled and finding.discrepancy is not None and finding.discrepancy.elements:
        subject = written.subject if written else _subject(case, finding.in_pass, backend)
        element = worst_element(finding, subject)
    plain = draft_of_finding(finding)
    return msgspec.structs.replace(
        plain,
        subject=backend.title(case) if isinstance(backend, Titled) else plain.subject,
        setting=summary_of(finding.backend),
        expected=_expected(finding, case, element),
        why=element.why if element is not None and finding.verdict is not Verdict.NONDETERMINISTIC else "",
        code=snippet(finding, written, element) if written and not is_sampled else "",
    )


def draft_of_finding(finding: Finding) -> Draft:
    """Draft the bug report of a finding from what its file says alone, where its backend cannot be asked."""
    return Draft(
        subject=finding.backend.rpartition("/")[2],
        symptom=_symptom(finding),
        expected=_expected(finding, Case.parse(finding.case), None),
        actual=_actual(finding),
    )


def _subject(case: Case, in_pass: str, backend: Backend) -> Subject:
    return Subject(case, in_pass, make_tensors(case), backend.numerics(case).in_pass(in_pass))


def _symptom(finding: Finding) -> str:
    config = Case.parse(finding.case).config
    what = _WHAT[finding.verdict]
    if finding.model:
        what += f" as with {finding.model}"
    if finding.in_pass in _PASSES:
        what += f" in the {_PASSES[finding.in_pass]}"
    where = finding.boundary if finding.companion else "" if not config.is_valid else f"in {config.dtype}"
    return f"{what} ({where})" if where else what


def _expected(finding: Finding, case: Case, element: Expected | None) -> str:
    """Say what should happen."""
    config = case.config
    if not config.is_valid:
        empty = f", or returns nothing, with {config.output_shape[: -config.dims]} as its first axes" if config.has_no_site else ""
        return f"The call is rejected{empty}: {config.invalid_reason}."
    shape, dtype = case.shape_of(finding.in_pass), config.dtype
    match finding.verdict:
        case Verdict.CRASH | Verdict.TIMEOUT | Verdict.MEMORY | Verdict.ERROR | Verdict.WRONG_SHAPE | Verdict.WRONG_DTYPE:
            return f"The call returns {_of(finding)} of shape {shape} in {dtype}."
        case Verdict.CORRUPTED_INPUT:
            return "The call leaves its inputs as they are."
        case Verdict.NONDETERMINISTIC:
            return "Every run returns the same numbers."
    if element is not None:
        margin = f", to within {element.tolerance:.3g}" if element.tolerance and math.isfinite(element.value) else ""
        return f"{element.place} is {element.said}{margin}."
    found = finding.discrepancy
    assert found is not None, "a result that is off was measured"
    return f"The element at {list(found.index)} of {_of(finding)} is {float(found.expected)!r}."


def _actual(finding: Finding) -> str:
    """Say what happens instead; the numbers are those that were measured."""
    found, reason = finding.discrepancy, first_line(finding.reason)
    match finding.verdict:
        case Verdict.ERROR:
            return "The call fails with:"
        case Verdict.CRASH:
            return f"{reason}."
        case Verdict.ACCEPTED_INVALID:
            rule = Case.parse(finding.case).config.invalid_reason
            return f"The call is accepted: {reason.removeprefix(f'{rule}; ')}."
        case Verdict.WRONG | Verdict.IMPRECISE | Verdict.NON_FINITE if found is not None and found.elements:
            return _measured(finding, found)
    return reason or f"{_WHAT[finding.verdict]}."


def _measured(finding: Finding, found: Discrepancy) -> str:
    count = found.non_finite or found.over
    said = [f"{count:,} of {found.elements:,} elements of {_of(finding)} {'is' if count == 1 else 'are'} off."] if count else []
    if found.out_of:
        said.append(f"{found.judged_of}, since the layer is large.")
    if found.non_finite:
        said.append(f"At {list(found.index)}, {_number(found.actual)} is returned where {_number(found.expected)} is right.")
    else:
        said.append(f"The largest error is {found.max_abs:.6g} at {list(found.index)}, where {found.actual!r} is returned.")
        if found.ratio:
            said.append(f"The error is up to {found.ratio:.3g} times the tolerance{_at(found)}.")
    return " ".join(said)


def _at(found: Discrepancy) -> str:
    return f", at {list(found.ratio_index)}" if found.ratio_index and found.ratio_index != found.index else ""


def _of(finding: Finding) -> str:
    return f"the {_PASSES[finding.in_pass]}" if finding.in_pass in _PASSES else "the output"


def _number(value: float) -> str:
    return "NaN" if np.isnan(value) else "Inf" if value == math.inf else "-Inf" if value == -math.inf else repr(value)
