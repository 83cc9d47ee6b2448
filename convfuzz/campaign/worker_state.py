"""How far a worker has come, as its journal tells it: where the process that replaces it resumes."""

from __future__ import annotations

import msgspec

from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.case import Case
from convfuzz.errors import UnreadableFile
from convfuzz.record.events import (
    BackendEnded,
    BackendStarted,
    CaseEnded,
    CaseStarted,
    CompileEnded,
    CompileStarted,
    Event,
    JudgingEnded,
    JudgingStarted,
    RoundEnded,
    RoundLost,
    RoundStarted,
)
from convfuzz.system.json_records import Real


class Position(msgspec.Struct, kw_only=True):
    """Where a worker is in round ``round``: all that another process needs to take over.

    ``coverage`` counts the pairs of feature values that had met when the round began, as :class:`PairCoverage` takes them.
    ``ratios`` holds, for each case of the round that has begun, the largest error of any backend in units of its bound. The
    last of these cases is ``case``; until it ends it is ``in_flight``, and ``ended`` names the backends that have run it.
    """

    round: int
    coverage: list[tuple[str, str, int]] = []
    ratios: list[Real] = []
    case: str = ""
    in_flight: bool = False
    ended: list[str] = []


class WorkerState:
    """The fold over one worker's journal: its :attr:`position`, among ``workers`` workers that share the rounds.

    A case counts as soon as it has begun. ``running`` is the backend that has started on it and not ended, ``compile_limit`` the
    seconds that it may take to compile, while it does, and ``is_judging`` says that it is not at work but judged.
    """

    def __init__(self, position: Position, workers: int) -> None:
        self.position = position
        self.case = Case.parse(position.case) if position.case else None
        self.begun = int(position.in_flight)
        self.running: str | None = None
        self.compile_limit: float | None = None
        self.is_judging = False
        self._workers = workers
        self._coverage = PairCoverage(position.coverage)

    def add(self, event: Event) -> None:
        """Fold one more event in.

        Raises:
            UnreadableFile: a backend ends before any case of the round has begun.
        """
        at = self.position
        match event:
            case RoundStarted(number=number):
                if number != at.round:  # else a process resumes the round of one that died
                    self._begin_round(number)
            case CaseStarted(case=line):
                self.case = Case.parse(line)
                self._coverage.add(self.case.config)
                self.begun += 1
                self.running = None
                at.case, at.in_flight, at.ended = line, True, []
                at.ratios.append(Real(0))
            case BackendStarted() | CompileStarted() | CompileEnded() | JudgingStarted() | JudgingEnded():
                self._begin(event)
            case BackendEnded(backend=name):
                if not at.ratios:
                    raise UnreadableFile("a journal tells of the end of a backend before any case of its round has begun")
                at.ended.append(name)
                at.ratios[-1] = Real(max(at.ratios[-1], event.worst_ratio))
                self.running = None
            case CaseEnded():
                at.in_flight, self.running = False, None
            case RoundEnded(number=number, cut_short=False) | RoundLost(number=number):
                self.running = None
                self._begin_round(number + self._workers)
            case _:
                pass

    def _begin(self, event: BackendStarted | CompileStarted | CompileEnded | JudgingStarted | JudgingEnded) -> None:
        """A backend begins, to run or to compile, or goes on behind compiling or judging; or it is judged."""
        if isinstance(event, BackendStarted):
            self.running = event.backend
        self.compile_limit = event.limit if isinstance(event, CompileStarted) else None
        self.is_judging = isinstance(event, JudgingStarted)

    def _begin_round(self, number: int) -> None:
        self.position = Position(round=number, coverage=self._coverage.counts())
