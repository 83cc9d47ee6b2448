"""Strategies for configurations: the public one, and its checks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypedDict, Unpack

from hypothesis.errors import InvalidArgument
from hypothesis.strategies import SearchStrategy

from convfuzz.case.arguments import some_of, whole_number
from convfuzz.case.config import LAYOUTS, OPS, ConvConfig
from convfuzz.case.line import PADDING_MODES
from convfuzz.errors import InvalidConfig, closest
from convfuzz.strategies.choices import DTYPES, USUAL, Emphasis, Options
from convfuzz.strategies.construction import configuration


class ConfigOptions(TypedDict, total=False):
    """The keyword arguments of :func:`configs`, which other strategies pass on."""

    ops: Collection[str]
    dims: Collection[int]
    dtypes: Collection[str]
    layouts: Collection[str]
    padding_modes: Collection[str]
    bias: Collection[bool]
    max_batch: int
    unbatched: bool
    max_groups: int
    max_kernel_size: int
    max_stride: int
    max_dilation: int
    negative_padding: bool
    empty: bool
    invalid: bool
    max_flops: int
    max_elements: int


_DEFAULTS = ConfigOptions(
    ops=OPS,
    dims=(1, 2, 3),
    dtypes=DTYPES,
    layouts=LAYOUTS,
    padding_modes=PADDING_MODES,
    bias=(False, True),
    max_batch=65537,
    unbatched=True,
    max_groups=65537,
    max_kernel_size=65537,
    max_stride=65537,
    max_dilation=65537,
    negative_padding=True,
    empty=True,
    invalid=False,
    max_flops=20_000_000,
    max_elements=2**18,
)
_CHOICES: dict[str, tuple[object, ...]] = {
    "ops": OPS,
    "dims": (1, 2, 3),
    "dtypes": DTYPES,
    "layouts": LAYOUTS,
    "padding_modes": PADDING_MODES,
    "bias": (False, True),
}
_LEAST = {
    "max_batch": 1,
    "max_groups": 1,
    "max_kernel_size": 1,
    "max_stride": 1,
    "max_dilation": 1,
    "max_flops": 100,
    "max_elements": 8,
}


def configs(**options: Unpack[ConfigOptions]) -> SearchStrategy[ConvConfig]:
    """Draw convolutions and transposed convolutions that are valid and within the given limits.

    Args:
        **options: all optional, and all plain values:

            * ``ops``, ``dims``, ``dtypes``, ``layouts``, ``padding_modes``, ``bias``: the values to choose among.
              Default: all; float32 about half of the time, complex and integer dtypes rarely. The weight mostly has the
              layout of the input, else another of ``layouts``. A transposed convolution pads with zeros, and is only
              drawn where these are among the padding modes.
            * ``max_batch``, ``max_groups``, ``max_kernel_size``, ``max_stride``, ``max_dilation``: bounds, all inclusive.
              Default: no bound but the cost.
            * ``unbatched``: also inputs without a batch axis. Default: true.
            * ``negative_padding``: also padding that crops, or that extends a transposed output. Default: true.
            * ``empty``: also, rarely, tensors without elements: batch 0, no channels, or no sites. Default: true.
            * ``invalid``: also, rarely, a kernel larger than the padded input, or output padding as large as stride and
              dilation. Default: false.
            * ``max_flops``: bound of :attr:`ConvConfig.flops`. Default: 20,000,000; typical is a twentieth of the bound.
            * ``max_elements``: bound of the elements of each of input, weight and output. Default: 2^18.

    Raises:
        hypothesis.errors.InvalidArgument: an option is unknown or has no meaning; the message names it and its value.
    """
    return configs_with(USUAL, options)


def configs_with(emphasis: Emphasis, options: ConfigOptions) -> SearchStrategy[ConvConfig]:
    """Draw configurations with other preferences than the usual ones."""
    return configuration(checked(options), emphasis)


def checked(options: ConfigOptions) -> Options:
    """Return the options with their defaults.

    Raises:
        hypothesis.errors.InvalidArgument: an option is unknown or has no meaning.
    """
    values: dict[str, Any] = {**_DEFAULTS, **options}
    for name, value in values.items():
        if name not in _DEFAULTS:
            raise InvalidArgument(f"{name}={value!r} is no option of configs(): expected {', '.join(_DEFAULTS)}{closest(name, _DEFAULTS)}")
        if name in _CHOICES:
            values[name] = chosen(name, value, _CHOICES[name])
        elif name in _LEAST:
            values[name] = bounded(name, value, _LEAST[name])
        elif not isinstance(value, bool):
            raise InvalidArgument(f"{name}={value!r} is not a bool")
    modes = values["padding_modes"]
    if "zeros" not in modes:
        values["ops"] = tuple(op for op in values["ops"] if op == "conv")
        if not values["ops"]:
            raise InvalidArgument(f"padding_modes={modes!r} with ops=('conv_transpose',): a transposed convolution pads with zeros")
    return Options(**values)


def chosen(name: str, value: object, allowed: tuple[object, ...]) -> tuple[object, ...]:
    """Return the chosen values in the order of the allowed ones, so that the simplest comes first."""
    try:
        return some_of(name, value, allowed)
    except InvalidConfig as error:
        raise InvalidArgument(str(error)) from None


def bounded(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return a whole number of any library as a plain one.

    Raises:
        hypothesis.errors.InvalidArgument: it is none, or out of bounds.
    """
    number = whole_number(value)
    if number is None or number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"in {least} … {most}"
        raise InvalidArgument(f"{name}={value!r} is not a whole number {limits}")
    return number
