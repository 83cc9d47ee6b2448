"""Rules of convolutions and linear layers: the reference gives the sums and any layer's tolerance, to which errors of operands add."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from convfuzz import oracle
from convfuzz.case.config import ConvConfig
from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Bounded, Place
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.tensors.generator import Tensors

Sizes = int | Sequence[int]


def sums(at: Place, config: ConvConfig, x: Bounded, w: Bounded, b: Bounded | None) -> Bounded:
    """Return the layer ``config`` of inexact operands.

    Σ (x + e)(w + f) is off by Σ |w|e + |x|f + ef at most, which are three more layers; the sum itself is rounded as that of any layer.
    """
    tensors = Tensors(x.value, w.value, None if b is None else b.value)
    found = LayerSums(config, tensors, integers=False).of("forward")
    error = found.bound(at.numerics)
    plain = config.replace(dtype="float64", bias=False)
    for left, right in ((x.error, np.abs(w.value) + w.error), (np.abs(x.value), w.error)):
        if left.any() and right.any():
            error = error + oracle.reference(plain, left, right, moments=False).y
    if b is not None and b.error.any():
        error = error + b.error.reshape(-1, *(1,) * config.dims)
    return at.opened(found.expected.y, error)


def describe(  # noqa: PLR0913 - a layer has that many parameters
    x: tuple[int, ...],
    w: tuple[int, ...],
    *,
    dtype: str,
    bias: bool,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    transposed: bool = False,
    output_padding: Sizes = 0,
    groups: int = 1,
) -> ConvConfig:
    """Return the configuration of a call, from the shapes of its operands."""
    dims = len(w) - 2
    return ConvConfig(
        op="conv_transpose" if transposed else "conv",
        dims=dims,
        batch=x[0] if len(x) == dims + 2 else None,
        in_channels=x[-dims - 1],
        out_channels=w[1] * groups if transposed else w[0],
        groups=groups,
        input_size=x[-dims:],
        kernel_size=w[2:],
        stride=_given(stride),
        padding=_padding(padding, w[2:], dilation),
        dilation=_given(dilation),
        output_padding=_given(output_padding),
        bias=bias,
        dtype=dtype,
    )


class ConvCall:
    """The arguments of an ATen convolution, whichever it is, by their names."""

    def __init__(self, base: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        names = _ARGUMENTS["conv_transpose" if "transpose" in base else "convolution" if base == "convolution" else "conv"]
        given = dict(zip(names, arguments, strict=False)) | dict(named)
        self.input, self.weight, self.bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
        self.parameters = {"transposed": "transpose" in base} | given


_ARGUMENTS = {
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv_transpose": ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    "convolution": ("input", "weight", "bias", "stride", "padding", "dilation", "transposed", "output_padding", "groups"),
}


def _given(sizes: Sizes) -> tuple[int, ...]:
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def _padding(padding: Sizes | str, kernel: Sequence[int], dilation: Sizes) -> tuple[tuple[int, int], ...]:
    """Return (low, high) per axis; PyTorch's ``"same"`` is of stride 1, with the odd zero at the high end."""
    if isinstance(padding, str):
        gaps = _given(dilation) * (len(kernel) if len(_given(dilation)) == 1 else 1)
        spans = [gap * (size - 1) if padding == "same" else 0 for size, gap in zip(kernel, gaps, strict=True)]
        return tuple((span // 2, span - span // 2) for span in spans)
    sizes = _given(padding)
    return tuple((side, side) for side in (sizes * len(kernel) if len(sizes) == 1 else sizes))


def _layer(at: Place, x: Bounded, w: Bounded, b: Bounded | None, **parameters: Any) -> Bounded:
    config = describe(x.value.shape, w.value.shape, dtype=at.dtype, bias=b is not None, **parameters)
    if not config.is_valid:
        raise NotCovered(f"a convolution that is none: {config.invalid_reason}")
    return sums(at, config, x, w, b)


def _convolution_rule(base: str) -> Callable[..., Bounded]:
    def rule(at: Place, *arguments: Any, **named: Any) -> Bounded:
        call = ConvCall(base, arguments, named)
        return _layer(at, call.input, call.weight, call.bias, **call.parameters)

    return rule


def linear(at: Place, x: Bounded, w: Bounded, b: Bounded | None = None) -> Bounded:
    """Return x·wᵀ + b, which is a convolution of signals of length 1."""
    inside = x.value.shape[-1]
    rows = Place((math.prod(x.value.shape[:-1]), w.value.shape[0], 1), at.dtype, at.numerics)
    found = _layer(rows, x.moved(lambda v: v.reshape(-1, inside, 1)), w.moved(lambda v: v[..., None]), b)
    return found.moved(lambda v: v.reshape(at.shape))


def _mm(at: Place, a: Bounded, b: Bounded) -> Bounded:
    """Multiply matrices, of a batch one by one."""
    if b.value.ndim == 2:
        return linear(at, a, b.moved(np.transpose))
    if b.value.ndim < 2 or a.value.ndim < 2:
        raise NotCovered("matmul of a vector")
    batch = at.shape[:-2]
    left, right = (x.moved(lambda v: np.broadcast_to(v, (*batch, *v.shape[-2:])).reshape(-1, *v.shape[-2:])) for x in (a, b))
    one = Place(at.shape[-2:], at.dtype, at.numerics)
    found = [
        linear(one, Bounded(left.value[k], left.error[k]), Bounded(right.value[k].T, right.error[k].T)) for k in range(left.value.shape[0])
    ]
    return Bounded(np.stack([x.value for x in found]).reshape(at.shape), np.stack([x.error for x in found]).reshape(at.shape))


def _addmm(at: Place, bias: Bounded, a: Bounded, b: Bounded, *, beta: float = 1, alpha: float = 1) -> Bounded:
    if beta != 1 or alpha != 1 or bias.value.ndim != 1:
        raise NotCovered("addmm with factors, or with a matrix to add")
    return linear(at, a, b.moved(np.transpose), bias)


RULES: dict[str, Callable[..., Bounded]] = {
    **{f"{name}{dims}d": _convolution_rule(name) for name in ("conv", "conv_transpose") for dims in (1, 2, 3)},
    "convolution": _convolution_rule("convolution"),
    "linear": linear,
    "mm": _mm,
    "matmul": _mm,
    "bmm": _mm,
    "addmm": _addmm,
}
