"""Strategies and reports by their registered names: entry points, the same for built-ins and third parties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import TYPE_CHECKING, Any

from convfuzz.errors import UsageError, closest

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from convfuzz.case import Case
    from convfuzz.case.domain import Domain
    from convfuzz.record.nights import History
    from convfuzz.record.run_directory import Run

STRATEGIES = "convfuzz.strategies"
REPORTS = "convfuzz.reports"


def registered(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of ``group`` by name, sorted."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def require_strategy(name: str) -> None:
    """Refuse a name under which no search space is registered; nothing is built.

    Raises:
        UsageError: as :func:`load_strategy`.
    """
    _point(STRATEGIES, "strategy", name)


def is_own_strategy(name: str) -> bool:
    """Tell whether the search space ``name`` is one of convfuzz's own, which may be built in a process that others depend on."""
    return _point(STRATEGIES, "strategy", name).value.startswith("convfuzz.")


def load_strategy(name: str, domains: tuple[Domain, ...] = ()) -> SearchStrategy[tuple[Case, ...]]:
    """Build the search space registered under ``name``: a strategy of batches, cases that share one configuration.

    One with a parameter ``domains`` draws within these, where there are any.

    Raises:
        UsageError: there is none; the known ones are listed.
    """
    load = _load(STRATEGIES, "strategy", name)
    takes_domains = bool(domains) and "domains" in signature(load).parameters
    space: SearchStrategy[tuple[Case, ...]] = load(domains) if takes_domains else load()
    return space


def render(form: str, runs: Sequence[Run], history: History | None = None) -> bytes:
    """Render ``runs`` with the report registered under ``form``; only some reports take a ``history``.

    Raises:
        UsageError: there is no such report (the message lists the known ones), or it takes no ``history``.
    """
    report = _load(REPORTS, "report", form)
    if history is None:
        return bytes(report(runs))
    if "history" not in signature(report).parameters:
        raise UsageError(f"the report {form!r} shows no history")
    return bytes(report(runs, history=history))


def _load(group: str, what: str, name: str) -> Callable[..., Any]:
    loaded: Callable[..., Any] = _point(group, what, name).load()
    return loaded


def _point(group: str, what: str, name: str) -> EntryPoint:
    points = registered(group)
    if name not in points:
        raise UsageError(f"unknown {what} {name!r}; known are {', '.join(points)}{closest(name, points)}")
    return points[name]
