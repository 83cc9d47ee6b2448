"""The ledger as a page shows it: what a team knows already, and what became of each of its entries."""

from __future__ import annotations

from dataclasses import dataclass

from convfuzz.record.counts import EntryUse
from convfuzz.record.ledger import Entry
from convfuzz.reports import result_axes as places
from convfuzz.reports.merged import Merged


@dataclass(frozen=True)
class Row:
    """One entry: what it is about (verdict and pass, features), and what the runs made of it."""

    entry: Entry
    about: str
    said: str
    is_stale: bool


def rows(merged: Merged) -> tuple[Row, ...]:
    """Return the entries of the runs' ledgers that are about their backends, with those that can go at the top."""
    return tuple(_row(use) for use in sorted(merged.summary.uses.values(), key=lambda use: not use.is_stale))


def _row(use: EntryUse) -> Row:
    entry = use.entry
    about = f"{entry.verdict}{places.suffix(entry.in_pass)} on {', '.join(entry.features) or 'any case'}"
    return Row(entry, about, use.said, use.is_stale)
