"""How far a worker has come, as its journal tells it: where a process that takes its place goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from convfuzz.campaign.rounds import PairCoverage
from convfuzz.case import Case
from convfuzz.errors import UnreadableFile
from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, Event, RoundEnded, RoundLost, RoundStarted


@dataclass
class Position:
    """The fold over one worker's journal, of which there are ``workers``.

    A case counts once it has begun. Between :attr:`case`'s start and its end it is in flight, and ``ended`` names the
    backends that are through with it.
    """

    round: int
    workers: int
    begun: int = 0
    ratios: list[float] = field(default_factory=list)
    """For each case of the round the largest error of any backend, in units of its bound."""
    coverage: PairCoverage = field(default_factory=PairCoverage)
    met_before: list[tuple[str, str, int]] = field(default_factory=list)
    """What ``coverage`` was when the round began."""
    case: Case | None = None
    """The last case that has begun."""
    in_flight: bool = False
    ended: list[str] = field(default_factory=list)
    running: str | None = None
    """The backend that has started on that case and not ended."""

    def add(self, event: Event) -> None:
        """Fold one more event in.

        Raises:
            UnreadableFile: a backend ends before any case of the round has begun.
        """
        if isinstance(event, BackendEnded) and not self.ratios:
            raise UnreadableFile("a journal tells of the end of a backend before any case of its round has begun")
        match event:
            case RoundStarted(number=number):
                if number != self.round:  # or else a process goes on with the round of one that died
                    self._begin(number)
            case CaseStarted(case=line):
                self.case, self.in_flight = Case.parse(line), True
                self.begun += 1
                self.coverage.add(self.case.config)
                self.ratios.append(0.0)
                self.ended, self.running = [], None
            case BackendStarted(backend=name):
                self.running = name
            case BackendEnded(backend=name):
                self.ended.append(name)
                self.ratios[-1] = max(self.ratios[-1], event.worst_ratio)
                self.running = None
            case CaseEnded():
                self.in_flight, self.running = False, None
            case RoundEnded(number=number, cut_short=False) | RoundLost(number=number):
                self.in_flight, self.running = False, None
                self._begin(number + self.workers)
            case _:
                pass

    def _begin(self, number: int) -> None:
        self.round, self.ratios, self.met_before = number, [], self.coverage.counts()
