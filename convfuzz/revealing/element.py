"""One output element as a function of its products: what is put on each tap, and what comes back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.backends import Backend
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATING, FLOATS, FloatFormat, numpy_dtype
from convfuzz.errors import UsageError
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.layouts import placements

Floats = npt.NDArray[np.float64]
Places = tuple[npt.NDArray[np.intp], ...]

FEWEST_TAPS = 4
"""Of fewer taps no order is worth the name, and the probes of the accumulator have no room."""


@dataclass
class Element:
    """The output element in the middle of the first kernel's map, with every tap of its kernel inside the input where one is.

    A *tap* here is one product x·w; ``taps`` counts them. The coordinates of tap t are ``coordinates[t]``: input channel within
    the group, then the kernel's axes, in the order of the weight's memory. All that no tap reads is zero, and so are the other
    kernels. A batch carries as many probes at once as it has members, once :meth:`pack` has seen that this changes nothing.

    Raises:
        UsageError: the case is invalid or not of a floating-point dtype, the backend declines it, or it has too few taps.
    """

    backend: Backend
    config: ConvConfig
    calls: int = 0
    members: int = 1
    coordinates: npt.NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        if not config.is_valid:
            raise UsageError(f"{Case(config)}: {config.invalid_reason}; arithmetic is measured on a valid case")
        if config.dtype not in FLOATING:
            raise UsageError(f"dtype={config.dtype!r} is not one of {', '.join(FLOATING)}: there is no rounding to measure in others")
        support = self.backend.supports(Case(config))
        if not support:
            raise UsageError(f"{self.backend.name} does not compute {Case(config)}: {support.reason}; give another one with --case")
        self.axes = ("channel", *("depth", "row", "column")[3 - config.dims :])
        self.site, reads = _middle(config)
        channels = range(config.in_channels // config.groups)
        listed = [(c, *kernel, *sites) for c in channels for kernel, sites in reads]
        if len(listed) < FEWEST_TAPS:
            raise UsageError(f"{Case(config)} adds up {len(listed)} products at most, fewer than {FEWEST_TAPS}: give a larger --case")
        table = np.array(listed, dtype=np.intp)
        self.coordinates, sites = table[:, : 1 + config.dims], table[:, 1 + config.dims :]
        channel, kernel = table[:, 0], tuple(table[:, 1 : 1 + config.dims].T)
        self._in_x: Places = (channel, *sites.T)
        zeros = np.zeros_like(channel)
        self._in_w: Places = (zeros, channel, *kernel) if config.op == "conv" else (channel, zeros, *kernel)
        self._placed = placements(config)
        self._case = Case(config)

    @property
    def taps(self) -> int:
        """How many products are added."""
        return len(self.coordinates)

    @property
    def has_bias(self) -> bool:
        """Whether a bias is added too."""
        return self.config.bias

    @property
    def form(self) -> FloatFormat:
        """The format of the case's dtype."""
        return FLOATS[self.config.dtype]

    def values(self, x: Floats, w: Floats | None = None, b: float = 0.0) -> Floats:
        """Return the element for each row of ``x``, the values of the input at its taps; ``w`` are those of the weight, by default ones."""
        rows = np.atleast_2d(x)
        w = np.ones(self.taps) if w is None else w
        got = [self._call(rows[i : i + self.members], w, b) for i in range(0, len(rows), self.members)]
        return np.concatenate(got)

    def one(self, x: dict[int, float], w: dict[int, float] | None = None, b: float = 0.0, *, others: float = 0.0) -> float:
        """Return the element where some taps have values and the ``others`` another; weights not named are ones."""
        row, weights = np.full(self.taps, others), np.ones(self.taps)
        row[list(x)] = list(x.values())
        weights[list(w or {})] = list((w or {}).values())
        return float(self.values(row, weights, b)[0])

    def require_right(self) -> None:
        """Refuse a backend whose sums of −1, 0 and 1, which every format holds, are wrong: its arithmetic would be told of what it is not.

        Every tap is in one of the sums, which are so many that none grows too large for the eight bits of bfloat16.

        Raises:
            UsageError: a sum is off by half a unit or more, or is no number.
        """
        draws = np.random.default_rng(3)
        signs, w = draws.choice([-1.0, 1.0], (2, self.taps))
        rows = np.zeros((min(-(-self.taps // 128), 64), self.taps))
        rows[draws.permutation(self.taps) % len(rows), np.arange(self.taps)] = signs
        bias = 2.0 if self.has_bias else 0.0
        exact, got = rows @ w + bias, self.values(rows, w, bias)
        if not (np.abs(got - exact) < 0.5).all():
            at = int(np.argmin(np.abs(got - exact) < 0.5))
            raise UsageError(
                f"{self.backend.name} gives {got[at]:g} for a sum of −1, 0 and 1 that is {exact[at]:g}: "
                f"it is wrong, and its arithmetic is not measured; convfuzz check {self._case} says more"
            )

    def pack(self) -> bool | None:
        """Put one probe into each member of the batch from now on, if random sums are the same alone and at every place tried.

        Return whether they are; ``None`` for a batch of one. The terms spread over many binades, so that another order shows.
        """
        batch = self.config.batch or 1
        if batch < 2:
            return None
        draws = np.random.default_rng(1)
        rows = np.ldexp(draws.uniform(-1.0, 1.0, (6, self.taps)), draws.integers(-6, 6, (6, self.taps)))
        alone = self.values(rows)
        self.members = batch
        for shift in range(min(batch, 3)):
            filled = np.resize(np.roll(np.arange(len(rows)), shift), batch)
            if not np.array_equal(self.values(rows[filled]), alone[filled], equal_nan=True):
                self.members = 1
                return False
        return True

    def run(self, tensors: Tensors, config: ConvConfig | None = None) -> Array:
        """Call the backend.

        Raises:
            UsageError: it raises, or returns another shape.
        """
        case = self._case if config is None else Case(config)
        self.calls += 1
        try:
            with np.errstate(all="ignore"):
                y = self.backend.run(case, tensors)["forward"]
        except Exception as error:
            raise UsageError(f"{self.backend.name} raised {type(error).__name__} on {case}: {error}") from error
        if not isinstance(y, np.ndarray) or y.shape != case.config.output_shape:
            raise UsageError(f"{self.backend.name} returned {getattr(y, 'shape', y)!r} for {case}, expected {case.config.output_shape}")
        return y

    def blank(self) -> dict[str, Array]:
        """Return zeros for x, w and b, before they are rounded and laid out: see :meth:`lay_out`."""
        config = self.config
        return {"x": np.zeros(config.input_shape), "w": np.zeros(config.weight_shape), "b": np.zeros(config.out_channels)}

    def lay_out(self, drawn: dict[str, Array]) -> Tensors:
        """Return operands in the case's dtype and layout."""
        made = {name: self._placed[name].place(rounded(values, self.config.dtype)) for name, values in drawn.items()}
        return Tensors(made["x"], made["w"], made["b"] if self.has_bias else None)

    def _call(self, rows: Floats, w: Floats, b: float) -> Floats:
        drawn = self.blank()
        images = drawn["x"] if self.config.batch is not None else drawn["x"][None]
        for member, row in enumerate(rows):
            images[member][self._in_x] = row
        drawn["w"][self._in_w] = w
        drawn["b"][0] = b
        y = self.run(self.lay_out(drawn)).astype(np.float64)
        maps = y if self.config.batch is not None else y[None]
        index: tuple[Any, ...] = (slice(0, len(rows)), 0, *self.site)
        got: Floats = maps[index]
        return got


def rounded(values: Array, dtype: str) -> Array:
    """Return float64 values in a dtype, rounded once."""
    with np.errstate(all="ignore"):
        return (FLOATS[dtype].round(values) if dtype == "bfloat16" else values).astype(numpy_dtype(dtype))


def _middle(config: ConvConfig) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Return the output site nearest to the middle that most taps read for, and (kernel tap, input site) of each of them."""
    per_axis = [_axis(config, axis) for axis in range(config.dims)]
    site = tuple(at for at, _ in per_axis)
    reads = [(tuple(k for k, _ in pairs), tuple(i for _, i in pairs)) for pairs in itertools.product(*(pairs for _, pairs in per_axis))]
    return site, reads


def _axis(config: ConvConfig, axis: int) -> tuple[int, list[tuple[int, int]]]:
    size, (low, _), stride, dilation = config.input_size[axis], config.pads[axis], config.stride[axis], config.dilation[axis]
    outputs = config.output_size[axis]
    best: tuple[int, list[tuple[int, int]]] = (0, [])
    for at in sorted(range(outputs), key=lambda at: abs(at - outputs // 2)):
        if config.op == "conv":
            read = [(k, at * stride - low + k * dilation) for k in range(config.kernel_size[axis])]
        else:
            steps = [(k, at + low - k * dilation) for k in range(config.kernel_size[axis])]
            read = [(k, step // stride) for k, step in steps if step % stride == 0]
        inside = [(k, i) for k, i in read if 0 <= i < size]
        if len(inside) == config.kernel_size[axis]:
            return at, inside
        if len(inside) > len(best[1]) and (config.op == "conv_transpose" or config.padding_mode == "zeros"):
            best = at, inside
    if not best[1]:
        raise UsageError(f"{Case(config)}: no output element has all its taps inside the input; give a larger --case")
    return best
