"""Splits: a layer cut into smaller ones, whose results are concatenated or summed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from convfuzz.backends.protocol import Outputs, Scripted, Titled
from convfuzz.backends.source import literal
from convfuzz.backends.variants.base import Wrapped, rounded, summed, wide
from convfuzz.backends.variants.split_script import loop_over_parts
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors

Index = tuple[slice, ...]


@dataclass(frozen=True)
class Part:
    """Where one part of a layer lies in each tensor. A part without ``b`` adds no bias."""

    x: Index
    w: Index
    b: Index | None
    y: Index

    def of(self, tensors: Tensors) -> Tensors:
        """Return the part's tensors as views of the layer's."""
        b = None if tensors.b is None or self.b is None else tensors.b[self.b]
        dy = None if tensors.dy is None else tensors.dy[self.y]
        return Tensors(tensors.x[self.x], tensors.w[self.w], b, dy)

    def written(self) -> dict[str, str]:
        """Return where the part lies in each tensor, as source."""
        places = {"x": self.x, "w": self.w, "b": self.b, "y": self.y}
        return {name: "None" if place is None else f"np.s_[{literal(place)}]" for name, place in places.items()}

    def places(self) -> dict[str, Index | None]:
        """Return where the result of each pass goes."""
        return {"forward": self.y, "grad_input": self.x, "grad_weight": self.w, "grad_bias": self.b}


class SplitVariant(Wrapped):
    """A layer as the sum of its parts: where two parts write the same element their results are added.

    The parts are summed in float64 and rounded once, so that an element of one part only keeps its bits.
    """

    sums: ClassVar[tuple[str, ...]] = ()
    """The passes in which parts share elements."""
    part: ClassVar[str]
    """What one part is of."""

    def _parts(self, config: ConvConfig) -> Iterator[Part]:
        raise NotImplementedError

    def numerics(self, case: Case) -> Numerics:
        """The wrapped backend's for one part; of a sum of parts, that of an accumulator of the output's dtype."""
        one = self._inner.numerics(self._rewritten(case))
        dtype = case.config.dtype
        forward = summed(one, dtype) if "forward" in self.sums else one
        return replace(forward, gradients=summed(one.in_pass("grad_input"), dtype)) if case.grad else forward

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the wrapped backend once per part."""
        dtype = case.config.dtype
        totals: dict[str, Array] = {p: np.zeros(case.shape_of(p), wide(dtype)) for p in case.passes}
        written: dict[str, Array] = {p: np.zeros(case.shape_of(p), dtype=bool) for p in case.passes}
        whole = self._rewritten(case)
        without_bias = replace(whole, config=whole.config.replace(bias=False))
        for part in self._parts(case.config):
            single = whole if part.b is not None else without_bias
            outputs = self._inner.run(single, part.of(tensors))
            for in_pass in map(str, single.passes):
                output, place = outputs[in_pass], part.places()[in_pass]
                assert place is not None, "a part without a bias has no gradient of it"
                if output.shape != single.shape_of(in_pass):
                    return _put_together(totals, written, dtype) | {in_pass: output}  # to be reported as a wrong shape
                if output.dtype.name != dtype:
                    return _put_together(totals, written, dtype) | {in_pass: np.zeros(case.shape_of(in_pass), output.dtype)}
                with np.errstate(invalid="ignore"):  # Inf − Inf is a legitimate result
                    totals[in_pass][place] += output.astype(wide(dtype))
                written[in_pass][place] = True
        return _put_together(totals, written, dtype)

    def title(self, case: Case) -> str:
        """Name what the wrapped backend calls, and for what parts of the layer."""
        inner = self._inner.title(self._rewritten(case)) if isinstance(self._inner, Titled) else self._inner.name
        return f"{inner} for {self.part} at a time"

    def script(self, case: Case) -> str | None:
        """Wrap the backend's own script in the loop over parts."""
        whole = self._inner.script(self._rewritten(case)) if isinstance(self._inner, Scripted) else None
        return None if whole is None else whole + loop_over_parts(case, [part.written() for part in self._parts(case.config)])


class Split(SplitVariant):
    """``+split``: each output kernel applied on its own, the activation maps concatenated.

    A kernel of a grouped convolution sees its group's input channels only. The cost is ``out_channels`` calls of the
    backend: cheap per element for large maps, dominated by call overhead for small ones. Maps and the gradients of
    weight and bias have the original's tolerance; the gradient of the input is a sum over kernels.
    """

    suffix = "split"
    part = "one output kernel"

    def _declined(self, case: Case) -> str | None:
        return "no output kernel" if case.config.out_channels == 0 else None

    def _rewritten(self, case: Case) -> Case:
        config = case.config
        return replace(case, config=config.replace(in_channels=config.in_channels // config.groups, out_channels=1, groups=1))

    def _parts(self, config: ConvConfig) -> Iterator[Part]:
        for kernel, channels in kernels(config):
            one = slice(kernel, kernel + 1)
            yield Part(_channel(config, channels), _weights(config, channels, one), (one,), _channel(config, one))


class SplitIn(SplitVariant):
    """``+split-in``: one input channel at a time, all maps summed; the first channel of a group adds the bias.

    Each map is rounded to the output's dtype before it is added.
    """

    suffix = "split-in"
    part = "one input channel"
    sums = ("forward",)

    def _declined(self, case: Case) -> str | None:
        return "no input or output channel" if 0 in (case.config.in_channels, case.config.out_channels) else None

    def _rewritten(self, case: Case) -> Case:
        config = case.config
        return replace(case, config=config.replace(in_channels=1, out_channels=config.out_channels // config.groups, groups=1))

    def _parts(self, config: ConvConfig) -> Iterator[Part]:
        width, per_group = config.in_channels // config.groups, config.out_channels // config.groups
        for channel in range(config.in_channels):
            group, one = channel // width, slice(channel, channel + 1)
            outputs = slice(group * per_group, (group + 1) * per_group)
            bias = (outputs,) if channel % width == 0 else None
            yield Part(_channel(config, one), _weights(config, one, outputs), bias, _channel(config, outputs))


class SplitGroup(SplitVariant):
    """``+split-group``: each group as a convolution of its own, the maps concatenated; the original's tolerance holds."""

    suffix = "split-group"
    part = "one group"

    def _declined(self, case: Case) -> str | None:
        return "there is one group only" if case.config.groups == 1 else None

    def _rewritten(self, case: Case) -> Case:
        config, groups = case.config, case.config.groups
        return replace(
            case, config=config.replace(in_channels=config.in_channels // groups, out_channels=config.out_channels // groups, groups=1)
        )

    def _parts(self, config: ConvConfig) -> Iterator[Part]:
        width, per_group = config.in_channels // config.groups, config.out_channels // config.groups
        for group in range(config.groups):
            inputs = slice(group * width, (group + 1) * width)
            outputs = slice(group * per_group, (group + 1) * per_group)
            yield Part(_channel(config, inputs), _weights(config, inputs, outputs), (outputs,), _channel(config, outputs))


class SplitBatch(SplitVariant):
    """``+split-batch``: each sample on its own; the gradients of weight and bias are sums over the samples."""

    suffix = "split-batch"
    part = "one sample"

    def _declined(self, case: Case) -> str | None:
        return "no batch of two samples and more" if (case.config.batch or 0) < 2 else None

    def _rewritten(self, case: Case) -> Case:
        return replace(case, config=case.config.replace(batch=1))

    def _parts(self, config: ConvConfig) -> Iterator[Part]:
        everything = (slice(None),)
        for sample in range(config.batch or 0):
            one = (slice(sample, sample + 1),)
            yield Part(one, everything, everything, one)


def _put_together(totals: dict[str, Array], written: dict[str, Array], dtype: str) -> Outputs:
    """Round the totals; elements that no part has written are NaN."""
    if totals["forward"].dtype.kind != "i":
        for name, total in totals.items():
            total[~written[name]] = np.nan
    return {name: rounded(total, dtype) for name, total in totals.items()}


def kernels(config: ConvConfig) -> Iterator[tuple[int, slice]]:
    """Yield each output kernel with the input channels it sees: its group's, all of them when there is one group."""
    width = config.in_channels // config.groups
    per_group = config.out_channels // config.groups
    for kernel in range(config.out_channels):
        first = kernel // per_group * width
        yield kernel, slice(first, first + width)


def _channel(config: ConvConfig, channels: slice) -> Index:
    return (channels,) if config.batch is None else (slice(None), channels)


def _weights(config: ConvConfig, inputs: slice, outputs: slice) -> Index:
    """Return where the weights between some input channels and some output channels of one group lie."""
    if config.op == "conv":
        first = inputs.start // max(config.in_channels // config.groups, 1) * (config.in_channels // config.groups)
        return outputs, slice(inputs.start - first, inputs.stop - first)
    first = outputs.start // max(config.out_channels // config.groups, 1) * (config.out_channels // config.groups)
    return inputs, slice(outputs.start - first, outputs.stop - first)
