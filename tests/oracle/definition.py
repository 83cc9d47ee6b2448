"""The textbook definition of a convolution as a list of products, tap by tap, in plain Python.

It shares nothing with the library but the configuration's parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, Self

import numpy as np

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import Expectation, gradients, reference

Index = tuple[int, ...]
PASSES = ("forward", "grad_input", "grad_weight")


@dataclass(frozen=True)
class Incidence:
    """One product of the forward pass: ``y[y] += x[x] * w[w]``. ``copy`` is where padding put the input element."""

    x: Index
    w: Index
    y: Index
    copy: Index


def incidences(config: ConvConfig) -> Iterator[Incidence]:
    """Yield every product of the layer; inputs and outputs are indexed with a batch axis."""
    out_per_group = config.out_channels // config.groups
    in_per_group = config.in_channels // config.groups
    transposed = config.op == "conv_transpose"
    narrow_size = config.input_size if transposed else config.output_size
    for n, g, o, c in product(range(batch_of(config)), range(config.groups), range(out_per_group), range(in_per_group)):
        x_channel, y_channel = g * in_per_group + c, g * out_per_group + o
        for site in product(*map(range, narrow_size)):
            for tap in product(*map(range, config.kernel_size)):
                wide = tuple(
                    s * stride + k * dilation - lo
                    for s, stride, k, dilation, (lo, _) in zip(site, config.stride, tap, config.dilation, config.pads, strict=True)
                )
                if transposed:
                    if all(0 <= i < size for i, size in zip(wide, config.output_size, strict=True)):
                        yield Incidence((n, x_channel, *site), (x_channel, o, *tap), (n, y_channel, *wide), site)
                else:
                    source = [copied(i, size, config.padding_mode) for i, size in zip(wide, config.input_size, strict=True)]
                    if None not in source:
                        yield Incidence((n, x_channel, *source), (y_channel, c, *tap), (n, y_channel, *site), wide)  # type: ignore[arg-type]


def copied(i: int, size: int, mode: str) -> int | None:
    """Return the input position that position ``i`` of the padded axis copies; ``None`` is a zero."""
    if 0 <= i < size:
        return i
    if mode == "replicate":
        return min(max(i, 0), size - 1)
    if mode == "circular":
        return i % size
    if mode == "reflect":
        return abs(i) if i < 0 else 2 * (size - 1) - i
    return None


def batch_of(config: ConvConfig) -> int:
    """Return the batch size; an unbatched input is a batch of one."""
    return 1 if config.batch is None else config.batch


def products(config: ConvConfig, x: Any, w: Any, dy: Any) -> dict[str, dict[Index, list[tuple[Any, Any]]]]:
    """Return for each pass and element its factors, in the canonical order of the taps."""
    x, dy = (a if config.batch is not None else a[None] for a in (x, dy))
    narrow = "x" if config.op == "conv_transpose" else "y"
    every = list(incidences(config))
    found: dict[str, dict[Index, list[tuple[Any, Any]]]] = {name: {} for name in PASSES}
    for i in sorted(every, key=lambda i: (i.x[1], i.w[2:])):
        found["forward"].setdefault(i.y, []).append((x[i.x], w[i.w]))
    for i in sorted(every, key=lambda i: (i.y[1], i.w[2:])):
        found["grad_input"].setdefault(i.x, []).append((dy[i.y], w[i.w]))
    for i in sorted(every, key=lambda i: (i.x[0], getattr(i, narrow)[2:])):
        found["grad_weight"].setdefault(i.w, []).append((x[i.x], dy[i.y]))
    return found


def computed(config: ConvConfig, x: Any, w: Any, dy: Any, **options: bool) -> dict[str, Expectation]:
    """Return what the library gives for each pass."""
    passes = {"forward": reference(config, x, w, **options), **gradients(config, x, w, dy, **options)}
    return {name: passes[name] for name in PASSES}


class Element(NamedTuple):
    """The numbers of an expectation at one index."""

    y: float
    y_lo: float
    S: float
    Q: float
    n: int

    @classmethod
    def of(cls, expectation: Expectation, index: Index) -> Self:
        """Read the element; what the expectation lacks is NaN."""
        arrays = (expectation.y, expectation.y_lo, expectation.S, expectation.Q)
        y, y_lo, s, q = (np.nan if a is None else float(a[index]) for a in arrays)
        return cls(y, y_lo, s, q, int(expectation.n[index]))


def elements(config: ConvConfig, name: str, expectation: Expectation) -> Iterator[tuple[Index, Element]]:
    """Yield each element of a pass with its index (batch axis included) and its numbers."""
    add_batch = name != "grad_weight" and config.batch is None
    for index in np.ndindex(expectation.y.shape):
        yield ((0, *index) if add_batch else index), Element.of(expectation, index)
