"""Which operands a kernel overran when a guard page ended its process: found out by running the call again with other guards."""

from __future__ import annotations

from collections.abc import Callable

from convfuzz.processes.evaluator import Measured
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.guards import SIDES, Guards, Side
from convfuzz.verdicts import Verdict

_FURTHEST = 2**16
"""Overruns are followed for so many bytes."""
_OF_A_PAGE = ("the process was killed by SIGSEGV", "the process was killed by SIGBUS")
_PLACES = {"end": "beyond the end", "beginning": "before the beginning"}
_BEHIND = {"end": "behind", "beginning": "before"}

Run = Callable[[Guards], BackendEnded]


def may_be_overrun(result: BackendEnded) -> bool:
    """Whether a result is what an access to a guard page ends in, and nothing more is known of it."""
    return result.verdict is Verdict.CRASH and result.reason.startswith(_OF_A_PAGE)


def overrun(run: Run, measured: Measured) -> str:
    """Say which operands were overrun on which side, how far, and whether by reading; empty where no guard page has to do with it.

    All of them are named: a finding is known by its case and by how it ends, which two overruns may have in common. ``run``
    repeats the call with guards as they are given, in a process that may die of it. The call is made with one guard page at a
    time: at each side of each operand, then with more and more room before that page, then with one that can be read.
    """

    def dies(**guards: object) -> bool:
        return may_be_overrun(run(Guards(**guards)))  # type: ignore[arg-type]

    if not measured.gaps or dies(pages=False):
        return ""
    found = []
    for side in SIDES:
        for name in (*measured.gaps, "out"):
            if dies(operand=name, side=side):
                writes = dies(operand=name, side=side, readable=True)
                reach = _reach(lambda room, n=name, s=side: dies(operand=n, side=s, room=room), measured.step)  # type: ignore[misc]
                found.append(_text(name, side, reach, measured, writes=writes))
    return "; ".join(found)


def _reach(dies_with_room: Callable[[int], bool], step: int) -> int | None:
    """Return the least room, in steps, with which the call survives; ``None`` where that is too far."""
    low, high = 0, 1
    while dies_with_room(high * step):
        low, high = high, 2 * high
        if high * step > _FURTHEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if dies_with_room(middle * step) else (low, middle)
    return high * step


def _text(name: str, side: Side, reach: int | None, measured: Measured, *, writes: bool) -> str:
    verb = "writes" if writes else "reads"
    gap = measured.gaps.get(name, (0, 0))[SIDES.index(side)]
    if reach is None:
        how_far = f"further than {_FURTHEST // 1024} KiB {_BEHIND[side]} it"
    elif measured.step > measured.size:
        how_far = f"at most {reach + gap} bytes {_BEHIND[side]} it"
    else:
        how_far = f"as far as {reach + gap} bytes {_BEHIND[side]} it"
    return f"{verb} {_PLACES[side]} of {name}, {how_far}"
