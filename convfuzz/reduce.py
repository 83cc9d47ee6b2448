"""Structural reduction: from a failing case to one in which nothing can be made simpler without losing the failure.

The order of simplicity, most telling first: fewer passes and dimensions; plain layout, dtype and padding mode; no bias;
less padding, dilation, stride, batch, groups and channels; a smaller kernel and input; integers instead of floats.
A candidate is kept when it fails with the same signature, so that a wrong sum never slides into rounding noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from convfuzz.case import Case, DataRecipe
from convfuzz.config import ConvConfig

Fails = Callable[[Case], bool]

PLAIN_REGIMES = ("integers", "normal", "one-hot")

MINIMAL = "minimal"
BUDGET_SPENT = "budget spent"
NOT_REPRODUCED = "not reproduced"
NOT_REDUCED = "not reduced"
"""How a reduction ended; a failure that comes and goes is not reduced."""


@dataclass
class Budget:
    """How long a reduction may go on: ``seconds`` of wall time and ``candidates`` tried."""

    seconds: float = 20.0
    candidates: int = 600

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the budget was made."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left; negative when more than all have gone."""
        return self.seconds - self.elapsed

    @property
    def is_spent(self) -> bool:
        """Whether no time is left."""
        return self.left <= 0.0

    def spend(self) -> bool:
        """Take one candidate from the budget; false when it is used up."""
        self.candidates -= 1
        return self.candidates >= 0 and self.elapsed < self.seconds


@dataclass(frozen=True)
class Reduction:
    """Where a reduction ended: the simplest case found, whether it is minimal, and how many candidates were tried."""

    case: Case
    outcome: str
    tried: int


def reduce_case(case: Case, fails: Fails, budget: Budget | None = None) -> Reduction:
    """Reduce ``case`` as long as ``fails`` holds.

    Args:
        case: a failing case.
        fails: whether a case fails with the same signature; called once per candidate, never on an invalid
            configuration unless ``case`` itself is invalid.
        budget: when to stop; the best so far is returned.

    Returns:
        A reduction whose ``outcome`` is ``"minimal"`` (no single simplification of it fails), ``"budget spent"``, or
        ``"not reproduced"`` (``case`` itself did not fail again).
    """
    budget = budget or Budget()
    if not fails(case):
        return Reduction(case, NOT_REPRODUCED, 1)
    search = _Search(case, fails, budget)
    outcome = search.run()
    return Reduction(search.case, outcome, 1 + search.count)


class _BudgetSpent(Exception):  # it ends a search, it is no error
    pass


class _Search:
    """A greedy descent: each kind of simplification as far as it goes, then the next, until a whole pass changes nothing."""

    def __init__(self, case: Case, fails: Fails, budget: Budget) -> None:
        self.case, self._fails, self._budget = case, fails, budget
        self._seen = {case}
        self.count = 0

    def run(self) -> str:
        try:
            while any([self._exhaust(kind) for kind in KINDS]):  # noqa: C419 - every kind takes its turn in a pass
                pass
        except _BudgetSpent:
            return BUDGET_SPENT
        return MINIMAL

    def _exhaust(self, kind: Callable[[Case], Iterator[Case]]) -> bool:
        progress = False
        while self._step(kind):
            progress = True
        return progress

    def _step(self, kind: Callable[[Case], Iterator[Case]]) -> bool:
        for candidate in kind(self.case):
            if candidate in self._seen or candidate.config.is_valid != self.case.config.is_valid:
                continue
            self._seen.add(candidate)
            if not self._budget.spend():
                raise _BudgetSpent
            self.count += 1
            if self._fails(candidate):
                self.case = candidate
                return True
        return False


def simpler(case: Case) -> Iterator[Case]:
    """Yield every single simplification of ``case``: it is minimal when none of them fails."""
    for kind in KINDS:
        yield from (candidate for candidate in kind(case) if candidate != case)


def _rank(regime: str) -> int:
    return PLAIN_REGIMES.index(regime) if regime in PLAIN_REGIMES else len(PLAIN_REGIMES)


def _leaps(c: ConvConfig) -> Iterator[ConvConfig]:
    """Yield configurations with many parameters plain at once: most failures need only one or two that are not."""
    plain = {"stride": 1, "dilation": 1, "padding": 0, "output_padding": 0} | {
        name: value for name, value in _PLAIN if _may_be_plain(c, name)
    }
    small = {"in_channels": c.groups, "out_channels": c.groups}
    least = (max(extent - lo - hi, 1) for extent, (lo, hi) in zip(c.effective_kernel, c.pads, strict=True))
    tiny = {"input_size": tuple(min(size, small) for size, small in zip(c.input_size, least, strict=True))}
    one = {} if c.batch == 1 else {"batch": 1}
    alone = {"groups": 1, "in_channels": 1, "out_channels": 1}
    for changes in (plain | alone | one, plain | alone, plain | small, small | tiny | one, small | tiny, small, plain, tiny):
        yield c.replace(**changes)


_PLAIN: tuple[tuple[str, Any], ...] = (
    ("weight_layout", None),
    ("layout", "contiguous"),
    ("dtype", "float32"),
    ("padding_mode", "zeros"),
    ("bias", False),
)


def _may_be_plain(c: ConvConfig, name: str) -> bool:
    """Whether the parameter can be left out: what is wrong with the bias needs one."""
    return name != "bias" or c.flaw is None or not c.flaw.startswith("bias")


def _plainer(c: ConvConfig) -> Iterator[ConvConfig]:
    for name, plain in _PLAIN:
        if getattr(c, name) != plain and _may_be_plain(c, name):
            yield c.replace(**{name: plain})


def _smaller_batch(c: ConvConfig) -> Iterator[ConvConfig]:
    if c.batch is None:
        yield c.replace(batch=1)
    else:
        yield from (c.replace(batch=n) for n in _descend(c.batch, 1))


def _without_transposing(c: ConvConfig) -> Iterator[ConvConfig]:
    if c.op == "conv_transpose" and c.flaw != "output-length":
        yield c.replace(op="conv", output_padding=0)


def _fewer_dims(c: ConvConfig) -> Iterator[ConvConfig]:
    for axis in range(c.dims if c.dims > 1 else 0):
        kept = [a for a in range(c.dims) if a != axis]
        changes = {
            name: tuple(getattr(c, name)[a] for a in kept) for name in ("input_size", "kernel_size", "stride", "dilation", "output_padding")
        }
        padding = c.padding if isinstance(c.padding, str) else tuple(c.padding[a] for a in kept)
        yield c.replace(dims=c.dims - 1, padding=padding, **changes)


def _simpler_padding(c: ConvConfig) -> Iterator[ConvConfig]:
    if isinstance(c.padding, str):
        yield c.replace(padding=0)
        yield c.replace(padding=c.pads)
        return
    if not any(side for sides in c.padding for side in sides):
        return
    yield c.replace(padding=0)
    for axis, sides in enumerate(c.padding):
        for simpler_sides in {(0, 0), (0, sides[1]), (sides[0], 0), *((_halved(sides[0]), _halved(sides[1])),), *_one_less(sides)}:
            yield c.replace(padding=(*c.padding[:axis], simpler_sides, *c.padding[axis + 1 :]))


def _one_less(sides: tuple[int, int]) -> Iterator[tuple[int, int]]:
    lo, hi = sides
    yield lo - _sign(lo), hi
    yield lo, hi - _sign(hi)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _halved(value: int) -> int:
    return int(value / 2)


def _towards(c: ConvConfig, name: str, plain: int) -> Iterator[ConvConfig]:
    values: tuple[int, ...] = getattr(c, name)
    if any(v != plain for v in values):
        yield c.replace(**{name: plain})
    for axis, value in enumerate(values):
        for smaller in _descend(value, plain):
            yield c.replace(**{name: (*values[:axis], smaller, *values[axis + 1 :])})


def _descend(value: int, plain: int) -> Iterator[int]:
    """Yield values between ``value`` and ``plain``: the plain one, then by halves, then the next."""
    if value < plain:
        yield plain
        return
    step = value - plain
    while step >= 1:
        yield value - step
        step //= 2


def _fewer_groups(c: ConvConfig) -> Iterator[ConvConfig]:
    if c.groups == 1:
        return
    yield c.replace(groups=1)
    width, per_group = c.in_channels // c.groups, c.out_channels // c.groups
    for groups in _descend(c.groups, 1):
        yield c.replace(groups=groups, in_channels=width * groups, out_channels=per_group * groups)


def _fewer_channels(c: ConvConfig) -> Iterator[ConvConfig]:
    for name in ("out_channels", "in_channels"):
        per_group = getattr(c, name) // c.groups
        for fewer in _descend(per_group, 1):
            yield c.replace(**{name: fewer * c.groups})


def _kernel_and_input_together(c: ConvConfig) -> Iterator[ConvConfig]:
    """A smaller kernel may need a smaller input to show the same thing, as where it equals the padded input."""
    for axis in range(c.dims):
        for kernel in _descend(c.kernel_size[axis], 1):
            size = c.input_size[axis] - (c.kernel_size[axis] - kernel) * c.dilation[axis]
            if size >= 1:
                yield c.replace(
                    kernel_size=(*c.kernel_size[:axis], kernel, *c.kernel_size[axis + 1 :]),
                    input_size=(*c.input_size[:axis], size, *c.input_size[axis + 1 :]),
                )


def complexity(case: Case) -> tuple[int, int, str]:
    """Order cases of one finding from simple to complex: parameters that are not default, then size, then the line."""
    c = case.config
    not_default = sum(
        (
            c.dims != 2, c.batch != 1, c.groups != 1, set(c.stride) != {1}, set(c.dilation) != {1}, c.padding != ((0, 0),) * c.dims,
            c.padding_mode != "zeros", c.bias, c.dtype != "float32", c.layout != "contiguous", case.grad, c.op != "conv",
            c.weight_layout is not None, c.flaw is not None, any(c.output_padding),
        )
    )  # fmt: skip
    size = math.prod(max(n, 1) for n in (*c.input_shape, *c.weight_shape))
    return not_default, size, str(case)


def _of_config(simplify: Callable[[ConvConfig], Iterator[ConvConfig]]) -> Callable[[Case], Iterator[Case]]:
    return lambda case: (replace(case, config=config) for config in simplify(case.config))


def _plainer_data(case: Case) -> Iterator[Case]:
    for regime in PLAIN_REGIMES[: _rank(case.recipe.regime)]:
        yield replace(case, recipe=DataRecipe(regime, case.recipe.seed))
    if case.recipe.seed:
        yield replace(case, recipe=DataRecipe(case.recipe.regime, 0))


def _fewer_passes(case: Case) -> Iterator[Case]:
    if case.grad:
        yield replace(case, grad=False)


KINDS: tuple[Callable[[Case], Iterator[Case]], ...] = (
    _fewer_passes,
    _of_config(_leaps),
    _of_config(_without_transposing),
    _of_config(_fewer_dims),
    _of_config(_plainer),
    _of_config(_simpler_padding),
    _of_config(lambda c: _towards(c, "dilation", 1)),
    _of_config(lambda c: _towards(c, "stride", 1)),
    _of_config(lambda c: _towards(c, "output_padding", 0)),
    _of_config(_smaller_batch),
    _of_config(_fewer_groups),
    _of_config(_fewer_channels),
    _of_config(lambda c: _towards(c, "kernel_size", 1)),
    _of_config(lambda c: _towards(c, "input_size", 1)),
    _of_config(_kernel_and_input_together),
    _plainer_data,
)
"""The kinds of simplification, in the order of simplicity."""
