"""The runtimes of a campaign: what they decline of a draw that is made for frameworks, and for which of them the next case is chosen.

A runtime that models are shipped on has the forward pass only, few dtypes, and few of the parameters. Of what ``default`` draws LiteRT
computes less than a fifth, so that a campaign would draw for it, judge, and learn nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from convfuzz.backend_names import family_of
from convfuzz.backends import Backend
from convfuzz.case import Case

Batch: TypeAlias = tuple[Case, ...]

_SHARE = 1 / 3
"""The part of a round's cases that each runtime has at least, as far as there are any for it, beside frameworks that compute nearly all."""
_OPEN = 8
"""One case of so many is chosen as if there were no runtimes: what all of them decline is met too, and so is what they have to refuse."""
_FORWARD = Case.parse("conv2d_c1_o1_i5_k3_f32")
_BACKWARD = replace(_FORWARD, grad=True)


@dataclass(frozen=True)
class Runtimes:
    """The backends of a campaign that have the forward pass only; users' kernels are none, what they compute is drawn from anyway.

    ``are_alone`` says that no other backend is at hand, so that gradients would be computed by none.
    """

    backends: tuple[Backend, ...]
    are_alone: bool

    @classmethod
    def among(cls, backends: Iterable[Backend]) -> Runtimes:
        """Find the runtimes among the backends of a campaign."""
        backends = tuple(backends)
        found = tuple(backend for backend in backends if _is_runtime(backend))
        return cls(found, are_alone=bool(found) and len(found) == len(backends))

    def fitted(self, batch: Batch) -> Batch:
        """Return what of a batch a campaign of runtimes alone runs: the forward pass, and of a list what one of them computes."""
        if not self.are_alone:
            return batch
        forward = without_gradients(batch)
        is_list = len({case.config for case in forward}) > 1
        return tuple(case for case in forward if not self.decline((case,))) if is_list else forward

    def decline(self, batch: Batch) -> bool:
        """Whether no backend of the campaign computes the batch, which runtimes can say where they are alone."""
        return self.are_alone and bool(batch) and not any(backend.supports(batch[0]) for backend in self.backends)


NO_RUNTIMES = Runtimes((), are_alone=False)


class Turns:
    """For which runtime the next case of a round is chosen: for the one that has had the fewest, until each has had its share."""

    def __init__(self, runtimes: Runtimes) -> None:
        self._runtimes = runtimes
        self._had = [0] * len(runtimes.backends)
        self._ran = self._turn = 0

    def next(self) -> Sequence[Backend]:
        """Return the runtimes for one of which the next case is to be, the hindmost first; none where any case will do."""
        self._turn += 1
        if self._turn % _OPEN == 0:
            return ()
        enough = self._ran + 1 if self._runtimes.are_alone else _SHARE * (self._ran + 1)
        behind = sorted((had, place) for place, had in enumerate(self._had) if had < enough)
        return [self._runtimes.backends[place] for _, place in behind]

    def count(self, batch: Batch) -> None:
        """Count what runs for the runtimes that compute it."""
        self._ran += 1
        for place, backend in enumerate(self._runtimes.backends):
            self._had[place] += bool(backend.supports(batch[0]))


def without_gradients(batch: Batch) -> Batch:
    """Return the same batch, of the same kind, with the forward pass alone."""
    if not any(case.grad for case in batch):
        return batch
    return type(batch)(dict.fromkeys(replace(case, grad=False) for case in batch))


def _is_runtime(backend: Backend) -> bool:
    return bool(family_of(backend.name)) and bool(backend.supports(_FORWARD)) and not backend.supports(_BACKWARD)
