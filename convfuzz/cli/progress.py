"""Live progress of a campaign at a terminal; elsewhere only findings are printed, as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from convfuzz.campaign.watcher import Watcher
from convfuzz.case import Case
from convfuzz.checking.result_table import number
from convfuzz.record.events import Event, FindingKept
from convfuzz.record.summary import Summary
from convfuzz.system.counted import counted
from convfuzz.system.safe_text import one_line


class Progress(Watcher):
    """Watches a campaign and draws its summary a few times a second."""

    def __init__(self, console: Console, seconds: float | None, max_cases: int | None) -> None:
        self.console = console
        self._seconds = seconds
        self._max_cases = max_cases
        self._began = time.monotonic()
        self._is_loaded = False
        self._elapsed_before, self._cases_before = 0.0, 0
        self._summary = Summary()
        self._known: set[str] = set()
        self._candidate = ""

    def begun(self, summary: Summary, elapsed: float) -> None:
        """Begin to count from where earlier sittings of the run ended."""
        self._summary, self._is_loaded = summary, True
        self._elapsed_before, self._cases_before = elapsed, summary.cases
        self._began = time.monotonic()
        self._known.update(summary.findings)
        if elapsed or summary.cases:  # of a run that was killed in its first moments the time is not known
            found = counted(len(summary.findings), "finding")
            self.console.print(f"resumes after {counted(summary.cases, 'case')} and {elapsed:.1f} s, with {found}")

    def event(self, event: Event, summary: Summary) -> None:
        """Take note of an event; announce a new finding at once."""
        self._summary = summary
        self._candidate = ""
        if isinstance(event, FindingKept) and event.fingerprint not in self._known:
            self._known.add(event.fingerprint)
            model = f" ({event.model})" if event.model else ""
            what = escape(one_line(f"{event.backend}: {event.verdict}{model}  {event.minimal}"))
            is_known = event.tolerated_by or event.known_as
            title = "[yellow]known finding" if is_known else "[bold red]finding"
            known = f"  known: {escape(one_line(event.known_as))}" if event.known_as and not event.tolerated_by else ""
            self.console.print(f"{title} {event.fingerprint}[/]  {what}{known}", soft_wrap=True)

    def reducing(self, case: Case) -> None:
        """Take note of a candidate of the reduction."""
        self._candidate = str(case)

    def __rich__(self) -> RenderableType:
        summary = self._summary
        sitting = max(time.monotonic() - self._began, 1e-9)
        if not self._is_loaded:
            return Text(f"loading the backends … {sitting:.0f} s", style="dim")
        limit = f"of {counted(self._max_cases, 'case')}" if self._max_cases else f"of {self._seconds:g} s" if self._seconds else ""
        head = Text(
            f"{self._elapsed_before + sitting:6.1f} s {limit} · {counted(summary.cases, 'case')} · "
            f"{(summary.cases - self._cases_before) / sitting:.0f} cases/s · "
            f"{counted(summary.comparisons, 'comparison')} · {counted(len(summary.findings), 'finding')}"
        )
        if self._candidate:
            head.append(f"\nreducing: {self._candidate}", style="dim")
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("backend", "compared", "failed", "skipped", "worst ratio", "seconds"):
            table.add_column(column, justify="left" if column == "backend" else "right")
        for name, backend in summary.backends.items():
            skipped = backend.skips.total() + backend.quarantined.total()
            table.add_row(
                escape(one_line(name)),
                f"{backend.compared:,}",
                f"{backend.failures:,}",
                f"{skipped:,}",
                number(backend.worst_ratio),
                f"{backend.seconds:.1f}",
            )
        return Group(head, table)


@contextmanager
def follow(progress: Progress) -> Iterator[Progress]:
    """Draw ``progress`` live on a terminal, and not at all elsewhere."""
    if not progress.console.is_terminal:
        yield progress
        return
    with Live(progress, console=progress.console, refresh_per_second=4, transient=True):
        yield progress
