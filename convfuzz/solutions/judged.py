"""The verdict on a solution, what became of each trial, and the words for both."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from convfuzz.judging.models import MODELS
from convfuzz.solutions.asking import Answer
from convfuzz.solutions.least import Least
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Verdict

ACCEPTED, REJECTED, NOT_COVERED = "accepted", "rejected", "not-covered"
STATUS = {ACCEPTED: 0, REJECTED: 1, NOT_COVERED: 2}
EXPLAINED = 3
"""Of how many wrong outputs it is asked which arithmetic would explain them."""
_UNWRITTEN = b"\xff"


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one trial. ``verdict`` is one of a backend's verdicts, or ``refused`` where a solution may refuse."""

    name: str
    instance: str
    verdict: str
    reason: str = ""
    elements_judged: int = 0
    elements: int = 0
    ratio: Real = Real(0)
    index: tuple[int, ...] = ()
    expected: Real = Real(0)
    actual: Real = Real(0)
    models: tuple[str, ...] = ()
    seconds: float = 0.0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a solution: ``accepted``, ``rejected`` or ``not-covered``, why, and on what evidence."""

    verdict: str
    problem: str
    solution: str
    seed: int
    reasons: tuple[str, ...] = ()
    cheating: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    trials: tuple[TrialResult, ...] = ()
    least: Least | None = None
    elements_judged: int = 0
    elements: int = 0
    versions: dict[str, str] = {}
    seconds: float = 0.0

    @property
    def status(self) -> int:
        """The exit status: 0 accepted, 1 rejected, 2 not covered."""
        return STATUS[self.verdict]


def told(wrong: Sequence[TrialResult], results: Sequence[TrialResult]) -> list[str]:
    """Say which trials are wrong, the worst first, and which arithmetic would explain all of them."""
    worst = min(wrong, key=lambda one: (Verdict(one.verdict).gravity, -float(one.ratio)))
    said = [f"{worst.name}: {worst.verdict}: {worst.reason}"]
    if worst.index:
        said[0] += f"; at {list(worst.index)} {float(worst.actual):.8g} instead of {float(worst.expected):.8g}"
    if len(wrong) > 1:
        said.append(f"{len(wrong)} of {len(results)} trials are wrong: {', '.join(dict.fromkeys(one.name for one in wrong))}")
    shared = set.intersection(*(set(one.models) for one in wrong[:EXPLAINED]))
    explained = next((name for name in MODELS if name in shared), None)
    if explained == "direct":
        said.append("another order of adding up would explain it: --numerics without order=… allows that")
    elif explained is not None:
        declared = ",".join(f"{name}={str(value).lower()}" for name, value in MODELS[explained].items())
        said.append(f"{explained} would explain it: --numerics {declared} allows that")
    return said


def looks_like(answer: Answer, before: Sequence[Answer]) -> list[str]:
    """Say what a wrong output looks like: an earlier one, memory that was never written, an input, zeros."""
    output = answer.kept.outputs[0] if answer.kept is not None and answer.kept.outputs else None
    if answer.kept is None or output is None or output.size < 2:
        return []
    data, found = output.tobytes(), []
    if any(earlier.kept is not None and earlier.kept.outputs and earlier.kept.outputs[0].tobytes() == data for earlier in before):
        found.append("it is the output of an earlier call")
    unwritten = np.all(np.frombuffer(data, np.uint8).reshape(output.size, -1) == _UNWRITTEN[0], axis=1)
    if unwritten.any():
        found.append(f"{int(np.count_nonzero(unwritten)):,} elements were never written")
    if any(isinstance(one, np.ndarray) and one.tobytes() == data for one in answer.kept.inputs):
        found.append("it is an input")
    if not output.any():
        found.append("it is all zeros")
    return found
