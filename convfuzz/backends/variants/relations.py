"""Relations: one parameter of a convolution restated by other means; they need no second framework."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.protocol import Backend, Outputs, Scripted, Titled
from convfuzz.backends.source import CallSource
from convfuzz.backends.variants import relation_source
from convfuzz.backends.variants.base import Wrapped, rounded, wide
from convfuzz.backends.variants.split_script import sum_conversions
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors

Index = tuple[Any, ...]
_NUMPY_PAD = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class Relation(Wrapped):
    """A rewriting of one parameter."""

    how: ClassVar[str]
    """How the wrapped backend is called instead."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._calls = CallCache(self._make)

    def title(self, case: Case) -> str:
        """Name what the wrapped backend calls, and how."""
        inner = self._inner.title(self._rewritten(case)) if isinstance(self._inner, Titled) else self._inner.name
        return f"{inner}, {self.how}"

    def _around(self, case: Case) -> CallSource:
        """Return the source of the rewriting, a ``run`` that calls the one before it."""
        raise NotImplementedError

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the source around the wrapped backend's run of the rewritten case."""
        rewritten = self._rewritten(case)

        def run_rewritten(x: Array, w: Array, b: Array | None, dy: Array | None = None) -> Any:
            outputs = self._inner.run(rewritten, Tensors(x, w, b, dy))
            for name in rewritten.passes:
                if not isinstance(outputs.get(name), np.ndarray):
                    raise NotAnArrayError(f"returned no array for {'the forward pass' if name == 'forward' else name}")
            return dict(outputs) if rewritten.grad else outputs["forward"]

        return self._calls.run(case, tensors, run_rewritten)

    def _make(self, case: Case) -> Any:
        dtype = case.config.dtype
        given = {
            "np": np,
            "run": None,
            "widened": lambda a: a.astype(wide(dtype)),
            "rounded": lambda a: rounded(a, dtype),
        }
        return self._around(case).function("run", given)

    def script(self, case: Case) -> str | None:
        """Put the source around the wrapped backend's own script of the rewritten case."""
        rewritten = self._inner.script(self._rewritten(case)) if isinstance(self._inner, Scripted) else None
        return None if rewritten is None else f"{rewritten}{self._conversions(case)}\n\n{self._around(case)}"

    def _conversions(self, case: Case) -> str:
        """Return a script's definitions of the functions that the source calls."""
        del case
        return ""


class ZeroStuffed(Relation):
    """``+zero-stuffed``: a dilated kernel equals the kernel of its full extent with zeros between the taps.

    Adding zeros rounds nothing, so the original's tolerance holds. Data with NaN or Inf are declined, because they would
    be multiplied by the zeros.
    """

    suffix = "zero-stuffed"
    how = "with zeros between the taps in place of dilation"

    def _declined(self, case: Case) -> str | None:
        if set(case.config.dilation) == {1}:
            return "there is no dilation"
        return "NaN and Inf would meet the zeros" if case.recipe.has_non_finite else None

    def _rewritten(self, case: Case) -> Case:
        c = case.config
        # "same" is written out as the numbers that it stands for, so that these do not change.
        return replace(case, config=c.replace(kernel_size=c.effective_kernel, dilation=1, padding=c.pads, weight_layout=_dense(c)))

    def _around(self, case: Case) -> CallSource:
        return relation_source.zero_stuffed(case, self._rewritten(case).config.weight_shape, _every(case.config.dilation))


class Subsampled(Relation):
    """``+subsampled``: a strided convolution equals every stride-th site of the one with stride 1.

    Each site is the same sum, so the original's tolerance holds. In the backward passes the output's gradient has zeros
    between its sites; there, data with NaN or Inf are declined, because they would be multiplied by the zeros.
    """

    suffix = "subsampled"
    how = "with stride 1 and then subsampled"

    def _declined(self, case: Case) -> str | None:
        if case.config.op != "conv":
            return "a transposed convolution's stride is no subsampling"
        if set(case.config.stride) == {1}:
            return "there is no stride"
        if case.grad and case.recipe.has_non_finite:
            return "NaN and Inf would meet the zeros between the sites"
        return None if _cheap(self._rewritten(case).config) else "the result with stride 1 is too large"

    def _rewritten(self, case: Case) -> Case:
        return replace(case, config=case.config.replace(stride=1, padding=case.config.pads))

    def _around(self, case: Case) -> CallSource:
        return relation_source.subsampled(case, self._rewritten(case).config.output_shape, _every(case.config.stride))


class Padded(Relation):
    """``+padded``: built-in padding equals a padded (or cropped) input without any; the original's tolerance holds."""

    suffix = "padded"
    how = "on an input that is padded already"

    def _declined(self, case: Case) -> str | None:
        c = case.config
        if c.op != "conv":
            return "a transposed convolution's padding crops its output"
        if not any(side for sides in c.pads for side in sides):
            return "there is no padding"
        if case.grad and c.padding_mode != "zeros":
            return "the gradient of copied sites is not a slice"
        return None if _cheap(self._rewritten(case).config) else "the padded input is too large"

    def _rewritten(self, case: Case) -> Case:
        c = case.config
        size = tuple(size + lo + hi for size, (lo, hi) in zip(c.input_size, c.pads, strict=True))
        return replace(case, config=c.replace(input_size=size, padding=0, padding_mode="zeros"))

    def _around(self, case: Case) -> CallSource:
        inside, amounts, window = _padding(case.config)
        return relation_source.padded(case, inside, amounts, _NUMPY_PAD[case.config.padding_mode], window)


class Permuted(Relation):
    """``+permuted``: with input channels and kernels in another order within their group, the sums are the same in another order.

    Error bounds that do not depend on the order of summation hold unchanged.
    """

    suffix = "permuted"
    how = "with the channels in another order"

    def _declined(self, case: Case) -> str | None:
        c = case.config
        return "there is one channel on either side" if max(c.in_channels, c.out_channels) // c.groups < 2 else None

    def _rewritten(self, case: Case) -> Case:
        return replace(case, config=case.config.replace(layout="contiguous", weight_layout=None))

    def _around(self, case: Case) -> CallSource:
        return relation_source.permuted(case)


class Adjoint(Relation):
    """``+adjoint``: ⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩, so the input gradient of each is the other.

    The forward pass comes from the backward pass of the opposite operation, and the bias is added afterwards, to a sum
    that was rounded: two operations of one framework have to be adjoint to each other, for every y at once.
    """

    suffix = "adjoint"
    how = "its input gradient as the opposite operation"

    def _declined(self, case: Case) -> str | None:
        c = case.config
        if case.grad:
            return "it is itself a gradient"
        if c.padding_mode != "zeros":
            return f"padding mode {c.padding_mode} has no transposed convolution"
        if 0 in (c.in_channels, c.out_channels):
            return "no input or output channel"
        opposite = self._rewritten(case).config
        return None if opposite.is_valid and opposite.output_size == c.input_size else "the opposite operation has another input size"

    def _rewritten(self, case: Case) -> Case:
        c = case.config
        op = "conv_transpose" if c.op == "conv" else "conv"
        opposite = c.replace(
            op=op,
            in_channels=c.out_channels,
            out_channels=c.in_channels,
            input_size=c.output_size,
            padding=c.pads,
            output_padding=0,
            bias=False,
        )
        if op == "conv_transpose":
            missing = tuple(size - got for size, got in zip(c.input_size, opposite.output_size, strict=True))
            opposite = opposite.replace(output_padding=missing)
        return Case(opposite, case.recipe, grad=True)

    def numerics(self, case: Case) -> Numerics:
        """The wrapped backend's for the gradient, with the bias added afterwards."""
        return replace(self._inner.numerics(self._rewritten(case)).in_pass("grad_input"), bias="separate", gradients=None)

    def _around(self, case: Case) -> CallSource:
        return relation_source.adjoint(case)

    def _conversions(self, case: Case) -> str:
        return sum_conversions(case.config.dtype) if case.config.bias else ""


def _every(steps: tuple[int, ...]) -> Index:
    """Return the index of every n-th element of the last axes, with n from ``steps``."""
    return (..., *(slice(None, None, step) for step in steps))


def _padding(c: ConvConfig) -> tuple[Index, list[tuple[int, int]], Index]:
    """Return the part of the input that is kept, the padding of each axis, and where the input lies in the result."""
    inside: Index = (..., *(slice(max(-lo, 0), size - max(-hi, 0)) for size, (lo, hi) in zip(c.input_size, c.pads, strict=True)))
    added = [(max(lo, 0), max(hi, 0)) for lo, hi in c.pads]
    window: Index = (
        ...,
        *(slice(lo, size + sum(sides) - hi) for size, sides, (lo, hi) in zip(c.input_size, c.pads, added, strict=True)),
    )
    return inside, [(0, 0)] * (len(c.input_shape) - c.dims) + added, window


def _dense(config: ConvConfig) -> str:
    return "contiguous" if "expanded" in (config.layout, config.weight_layout) else config.weight_layout or config.layout


def _cheap(config: ConvConfig) -> bool:
    return config.nbytes <= 2**28
