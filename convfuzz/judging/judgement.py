"""What the judge says of one output, and how a suspect is decided."""

from __future__ import annotations

from typing import SupportsInt

import msgspec

from convfuzz.verdicts import Discrepancy, Verdict


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with its evidence. ``suspect`` means that the integers tie-breaker has to decide, see :func:`settle`.

    ``proven`` says that an error is beyond what any order of summation makes of the data, not the statistical bound alone.
    ``shown`` says that the arithmetic of ``model`` does produce these errors; otherwise its bound is wide enough for them.
    """

    verdict: Verdict
    reason: str = ""
    model: str = ""
    shown: bool = False
    discrepancy: Discrepancy | None = None
    suspect: bool = False
    proven: bool = False


def settle(suspect: Judgement, integers: Judgement) -> Judgement:
    """Decide a suspect judgement by the same configuration's judgement on integers, with no constant to tune.

    A configuration that is wrong on integers is wrong; one that is clean there has a numerical cause, which the
    explaining model names. Where no model explains the error it is wrong all the same.
    """
    if integers.verdict in (Verdict.AGREE, Verdict.IMPRECISE):
        if suspect.model:
            return msgspec.structs.replace(
                suspect, reason=f"{suspect.reason}; exact on integers; explained by {suspect.model}", suspect=False
            )
        return msgspec.structs.replace(suspect, reason=f"{suspect.reason}; no known arithmetic explains it", suspect=False)
    return msgspec.structs.replace(
        suspect, verdict=Verdict.WRONG, model="", reason=f"{suspect.reason}; wrong on integers too ({integers.reason})", suspect=False
    )


def said_rounded(found: Discrepancy, *, proven: bool) -> str:
    """Say how many rounded sums are off, and how far; ``proven`` as in :class:`Judgement`."""
    strength = "no order of summation explains that" if proven else "beyond the statistical bound"
    return f"{found.over} of {found.elements} elements are off, worst {found.ratio:.3g} times the tolerance; {strength}"


def said_non_finite(found: Discrepancy) -> str:
    """Say how many NaN and Inf are wrong, and where the first is."""
    return f"{found.non_finite} of {found.elements} elements: at {list(found.index)} expected {found.expected:g}, got {found.actual:g}"


def said_integers(found: Discrepancy, expected: SupportsInt, actual: SupportsInt) -> str:
    """Say how many integers are off, and which is furthest: float64 does not hold all of them."""
    return f"{found.over} of {found.elements} integers are off: at {list(found.index)} expected {int(expected)}, got {int(actual)}"
