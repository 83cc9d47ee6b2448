"""The table of one case: a row per backend, then reasons and where the worst elements are."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from convfuzz.checking.checker import CheckResult
from convfuzz.record.events import BackendEnded
from convfuzz.system.safe_text import lines, one_line
from convfuzz.verdicts import Discrepancy, Verdict

_WIDEST = 200
_STYLES = {Verdict.AGREE: "green", Verdict.UNSUPPORTED: "dim"}


def number(value: float | None) -> str:
    """Format a measure: three significant digits, ``0`` and a dash for none."""
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.3g}"


def verdict_text(verdict: Verdict) -> str:
    """Return the verdict in its colour."""
    return f"[{_STYLES.get(verdict, 'bold red')}]{verdict}[/]"


def print_check(console: Console, result: CheckResult) -> None:
    """Print one case: its line, then what :func:`print_results` prints."""
    console.print(str(result.case), style="bold", markup=False, soft_wrap=True)
    print_results(console, result)
    console.print()


def print_results(console: Console, result: CheckResult) -> None:
    """Print what became of one case: a row per backend, then reasons and where the worst elements are."""
    case = result.case
    if case.config.invalid_reason:
        expected = "" if result.skipped else "; every backend is expected to reject it"
        console.print(f"invalid: {case.config.invalid_reason}{expected}", markup=False, soft_wrap=True)
    if result.skipped:
        console.print(f"skipped: {one_line(result.skipped)}", markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backend")
    if case.grad:
        table.add_column("pass")
    table.add_column("verdict")
    for column in ("max-abs", "ULP", "e/(u·S)", "ratio", "needs rtol", "over"):
        table.add_column(column, justify="right")
    for r in result.results:
        for in_pass in list(r.discrepancies) or [r.in_pass]:
            name = escape(one_line(r.backend))
            named = [name, in_pass] if case.grad else [name]
            verdict = r.verdict if in_pass == r.in_pass else r.also.get(in_pass, Verdict.AGREE)
            table.add_row(*named, verdict_text(verdict), *_measures(r.discrepancies.get(in_pass)))
    print_whole(console, table)
    for r in result.results:
        for line in _details(r):
            console.print(f"  {one_line(r.backend)}: {lines(line, indent=4)}", markup=False, soft_wrap=True)
    for a, b, apart in result.pairs:
        console.print(f"  {one_line(a)} against {one_line(b)}: max-abs {number(apart)}", markup=False, style="dim", soft_wrap=True)


def print_whole(console: Console, table: Table) -> None:
    """Print a table with no name and no figure cut short: in a narrow terminal its lines wrap instead."""
    width = console.width
    console.width = max(width, Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum)
    console.print(table)
    console.width = width


def _measures(d: Discrepancy | None) -> list[str]:
    if d is None:
        return ["-"] * 6
    over = f"{d.over}/{d.elements}" if d.over else "0"
    return [number(d.max_abs), number(d.ulps), number(d.u_s), number(d.ratio), number(d.required_rtol), over]


def _details(r: BackendEnded) -> list[str]:
    told = []
    if r.reason:
        told.append(r.reason if r.in_pass == "forward" else f"{r.in_pass}: {r.reason}")
    told += [d.judged_of if name == "forward" else f"{name}: {d.judged_of}" for name, d in r.discrepancies.items() if d.out_of]
    if r.compile_seconds:
        told.append(f"compiled in {number(r.compile_seconds)} s")
    d = r.discrepancies.get(r.in_pass)
    if r.verdict.failing and d is not None and d.max_abs:
        told.append(f"largest at {list(d.index)}: expected {d.expected!r}, got {d.actual!r}")
    return told
