"""A case read out: its shapes in words, the arithmetic of its output size, and what its tensors hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

from convfuzz.case import EXPLICIT, REGIMES, Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import INTEGER_BITS, is_complex, is_integer
from convfuzz.case.explicit_data import assignments
from convfuzz.reports.formatting import listed, plural
from convfuzz.reports.pictures.incidence import AXES, Incidence, draw
from convfuzz.reports.result_axes import FORWARD, GRAD_BIAS, GRAD_INPUT, GRAD_WEIGHT, Place

TIMES, MINUS = "×", "−"
_MOST_ELEMENTS = 8


@dataclass(frozen=True)
class Tensor:
    """One tensor: its letter, its shape, and what its dimensions are."""

    name: str
    shape: str
    meaning: str


@dataclass(frozen=True)
class Reading:
    """A case in words and pictures; ``flaw`` is what is wrong with the call beyond the shapes, ``sizes`` is empty of an invalid one."""

    tensors: tuple[Tensor, ...]
    sizes: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    invalid: str
    flaw: str
    incidence: Incidence | None


def read(case: Case, in_pass: str = FORWARD, place: Place | None = None) -> Reading:
    """Read ``case`` out, with ``place`` in the result of ``in_pass`` as what is worst."""
    config = case.config
    return Reading(
        _tensors(case, in_pass),
        _sizes(config) if config.is_valid else (),
        _facts(case),
        config.invalid_reason or "",
        config.flaw or "",
        draw(case, in_pass, place),
    )


def _tensors(case: Case, in_pass: str) -> tuple[Tensor, ...]:
    """Return the operands and the results that matter: of an invalid configuration there is none."""
    config = case.config
    batch = "unbatched" if config.batch is None else f"batch of {config.batch}"
    tensors = [
        Tensor("x", _shape(config.input_shape), f"{batch}, {plural(config.in_channels, 'channel')}, {_extent(config.input_size)}"),
        Tensor("w", _shape(config.weight_shape), _kernels(config)),
    ]
    if config.bias:
        tensors.append(Tensor("b", _shape((config.out_channels,)), "one bias per output channel"))
    if not config.is_valid:
        return tuple(tensors)
    output = _shape(config.output_shape)
    tensors.append(Tensor("y", output, f"{batch}, {plural(config.out_channels, 'channel')}, {_extent(config.output_size)}"))
    if case.grad:
        tensors.append(Tensor("dy", output, "gradient of y, which the backward passes are given"))
    if in_pass in case.passes and in_pass != FORWARD:
        tensors.append(Tensor(in_pass, _shape(case.shape_of(in_pass)), _gradient(config, in_pass)))
    return tuple(tensors)


def _gradient(config: ConvConfig, in_pass: str) -> str:
    """Say what one element of a gradient sums."""
    sites = config.output_size if config.op == "conv" or in_pass == GRAD_BIAS else config.input_size
    places = math.prod(sites) * (1 if config.batch is None else config.batch)
    everywhere = "all sites" if config.batch is None else "the batch and all sites"
    said: dict[str, str] = {
        GRAD_INPUT: "each element sums dy·w over the output elements that it has a part in",
        GRAD_WEIGHT: f"each element sums dy·x over {everywhere}: up to {plural(places, 'product')}",
        GRAD_BIAS: f"each element sums dy over {everywhere}: {plural(places, 'number')}",
    }
    return said[in_pass]


def _kernels(config: ConvConfig) -> str:
    groups = max(config.groups, 1)
    taps = f"{_by(config.kernel_size)} {'tap' if math.prod(config.kernel_size) == 1 else 'taps'}"
    if config.op == "conv_transpose":
        reach = plural(config.out_channels // groups, "output channel")
        each = "the one input channel" if config.in_channels == 1 else f"each of {config.in_channels:,} input channels"
        return f"{each} spreads over {reach} by {taps}"
    seen = config.in_channels // groups
    if groups == 1:
        span = "the one input channel" if seen == 1 else f"all {seen} input channels"
    else:
        span = f"{seen} of {plural(config.in_channels, 'input channel')} ({groups} groups)"
    kernels = plural(config.out_channels, "kernel") + (" each" if config.out_channels > 1 else "")
    return f"{kernels} over {span}, {taps}: {plural(config.taps, 'product')} an element"


def _sizes(config: ConvConfig) -> tuple[tuple[str, str], ...]:
    lines = []
    for axis, name in enumerate(AXES[config.dims]):
        size, stride, extent = config.input_size[axis], config.stride[axis], config.effective_kernel[axis]
        lo, hi = config.pads[axis]
        kernel, dilation = config.kernel_size[axis], config.dilation[axis]
        reach = str(extent) if dilation == 1 else f"({dilation}·({kernel} {MINUS} 1) + 1)"
        if config.op == "conv":
            text = f"⌊({size}{_signed(lo)}{_signed(hi)} {MINUS} {reach}) / {stride}⌋ + 1 = {config.output_size[axis]}"
        else:
            extra = _signed(config.output_padding[axis])
            text = f"({size} {MINUS} 1)·{stride}{_signed(-lo)}{_signed(-hi)} + {reach}{extra} = {config.output_size[axis]}"
        lines.append((text, name))
    return tuple((listed([name for _, name in same]), text) for text, same in groupby(lines, key=lambda line: line[0]))


def _facts(case: Case) -> tuple[tuple[str, str], ...]:
    config = case.config
    facts = []
    if isinstance(config.padding, str):
        facts.append(("padding", f"{config.padding!r}, that is {_by_pads(config)}"))
    elif any(side for pads in config.pads for side in pads):
        facts.append(("padding", f"{_by_pads(config)}, {_mode(config)}"))
    if any(config.output_padding):
        facts.append(("output padding", f"{_by(config.output_padding)} more at the high end"))
    facts.append(("numbers", _numbers(config)))
    facts.append(("in memory", _layouts(config)))
    facts.append(("data", _data(case)))
    if case.grad and config.is_valid:
        facts.append(("passes", ", ".join(case.passes)))
    return tuple(facts)


def _numbers(config: ConvConfig) -> str:
    if is_integer(config.dtype):
        return f"{config.dtype}: exact, modulo 2^{INTEGER_BITS[config.dtype]}"
    return f"{config.dtype}: real and imaginary parts are judged each" if is_complex(config.dtype) else config.dtype


def _data(case: Case) -> str:
    recipe = case.recipe
    if recipe.regime != EXPLICIT:
        return f"{recipe.regime} (seed {recipe.seed}): {_regime(case)}"
    if not recipe.entries:
        return "all zeros"
    shown = assignments(recipe.entries[:_MOST_ELEMENTS], case.config, grad=case.grad)
    left = len(recipe.entries) - len(shown)
    return f"zeros but for {listed([*shown, *([f'{left} more'] if left else [])])}"


def _regime(case: Case) -> str:
    words = REGIMES[case.recipe.regime]
    if is_integer(case.config.dtype):
        return {
            "integers": "small, chosen so that no sum wraps around",
            "one-hot": "a single input is 1, the weights are any integers of the dtype",
            "huge": "any integers of the dtype, so that sums wrap around",
        }.get(case.recipe.regime, f"{words}; times four and rounded")
    return words


def _layouts(config: ConvConfig) -> str:
    weight = f", the weight {config.weight_layout}" if config.weight_layout else ""
    return f"{config.layout}{weight}".replace("_", " ")


def _mode(config: ConvConfig) -> str:
    negative = any(side < 0 for pads in config.pads for side in pads)
    if config.op == "conv_transpose":
        return "where negative extends the output" if negative else "which crops the output"
    return "where negative crops" if negative else config.padding_mode


def _by_pads(config: ConvConfig) -> str:
    parts = [f"{lo} before and {hi} after" if lo != hi else f"{lo} on both sides" for lo, hi in config.pads]
    if len(set(parts)) == 1:
        return parts[0]
    return "; ".join(f"{name} {part}" for name, part in zip(AXES[config.dims], parts, strict=True) if part != "0 on both sides")


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _by(sizes: tuple[int, ...]) -> str:
    return f"\N{NO-BREAK SPACE}{TIMES}\N{NO-BREAK SPACE}".join(map(str, sizes))


def _extent(sizes: tuple[int, ...]) -> str:
    return f"length {sizes[0]}" if len(sizes) == 1 else _by(sizes)


def _signed(value: int) -> str:
    return "" if value == 0 else f" + {value}" if value > 0 else f" {MINUS} {-value}"
