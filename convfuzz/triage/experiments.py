"""Experiments on two findings: what each one's configuration makes of the other's data, pass and mode, and what of it can be reset.

Two findings are likely to have one cause where either's minimal configuration fails as the other does once it gets what is the
other's; and where one of them fails no longer when what the other needs is reset. Two independent bugs seldom pass: the
configuration that shows the one does not show the other, unless both need the same. Where neither has what the other needs, one
mistake may explain every wrong element of both. What the experiments leave open stays apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from convfuzz.backend_names import framework_of
from convfuzz.case import EXPLICIT, Case, DataRecipe
from convfuzz.case.complexity import complexity
from convfuzz.case.explicit_data import check_entries
from convfuzz.case.features import needed
from convfuzz.case.line import PADDING_MODES
from convfuzz.record.confirmation import Recurrence
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Finding, ReductionOutcome
from convfuzz.triage.needs import as_large, needs, own_features, tells_by_size, without_each_size
from convfuzz.triage.reduction import Budget
from convfuzz.triage.resets import RESETS, are_alike, plain_on_each
from convfuzz.verdicts import RESOURCES, VALUES, Verdict, one_class

Evaluate = Callable[[Case, str], BackendEnded]
Explain = Callable[[Case, str], Collection[str]]

_ROUNDING = frozenset({Verdict.IMPRECISE, Verdict.NON_FINITE})
"""What an arithmetic of too few digits shows as: in each dtype by the name of another one."""
_COSTLY = frozenset({Verdict.CRASH, Verdict.TIMEOUT, Verdict.MEMORY})
_LAYOUTS = frozenset({"layout", "weight layout"})
_PLAIN_LAYOUTS = frozenset({"contiguous", "channels_last"})
"""The layouts for which libraries have code of their own; the others are one to it, some strides or other."""
_CHANCES = 8
"""How often a case that comes and goes is run to see how it comes."""
_SEEDS = 8
"""How many drawings of the other's data a configuration gets to fail on: in a small one NaN or Inf may lie where nothing reads it."""


def nothing_explains(case: Case, backend: str) -> Collection[str]:
    """Explain no failure."""
    del case, backend
    return ()


@dataclass(frozen=True)
class Specimen:
    """A finding on which experiments are made, with what its text says made out once."""

    finding: Finding
    case: Case
    taken: frozenset[str] | None = None
    """The axes on which a failure that was not reduced takes something, as far as other calls have shown it."""

    @classmethod
    def of(cls, finding: Finding, taken: Collection[str] | None = None) -> Specimen:
        """Make out what a finding says."""
        return cls(finding, Case.parse(finding.case), None if taken is None else frozenset(taken))

    @cached_property
    def needs(self) -> Mapping[str, frozenset[str]]:
        """What its failure takes, by axis the values that do: what tells its kind, or all that is left in its case of what it had at first.

        Where other calls have shown on which axes it takes something, that is all.

        That two taps are an even number of them is left out: they are the fewest of several, whose number is a size.
        """
        if self.is_reduced:
            return {axis: values for axis, values in needs(self.finding).items() if values != {"even"}}
        if self.taken is not None:
            own = own_features(self.case.config)
            return {axis: frozenset({own[axis]}) for axis in self.taken & own.keys()}
        left = (feature.split("=", 1) for feature in needed(self.case.config, Case.parse(self.finding.first_case).config))
        return {axis: frozenset({value}) for axis, value in left if value != "1x1"}

    def has_features(self, needs: Mapping[str, Collection[str]]) -> bool:
        """Whether its case has what is needed on each axis, or much the same."""
        own = own_features(self.case.config)
        return all(any(_are_alike(axis, own[axis], value) for value in values) for axis, values in needs.items())

    def has_sizes(self, minimal: Specimen) -> bool:
        """Whether its case is in no way smaller than a minimal one."""
        return not minimal.is_minimal or as_large(self.case.config, minimal.case.config)

    @property
    def is_reduced(self) -> bool:
        """Whether nothing about its case can be simpler."""
        return self.finding.reduction == ReductionOutcome.MINIMAL

    @property
    def is_minimal(self) -> bool:
        """Whether it takes the sizes that its case has, too."""
        return tells_by_size(self.finding)

    @property
    def framework(self) -> str:
        """Who computes, whatever the mode or the variant."""
        return framework_of(self.finding.backend)

    @property
    def comes_back(self) -> bool:
        """Whether it fails each time and by itself, so that a run that passes says something."""
        confirmation = self.finding.confirmation
        return not self.finding.is_lump and not confirmation.comes_and_goes and confirmation.recurrence is not Recurrence.DEPENDS

    @property
    def cost(self) -> tuple[bool, tuple[int, int, str]]:
        """The cheapest first: what ends no process, then what is simple."""
        return self.finding.verdict in _COSTLY, complexity(self.case)

    def recipes(self) -> Iterator[DataRecipe]:
        """Yield data like its own that any configuration can have: of the regime that it was found with, drawn a few times."""
        found = Case.parse(self.finding.first_case).recipe
        own = self.case.recipe
        if own.regime != EXPLICIT:
            found = own
        elif own.has_non_finite:
            found = DataRecipe("special", found.seed)
        elif found.regime in (EXPLICIT, "special"):  # the failure does not take NaN or Inf, so it does not get them
            found = DataRecipe("integers" if own.has_integers else "normal", 0)
        yield found
        yield from (DataRecipe(found.regime, seed) for seed in range(_SEEDS) if seed != found.seed)


class Laboratory:
    """Runs the experiments, each case once, until the budget is spent."""

    def __init__(self, evaluate: Evaluate, budget: Budget, explain: Explain = nothing_explains) -> None:
        """Experiments run by ``evaluate`` and ``explain``, in a process that may die of a case."""
        self._evaluate, self._budget, self._explain = evaluate, budget, explain
        self._results: dict[tuple[Case, str], BackendEnded | None] = {}
        self._explained: dict[tuple[Case, str], Collection[str]] = {}

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is run."""
        return self._budget.is_spent or self._budget.candidates <= 0

    def run(self, case: Case, backend: str) -> BackendEnded | None:
        """Return what became of a case; ``None`` where the budget is spent."""
        key = case, backend
        if key not in self._results:
            if not self._budget.spend():
                return None
            self._results[key] = self._evaluate(case, backend)
        return self._results[key]

    def one_cause(self, a: Specimen, b: Specimen) -> bool:
        """Whether two findings have one cause, as far as experiments show it; false where they leave it open."""
        if a.framework != b.framework or a.case.config.is_valid != b.case.config.is_valid:
            return False
        if not (a.comes_back and b.comes_back):
            return _come_and_go(a, b) and (self._shows_by_chance(a, b) or self._shows_by_chance(b, a))
        return self._fail_for_each_other(a, b) or self._are_one_mistake(a, b)

    def _fail_for_each_other(self, a: Specimen, b: Specimen) -> bool:
        """Whether either's configuration fails as the other does with what is the other's, or needs what the other does."""
        is_alike, misreads = _fail_alike(a.finding, b.finding), _misread_memory(a, b)
        if a.finding.backend == b.finding.backend and (is_alike or misreads):
            is_one = self._contains(a, b) or self._contains(b, a) or self._shows_in_every_mode(a, b)
            if is_one or is_alike:
                return is_one
        if not (self._needs_what_is_of(a, b) or self._needs_what_is_of(b, a)):
            return False
        if not (self._carries_over(a, b) and self._carries_over(b, a)):
            return self._overflows(a, b) or self._overflows(b, a)
        return a.finding.in_pass == b.finding.in_pass or (self._shows_in(a, b.finding.in_pass) and self._shows_in(b, a.finding.in_pass))

    def _are_one_mistake(self, a: Specimen, b: Specimen) -> bool:
        """Whether one mistake explains every element of both outputs, on the minimal cases and on those that were drawn.

        A drawn case is large, so that an explanation does not fit it by chance; where another bug has a part in it, none does.
        """
        are_outputs = all(sided.finding.in_pass == "forward" and sided.finding.verdict in VALUES for sided in (a, b))
        return are_outputs and not self._mistakes(a).isdisjoint(self._mistakes(b))

    def _mistakes(self, sided: Specimen) -> frozenset[str]:
        """Return the mistakes that explain all that a finding shows."""
        named: frozenset[str] | None = None
        for case in (sided.case, Case.parse(sided.finding.first_case)):
            key = Case(case.config), sided.finding.backend
            if key not in self._explained:
                if not self._budget.spend():
                    return frozenset()
                self._explained[key] = frozenset(self._explain(*key))
            found = self._explained[key]
            named = frozenset(found) if named is None else named & frozenset(found)
            if not named:
                return named
        return named or frozenset()

    def _needs_what_is_of(self, a: Specimen, b: Specimen) -> bool:
        """Whether ``b``, which fails in another way, has all that ``a`` needs; where it was not reduced, also whether it needs that.

        Either of two bugs of a kernel, one of groups and one of strides, may be wrong on some data and non-finite on other, so that it
        fails as the other one does; but its case has no stride, and the other's has no groups. A dtype may only say which rounding
        shows the bug.
        """
        is_rounding = {a.finding.verdict, b.finding.verdict} <= _ROUNDING
        needed = {axis: values for axis, values in a.needs.items() if axis != "dtype" or not is_rounding}
        if not b.has_features(needed) or not (b.has_sizes(a) or _same_axes(needed, b.needs)):
            return False
        return b.is_reduced or not (needed or a.is_minimal) or self._passes_without(b, needed, a)

    def _carries_over(self, a: Specimen, b: Specimen) -> bool:
        """Whether the configuration of ``a`` fails as ``b`` does, on data, in passes and by the backend of ``b``.

        It does so in the dtype of ``b``, or in its own where it needs that: what is wrong in each dtype is non-finite in one that
        overflows.
        """
        config = a.case.config
        if config.dtype != b.case.config.dtype:
            is_rounding = {a.finding.verdict, b.finding.verdict} <= _ROUNDING
            if "dtype" not in a.needs or is_rounding:
                config = config.replace(dtype=b.case.config.dtype)
            elif "dtype" in b.needs:
                return False
        if config.is_valid != a.case.config.is_valid:
            return False
        same = replace(a.case, config=config)
        for number, recipe in enumerate((b.case.recipe, *b.recipes()) if config.is_valid else (a.case.recipe,)):
            try:
                case = replace(same, recipe=recipe, grad=b.case.grad)
                check_entries(recipe.entries, config, grad=case.grad)
            except ValueError:  # the very data do not fit, or the regime has no values of this dtype
                if number:
                    return False
                continue
            result = self.run(case, b.finding.backend)
            if result is None:
                return False
            if _fails_as(result, b.finding):
                return True
        return False

    def _overflows(self, a: Specimen, b: Specimen) -> bool:
        """Whether ``b`` is what ``a`` is in numbers so large that wrong sums of them overflow, which takes more terms than ``a`` has.

        So it has all that ``a`` needs, is wrong as ``a`` is in other numbers, and right without what ``a`` needs.
        """
        verdicts = a.finding.verdict, b.finding.verdict
        is_finite = not b.case.recipe.has_non_finite and a.finding.in_pass == b.finding.in_pass
        if verdicts != (Verdict.WRONG, Verdict.NON_FINITE) or not is_finite or a.finding.backend != b.finding.backend:
            return False
        return b.has_features(a.needs) and b.has_sizes(a) and self._carries_over(b, a) and self._passes_without(b, a.needs, a)

    def _shows_in(self, sided: Specimen, in_pass: str) -> bool:
        """Whether data like its own make the configuration of a finding fail in another pass too.

        A pass that fails with NaN only and one that fails with any data are two causes.
        """
        for recipe in sided.recipes():
            result = self.run(replace(sided.case, recipe=recipe, grad=True), sided.finding.backend)
            if result is None:
                return False
            if in_pass in result.also or (result.in_pass == in_pass and result.verdict.failing):
                return True
        return False

    def _shows_by_chance(self, a: Specimen, b: Specimen) -> bool:
        """Whether the case of ``a``, which comes and goes, comes as ``b`` does in one of several runs."""
        for _ in range(_CHANCES):
            if not self._budget.spend():
                return False
            if _fails_as(self._evaluate(a.case, a.finding.backend), b.finding):
                return True
        return False

    def _shows_in_every_mode(self, a: Specimen, b: Specimen) -> bool:
        """Whether ``a`` and ``b`` are one configuration in two padding modes, and all those that read the input fail so.

        Two bugs of a mode each leave the third one right.
        """
        own = {sided.case.config.padding_mode for sided in (a, b)}
        if len(own) == 1 or "zeros" in own or a.case.config != b.case.config.replace(padding_mode=a.case.config.padding_mode):
            return False
        others = [mode for mode in PADDING_MODES if mode not in {*own, "zeros"}]
        results = [self.run(a.case.changed(config=a.case.config.replace(padding_mode=mode)), a.finding.backend) for mode in others]
        return all(result is not None and _fails_as(result, a.finding) for result in results)

    def _contains(self, a: Specimen, b: Specimen) -> bool:
        """Whether ``b``, which fails in the same way, has all that ``a`` needs and fails no longer when that is reset.

        What ``a`` needs is more than it takes where it was not reduced, so that fewer others have it all. This is about those, about
        calls that end by their time or by their size, and about minimal cases that no single step leads on from: a layer without
        padding, and a smaller one that is large enough by its padding. What other calls have told of ``a`` has to hold of it, too.
        """
        if a.finding.verdict in RESOURCES and a.case.config == b.case.config:
            return True  # whichever data: its time or its memory is over before they matter
        if not (a.is_reduced or a.needs) or not b.has_features(a.needs):
            return False
        if not (b.has_sizes(a) or _same_axes(a.needs, b.needs)) or not self._passes_without(b, a.needs, a):
            return False
        return a.is_reduced or a.taken is None or self._passes_without(a, a.needs, a)

    def _passes_without(self, b: Specimen, needed: Collection[str], a: Specimen) -> bool:
        """Whether the case of ``b`` agrees once it is plain on an axis that is ``needed``, and in a size that ``a`` takes; on each."""
        plain = plain_on_each(b.case, needed)
        if not plain and not RESETS.keys().isdisjoint(needed):
            return False
        if a.is_minimal:
            plain += [b.case.changed(config=config) for config in without_each_size(b.case.config, a.case.config)]
        for case in plain:
            result = self.run(case, b.finding.backend)
            if result is None or result.verdict is not Verdict.AGREE:
                return False
        return bool(plain)


def _come_and_go(a: Specimen, b: Specimen) -> bool:
    """Whether two findings of one pass come and go, and what lies in memory may decide how."""
    both = a.finding, b.finding
    is_one_place = len({(finding.backend, finding.in_pass) for finding in both}) == 1
    return is_one_place and all(finding.confirmation.comes_and_goes and finding.verdict in VALUES for finding in both)


def _same_axes(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two failures need something on the same axes: their sizes are then where either reduction happened to end.

    What needs a layout takes more than one element, along whichever axis, and a dimension more may be such an end, too.
    """
    axes, others = one.keys() - {"dims"}, other.keys() - {"dims"}
    return bool(axes) and (axes == others or not (_LAYOUTS.isdisjoint(axes) or _LAYOUTS.isdisjoint(others)))


def _are_alike(axis: str, one: str, other: str) -> bool:
    return are_alike(axis, one, other) or (axis in _LAYOUTS and _PLAIN_LAYOUTS.isdisjoint({one, other}))


def _misread_memory(a: Specimen, b: Specimen) -> bool:
    """Whether either needs an operand in some layout: what lies in the gaps, NaN or another element, decides how that shows."""
    in_values = {a.finding.verdict, b.finding.verdict} <= VALUES and a.finding.in_pass == b.finding.in_pass
    return in_values and not any(_LAYOUTS.isdisjoint(sided.needs) for sided in (a, b))


def _fail_alike(a: Finding, b: Finding) -> bool:
    return one_class(a.verdict, b.verdict) and (a.in_pass, a.model) == (b.in_pass, b.model)


def _fails_as(result: BackendEnded, finding: Finding) -> bool:
    """Whether a result shows what ``finding`` does: its verdict in its pass, whatever another pass shows besides.

    Which arithmetic explains an error of rounding depends on the dtype and on the size of the error, so that it may be another one.
    """
    if result.in_pass == finding.in_pass and one_class(result.verdict, finding.verdict):
        return finding.verdict is Verdict.IMPRECISE or result.model == finding.model
    also = result.also.get(finding.in_pass)
    return also is not None and one_class(also, finding.verdict)
