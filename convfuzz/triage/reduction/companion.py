"""The companion of a failing case: the nearest case that passes, and what the two differ in.

It differs from the minimal case in one parameter, a number by as little as possible. Of several such the most telling is
chosen: a threshold first (fails at 17 channels, works at 16), then what the call says in words (layout, dtype, padding
mode), then small numbers (batch 2, stride 2), then sizes, which a case cannot do without, then the kind of the data.
Before all of these comes an equality: where parameters of one value fail at the next value too, and no longer once one of
them has another, the equality is the trigger and the value is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from convfuzz.case import EXPLICIT, Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.line import FLAWS, join_axes
from convfuzz.triage.reduction.equal_parameters import Part, equal_parts, with_value
from convfuzz.triage.reduction.search import Budget
from convfuzz.triage.reduction.structure import PLAIN_REGIMES, by_halves, fewer_dims

Passes = Callable[[Case], bool]

MOST_NEIGHBOURS = 40
_THRESHOLD, _WORD, _SMALL, _SIZE, _DATA = range(5)
_LAST = 100


@dataclass(frozen=True)
class Companion:
    """The passing case, and in words where the boundary lies; without a case, ``boundary`` says why there is none."""

    case: Case | None
    boundary: str


@dataclass(frozen=True)
class _Step:
    """A neighbouring case: how telling it would be that it passes, and what is said then."""

    case: Case
    rank: int
    order: int
    boundary: str


def find_companion(
    case: Case, passes: Passes, budget: Budget | None = None, *, named: Case | None = None, fails: Passes | None = None
) -> Companion:
    """Return the most telling neighbour of a failing ``case`` that passes.

    Args:
        case: a minimal failing case.
        passes: whether a backend computes a case and agrees with the reference.
        budget: when to stop.
        named: the failing case with named elements, which are neighbours' too where their values matter.
        fails: whether a case fails in the same way; by default, that it does not pass.
    """
    budget = budget or Budget(candidates=MOST_NEIGHBOURS)
    equality = _equality(case, passes, fails or (lambda candidate: not passes(candidate)), budget)
    if equality is not None:
        return equality
    steps = sorted([*_steps(case), *_of_values(named or case)], key=lambda step: (step.rank, step.order))
    if not steps:
        return Companion(None, "nothing is left of the case that could be simpler")
    for step in steps:
        if not budget.spend():
            return Companion(None, "the budget was spent before a neighbouring case passed")
        if passes(step.case):
            return Companion(step.case, step.boundary)
    return Companion(None, f"none of {len(steps)} neighbouring case{'s'[: len(steps) > 1]} passes")


def _equality(case: Case, passes: Passes, fails: Passes, budget: Budget) -> Companion | None:
    """Return a case in which one parameter is no longer equal to others, where that alone makes it pass; ``None`` where it is not so."""
    c = case.config
    for parts in equal_parts(c):
        value = parts[0].value
        grown, each = _neighbour(case, parts, value + 1), [_unequal(case, part) for part in _alone(parts)]
        broken = [one for one in each if one is not None]
        if grown is None or len(broken) < len(each):
            continue
        if not (budget.spend() and fails(grown)) or not all(budget.spend() and passes(one) for one in broken):
            continue
        equal = " = ".join(part.said(c.dims) for part in parts)
        first = _alone(parts)[0]
        other = value + 1 if broken[0] == _neighbour(case, (first,), value + 1) else value - 1
        return Companion(
            broken[0],
            f"fails where {equal}, at {value} and {value + 1} alike; with {first.said(c.dims)} {other} and the rest {value} it works",
        )
    return None


def _alone(parts: tuple[Part, ...]) -> list[Part]:
    """Return each of equal parameters by itself: of a single one that is equal on all axes, its value on each."""
    return list(parts) if len(parts) > 1 else [parts[0]._replace(axes=(axis,)) for axis in parts[0].axes]


def _unequal(case: Case, part: Part) -> Case | None:
    """Return the case with one of the parameters one larger, or smaller where there is no such layer."""
    return _neighbour(case, (part,), part.value + 1) or (_neighbour(case, (part,), part.value - 1) if part.value > part.plain else None)


def _neighbour(case: Case, parts: tuple[Part, ...], value: int) -> Case | None:
    """Return the case with another value for some parameters; for several, its input grows where a larger kernel needs that."""
    config = with_value(case.config, parts, value)
    if len(parts) > 1 and case.config.is_valid and not config.is_valid and "input_size" not in {part.name for part in parts}:
        growth = (max(new - old, 0) for old, new in zip(case.config.effective_kernel, config.effective_kernel, strict=True))
        config = config.replace(input_size=tuple(size + more for size, more in zip(config.input_size, growth, strict=True)))
    neighbour = case.changed(config=config)
    is_same_kind = neighbour.config.is_valid == case.config.is_valid and len(neighbour.recipe.entries) == len(case.recipe.entries)
    return neighbour if is_same_kind else None


def _steps(case: Case) -> Iterator[_Step]:
    c = case.config
    for config, rank, order, boundary in [*_of_words(c), *_of_numbers(c), *_of_axes(c), *_of_sizes(c)]:
        neighbour = case.changed(config=config)
        if (config.is_valid or not c.is_valid) and len(neighbour.recipe.entries) == len(case.recipe.entries):
            yield _Step(neighbour, rank, order, boundary)
    yield from _of_data(case)


_Change = tuple[ConvConfig, int, int, str]

_WORDS: tuple[tuple[str, Any, str, str, int], ...] = (
    ("flaw", None, "where {}", "where that is right", _WORD),
    ("weight_layout", None, "with the weight in layout {}", "with it in the input's", _WORD),
    ("layout", "contiguous", "in layout {}", "in contiguous", _WORD),
    ("dtype", "float32", "in {}", "in float32", _WORD),
    ("padding_mode", "zeros", "with padding mode {}", "with zeros", _WORD),
    ("bias", False, "with a bias", "without", _SIZE),
)
"""Parameters with a plain value: how the failing value is said, and the plain one."""


def _of_words(c: ConvConfig) -> Iterator[_Change]:
    for order, (name, plain, failing, working, rank) in enumerate(_WORDS):
        value = getattr(c, name)
        if value != plain and not (name == "bias" and c.flaw):
            said = failing.format(FLAWS.get(value) or str(value).replace("_", " "))
            yield c.replace(**{name: plain}), rank, order, f"fails {said}, works {working}"
    if isinstance(c.padding, str):
        yield c.replace(padding=c.pads), _WORD, len(_WORDS), f"fails with padding {c.padding}, works with the same numbers"
        yield c.replace(padding=0), _WORD, len(_WORDS) + 1, f"fails with padding {c.padding}, works without"
    if c.op == "conv_transpose" and c.flaw != "output-length":
        yield c.replace(op="conv", output_padding=0), _SIZE, _LAST, "fails transposed, works as a convolution"


def _of_numbers(c: ConvConfig) -> Iterator[_Change]:
    if c.batch is None:
        yield c.replace(batch=1), _WORD, -1, "fails without a batch axis, works with one"
    else:
        for batch in _nearest(c.batch, 1):
            yield _numbered(c.replace(batch=batch), "batch", c.batch, batch, _SMALL)
    width = max(c.groups, 1)
    for groups in _nearest(c.groups, 1):
        channels = {name: getattr(c, name) // width * groups for name in ("in_channels", "out_channels")}
        yield _numbered(c.replace(groups=groups, **channels), "groups", c.groups, groups, _SMALL)
    for name, said in (("in_channels", "input channels"), ("out_channels", "output channels")):
        for fewer in _nearest(getattr(c, name) // width, 1):
            yield _numbered(c.replace(**{name: fewer * width}), said, getattr(c, name), fewer * width, _SIZE)


def _of_axes(c: ConvConfig) -> Iterator[_Change]:
    for name, said, plain in (("stride", "stride", 1), ("dilation", "dilation", 1), ("output_padding", "output padding", 0)):
        yield from _per_axis(c, name, said, plain, _SMALL)
    if isinstance(c.padding, str):
        return
    for axis, sides in enumerate(c.padding):
        for side, value in enumerate(sides):
            for less in _nearest(abs(value), 0):
                other = (less if value > 0 else -less, sides[1]) if side == 0 else (sides[0], less if value > 0 else -less)
                config = c.replace(padding=(*c.padding[:axis], other, *c.padding[axis + 1 :]))
                yield _numbered(config, "padding", value, less, _SMALL, join_axes(c.padding), join_axes(config.pads))


def _of_sizes(c: ConvConfig) -> Iterator[_Change]:
    for name, said in (("kernel_size", "kernel size"), ("input_size", "input size")):
        yield from _per_axis(c, name, said, 1, _SIZE)
    for config in fewer_dims(c):
        yield config, _SIZE, _LAST, f"fails in {c.dims} dimensions, works in {config.dims}"


def _per_axis(c: ConvConfig, name: str, said: str, plain: int, rank: int) -> Iterator[_Change]:
    values: tuple[int, ...] = getattr(c, name)
    for axis, value in enumerate(values):
        for less in _nearest(value, plain):
            config = c.replace(**{name: (*values[:axis], less, *values[axis + 1 :])})
            yield _numbered(config, said, value, less, rank, join_axes(values), join_axes(getattr(config, name)))


def _numbered(config: ConvConfig, said: str, failing: int, working: int, rank: int, *shown: str) -> _Change:
    """Return a step of a number; where it is beyond 2 and the next one, it looks like a threshold: the larger, the more."""
    threshold = failing > 2 and working == failing - 1
    failing_text, working_text = shown or (str(failing), str(working))
    boundary = f"fails at {said} {failing_text}, works at {working_text}"
    if said.endswith("channels"):
        boundary = f"fails at {failing_text} {said}, works at {working_text}"
    return config, _THRESHOLD if threshold else rank, -failing if threshold else abs(failing - working), boundary


def _nearest(value: int, plain: int) -> list[int]:
    """Return the values that the reduction tries first on the way to the plain one, the nearest first."""
    return list(by_halves(value, plain))[::-1]


def _of_data(case: Case) -> Iterator[_Step]:
    regime = case.recipe.regime
    if regime == EXPLICIT:
        return
    plainer = PLAIN_REGIMES[: PLAIN_REGIMES.index(regime)] if regime in PLAIN_REGIMES else PLAIN_REGIMES
    for order, other in enumerate(plainer, start=1):
        recipe = DataRecipe(other, case.recipe.seed)
        yield _Step(replace(case, recipe=recipe), _DATA, order, f"fails on {regime} data, works on {other} data")


def _of_values(case: Case) -> Iterator[_Step]:
    entries = case.recipe.entries
    for at, entry in enumerate(entries):
        if entry.value != 1:
            plain = entry._replace(value=1)
            recipe = DataRecipe.explicit([*entries[:at], plain, *entries[at + 1 :]])
            yield _Step(replace(case, recipe=recipe), _DATA, 0, f"fails with {entry}, works with {plain}")
