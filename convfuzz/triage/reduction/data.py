"""Reduction of a case's data: to the few elements without which the failure is gone, and of these to ones.

All zeros first. Then every non-zero is written out, and chunks of a tensor's non-zeros become zero, half of them, a
quarter, down to single ones (Zeller, Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, 2002), until no
single one can go. Then each that is left turns into 1, or towards it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from convfuzz.case import EXPLICIT, Case, DataRecipe
from convfuzz.case.explicit_data import MOST_ENTRIES, Entry, Number
from convfuzz.tensors.generator import make_tensors, nonzero
from convfuzz.tensors.layouts import placements

MOST_VALUES = 64
"""A case in which more elements than this have to be non-zero keeps its regime: nobody reads that many."""

_LIMIT = f"a case is written out with {MOST_VALUES} elements at most"
_ORDER = ("dy", "b", "x", "w")

Attempt = Callable[[Case], bool]


class _TooDense(Exception):
    pass


def reduce_data(case: Case, attempt: Attempt) -> tuple[Case, str]:
    """Reduce the data of ``case`` as long as ``attempt`` says that what is left fails.

    Returns:
        The reduced case, and why it keeps its regime where it does: a failure may take more than :data:`MOST_VALUES`
        non-zeros, such as an inaccurate sum.
    """
    zeros = replace(case, recipe=DataRecipe.explicit(()))
    if case.recipe == zeros.recipe or attempt(zeros):
        return zeros, ""
    entries = _nonzeros(case)
    if len(entries) > MOST_ENTRIES:
        return case, f"{len(entries)} elements are not zero, more than the {MOST_ENTRIES} that are tried one by one"
    written = replace(case, recipe=DataRecipe.explicit(entries))
    if case.recipe.regime != EXPLICIT and not attempt(written):
        return case, "the failure does not come back on the same data written out"
    reduction = _Entries(written, attempt)
    try:
        while reduction.drop() or reduction.simplify():
            pass
    except _TooDense as dense:
        return case, str(dense)
    return reduction.case, ""


class _Entries:
    """The non-zeros of a failing case, ever fewer and simpler."""

    def __init__(self, case: Case, attempt: Attempt) -> None:
        self.case, self._attempt = case, attempt

    @property
    def entries(self) -> tuple[Entry, ...]:
        return self.case.recipe.entries

    def _take(self, entries: list[Entry]) -> bool:
        candidate = replace(self.case, recipe=DataRecipe.explicit(entries))
        if candidate == self.case or not self._attempt(candidate):
            return False
        self.case = candidate
        return True

    def drop(self) -> bool:
        """Set to zero what can be; say whether anything could."""
        before = len(self.entries)
        for tensor in _ORDER:
            self._drop_of(tensor)
        if len(self.entries) > MOST_VALUES:
            raise _TooDense(
                f"{len(self.entries)} elements have to be non-zero, and a case is written out with {MOST_VALUES} elements at most"
            )
        return len(self.entries) < before

    def _drop_of(self, tensor: str) -> None:
        chunk = kept = len(self._of(tensor))
        while chunk:
            at = 0
            while at < kept:
                dropped = set(self._of(tensor)[at : at + chunk])
                if self._take([entry for entry in self.entries if entry not in dropped]):
                    kept -= len(dropped)
                else:
                    at += chunk
            parts = -(-kept // chunk)
            if parts > MOST_VALUES:
                needed = f"{tensor} has {parts} parts none of which can be zero"
                raise _TooDense(f"{needed}, and {_LIMIT}")
            chunk //= 2

    def _of(self, tensor: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.tensor == tensor]

    def simplify(self) -> bool:
        """Bring the values towards 1; say whether any changed."""
        if self._take([entry._replace(value=1) for entry in self.entries]):
            return True
        changed = False
        for at, entry in enumerate(self.entries):
            for simpler in _simpler(entry.value):
                if self._take([*self.entries[:at], entry._replace(value=simpler), *self.entries[at + 1 :]]):
                    changed = True
                    break
        return changed


def _simpler(value: Number) -> Iterator[Number]:
    """Yield simpler values: 1 and other small ones, then rounder ones with ever more digits."""
    tried: list[Number] = [1, -1, 2, 3]
    if isinstance(value, complex):
        tried += [1j, complex(1, 1)]
    elif math.isinf(value):
        tried.append(math.inf)
    elif isinstance(value, int):
        tried.append(math.copysign(2.0 ** math.floor(math.log2(abs(value))), value))
    elif value and math.isfinite(value):
        tried += [round(value), *(float(f"{value:.{digits}g}") for digits in (1, 2, 3))]
    yield from (candidate for candidate in tried if candidate != 0 and _cost(candidate) < _cost(value))


def _cost(value: Number) -> tuple[Any, ...]:
    """Order numbers from simple to complex: whole before broken, short before long, small before large, positive first."""
    entry = Entry("x", 0, value)
    broken = not all(float(part).is_integer() for part in entry.parts)
    return not math.isfinite(abs(value)), isinstance(value, complex), broken, len(entry.number.lstrip("-")), abs(value), value != abs(value)


def _nonzeros(case: Case) -> list[Entry]:
    """Return the elements of a case's tensors that are not zero; of an axis that repeats its first slice, that one's only."""
    if case.recipe.regime == EXPLICIT:
        return list(case.recipe.entries)
    places = placements(case.config)
    plain = replace(case, config=case.config.replace(flaw=None))  # what is wrong with the call comes on top
    found = []
    for name, array in make_tensors(plain).named().items():
        once = np.zeros(array.shape, bool)
        once[tuple(slice(1) if stride == 0 else slice(None) for stride in places[name].strides)] = True
        flat = np.ascontiguousarray(array).reshape(-1)
        found += [Entry(name, index, _shortest(flat[index])) for index in np.flatnonzero(nonzero(array) & once).tolist()]
    return found


def _shortest(value: Any) -> Number:
    """Return a NumPy number as the Python number with the fewest digits that rounds to it in its own dtype."""
    number: Number = value.item()
    if isinstance(number, complex):
        return complex(_shortest(value.real), _shortest(value.imag))
    if isinstance(number, int) or not math.isfinite(number):
        return number
    short = float(str(value))
    return short if float(type(value)(short)) == float(value) else number
