"""What judging one pass of a case takes: the reference's sums, their operands, and which elements are certain or open."""

from __future__ import annotations

import math
import time
from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import COMPONENTS, INTEGER_LIMITS, component_format, is_complex, is_integer
from convfuzz.judging.bounds import Operands
from convfuzz.oracle import Expectation, gradients, reference
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.regimes import rows_per_output_kernel

Bools = npt.NDArray[np.bool_]

_OPERANDS = {"forward": ("x", "w"), "grad_input": ("dy", "w"), "grad_weight": ("x", "dy"), "grad_bias": ("dy",)}
_MET_BY_ZEROS: dict[str, tuple[str, ...]] = {"forward": ("w",), "grad_input": ("w",), "grad_weight": ("dy", "x"), "grad_bias": ()}
"""The operands that an implementation may multiply by zeros that it writes around and between the sites of the other one."""
_COPIES = (("grad_input", "w"), ("grad_weight", "x"))
_MOST_SITES = 2**20


class LayerSums:
    """The sums of every pass of a layer, computed by the reference when they are first asked for.

    ``integers`` says that the tensors hold integers, so that a sum of them is exact as long as it is not too large.
    ``seconds`` is the time that the reference took so far.
    """

    def __init__(self, config: ConvConfig, tensors: Tensors, *, integers: bool) -> None:
        self.config, self.tensors, self.integers = config, tensors, integers
        self.seconds = 0.0
        self._of: dict[str, PassSums] = {}

    def of(self, in_pass: str) -> PassSums:
        """Return the sums of one pass."""
        if in_pass not in self._of:
            began = time.perf_counter()
            expected = self._forward() if in_pass == "forward" else self._gradients[in_pass]
            self.seconds += time.perf_counter() - began
            self._of[in_pass] = PassSums(self.config, self.tensors, in_pass, expected, integers=self.integers)
        return self._of[in_pass]

    def _forward(self) -> Expectation:
        # Integers that cannot sum up to too much need no S to certify them, and integer dtypes have no error bound.
        certain = is_integer(self.config.dtype) or (self.integers and _surely_exact(self.config, self.tensors))
        return reference(self.config, self.tensors.x, self.tensors.w, self.tensors.b, moments=not certain)

    @cached_property
    def _gradients(self) -> dict[str, Expectation]:
        assert self.tensors.dy is not None, "a case with gradients has the output's gradient"
        return gradients(self.config, self.tensors.x, self.tensors.w, self.tensors.dy)


class PassSums:
    """The sums of one pass of a layer, what the error bounds need beside them, and where they certify or leave open."""

    def __init__(self, config: ConvConfig, tensors: Tensors, in_pass: str, expected: Expectation, *, integers: bool) -> None:
        self._config, self._tensors, self._pass = config, tensors, in_pass
        self._exact = integers and not is_integer(config.dtype)
        self.dtype = config.dtype
        self.expected = expected

    @cached_property
    def certified(self) -> Bools | None:
        """Mark the elements whose sum of integers is exact in any order; ``None`` where the data are no such integers."""
        if not self._exact:
            return None
        limit = INTEGER_LIMITS[self.dtype]
        return np.ones(self.expected.y.shape, dtype=bool) if self.expected.S is None else np.asarray(limit >= self.expected.S)

    @cached_property
    def operands(self) -> Operands:
        """What the error bounds need to know of the data."""
        config = self._config
        last = int(is_complex(self.dtype))  # the axis of real and imaginary part
        bias = None
        if self._pass == "forward" and self._tensors.b is not None:
            bias = _parts(self._tensors.b)
            bias = bias.reshape(-1, *(1,) * config.dims, *bias.shape[1:])
        axes = () if self._pass == "grad_bias" else tuple(range(-config.dims - last, -last))
        tiny = component_format(self.dtype).tiny
        values = [np.abs(_parts(array)) for name, array in self._tensors.named().items() if name in _OPERANDS[self._pass]]
        largest, subnormal = (max(float(np.max(v, initial=0.0, where=v < below)) for v in values) for below in (np.inf, tiny))
        # No sum has an element twice, but where padding copies it; a complex product has each of its parts twice.
        count = (1.0 + last) * sum(int(np.count_nonzero((v > 0.0) & (v < tiny))) for v in values)
        subnormals = count if config.padding_mode == "zeros" else math.inf
        return Operands(self.dtype, axes, bias, largest, subnormal, subnormals, lambda: self._whole_map)

    @cached_property
    def _whole_map(self) -> float:
        """The largest S of the layer's maps at stride 1 with all padding there can be, where it leaves input sites unread."""
        config = self._config
        extents = config.effective_kernel
        sizes = [size + extent - 1 for size, extent in zip(config.input_size, extents, strict=True)]
        if self._pass != "forward" or config.op != "conv" or config.padding_mode != "zeros" or math.prod(sizes) > _MOST_SITES:
            return 0.0
        if all(map(_reads_all, config.input_size, config.kernel_size, config.stride, config.dilation, config.pads, config.output_size)):
            return 0.0
        whole = config.replace(stride=1, padding=tuple((extent - 1, extent - 1) for extent in extents))
        sums = reference(whole, self._tensors.x, self._tensors.w, self._tensors.b).S
        assert sums is not None, "the moments were asked for"
        return float(np.max(sums, initial=0.0, where=np.isfinite(sums)))

    @cached_property
    def undecided(self) -> Bools | None:
        """Mark elements whose sum has a place where padding, which is no tap, meets a NaN or an Inf.

        The reference leaves such places out; who multiplies the zero that is written there gets NaN. Both are accepted.
        """
        if is_complex(self.dtype):
            return None
        return reduce(_either, map(self._open_by, _MET_BY_ZEROS[self._pass]), None)

    def _open_by(self, name: str) -> Bools | None:
        """Mark elements of whose NaN and Inf in one operand not all meet a site of the other that exists."""
        config, tensors = self._config, self._tensors
        bad = ~np.isfinite(tensors.named()[name].astype(np.float64))
        if not bad.any():
            return None
        there = self._count(bad, name)
        there = there.reshape(*there.shape, *(1,) * config.dims)
        if config.padding_mode != "zeros":
            # Copied sites are taps like any other; where a copy's share comes from, or goes to, is not asked.
            return np.broadcast_to(there > 0, self.expected.y.shape) if (self._pass, name) in _COPIES else None
        ones = {other: np.ones(array.shape) for other, array in tensors.named().items()} | {name: bad.astype(np.float64)}
        if self._pass == "forward":
            met = reference(config, ones["x"], ones["w"], moments=False)
        else:
            met = gradients(config, ones["x"], ones["w"], ones["dy"], moments=False)[self._pass]
        return np.asarray(met.y < there)

    def _count(self, bad: Bools, name: str) -> npt.NDArray[np.int64]:
        """Count the marked elements of an operand that the sums of each channel of the result have before them, padding aside."""
        config = self._config
        counts: npt.NDArray[np.int64]
        if name != "w":
            channels = np.moveaxis(bad, int(config.batch is not None), 0).reshape(bad.shape[-config.dims - 1], -1).sum(axis=1)
            rows = config.weight_shape[0]
            if (name == "dy") == (config.op == "conv"):  # the operand of a weight's rows; the other is that of its columns
                counts = channels[:, None]
            else:
                counts = np.repeat(channels.reshape(config.groups, -1), rows // config.groups, axis=0)
        elif self._pass == "forward":
            counts = rows_per_output_kernel(bad, config).sum(axis=1)
        elif config.op == "conv":
            by_group = bad.reshape(config.groups, config.out_channels // config.groups, bad.shape[1], -1)
            counts = by_group.sum(axis=(1, 3)).reshape(-1)
        else:
            counts = bad.reshape(config.in_channels, -1).sum(axis=1)
        return counts


def _reads_all(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], outputs: int) -> bool:
    """Whether every site of an axis is a tap of some output."""
    read = {o * stride + k * dilation - pads[0] for o in range(outputs) for k in range(kernel)}
    return read >= set(range(size))


def _either(a: Bools | None, b: Bools | None) -> Bools | None:
    return b if a is None else a if b is None else a | b


def _surely_exact(config: ConvConfig, tensors: Tensors) -> bool:
    """Whether no partial sum of any output element can be too large: at most max |x| · Σ|w| of a kernel, and max |b|.

    The magnitude of a complex integer is that of both parts together, which covers a product made of three real ones too.
    """
    x, w, b = (None if a is None else _magnitudes(a) for a in (tensors.x, tensors.w, tensors.b))
    assert x is not None, "a layer has an input"
    assert w is not None, "a layer has a weight"
    kernel = np.max(rows_per_output_kernel(w, config).sum(axis=1), initial=0.0)
    largest = np.max(x, initial=0.0) * kernel + (0.0 if b is None else np.max(b, initial=0.0))
    return bool(largest <= component_format(config.dtype).exact_integers)


def _magnitudes(array: Array) -> npt.NDArray[np.float64]:
    parts = np.abs(_parts(array))
    return parts.sum(axis=-1) if array.dtype.name in COMPONENTS else parts


def _parts(array: Array) -> npt.NDArray[np.float64]:
    """Return an operand in float64, complex ones with a last axis (real, imaginary)."""
    if array.dtype.name in COMPONENTS:
        return np.stack([array.real, array.imag], axis=-1).astype(np.float64)
    return array.astype(np.float64)
