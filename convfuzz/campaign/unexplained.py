"""The failures of each finding that neither the ledger nor what is known upstream explains so far."""

from __future__ import annotations

from collections import defaultdict

from convfuzz.record.events import Event, FailureExplained, FindingKept


class Unexplained:
    """The fold over a run's findings that keeps the cases of such failures, by fingerprint; it is empty where all are explained."""

    def __init__(self) -> None:
        self._cases: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, event: Event) -> None:
        """Fold one more event in."""
        match event:
            case FindingKept():
                for name in event.absorbs:
                    self._cases[event.fingerprint] += self._cases.pop(name, [])
                if not (event.tolerated_by or event.known_as):
                    self._cases[event.fingerprint].append(event.case)
            case FailureExplained(fingerprint=name, case=line) if line in self._cases[name]:
                self._cases[name].remove(line)
            case _:
                pass

    def of(self, fingerprint: str) -> list[str]:
        """Return the cases of a finding's failures that nothing explains, each as often as it failed."""
        return list(self._cases[fingerprint])
