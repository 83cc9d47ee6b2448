"""When two failures are of one kind: triage groups failures by this rule, and a ledger's entries match by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from convfuzz.case import Pass
from convfuzz.verdicts import Verdict


class Failure(Protocol):
    """Anything that says who failed and how: a result, a finding, an entry of a ledger."""

    @property
    def backend(self) -> str: ...  # noqa: D102 - as in Signature

    @property
    def verdict(self) -> Verdict: ...  # noqa: D102

    @property
    def in_pass(self) -> Pass: ...  # noqa: D102

    @property
    def model(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Signature:
    """What has to stay the same while a failure is reduced: who failed, how, in which pass, and what explains it."""

    backend: str
    verdict: Verdict
    in_pass: Pass
    model: str

    @classmethod
    def of(cls, failure: Failure) -> Signature:
        """Return the signature of a failing result, of a finding or of a ledger's entry."""
        return cls(failure.backend, failure.verdict, failure.in_pass, failure.model)


@dataclass(frozen=True)
class Kind:
    """A kind of failure: its signature, and the features (``axis=value``) that every case on which it occurs has."""

    signature: Signature
    features: frozenset[str]

    @classmethod
    def of(cls, failure: Failure, features: Iterable[str]) -> Kind:
        """Return the kind of ``failure``, which ``features`` tell from others."""
        return cls(Signature.of(failure), frozenset(features))

    def covers(self, signature: Signature, features: frozenset[str]) -> bool:
        """Whether a failure with ``signature``, on a case whose particular features are ``features``, is of this kind."""
        return signature == self.signature and self.features <= features

    def may_meet(self, backend: str, features: frozenset[str]) -> bool:
        """Whether ``backend`` may fail in this way on a case with ``features``; this is known before anything runs."""
        return backend == self.signature.backend and self.features <= features
