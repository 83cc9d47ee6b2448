"""What a campaign tells whoever follows it live."""

from __future__ import annotations

from convfuzz.case import Case
from convfuzz.record.events import Event
from convfuzz.record.summary import Summary


class Watcher:
    """Follows a campaign live, such as the progress display; this one takes note of nothing."""

    def begun(self, summary: Summary, elapsed: float) -> None:
        """Take note that the backends are loaded; earlier sittings took ``elapsed`` seconds and left ``summary``."""

    def event(self, event: Event, summary: Summary) -> None:
        """Take note of an event that is already in the journal and in ``summary``."""

    def reducing(self, case: Case) -> None:
        """Take note of a candidate that the reduction tries."""
