"""The failures of a campaign that are still to be examined, and which of them comes next."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from convfuzz.record.failure_kind import Signature
from convfuzz.triage.examination import Examination, Failure
from convfuzz.triage.reduction import complexity
from convfuzz.verdicts import RESOURCES, Verdict


@dataclass(order=True)
class Waiting:
    """A failure that waits: the simplest first, of equal ones that which came first; ``latest`` is how far its examination came.

    ``is_known`` says that it is a sign of what is known upstream.
    """

    rank: tuple[tuple[int, int, str], int]
    failure: Failure = field(compare=False)
    is_known: bool = field(default=False, compare=False)
    latest: Examination | None = field(default=None, compare=False)
    tries: int = field(default=0, compare=False)


class Queue:
    """The failures that wait, by how they fail, and what is known upstream behind all that is not.

    Of one way to fail, one failure is examined at a time, the simplest first: most of the others are of the same kind, which shows
    once it is reduced. Next is the way that had its turn least often; of these the cheap before what runs into a limit, and the gravest.
    """

    def __init__(self) -> None:
        self._ways: defaultdict[tuple[bool, Signature], list[Waiting]] = defaultdict(list)
        self._turns: Counter[tuple[bool, Signature]] = Counter()
        self._serial = itertools.count()

    def __len__(self) -> int:
        return sum(map(len, self._ways.values()))

    def holds(self, verdicts: Collection[Verdict]) -> bool:
        """Whether something waits that is not known upstream and fails with one of ``verdicts``."""
        return any(waiting and not is_known and way.verdict in verdicts for (is_known, way), waiting in self._ways.items())

    def add(self, failure: Failure, *, is_known: bool = False) -> None:
        """Let a failure wait."""
        self.put_back(Waiting((complexity(failure.case), next(self._serial)), failure, is_known))

    def put_back(self, waiting: Waiting) -> None:
        """Let it wait again, at its old place."""
        heapq.heappush(self._ways[waiting.is_known, way_of(waiting.failure)], waiting)

    def next(self, busy: Collection[Signature], *, slow: bool = True) -> Waiting | None:
        """Take the next one out that does not fail in one of the ``busy`` ways, nor runs into a limit unless ``slow`` ones may be taken.

        ``None`` where there is none.
        """
        ready = [
            (is_known, way)
            for (is_known, way), waiting in self._ways.items()
            if waiting and way not in busy and (slow or way.verdict not in RESOURCES)
        ]
        if not ready:
            return None

        chosen = min(
            ready,
            key=lambda one: (one[0], self._turns[one], one[1].verdict in RESOURCES, one[1].verdict.gravity, self._ways[one][0].rank),
        )
        self._turns[chosen] += 1
        return heapq.heappop(self._ways[chosen])

    def sift(self, taken: Callable[[Failure], bool]) -> None:
        """Show each failure to ``taken``; those for which it says true no longer wait."""
        for way, listed in self._ways.items():
            self._ways[way] = [waiting for waiting in sorted(listed) if not taken(waiting.failure)]


def way_of(failure: Failure) -> Signature:
    """Return how a failure fails, whichever limit a call met that took ever more."""
    signature = failure.signature
    return replace(signature, verdict=Verdict.TIMEOUT) if signature.verdict in RESOURCES else signature
