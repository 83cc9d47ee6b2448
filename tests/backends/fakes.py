"""Backends that a test can look into: the one from the protocol's docstring, one that records, one that repeats a reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from convfuzz.backends import Numerics, Outputs, Support
from convfuzz.backends.reference import ReferenceBackend
from convfuzz.case import Case
from convfuzz.tensors.generator import Tensors


def exact(case: Case, tensors: Tensors) -> Outputs:
    """Return the reference's sums in every pass, rounded once to the case's dtype."""
    return ReferenceBackend().run(case, tensors)


@dataclass
class Spy:
    """Computes correctly and keeps what it was handed."""

    name: str = "spy"
    versions: Mapping[str, str] = field(default_factory=dict)
    seen: list[tuple[Case, Tensors]] = field(default_factory=list)

    def supports(self, case: Case) -> Support:
        """Take everything that the reference computes, and what it rejects."""
        return ReferenceBackend().supports(case)

    def numerics(self, case: Case) -> Numerics:
        """Declare nothing."""
        del case
        return Numerics()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute, and keep copies of the tensors."""
        self.seen.append((case, replace(tensors, **{name: array.copy() for name, array in tensors.named().items()})))
        return exact(case, tensors)


@dataclass(frozen=True)
class FakePoint:
    """An entry point that has been loaded already."""

    name: str
    loaded: Any

    def load(self) -> Any:
        """Return what the entry point names."""
        return self.loaded
