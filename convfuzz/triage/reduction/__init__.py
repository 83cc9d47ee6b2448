"""Reduction: from a failing case to one in which nothing can be made simpler without losing the failure.

The structure first (:mod:`.structure` has the order of simplicity), then the data (:mod:`.data`). A candidate is kept when
it fails with the same signature, so that a wrong sum never slides into rounding noise. Beside the result there is the
nearest case that passes (:mod:`.companion`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from convfuzz.case import EXPLICIT, Case
from convfuzz.case.complexity import complexity
from convfuzz.record.finding import ReductionOutcome
from convfuzz.triage.reduction.companion import MOST_NEIGHBOURS, Companion, Passes, find_companion
from convfuzz.triage.reduction.data import MOST_VALUES, reduce_data
from convfuzz.triage.reduction.search import (
    Budget,
    BudgetSpent,
    Fails,
    Search,
)
from convfuzz.triage.reduction.structure import KINDS, REMAINDERS, simpler, without_all_but

__all__ = [
    "MOST_NEIGHBOURS",
    "Budget",
    "Companion",
    "Fails",
    "Passes",
    "Reduction",
    "companion_of",
    "complexity",
    "find_companion",
    "never",
    "reduce_case",
    "reduce_structure",
    "simpler",
    "without_all_but",
]


def never(case: Case) -> bool:
    """Say of no case that it is known."""
    del case
    return False


@dataclass(frozen=True)
class Reduction:
    """Where a reduction ended.

    ``case`` is the simplest case found and ``tried`` how many candidates that took. ``outcome`` is ``"minimal"`` (no single
    simplification of the structure fails), ``"budget spent"``, ``"interrupted"``, or ``"not reproduced"`` (the case itself
    did not fail again). ``drawn`` is the case of minimal structure whose data are drawn still; ``dense`` says why those of
    ``case`` are so, where they are. ``is_known`` says that it stopped at a structure that is known.
    """

    case: Case
    outcome: str
    tried: int
    drawn: Case
    dense: str = ""
    is_known: bool = False


def reduce_case(
    case: Case,
    fails: Fails,
    budget: Budget | None = None,
    *,
    hints: Sequence[Case] = (),
    is_known: Callable[[Case], bool] = never,
    interruptible: bool = False,
) -> Reduction:
    """Reduce the structure of ``case``, then its data, then what is simpler on those, until nothing changes.

    Args:
        case: a failing case.
        fails: whether a case fails with the same signature; called once per candidate, never on an invalid
            configuration unless ``case`` itself is invalid.
        budget: when to stop; the best so far is returned.
        hints: simple cases that are likely to fail as well; the first that does is where the reduction goes on.
        is_known: whether a case, whatever its data, is one at which the reduction may stop, for what it shows is known.
        interruptible: whether a KeyboardInterrupt ends the reduction with the best so far instead of passing through.
    """
    search = Search(case, fails, budget or Budget())
    found = _reduce_structure(search, hints, is_known, interruptible=interruptible)
    if found.outcome != ReductionOutcome.MINIMAL or found.is_known:
        return found
    outcome, dense = found.outcome, ""
    try:
        dense = _reduce_further(search)
    except BudgetSpent:
        dense = "the budget was spent before they were reduced"
    except KeyboardInterrupt:
        if not interruptible:
            raise
        outcome, dense = ReductionOutcome.INTERRUPTED, "interrupted before they were reduced"
    reduced = search.case
    if len(reduced.recipe.entries) > MOST_VALUES:
        reduced = found.case  # the data were being written out: nobody reads that many
    return Reduction(reduced, outcome, 1 + search.count, found.case, "" if reduced.recipe.regime == EXPLICIT else dense)


def companion_of(found: Reduction, fails: Fails, passes: Passes, budget: Budget | None = None) -> Companion:
    """Return the nearest case to a reduced one that passes.

    It has the drawn data on which the minimal case fails too: few named elements would pass for want of data, where they
    do not reach what is wrong. Where that case passes on drawn data, the neighbours have its own.
    """
    if found.outcome in (ReductionOutcome.NOT_REPRODUCED, ReductionOutcome.NOT_REDUCED):
        return Companion(None, "the failure does not come back each time")
    case = replace(found.case, recipe=found.drawn.recipe)
    if case != found.drawn and (budget is None or not budget.is_spent) and not fails(case):
        case = found.case
    return find_companion(case, passes, budget, named=found.case, fails=fails)


def reduce_structure(case: Case, fails: Fails, budget: Budget | None = None) -> Reduction:
    """Reduce the configuration, the passes and the kind of the data of ``case``, with the arguments of :func:`reduce_case`."""
    return _reduce_structure(Search(case, fails, budget or Budget()), (), never, interruptible=False)


def _reduce_structure(search: Search, hints: Sequence[Case], is_known: Callable[[Case], bool], *, interruptible: bool) -> Reduction:
    outcome = ReductionOutcome.MINIMAL
    try:
        if search.reproduces():
            search.attempt_any(hints)
            if not is_known(search.case):
                search.descend(KINDS)
        else:
            outcome = ReductionOutcome.NOT_REPRODUCED
    except BudgetSpent:
        outcome = ReductionOutcome.BUDGET_SPENT
    except KeyboardInterrupt:
        if not interruptible:
            raise
        outcome = ReductionOutcome.INTERRUPTED
    is_known_here = outcome == ReductionOutcome.MINIMAL and is_known(search.case)
    return Reduction(search.case, outcome, 1 + search.count, search.case, is_known=is_known_here)


def _reduce_further(search: Search) -> str:
    """Reduce the data, then the structure again, which may need less with data that show the failure, until nothing changes.

    What needs a remainder may need other data in a smaller layer than those that are left, so that the drawn ones are tried too.
    """
    dense, before, drawn = "", None, search.case.recipe
    while search.case != before:
        before = search.case
        search.case, dense = reduce_data(search.case, search.attempt)
        search.descend(KINDS)
        if search.case == before:
            search.descend(REMAINDERS)
            with_drawn = replace(search.case, recipe=drawn)
            search.attempt_any(candidate for kind in REMAINDERS for candidate in kind(with_drawn))
    return dense
