"""How close each backend comes to its tolerance: the distribution of error ratios, and the worst per dtype."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from convfuzz.case import PASSES
from convfuzz.record.counts import BackendSummary
from convfuzz.reports.formatting import count, ratio
from convfuzz.reports.merged import Merged, in_order, without_folders
from convfuzz.reports.pictures import ratio_charts
from convfuzz.reports.pictures.ratio_charts import bin_label
from convfuzz.reports.result_axes import FORWARD
from convfuzz.verdicts import Verdict

LEAST_RANGE = (-8, 3)


@dataclass(frozen=True)
class Distribution:
    """One backend's histogram, as a picture, as a sentence, and as the rows of a table.

    A row is a label, how many results there are, and how many of them of each of ``dtypes``.
    """

    backend: str
    short: str
    svg: Markup
    label: str
    dtypes: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[int, ...]], ...]
    worst: str
    worst_case: str
    over: int
    unrated: int


@dataclass(frozen=True)
class BackendRow:
    """One backend's totals.

    ``share`` is the percentage of the cases that it was compared on, ``worst`` (worst ratio, whether it is over the
    tolerance) per dtype.
    """

    backend: str
    compared: int
    share: float
    agreed: int
    failed: int
    skipped: int
    worst: tuple[tuple[float | None, bool], ...]


@dataclass(frozen=True)
class PassRow:
    """How many results of one backend were compared, by pass in the order of the columns, and how many had no error at all."""

    backend: str
    compared: tuple[int, ...]
    exact: int


def distributions(merged: Merged) -> list[Distribution]:
    """Return a histogram of each backend that was measured, all on the same scales."""
    measured = [
        (name, found)
        for name in merged.backends
        if (found := merged.summary.backends.get(name)) and (found.ratios or found.exact or found.unrated)
    ]
    if not measured:
        return []
    bins = [b for _, found in measured for b in found.ratios]
    most = max(max([found.exact, 1, *found.ratios.values()]) for _, found in measured)
    scale = ratio_charts.Scale(min([LEAST_RANGE[0], *bins]), max([LEAST_RANGE[1], *bins]), most)
    short = without_folders(tuple(name for name, _ in measured))
    return [
        Distribution(
            name,
            label,
            ratio_charts.draw(found, scale),
            _sentence(found),
            tuple(in_order(found.histograms)),
            _rows(found),
            ratio(found.worst_ratio),
            found.worst_ratio_case,
            _over(found),
            found.unrated,
        )
        for (name, found), label in zip(measured, short, strict=True)
    ]


def dtypes(merged: Merged) -> list[str]:
    """Return the dtypes that have a worst ratio, widest first."""
    return in_order({dtype for found in merged.summary.backends.values() for dtype in found.ratios_by_dtype})


def backend_rows(merged: Merged) -> list[BackendRow]:
    """Return one row per backend that was asked for."""
    rows = []
    columns = dtypes(merged)
    for name in merged.backends:
        found = merged.summary.backends.get(name, BackendSummary())
        worst = tuple((value := found.ratios_by_dtype.get(dtype), value is not None and value > 1) for dtype in columns)
        skipped = found.verdicts[Verdict.UNSUPPORTED]
        share = 100 * found.compared / max(found.compared + skipped, 1)
        rows.append(BackendRow(name, found.compared, share, found.verdicts[Verdict.AGREE], found.failures, skipped, worst))
    return rows


def passes(merged: Merged) -> list[str]:
    """Return the passes of which a result was compared, in their order, forward always."""
    present = {in_pass for found in merged.summary.backends.values() for in_pass in found.passes}
    return [in_pass for in_pass in PASSES if in_pass in present or in_pass == FORWARD] + sorted(present - set(PASSES))


def pass_rows(merged: Merged) -> list[PassRow]:
    """Return one row per backend that was measured."""
    known = [(name, merged.summary.backends[name]) for name in merged.backends if name in merged.summary.backends]
    return [PassRow(name, tuple(found.passes[p] for p in passes(merged)), found.exact) for name, found in known]


def _over(found: BackendSummary) -> int:
    return sum(n for power, n in found.ratios.items() if power >= 0)


def _sentence(found: BackendSummary) -> str:
    over = _over(found)
    within = found.ratios.total() - over
    unrated = f", {count(found.unrated)} off without a tolerance to hold it against" if found.unrated else ""
    return f"{count(found.exact)} results exact, {count(within)} within the tolerance, {count(over)} beyond it{unrated}"


def _rows(found: BackendSummary) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
    columns = in_order(found.histograms)
    bins = [
        (f"{bin_label(power)} … {bin_label(power + 1)}", n, tuple(found.histograms[dtype][power] for dtype in columns))
        for power, n in sorted(found.ratios.items())
    ]
    others = [("exact", found.exact), *([("off, no tolerance", found.unrated)] if found.unrated else [])]
    return (*bins, *((label, n, ()) for label, n in others))
