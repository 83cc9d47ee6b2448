"""What became of one backend on one case: verdicts, gravest first, and the figures of a discrepancy."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from convfuzz.system.json_records import Real


class Verdict(StrEnum):
    """What became of one backend on one case; failures are listed gravest first."""

    CRASH = "crash"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CORRUPTED_INPUT = "corrupted-input"
    WRONG_SHAPE = "wrong-shape"
    WRONG_DTYPE = "wrong-dtype"
    NON_FINITE = "non-finite"
    WRONG = "wrong"
    ERROR = "error"
    ACCEPTED_INVALID = "accepted-invalid"
    IMPRECISE = "imprecise"
    NONDETERMINISTIC = "nondeterministic"
    AGREE = "agree"
    UNSUPPORTED = "unsupported"

    @property
    def failing(self) -> bool:
        """Whether the verdict is a finding."""
        return self not in (Verdict.AGREE, Verdict.UNSUPPORTED)

    @property
    def gravity(self) -> int:
        """Its rank among the verdicts: 0 is the gravest, so that what is sorted by it has the gravest first."""
        return _GRAVITY[self]


RESOURCES = frozenset({Verdict.TIMEOUT, Verdict.MEMORY})
"""Which of the two ends a call that takes ever more time and memory is a matter of the limits."""

VALUES = frozenset({Verdict.NON_FINITE, Verdict.WRONG, Verdict.IMPRECISE, Verdict.NONDETERMINISTIC})
"""How an output of the right shape and dtype fails: a bug that reads what lies in memory shows as any of them, by chance."""


def one_class(one: Verdict, other: Verdict) -> bool:
    """Whether one bug may show as either verdict, from one run to the next."""
    return one is other or {one, other} <= RESOURCES


_GRAVITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output against another: how far apart they are, and where.

    ``max_abs`` is the largest |error| and ``index`` where it is, or where NaN or Inf is wrong first; ``expected`` and
    ``actual`` are the values there. ``ulps`` is ``max_abs`` in units in the last place of the output dtype there.
    ``u_s`` is the largest error in units of u·S, ``ratio`` the largest error over its tolerance, at ``ratio_index``.
    ``over`` of ``elements`` elements exceed the tolerance, ``non_finite`` are NaN or Inf where the reference is not, or
    the reverse, and ``undecided`` are those for which the specification leaves NaN and Inf open. Of a large layer ``elements``
    are a sample ``out_of`` so many, which is 0 where all were judged. ``required_atol`` and
    ``required_rtol`` are the smallest tolerances, each alone, that would pass. ``u_s`` and ``ratio`` are ``None`` in the
    exact regime.
    """

    elements: int
    max_abs: Real = Real(0)
    index: tuple[int, ...] = ()
    expected: Real = Real(0)
    actual: Real = Real(0)
    ulps: Real = Real(0)
    u_s: Real | None = None
    ratio: Real | None = None
    ratio_index: tuple[int, ...] = ()
    over: int = 0
    non_finite: int = 0
    undecided: int = 0
    required_rtol: Real = Real(0)
    out_of: int = 0

    @property
    def judged_of(self) -> str:
        """How many of how many elements were judged, in words; empty where all were."""
        return f"{self.elements:,} of {self.out_of:,} elements were judged" if self.out_of else ""

    @property
    def required_atol(self) -> Real:
        """Smallest absolute tolerance that would pass."""
        return self.max_abs
