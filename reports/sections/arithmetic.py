"""How each backend computes, as the latest run that measured it has found."""

from __future__ import annotations

from markupsafe import Markup

from convfuzz.record.arithmetic import Arithmetic, Change
from convfuzz.record.tree_picture import svg
from convfuzz.reports.merged import Merged

_IN_THE_TABLE = ("tree", "declare", "declared today", "coarser")
"""Rows that have a place of their own."""


def sheets(merged: Merged) -> list[Arithmetic]:
    """Return a sheet for each backend that was asked for one, in the backends' order: the latest that was measured, else why none was."""
    found: dict[str, Arithmetic] = {}
    for run in merged.runs:
        for one in run.info.arithmetic:
            if not one.unmeasured or one.backend not in found:
                found[one.backend] = one
    return [found[name] for name in merged.backends if name in found]


def facts(sheet: Arithmetic) -> list[tuple[str, str]]:
    """Return the rows of a sheet but those that are shown elsewhere."""
    return [(name, said) for name, said in sheet.rows if name not in _IN_THE_TABLE]


def picture(sheet: Arithmetic) -> Markup:
    """Return the picture of a sheet's tree; empty where there is none."""
    return Markup(svg(sheet.outline, title=f"Summation tree of {sheet.backend}: {sheet.line}"))  # noqa: S704 - svg() escapes what it is given


def changing(sheet: Arithmetic) -> list[Change]:
    """Return what must not change a result and does."""
    return [change for change in sheet.changes if change.same is False]


def steady(sheet: Arithmetic) -> list[str]:
    """Return what was varied and changes nothing."""
    return [change.what for change in sheet.changes if change.same]
