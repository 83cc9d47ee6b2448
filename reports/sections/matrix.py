"""The matrix of max-abs discrepancies of the forward pass: every backend against every other and against the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convfuzz.case.dtypes import is_integer
from convfuzz.record.counts import PairSummary
from convfuzz.record.summary import REFERENCE
from convfuzz.reports.formatting import max_abs, plural
from convfuzz.reports.merged import Merged, dtypes_of, without_folders, worst_over_dtypes

TINTS = 8
LEAST_DECADES = 3


@dataclass(frozen=True)
class Cell:
    """One pair: its discrepancy, how deep its tint is (0 is none), and where the number comes from."""

    text: str
    tint: int
    source: str
    alarming: bool = False


@dataclass(frozen=True)
class Matrix:
    """A symmetric table."""

    dtype: str
    names: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[Cell | None, ...], ...]
    compared: int


@dataclass(frozen=True)
class PairRow:
    """One pair in one dtype, for the list under the matrices."""

    left: str
    right: str
    dtype: str
    pair: PairSummary

    @property
    def max_abs(self) -> str:
        """The pair's discrepancy as its dtype writes it."""
        return _written(self.pair, self.dtype)


def matrices(merged: Merged) -> list[Matrix]:
    """Return the worst over all dtypes first, then one matrix per dtype, widest first."""
    summary = merged.summary
    names = (REFERENCE, *merged.backends)
    dtypes = dtypes_of(summary)
    tables = [] if len(dtypes) == 1 else [_matrix("every dtype", names, worst_over_dtypes(summary.pairs))]
    tables += [_matrix(dtype, names, {key[:2]: p for key, p in summary.pairs.items() if key[2] == dtype}) for dtype in dtypes]
    return [table for table in tables if table.names]


def pair_rows(merged: Merged) -> list[PairRow]:
    """Return every pair in every dtype, worst first."""
    rows = [PairRow(left, right, dtype, pair) for (left, right, dtype), pair in merged.summary.pairs.items()]
    rows = [_reference_first(row) for row in rows]
    return sorted(rows, key=lambda row: (-_order(row.pair.max_abs), row.left, row.right, row.dtype))


def _reference_first(row: PairRow) -> PairRow:
    return PairRow(row.right, row.left, row.dtype, row.pair) if row.right == REFERENCE else row


def _matrix(dtype: str, names: tuple[str, ...], pairs: dict[tuple[str, str], PairSummary]) -> Matrix:
    present = {name for pair in pairs for name in pair}
    kept = tuple(name for name in names if name in present)
    finite = [p.max_abs for p in pairs.values() if math.isfinite(p.max_abs) and p.max_abs > 0]
    least, most = (min(finite), max(finite)) if finite else (0.0, 0.0)

    def cell(left: str, right: str) -> Cell | None:
        pair = pairs.get((min(left, right), max(left, right)))
        if left == right or pair is None:
            return None
        source = f"{plural(pair.compared, 'comparison')}, worst on {pair.case}"
        return Cell(_written(pair, dtype), _tint(pair.max_abs, least, most), source, not math.isfinite(pair.max_abs))

    rows = tuple(tuple(cell(left, right) for right in kept) for left in kept)
    return Matrix(dtype, kept, without_folders(kept), rows, sum(p.compared for p in pairs.values()))


def _written(pair: PairSummary, dtype: str) -> str:
    return max_abs(pair.max_abs, integer=is_integer(dtype))


def _tint(value: float, least: float, most: float) -> int:
    if not math.isfinite(value):
        return TINTS
    if value <= 0:
        return 0
    return 1 + round((TINTS - 1) * math.log10(value / least) / max(math.log10(most / least), LEAST_DECADES))


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value
