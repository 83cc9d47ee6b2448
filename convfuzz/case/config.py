"""One convolution, complete: its parameters, the shapes that follow from them, and whether it is valid."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, Self

from convfuzz.case.arguments import one_of, several, whole_number
from convfuzz.case.line import DTYPE_TOKENS, FLAWS, LAYOUT_TOKENS, PADDING_MODES, format_fields, parse_fields, shown
from convfuzz.errors import InvalidConfig

Pads = tuple[tuple[int, int], ...]

DTYPES = tuple(DTYPE_TOKENS.values())
LAYOUTS = ("contiguous", *LAYOUT_TOKENS.values())
OPS = ("conv", "conv_transpose")
ITEMSIZE = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "complex64": 8, "complex128": 16, "int8": 1, "int32": 4, "int64": 8,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConvConfig:
    """One convolution layer and the shape of its input, with PyTorch's parameter names.

    A number given for a per-axis parameter serves every axis. Whole numbers of any library are taken, and stored as ``int``: what
    :func:`operator.index` takes, except bools, in any sequence. ``batch=None`` is an unbatched input. ``padding`` is
    ``"same"``, ``"valid"``, a number, or per axis a number or a ``(lo, hi)`` pair; negative padding crops. ``"same"``
    gives the output size ceil(input / stride), the odd zero at the high end (TensorFlow's and ONNX's SAME_UPPER,
    PyTorch's ``"same"`` at stride 1). Of a transposed convolution it gives input · stride, which such a convolution maps
    back (TensorFlow's SAME, ONNX's SAME_UPPER). ``layout`` is how input, weight and bias lie in memory, ``weight_layout``
    how the weight does if that is different. ``flaw`` is one of :data:`convfuzz.case.line.FLAWS`: something wrong with the call that the
    numbers do not say. An object may hold an *invalid* convolution: ask :attr:`invalid_reason`.

    Raises:
        InvalidConfig: a field has the wrong type or the wrong number of axes, so that it is no configuration at all.
    """

    op: Literal["conv", "conv_transpose"] = "conv"
    dims: int = 2
    batch: int | None = 1
    in_channels: int
    out_channels: int
    groups: int = 1
    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...] = (1,)
    padding: Pads | Literal["same", "valid"] = ((0, 0),)
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    dilation: tuple[int, ...] = (1,)
    output_padding: tuple[int, ...] = (0,)
    bias: bool = False
    dtype: str = "float32"
    layout: str = "contiguous"
    weight_layout: str | None = None
    flaw: str | None = None

    def __post_init__(self) -> None:
        one_of("op", self.op, OPS)
        dims = whole_number(self.dims)
        one_of("dims", self.dims if dims is None else dims, (1, 2, 3))
        object.__setattr__(self, "dims", dims)
        one_of("padding_mode", self.padding_mode, PADDING_MODES)
        one_of("dtype", self.dtype, DTYPES)
        one_of("layout", self.layout, LAYOUTS)
        one_of("weight_layout", self.weight_layout, (None, *LAYOUTS))
        one_of("flaw", self.flaw, (None, *FLAWS))
        if self.flaw is not None and self.flaw.startswith("bias") and not self.bias:
            raise InvalidConfig(f"flaw={self.flaw!r} without a bias")
        if self.flaw == "output-length" and self.op == "conv":
            raise InvalidConfig(f"flaw={self.flaw!r} without a transposed convolution")
        if self.weight_layout == self.layout:
            object.__setattr__(self, "weight_layout", None)
        for name in ("in_channels", "out_channels", "groups", *(() if self.batch is None else ("batch",))):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if not isinstance(self.bias, bool):
            raise InvalidConfig(f"bias={self.bias!r} is not a bool")
        for name in ("input_size", "kernel_size", "stride", "dilation", "output_padding"):
            object.__setattr__(self, name, _per_axis(name, getattr(self, name), self.dims))
        object.__setattr__(self, "padding", _padding(self.padding, self.dims))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a configuration from its one-line form (the part of a case before ``@``).

        Raises:
            CaseSyntaxError: the line does not parse; the message names the token.
        """
        values, grad = parse_fields(line)
        if grad:
            raise InvalidConfig(f"{shown(line)} is a case, not a configuration: 'grad' belongs to Case.parse")
        return cls(**values)

    def __str__(self) -> str:
        return format_fields(self.as_fields())

    def as_fields(self) -> dict[str, Any]:
        """Return the parameters by name, not the derived attributes."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def replace(self, **changes: Any) -> ConvConfig:
        """Return a copy with the named parameters changed."""
        return replace(self, **changes)

    def as_called(self, name: str, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return the per-axis argument ``name`` as a call hands it over: with one value too many where :attr:`flaw` says so."""
        return (*values, values[-1]) if self.flaw == f"{name}-length" else values

    # -- geometry -------------------------------------------------------------------------------------------------

    @cached_property
    def effective_kernel(self) -> tuple[int, ...]:
        """Extent of the dilated kernel per axis: dilation · (kernel − 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))

    @cached_property
    def pads(self) -> Pads:
        """Padding per axis as numbers ``(lo, hi)``, with ``"same"`` and ``"valid"`` resolved; negative crops."""
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return ((0, 0),) * self.dims
        pads = []
        for size, extent, stride in zip(self.input_size, self.effective_kernel, self.stride, strict=True):
            if self.op == "conv":
                outputs = -(-size // stride) if stride > 0 else 0
                total = max((outputs - 1) * stride + extent - size, 0)
            else:
                total = extent - stride
            lo = max(total, 0) // 2
            pads.append((lo, total - lo))
        return tuple(pads)

    @cached_property
    def output_size(self) -> tuple[int, ...]:
        """Spatial size of the output; meaningless when the configuration is invalid."""
        sizes = []
        for axis, ((lo, hi), extent, stride) in enumerate(zip(self.pads, self.effective_kernel, self.stride, strict=True)):
            size = self.input_size[axis]
            if self.op == "conv":
                sizes.append((size + lo + hi - extent) // max(stride, 1) + 1)
            else:
                sizes.append((size - 1) * stride - lo - hi + extent + self.output_padding[axis])
        return tuple(sizes)

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of ``x``: (N, C, *spatial), without N when unbatched."""
        return self._batched(self.in_channels, self.input_size)

    @cached_property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of ``w``: (out, in / groups, *kernel); transposed: (in, out / groups, *kernel)."""
        rows, columns = (self.out_channels, self.in_channels) if self.op == "conv" else (self.in_channels, self.out_channels)
        return (rows, columns // max(self.groups, 1), *self.kernel_size)

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of ``y``: (N, out, *spatial), without N when unbatched."""
        return self._batched(self.out_channels, self.output_size)

    def _batched(self, channels: int, size: tuple[int, ...]) -> tuple[int, ...]:
        return (channels, *size) if self.batch is None else (self.batch, channels, *size)

    # -- cost -----------------------------------------------------------------------------------------------------

    @property
    def taps(self) -> int:
        """Products summed for one output element where nothing falls on padding (without the bias)."""
        per_group = self.in_channels // max(self.groups, 1)
        return per_group * math.prod(self.kernel_size)

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass: two per tap, padding counted as taps."""
        sites = self.output_shape if self.op == "conv" else self.input_shape
        fan = self.taps if self.op == "conv" else self.out_channels // max(self.groups, 1) * math.prod(self.kernel_size)
        return 2 * _elements(sites) * fan + (_elements(self.output_shape) if self.bias else 0)

    @property
    def nbytes(self) -> int:
        """Bytes of x, w, b and y together."""
        elements = sum(map(_elements, (self.input_shape, self.weight_shape, self.output_shape)))
        return (elements + (self.out_channels if self.bias else 0)) * ITEMSIZE[self.dtype]

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """Shape of the input with its padding written out, as an implementation without an argument for it needs it."""
        if self.op == "conv_transpose":
            return self.input_shape
        sizes = (size + max(lo, 0) + max(hi, 0) for size, (lo, hi) in zip(self.input_size, self.pads, strict=True))
        return self._batched(self.in_channels, tuple(sizes))

    @property
    def working_nbytes(self) -> int:
        """Bytes that computing and judging the forward pass need at least.

        That is :attr:`nbytes`, and in float64 the padded input, the weight, and four sums per output element; of an invalid
        configuration, which has no output, input and weight.
        """
        if not self.is_valid:
            return (_elements(self.input_shape) + _elements(self.weight_shape) + max(self.out_channels, 0)) * ITEMSIZE[self.dtype]
        wide = _elements(self.padded_shape) + _elements(self.weight_shape) + 4 * _elements(self.output_shape)
        return self.nbytes + 8 * wide * (2 if self.dtype.startswith("complex") else 1)

    @property
    def is_extreme(self) -> bool:
        """Whether a parameter is beyond what a 32-bit signed integer holds, which many implementations document as their limit."""
        sides = [side for sides in self.pads for side in sides]
        sizes = (*self.input_size, *self.kernel_size, *self.stride, *self.dilation, *self.output_padding, *self.effective_kernel)
        most = max(map(abs, (self.batch or 1, self.in_channels, self.out_channels, self.groups, *sides, *sizes)))
        return most > 2**31 - 1

    # -- validity -------------------------------------------------------------------------------------------------

    @property
    def is_valid(self) -> bool:
        """Whether this is a convolution that every complete implementation must compute."""
        return self.invalid_reason is None

    @cached_property
    def invalid_reason(self) -> str | None:
        """Which rule the configuration breaks, with the values; ``None`` when it is valid."""
        return self._channel_reason() or self._axis_reason() or self._size_reason() or (FLAWS[self.flaw] if self.flaw else None)

    @property
    def contradiction(self) -> str:
        """Which part of the configuration no call can express, so that no backend can reject it; empty if a call can express all of it."""
        given = f"output_padding={_plain(self.output_padding)}"
        if any(self.output_padding) and self.op == "conv":
            return f"{given} without conv_transpose"
        if any(self.output_padding) and self.padding == "same":
            return f"{given} with padding='same', which gives the output size by itself"
        return ""

    @property
    def has_no_site(self) -> bool:
        """Whether the one rule broken is that the kernel is larger than the padded input: an empty output is consistent then."""
        return self.op == "conv" and self.flaw is None and not (self._channel_reason() or self._axis_reason()) and bool(self._size_reason())

    def _channel_reason(self) -> str | None:
        for name, least in (("in_channels", 0), ("out_channels", 0), ("groups", 1)):
            if (value := getattr(self, name)) < least:
                return f"{name}={value} is less than {least}"
        if self.batch is not None and self.batch < 0:
            return f"batch={self.batch} is less than 0"
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                return f"groups={self.groups} does not divide {name}={getattr(self, name)}"
        return None

    def _axis_reason(self) -> str | None:
        for name, least in (("input_size", 0), ("kernel_size", 1), ("stride", 1), ("dilation", 1), ("output_padding", 0)):
            if min(value := getattr(self, name)) < least:
                return f"{name}={_plain(value)} is less than {least}"
        if self.contradiction:
            return self.contradiction
        if self.op == "conv":
            return self._mode_reason()
        if self.padding_mode != "zeros":
            return f"padding_mode={self.padding_mode!r} with conv_transpose: only 'zeros' is defined"
        for axis, (extra, stride, dilation) in enumerate(zip(self.output_padding, self.stride, self.dilation, strict=True)):
            if extra >= max(stride, dilation):
                return f"output_padding={extra} on axis {axis} is not less than max(stride={stride}, dilation={dilation})"
        return None

    def _mode_reason(self) -> str | None:
        if self.padding_mode == "zeros":
            return None
        for axis, (size, pads) in enumerate(zip(self.input_size, self.pads, strict=True)):
            if min(pads) < 0:
                return f"padding={min(pads)} on axis {axis} is negative with padding_mode={self.padding_mode!r}: only zeros can crop"
            most = {"reflect": size - 1, "circular": size, "replicate": max(pads) if size else 0}[self.padding_mode]
            if max(pads) > max(most, 0):
                limit = f"the most that padding_mode={self.padding_mode!r} has for input size {size}"
                return f"padding={max(pads)} on axis {axis} is more than {max(most, 0)}, {limit}"
        return None

    def _size_reason(self) -> str | None:
        for axis, (size, (lo, hi), extent) in enumerate(zip(self.input_size, self.pads, self.effective_kernel, strict=True)):
            if self.op == "conv" and size + lo + hi < extent:
                padded = f"the padded input {size + lo + hi} (input {size}, padding {lo}+{hi})"
                return f"kernel extent {extent} on axis {axis} is larger than {padded}"
            if self.op == "conv" and (lo < -size or hi < -size or size + min(lo, 0) + min(hi, 0) < 0):
                return f"padding ({lo}, {hi}) on axis {axis} crops more than the input size {size}"
        if self.op == "conv_transpose" and min(self.output_size) < 1:
            return f"output size {_plain(self.output_size)} is less than 1"
        return None


def _whole(name: str, value: object) -> int:
    number = whole_number(value)
    if number is None:
        raise InvalidConfig(f"{name}={value!r} is not a whole number")
    return number


def _per_axis(name: str, value: object, dims: int) -> tuple[int, ...]:
    if type(value) is tuple and len(value) == dims and _are_ints(value):  # as they are stored: most are made of others
        return value
    number = whole_number(value)
    values = several(value) if number is None else (number,)
    if values is None or len(values) not in (1, dims):
        raise InvalidConfig(f"{name}={value!r} is not one whole number or {dims} of them")
    numbers = tuple(_whole(name, v) for v in values)
    return numbers * dims if len(numbers) == 1 else numbers


def _are_ints(values: tuple[object, ...]) -> bool:
    return all(type(value) is int for value in values)


def _padding(value: object, dims: int) -> Pads | str:
    if type(value) is tuple and len(value) == dims and all(type(v) is tuple and len(v) == 2 and _are_ints(v) for v in value):
        return value
    if isinstance(value, str) and value in ("same", "valid"):
        return str(value)
    number = whole_number(value)
    values = several(value) if number is None else (number,)
    if values is None or len(values) not in (1, dims):
        raise InvalidConfig(f"padding={value!r} is not 'same', 'valid', a number, or {dims} numbers or (lo, hi) pairs")
    pads = []
    for v in values:
        number = whole_number(v)
        sides = several(v) if number is None else (number, number)
        if sides is None or len(sides) != 2:
            raise InvalidConfig(f"padding={value!r}: {v!r} is not a whole number or a (lo, hi) pair")
        pads.append((_whole("padding", sides[0]), _whole("padding", sides[1])))
    return tuple(pads) * dims if len(pads) == 1 else tuple(pads)


def _elements(shape: tuple[int, ...]) -> int:
    return math.prod(max(n, 0) for n in shape)


def _plain(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else str(values)
