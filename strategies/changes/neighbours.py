"""Cases near a given one: one to three of its parameters changed by a step, and other data.

Where one bug was, another is likely: at the next size, in the next dtype, in the other operation. Unlike the flaws of
:mod:`.flaws`, a step does not aim at a rule: from stride 1 it goes to 0 or to 2, so some of the neighbours are invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.case import Case, DataRecipe, regimes_of
from convfuzz.case.config import DTYPES, LAYOUTS, ConvConfig
from convfuzz.case.dtypes import is_integer
from convfuzz.case.line import PADDING_MODES
from convfuzz.strategies.changes.flaws import AXES, at, padded
from convfuzz.strategies.recipe_strategies import recipe_sets
from convfuzz.strategies.weighted import weighted

MOST_FLOPS = 50_000_000
MOST_BYTES = 64 * 2**20
"""The most that computing and judging a neighbour may take; a case that costs more has no neighbours."""

Step: TypeAlias = Callable[[st.DrawFn, ConvConfig], ConvConfig]

_MOVES = weighted({1: 3, -1: 3, 2: 1, -2: 1})
_STEPS = weighted({1: 3, 2: 2, 3: 1})
_BATCHES = st.sampled_from((1, 2, 3, 0, 15, 16, 17, None))
_MODES = st.sampled_from(PADDING_MODES)
_SEEDS = st.integers(0, 9999)
_GRADIENTS = weighted({False: 2, True: 1})


def _per_axis(name: str, least: int, draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Move a per-axis parameter on one axis, not below ``least`` where it is not there already."""
    axis, values = draw(AXES[c.dims]), getattr(c, name)
    return c.replace(**{name: at(values, axis, max(values[axis] + draw(_MOVES), min(values[axis], least)))})


def _batch(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    return c.replace(batch=draw(_BATCHES))


def _channels(name: str, draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Move the channels by the number of groups, so that the groups still divide them."""
    return c.replace(**{name: max(getattr(c, name) + draw(_MOVES) * max(c.groups, 1), 0)})


def _groups(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Make the convolution dense, or depthwise, or move the number of groups; the channels grow where these do not divide them."""
    to = draw(st.sampled_from((1, c.in_channels, c.groups + 1, c.groups - 1)))
    if to < 1:
        return c.replace(groups=to)
    return c.replace(groups=to, in_channels=_up(c.in_channels, to), out_channels=_up(c.out_channels, to))


def _up(count: int, factor: int) -> int:
    """Return the least multiple of ``factor`` that is no less than ``count``."""
    return -(-count // factor) * factor


def _padding(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Move the padding of one side or of both on an axis, or ask for ``"same"``."""
    axis, lo, hi = draw(AXES[c.dims]), draw(_MOVES), draw(_MOVES)
    side = draw(st.sampled_from(("both", "lo", "hi", "same")))
    if side == "same":
        return c.replace(padding="same")
    before, after = c.pads[axis]
    return padded(c, axis, before + (lo if side != "hi" else 0), after + (lo if side == "both" else hi if side == "hi" else 0))


def _padding_mode(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    return c.replace(padding_mode=draw(_MODES))


def _one_of(name: str, values: Sequence[object], draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    return c.replace(**{name: draw(st.sampled_from(values))})


def _bias(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    del draw
    flaw = None if c.flaw is not None and c.flaw.startswith("bias") else c.flaw
    return c.replace(bias=not c.bias, flaw=flaw)


def _operation(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Change to the other operation, keeping the parameters that both have."""
    del draw
    if c.op == "conv":
        return c.replace(op="conv_transpose", padding_mode="zeros")
    return c.replace(op="conv", output_padding=0, flaw=None if c.flaw == "output-length" else c.flaw)


_OF_BOTH: dict[Step, int] = {
    _batch: 2,
    partial(_channels, "in_channels"): 2,
    partial(_channels, "out_channels"): 2,
    _groups: 1,
    partial(_per_axis, "input_size", 0): 4,
    partial(_per_axis, "kernel_size", 1): 3,
    partial(_per_axis, "stride", 0): 3,
    partial(_per_axis, "dilation", 0): 3,
    _padding: 3,
    partial(_one_of, "dtype", DTYPES): 3,
    partial(_one_of, "layout", LAYOUTS): 3,
    partial(_one_of, "weight_layout", (None, *LAYOUTS)): 1,
    _bias: 1,
    _operation: 1,
}
_STEPS_OF = {
    "conv": weighted(_OF_BOTH | {_padding_mode: 1}),
    "conv_transpose": weighted(_OF_BOTH | {partial(_per_axis, "output_padding", 0): 2}),
}


def is_affordable(config: ConvConfig) -> bool:
    """Whether computing and judging ``config`` costs no more than a neighbour may."""
    return config.working_nbytes <= MOST_BYTES and (not config.is_valid or config.flops <= MOST_FLOPS)


@st.composite
def near(draw: st.DrawFn, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Draw a batch near one of ``cases``, which are affordable: its configuration after one to three steps, with other data.

    A step that would make it cost too much is not taken. A neighbour of a case with gradients has them too, where there are
    any; its data are small integers, and those of the case's own regime where that is a telling one, else of any.
    """
    case = draw(st.sampled_from(cases))
    config = case.config
    for _ in range(draw(_STEPS)):
        after = draw(_STEPS_OF[config.op])(draw, config)
        config = after if is_affordable(after) else config
    if not config.is_valid:
        return (Case(config, DataRecipe("integers")),)
    grad = not is_integer(config.dtype) and (case.grad or draw(_GRADIENTS))
    return tuple(Case(config, recipe, grad) for recipe in draw(_recipes(case.recipe, config.dtype)))


def _recipes(recipe: DataRecipe, dtype: str) -> SearchStrategy[tuple[DataRecipe, ...]]:
    if recipe.regime in {"normal", "integers"} or recipe.regime not in regimes_of(dtype):
        return recipe_sets(2, regimes_of(dtype))
    return st.builds(lambda seed: (DataRecipe("integers", seed), DataRecipe(recipe.regime, seed)), _SEEDS)
