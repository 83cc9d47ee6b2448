"""Simplifications of a case's structure: its configuration, its passes and the kind of its data.

The order of simplicity, most telling first: fewer passes and dimensions; plain layout, dtype and padding mode; no bias;
less padding, dilation, stride, batch, groups and channels; a smaller kernel and input; parameters of one value together;
the lower axis, and the lower side of it, first; integers instead of floats.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

from convfuzz.case import EXPLICIT, Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.triage.reduction.equal_parameters import equal_parts, with_value
from convfuzz.triage.resets import RESETS

Less = Callable[[int, int], Iterator[int]]
"""Which values between a number and its plain value are tried."""

_MOST_WITH_REMAINDER = 2**16

PLAIN_REGIMES = ("integers", "normal", "one-hot")


def simpler(case: Case) -> Iterator[Case]:
    """Yield every single simplification of ``case``: it is minimal when none of them fails."""
    for kind in (*KINDS, *REMAINDERS):
        yield from (candidate for candidate in kind(case) if candidate != case)


def without_all_but(case: Case, axes: Collection[str]) -> list[Case]:
    """Return a valid case plain on all but some axes of its features: in the smallest layer, then in its own sizes."""
    c = case.config
    if not c.is_valid:
        return []
    for axis, reset in RESETS.items():
        if axis not in axes:
            c = reset(c)
    if "dims" not in axes:
        while c.dims > 1:
            c = next(fewer_dims(c))
    kernel = c.kernel_size if "kernel" in axes else (1,) * c.dims
    channels = {} if "channels" in axes else {"in_channels": c.groups, "out_channels": c.groups}
    small = c.replace(kernel_size=kernel, **channels)
    least = (max(extent - lo - hi, 1) for extent, (lo, hi) in zip(small.effective_kernel, small.pads, strict=True))
    sizes = small.replace(input_size=tuple(least)) if "input" not in axes else small
    grad = case.grad and "passes" in axes
    plain = [candidate for candidate in (sizes, small, c) if candidate.is_valid]
    return [case.changed(config=candidate, grad=grad) for candidate in dict.fromkeys(plain)]


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


_PLAINER_OF_KIND = {"complex128": "complex64", "bfloat16": "float16", "uint8": "int8"}
"""Where float32 does not show a failure, the plainest dtype of the same kind may."""


def _plainer(c: ConvConfig) -> Iterator[ConvConfig]:
    for name, plain in _PLAIN:
        if getattr(c, name) != plain and _may_be_plain(c, name):
            yield c.replace(**{name: plain})
    if plainer := _PLAINER_OF_KIND.get(c.dtype):
        yield c.replace(dtype=plainer)


def _smaller_batch(c: ConvConfig, less: Less) -> Iterator[ConvConfig]:
    if c.batch is None:
        yield c.replace(batch=1)
    else:
        yield from (c.replace(batch=n) for n in less(c.batch, 1))


def _without_transposing(c: ConvConfig) -> Iterator[ConvConfig]:
    if c.op == "conv_transpose" and c.flaw != "output-length":
        yield c.replace(op="conv", output_padding=0)


def fewer_dims(c: ConvConfig) -> Iterator[ConvConfig]:
    """Yield the configurations without one of the spatial dimensions."""
    for axis in range(c.dims if c.dims > 1 else 0):
        yield _with_axes(c, [a for a in range(c.dims) if a != axis])


_PER_AXIS = ("stride", "dilation", "padding", "output_padding", "kernel_size", "input_size")


def _with_axes(c: ConvConfig, axes: Sequence[int]) -> ConvConfig:
    """Return the configuration with these of its spatial axes, in this order."""
    changes = {name: tuple(getattr(c, name)[axis] for axis in axes) for name in _PER_AXIS if not isinstance(getattr(c, name), str)}
    return c.replace(dims=len(axes), **changes)


def _axes_in_order(c: ConvConfig) -> Iterator[ConvConfig]:
    """Yield the layer with its axes, or the two sides of one, exchanged, where that puts small values first.

    What fails on any axis is thereby shown on the same one, whichever failed first.
    """
    exchanged = [_with_axes(c, axes) for axes in permutations(range(c.dims))]
    if not isinstance(c.padding, str):
        for axis, (lo, hi) in enumerate(c.padding):
            exchanged.append(c.replace(padding=(*c.padding[:axis], (hi, lo), *c.padding[axis + 1 :])))
    yield from sorted((one for one in exchanged if _values_per_axis(one) < _values_per_axis(c)), key=_values_per_axis)


def _values_per_axis(c: ConvConfig) -> tuple[Any, ...]:
    return tuple(getattr(c, name) for name in _PER_AXIS)


def _simpler_padding(c: ConvConfig, less: Less) -> Iterator[ConvConfig]:
    if isinstance(c.padding, str):
        yield c.replace(padding=0)
        yield c.replace(padding=c.pads)
        return
    if not any(side for sides in c.padding for side in sides):
        return
    yield c.replace(padding=0)
    for axis, sides in enumerate(c.padding):
        for simpler_sides in _smaller_sides(*sides, less):
            yield c.replace(padding=(*c.padding[:axis], simpler_sides, *c.padding[axis + 1 :]))
    if c.op == "conv":  # it may only make room for the kernel
        sizes = (max(size + lo + hi, 1) for size, (lo, hi) in zip(c.input_size, c.padding, strict=True))
        yield c.replace(padding=0, input_size=tuple(sizes))


def _smaller_sides(lo: int, hi: int, less: Less) -> Iterator[tuple[int, int]]:
    """Yield the padding of an axis with less on both sides, or on one of them; cropping is less when fewer sites are cropped."""
    smaller_lo, smaller_hi = ([_sign(side) * size for size in less(abs(side), 0)] for side in (lo, hi))
    yield from zip(smaller_lo, smaller_hi, strict=False)
    yield from ((lo, smaller) for smaller in smaller_hi)
    yield from ((smaller, hi) for smaller in smaller_lo)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _towards(c: ConvConfig, less: Less, name: str, plain: int) -> Iterator[ConvConfig]:
    values: tuple[int, ...] = getattr(c, name)
    if any(v != plain for v in values):
        yield c.replace(**{name: plain})
    for axis, value in enumerate(values):
        for smaller in less(value, plain):
            yield c.replace(**{name: (*values[:axis], smaller, *values[axis + 1 :])})


def _output_padding_into_input(c: ConvConfig) -> Iterator[ConvConfig]:
    """What needs a site beyond the last window may have it between two windows."""
    if any(c.output_padding):
        sizes = tuple(size + (extra > 0) for size, extra in zip(c.input_size, c.output_padding, strict=True))
        yield c.replace(output_padding=0, input_size=sizes)


def by_halves(value: int, plain: int) -> Iterator[int]:
    """Yield values between ``value`` and ``plain``: the plain one, then by halves, then the next."""
    if value < plain:
        yield plain
        return
    step = value - plain
    while step >= 1:
        yield value - step
        step //= 2


def with_the_remainder(value: int, plain: int) -> Iterator[int]:
    """Yield values between ``value`` and ``plain`` that leave the same remainder, by powers of two and by three times those.

    What fails for odd numbers from 3 on alone fails at none of the halves from 7. A step of 2ʲ keeps the remainder by every
    smaller power of two, so that such steps, the largest first, end at the least number of that remainder. Of numbers so large
    that they are no sizes of a layer, there are none.
    """
    if value > _MOST_WITH_REMAINDER:
        return
    steps = {first << j for first in (2, 3) for j in range(max(value - plain, 0).bit_length())}
    yield from (value - step for step in sorted(steps, reverse=True) if value - step >= plain)


def _fewer_groups(c: ConvConfig, less: Less) -> Iterator[ConvConfig]:
    if c.groups == 1:
        return
    yield c.replace(groups=1)
    if c.groups < 1:
        return
    width, per_group = c.in_channels // c.groups, c.out_channels // c.groups
    for groups in less(c.groups, 1):
        yield c.replace(groups=groups, in_channels=width * groups, out_channels=per_group * groups)


def _fewer_channels(c: ConvConfig, less: Less) -> Iterator[ConvConfig]:
    width = max(c.groups, 1)
    for name in ("out_channels", "in_channels"):
        for fewer in less(getattr(c, name) // width, 1):
            yield c.replace(**{name: fewer * width})


def _kernel_and_input_together(c: ConvConfig, less: Less) -> Iterator[ConvConfig]:
    """A smaller kernel may need a smaller input to show the same thing, as where it equals the padded input."""
    for axis in range(c.dims):
        for kernel in less(c.kernel_size[axis], 1):
            size = c.input_size[axis] - (c.kernel_size[axis] - kernel) * c.dilation[axis]
            if size >= 1:
                yield c.replace(
                    kernel_size=(*c.kernel_size[:axis], kernel, *c.kernel_size[axis + 1 :]),
                    input_size=(*c.input_size[:axis], size, *c.input_size[axis + 1 :]),
                )


def _stride_and_crop_together(c: ConvConfig, less: Less) -> Iterator[ConvConfig]:
    """Transposed, a stride may be that large only because padding crops what it spreads."""
    if c.op == "conv" or isinstance(c.padding, str):
        return
    for axis in range(c.dims):
        for stride in less(c.stride[axis], 1):
            total = sum(c.padding[axis]) - (c.stride[axis] - stride) * (c.input_size[axis] - 1)
            sides = (total // 2, total - total // 2)
            if 0 <= total < sum(c.padding[axis]):
                yield c.replace(
                    stride=(*c.stride[:axis], stride, *c.stride[axis + 1 :]), padding=(*c.padding[:axis], sides, *c.padding[axis + 1 :])
                )


def _equal_together(c: ConvConfig, less: Less) -> Iterator[ConvConfig]:
    """What fails because parameters are equal needs them to stay so: all of one value become smaller at once, or two of them."""
    for parts in equal_parts(c):
        for value in less(parts[0].value, max(part.plain for part in parts)):
            yield with_value(c, parts, value)


def _of_config(simplify: Callable[[ConvConfig], Iterator[ConvConfig]]) -> Callable[[Case], Iterator[Case]]:
    return lambda case: (case.changed(config=config) for config in simplify(case.config))


def _plainer_data(case: Case) -> Iterator[Case]:
    regime = case.recipe.regime
    if regime == EXPLICIT:
        return
    for plainer in PLAIN_REGIMES[: PLAIN_REGIMES.index(regime) if regime in PLAIN_REGIMES else None]:
        yield replace(case, recipe=DataRecipe(plainer, case.recipe.seed))
    if case.recipe.seed:
        yield replace(case, recipe=DataRecipe(regime, 0))


def _fewer_passes(case: Case) -> Iterator[Case]:
    if case.grad:
        yield case.changed(grad=False)


def _smaller_numbers(less: Less) -> tuple[Callable[[Case], Iterator[Case]], ...]:
    """Return the kinds that make a number smaller by the steps of ``less``, in the order of simplicity."""
    kinds: tuple[Callable[[ConvConfig], Iterator[ConvConfig]], ...] = (
        partial(_simpler_padding, less=less),
        partial(_towards, less=less, name="dilation", plain=1),
        partial(_towards, less=less, name="stride", plain=1),
        partial(_towards, less=less, name="output_padding", plain=0),
        partial(_smaller_batch, less=less),
        partial(_fewer_groups, less=less),
        partial(_fewer_channels, less=less),
        partial(_towards, less=less, name="kernel_size", plain=1),
        partial(_towards, less=less, name="input_size", plain=1),
        partial(_kernel_and_input_together, less=less),
        partial(_stride_and_crop_together, less=less),
        partial(_equal_together, less=less),
    )
    return tuple(map(_of_config, kinds))


KINDS: tuple[Callable[[Case], Iterator[Case]], ...] = (
    _fewer_passes,
    _of_config(_leaps),
    _of_config(_without_transposing),
    _of_config(fewer_dims),
    _of_config(_plainer),
    *_smaller_numbers(by_halves),
    _of_config(_output_padding_into_input),
    _of_config(_axes_in_order),
    _plainer_data,
)
"""The kinds of simplification, in the order of simplicity."""

REMAINDERS = _smaller_numbers(with_the_remainder)
"""More of them, for what is left when those have no more to give."""
