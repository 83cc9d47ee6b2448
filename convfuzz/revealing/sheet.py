"""What was measured of a kernel's arithmetic: the data sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convfuzz.judging.numerics import Numerics
from convfuzz.record.tree_picture import Branch


@dataclass(frozen=True)
class Seen:
    """One thing that was observed: which probe, and what it gave."""

    probe: str
    result: str


@dataclass
class Notes:
    """What was seen, what follows from it, and what was seen that does not go together; each field of a sheet leaves its trace here."""

    seen: list[Seen] = field(default_factory=list)
    inferred: list[str] = field(default_factory=list)
    not_understood: list[str] = field(default_factory=list)

    def saw(self, probe: str, result: object) -> None:
        """Note an observation."""
        self.seen.append(Seen(probe, str(result)))


@dataclass(frozen=True)
class Violation:
    """A change that must not change an output element and does: the case that shows it, and by how much."""

    case: str
    what: str
    max_abs: float


@dataclass(frozen=True)
class Sheet:
    """The arithmetic of one backend on one case, measured from outside.

    ``None``, and ``unknown`` in a text, mean that it was not found out; ``notes`` say why. ``fma`` is also None where products are
    exact in the accumulator, so that nothing can tell. ``tree`` is the whole tree as a line, ``outline`` what a picture of it shows.
    ``declare`` is the advised declaration, ``numerics`` what of it is about this pass, and ``coarser`` the parts that allow more
    than what is declared today.
    """

    backend: str
    versions: Mapping[str, str]
    case: str
    in_pass: str
    taps: int
    case_has_bias: bool
    order: str
    block: int | None
    innermost: str | None
    order_in_words: str
    also: str
    tree: str
    outline: tuple[Branch, ...]
    fma: bool | None
    accumulator: str
    accumulator_rounding: str
    between_blocks: str
    inputs: str
    outputs: str
    output_rounding: str
    bias: str | None
    flushes: tuple[str, ...] | None
    overflow: str
    negative_zero: str
    invariant: Mapping[str, bool | None]
    violations: Mapping[str, Violation]
    declare: str
    numerics: Numerics | None
    declared: str
    sharper: float | None
    coarser: tuple[str, ...]
    checked_cases: int
    calls: int
    notes: Notes

    def as_record(self) -> dict[str, Any]:
        """Return the sheet as plain data for JSON."""
        plain = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("notes", "violations", "outline", "numerics")
        }
        return plain | {
            "versions": dict(self.versions),
            "flushes": None if self.flushes is None else list(self.flushes),
            "coarser": list(self.coarser),
            "invariant": dict(self.invariant),
            "violations": {name: vars(v) for name, v in self.violations.items()},
            "seen": [{"probe": seen.probe, "result": seen.result} for seen in self.notes.seen],
            "inferred": self.notes.inferred,
            "not_understood": self.notes.not_understood,
        }
