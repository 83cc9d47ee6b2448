"""Which configurations a slow backend runs in a campaign, so that a compiler shares it without stalling it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from convfuzz.backends import Backend, Costly, Support
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.record.coverage import NOT_IN_SHARE


class Shares:
    """The shares of a campaign's backends, relative to the largest of them: one that is alone runs everything.

    A configuration is in a backend's share by a checksum of its line and the backend's name, so that every process says the
    same, all data recipes and passes of it run on what was compiled for it once, and two slow backends take different ones.
    """

    def __init__(self, backends: Iterable[Backend]) -> None:
        declared = {backend.name: backend.share if isinstance(backend, Costly) else 1.0 for backend in backends}
        self._costly = [name for name, share in declared.items() if share < 1.0]
        most = max(declared.values(), default=1.0)
        self._shares = {name: share / most for name, share in declared.items()}

    def of(self, backend: Backend, case: Case) -> Support:
        """Decline a case whose configuration is not in the backend's share."""
        if self._has(backend.name, case.config):
            return Support.YES
        return Support.no(f"{NOT_IN_SHARE} of 1 in {1 / self._shares[backend.name]:.3g} configurations")

    def are_costly_for(self, config: ConvConfig) -> bool:
        """Whether a slow backend runs the configuration: what it has compiled for it serves all data."""
        return any(self._has(name, config) for name in self._costly)

    def _has(self, name: str, config: ConvConfig) -> bool:
        share = self._shares[name]
        return share == 1.0 or _place(name, config) < share


def _place(name: str, config: ConvConfig) -> float:
    """Return a number on [0, 1) that a name and a configuration determine."""
    return zlib.crc32(f"{name} {config}".encode()) / 2**32
