"""The source code of a finding's calls: the call that fails, and the calls that have to run before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from convfuzz.backends import Backend, Scripted
from convfuzz.case import Case
from convfuzz.judging.sampled_judge import is_large, tiles_of
from convfuzz.judging.tiles import Tile
from convfuzz.record.finding import Finding
from convfuzz.reproduction.preceding_runs import MOST_EARLIER
from convfuzz.reproduction.subject import Subject
from convfuzz.tensors.generator import make_tensors
from convfuzz.verdicts import Verdict

MANY_RUNS = 20
"""How often code runs what comes and goes."""


@dataclass(frozen=True)
class Written:
    """The judged pass of a finding's case, its ``call`` as a backend's ``script`` gives it, and those of the ``earlier`` runs."""

    subject: Subject
    call: str
    earlier: tuple[tuple[Subject, str], ...] = ()


def written_down(finding: Finding, backend: Backend) -> Written | None:
    """Write the calls of ``finding`` as source.

    ``None`` if the backend has no ``script``, or if what has to run before cannot be written: runs of other backends, or
    too many runs to read.
    """
    written = _call_of(finding.case, finding.in_pass, backend)
    history = finding.confirmation.preceding
    if written is None or len(history) > MOST_EARLIER or any(step.backend != finding.backend for step in history):
        return None
    earlier = tuple(run for step in history if (run := _call_of(step.case, "forward", backend)))
    if len(earlier) != len(history):
        return None
    subject, call = written
    if is_large(subject.case):
        return Written(replace(subject, tile=_tile_of(finding, subject)), call, earlier)
    return Written(replace(subject, focus=_elements(finding, subject)), call, earlier)


def _tile_of(finding: Finding, subject: Subject) -> Tile:
    """Return the tile of a large layer that a finding's element is in, or the first one."""
    found, every = finding.discrepancy, tiles_of(subject.case, subject.tensors, subject.in_pass)
    first = next(every)
    if found is None:
        return first
    index = found.index if found.non_finite or not found.ratio_index else found.ratio_index
    holding = (tile for tile in chain([first], every) if all(at.start <= i < at.stop for at, i in zip(tile.place, index, strict=False)))
    return next(holding, first)


def comes_and_goes(finding: Finding) -> bool:
    """Whether one run may not show the failure."""
    return finding.verdict is Verdict.NONDETERMINISTIC or finding.confirmation.comes_and_goes


def case_run(case: Case, backend: Backend) -> Case:
    """Return what the backend ran of ``case``: the forward pass alone where there are no gradients."""
    return replace(case, grad=False) if case.grad and not (case.config.is_valid and backend.supports(case)) else case


def _elements(finding: Finding, subject: Subject) -> tuple[int, ...]:
    """Return the flat indices of the elements that a finding is about."""
    found = finding.discrepancy
    if found is None or not subject.config.is_valid:
        return ()
    shape = subject.case.shape_of(subject.in_pass) + ((2,) if subject.is_complex else ())
    inside = [i for i in (found.index, found.ratio_index) if len(i) == len(shape) and all(a < b for a, b in zip(i, shape, strict=True))]
    return tuple(int(np.ravel_multi_index(index, shape)) for index in inside)


def _call_of(line: str, in_pass: str, backend: Backend) -> tuple[Subject, str] | None:
    """Return what the backend ran of a case, and its call as source where there is one."""
    case = case_run(Case.parse(line), backend)
    call = backend.script(case) if isinstance(backend, Scripted) else None
    if call is None:
        return None
    return Subject(case, in_pass, make_tensors(case), backend.numerics(case).in_pass(in_pass)), call
