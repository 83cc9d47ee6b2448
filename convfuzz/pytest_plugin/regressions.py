"""Finding files as regression tests: each test fails as long as its bug is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from convfuzz.campaign.replay import Outcome, Replay, read_finding, replay
from convfuzz.case import Case
from convfuzz.errors import UnreadableFile
from convfuzz.record.events import BackendStarted, CaseEnded, CaseStarted, Event
from convfuzz.record.finding import Finding
from convfuzz.system.safe_text import one_line
from convfuzz.testing.disagreement import message
from convfuzz.testing.recording import recorded


class _StillFailing(Exception):
    pass


class FindingFile(pytest.File):
    """A ``*.convfuzz.json`` file."""

    def collect(self) -> Iterator[FindingItem]:
        """Yield the one test in the file, which is read as data and validated."""
        try:
            finding = read_finding(self.path)
        except UnreadableFile as error:
            raise self.CollectError(one_line(str(error))) from None
        yield FindingItem.from_parent(self, name=f"{one_line(finding.backend)} {finding.verdict}", finding=finding)


class FindingItem(pytest.Item):
    """Runs the minimal case of a finding in a process of its own, so that a crash is a failure like any other."""

    def __init__(self, *, finding: Finding, **rest: Any) -> None:
        super().__init__(**rest)
        self._finding = finding

    def runtest(self) -> None:
        """Fail while the backend fails; skip where its framework is not installed.

        Raises:
            _StillFailing: the bug is still there, or the finding cannot be run.
        """
        again = replay(self._finding, self.path.parent)
        self._record(again)
        match again.outcome:
            case Outcome.FIXED:
                return
            case Outcome.STILL_FAILING:
                assert again.result is not None, "what fails has a result"
                raise _StillFailing(f"finding {self._finding.fingerprint} is still there\n{message(again.result)}")
            case Outcome.ERROR if again.missing:
                pytest.skip(f"{again.missing} is not installed")
            case Outcome.ERROR:
                raise _StillFailing(f"finding {self._finding.fingerprint} cannot be run again: {one_line(again.why)}")

    def _record(self, again: Replay) -> None:
        """Record what was run for the session's report."""
        if again.result is not None:
            ended = again.result.results[0]
            case: Case = again.result.case
            events: list[Event] = [CaseStarted(str(case), 0.0), BackendStarted(ended.backend), ended, CaseEnded()]
            for _ in recorded(case, events):
                pass

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return only the table and the command."""
        if isinstance(excinfo.value, _StillFailing):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return where the test is and what it is called."""
        return self.path, None, f"{self.path.name}: {self.name}"
