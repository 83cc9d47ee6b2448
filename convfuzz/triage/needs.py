"""What a failure takes, as its minimal case says it: features and sizes, and whether another case has all of them.

A case in which nothing can be simpler fails at no smaller size of any kind, so that a smaller layer that fails has something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.features import PLAIN, features
from convfuzz.record.confirmation import Recurrence
from convfuzz.record.finding import Finding, ReductionOutcome
from convfuzz.triage.resets import are_alike
from convfuzz.verdicts import Verdict

_SIZES: dict[str, Callable[[ConvConfig], int]] = {
    "batch": lambda c: 1 if c.batch is None else c.batch,
    "groups": lambda c: c.groups,
    "input channels": lambda c: c.in_channels // c.groups,
    "output channels": lambda c: c.out_channels,
    "input": lambda c: max(size + lo + hi for size, (lo, hi) in zip(c.input_size, c.pads, strict=True)),
    "kernel": lambda c: max(c.kernel_size),
    "stride": lambda c: max(c.stride),
    "dilation": lambda c: max(c.dilation),
}
"""The sizes of a valid layer, of those with axes the largest: a minimal case has as few axes as it can do with.

A sum goes over the input channels of a group; what depends on the output channels may count them all.
"""


_ROUNDING = frozenset({Verdict.IMPRECISE, Verdict.NONDETERMINISTIC})


def as_large(config: ConvConfig, minimal: ConvConfig) -> bool:
    """Whether a layer is in no way smaller than a ``minimal`` one; what is no layer has no size."""
    if not (config.is_valid and minimal.is_valid):
        return True
    return all(size(config) >= least for size in _SIZES.values() if (least := size(minimal)) > 1)


_SMALLEST: dict[str, Callable[[ConvConfig], ConvConfig]] = {
    "batch": lambda c: c.replace(batch=1),
    "input channels": lambda c: c.replace(in_channels=c.groups),
    "output channels": lambda c: c.replace(out_channels=c.groups),
    "kernel": lambda c: c.replace(kernel_size=1),
}
"""How a layer gets the smallest size of a kind, where that leaves it a layer."""


def without_each_size(config: ConvConfig, minimal: ConvConfig) -> list[ConvConfig]:
    """Return a configuration without each of the sizes in turn that a ``minimal`` one takes, where it can do without."""
    takes = [name for name in _SMALLEST if _SIZES[name](minimal) > 1]
    smallest = [(name, _SMALLEST[name](config)) for name in takes]
    return [one for name, one in smallest if one.is_valid and one != config and _SIZES[name](one) < _SIZES[name](minimal)]


def has_all(config: ConvConfig, finding: Finding, seen: Iterable[Case] = (), *, roughly: bool = False) -> bool:
    """Whether a configuration has what the failure of a finding takes: its features and its sizes.

    A feature may have any value with which the failure was seen, on the case that it was found on or on those ``seen`` besides; where
    it may have it ``roughly``, the same thing in another measure will do, too.
    """
    own, values = own_features(config), needs(finding, seen)
    for axis, allowed in values.items():
        if own[axis] not in allowed and not (roughly and any(are_alike(axis, own[axis], value) for value in allowed)):
            return False
    return not tells_by_size(finding) or as_large(config, Case.parse(finding.case).config)


def own_features(config: ConvConfig) -> dict[str, str]:
    """Return the features of a configuration, with the layout that the weight has, whichever says so."""
    return {**features(config), "weight layout": config.weight_layout or config.layout}


def needs(finding: Finding, seen: Iterable[Case] = ()) -> dict[str, frozenset[str]]:
    """Return the axes of a finding's features, and of each the values with which the failure was seen.

    These are the minimal case's, the first's, and those of the cases ``seen`` besides: from each of them to the minimal one it showed
    all the way. An asymmetric padding that was symmetric at first is not needed as such, and a kernel of 1x1 that was larger at first
    is not needed at all.
    """
    told = dict(_told(finding.first_case, tuple(finding.features)))
    for case in seen:
        own = features(case.config)
        told = {axis: values | ({own[axis]} - PLAIN[axis]) for axis, values in told.items() if values != {"1x1"} or own[axis] in values}
    return told


def tells_by_size(finding: Finding) -> bool:
    """Whether a failure takes the sizes of its case: nothing there can be smaller, and it shows each time.

    An error of rounding, as in sums of another order, depends on every size a little.
    """
    if finding.reduction != ReductionOutcome.MINIMAL or finding.verdict in _ROUNDING:
        return False
    return finding.confirmation.recurrence is not Recurrence.DEPENDS and not finding.confirmation.comes_and_goes


@lru_cache(maxsize=1024)
def _told(first_line: str, named: tuple[str, ...]) -> tuple[tuple[str, frozenset[str]], ...]:
    first, told = features(Case.parse(first_line).config), []
    for feature in named:
        axis, _, value = feature.partition("=")
        if value != "1x1" or first[axis] == value:
            told.append((axis, frozenset({value}) | {first[axis]} - PLAIN[axis]))
    return tuple(told)
