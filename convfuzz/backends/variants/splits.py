"""Splits: a layer cut into smaller ones, whose results are concatenated or summed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np

from convfuzz.backends.protocol import Outputs, Scripted, Support, Titled
from convfuzz.backends.source import literal
from convfuzz.backends.variants.base import Wrapped, rounded, summed, wide
from convfuzz.backends.variants.split_script import loop_over_parts
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import dtype_name, is_integer, numpy_dtype
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors

Index = tuple[slice, ...]

_FEW = 8
"""Up to so many parts a campaign runs each on its own."""
_BLOCK = 8
"""Kernels are often computed in blocks of a multiple of this, so that mistakes are at the edges of those."""


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

    def _count(self, config: ConvConfig) -> int:
        """Return how many parts there are."""
        raise NotImplementedError

    def _joined(self, config: ConvConfig, first: int, stop: int) -> tuple[Part, ConvConfig] | None:
        """Return parts in a row as one part, and its layer; ``None`` where they are no one layer."""
        raise NotImplementedError

    def _parts(self, config: ConvConfig) -> Iterator[Part]:
        for index in range(self._count(config)):
            one = self._joined(config, index, index + 1)
            assert one is not None, "one part is a layer"
            yield one[0]

    def sampled(self, case: Case) -> Sample | None:
        """Return a split of ``case`` with few parts on their own and the others in runs; ``None`` where all parts are few.

        The first and the last part are among those on their own, one at a block edge, and one anywhere. Which they are
        depends on the case alone.
        """
        config, count = case.config, self._count(case.config)
        if count <= _FEW:
            return None
        drawn = zlib.crc32(str(case).encode())
        edge = _BLOCK * (1 + drawn // count % (count // _BLOCK)) - drawn % 2
        alone = sorted({0, min(edge, count - 1), drawn % count, count - 1})
        cuts = sorted({0, count, *alone, *(index + 1 for index in alone)})
        runs = [run for first, stop in pairwise(cuts) for run in self._layers(config, first, stop)]
        cases = [replace(case, config=layer.replace(bias=config.bias and part.b is not None)) for part, layer in runs]
        if len(runs) > count // 2 or not all(self._inner.supports(one) for one in set(cases)):
            return None
        return Sample(self, [(part, one) for (part, _), one in zip(runs, cases, strict=True)])

    def _layers(self, config: ConvConfig, first: int, stop: int) -> Iterator[tuple[Part, ConvConfig]]:
        """Yield parts in a row as few layers: one, or else the longest ones, greedily."""
        while first < stop:
            longest = next(end for end in range(stop, first, -1) if end == first + 1 or self._joined(config, first, end))
            joined = self._joined(config, first, longest)
            assert joined is not None, "one part is a layer"
            yield joined
            first = longest

    def numerics(self, case: Case) -> Numerics:
        """The wrapped backend's for one part; of a sum of parts, that of an accumulator of the output's dtype."""
        one = self._inner.numerics(self._rewritten(case)).in_any_order()
        dtype = case.config.dtype
        forward = summed(one, dtype) if "forward" in self.sums else one
        return replace(forward, gradients=summed(one.in_pass("grad_input"), dtype)) if case.grad else forward

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the wrapped backend once per part."""
        whole = self._rewritten(case)
        without_bias = replace(whole, config=whole.config.replace(bias=False))
        return self.run_parts(case, tensors, ((part, whole if part.b is not None else without_bias) for part in self._parts(case.config)))

    def run_parts(self, case: Case, tensors: Tensors, parts: Iterable[tuple[Part, Case]]) -> Outputs:
        """Run the wrapped backend on each part, which is a case of its own, and put the results together."""
        dtype = case.config.dtype
        totals: dict[str, Array] = {p: np.zeros(case.shape_of(p), wide(dtype)) for p in case.passes if p != "forward" or self.sums}
        written: dict[str, Array] = {p: np.zeros(total.shape, dtype=bool) for p, total in totals.items()}
        if not self.sums:  # each element is of one part only, and a large output is not held in float64 for that
            totals["forward"] = np.full(case.shape_of("forward"), 0 if is_integer(dtype) else np.nan, numpy_dtype(dtype))
        for part, single in parts:
            outputs = self._inner.run(single, part.of(tensors))
            for in_pass in map(str, single.passes):
                output, place = outputs[in_pass], part.places()[in_pass]
                assert place is not None, "a part without a bias has no gradient of it"
                if output.shape != single.shape_of(in_pass):
                    return _put_together(totals, written, dtype) | {in_pass: output}  # to be reported as a wrong shape
                if dtype_name(output.dtype) != dtype:
                    return _put_together(totals, written, dtype) | {in_pass: np.zeros(case.shape_of(in_pass), output.dtype)}
                if in_pass not in written:
                    totals[in_pass][place] = output
                    continue
                with np.errstate(invalid="ignore"):  # Inf − Inf is a legitimate result
                    total = totals[in_pass][place]
                    np.add(total, output, out=total, dtype=total.dtype)  # which is cast as it is read
                written[in_pass][place] = True
        return _put_together(totals, written, dtype)

    def title(self, case: Case) -> str:
        """Name what the wrapped backend calls, and for what parts of the layer."""
        inner = self._inner.title(self._rewritten(case)) if isinstance(self._inner, Titled) else self._inner.name
        return f"{inner} for {self.part} at a time"

    def script(self, case: Case) -> str | None:
        """Wrap the backend's own script in the loop over parts."""
        whole = self._inner.script(self._rewritten(case)) if isinstance(self._inner, Scripted) else None
        if whole is None:
            return None
        parts = [part.written() for part in self._parts(case.config)]
        return whole + loop_over_parts(case, parts, sums_forward="forward" in self.sums)


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

    def _count(self, config: ConvConfig) -> int:
        return config.out_channels

    def _joined(self, config: ConvConfig, first: int, stop: int) -> tuple[Part, ConvConfig] | None:
        per_group = config.out_channels // config.groups
        if first // per_group == (stop - 1) // per_group:
            return _of_groups(config, range(first // per_group, first // per_group + 1), slice(first, stop))
        if first % per_group or stop % per_group:
            return None  # a layer has as many kernels in every group
        return _of_groups(config, range(first // per_group, stop // per_group), slice(first, stop))


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

    def _count(self, config: ConvConfig) -> int:
        return config.in_channels

    def _joined(self, config: ConvConfig, first: int, stop: int) -> tuple[Part, ConvConfig] | None:
        width, per_group = config.in_channels // config.groups, config.out_channels // config.groups
        group = first // width
        if group != (stop - 1) // width:
            return None
        inputs, outputs = slice(first, stop), slice(group * per_group, (group + 1) * per_group)
        bias = (outputs,) if first % width == 0 else None
        part = Part(_channel(config, inputs), _weights(config, inputs, outputs), bias, _channel(config, outputs))
        return part, config.replace(in_channels=stop - first, out_channels=per_group, groups=1)


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

    def _count(self, config: ConvConfig) -> int:
        return config.groups

    def _joined(self, config: ConvConfig, first: int, stop: int) -> tuple[Part, ConvConfig] | None:
        per_group = config.out_channels // config.groups
        return _of_groups(config, range(first, stop), slice(first * per_group, stop * per_group))


class SplitBatch(SplitVariant):
    """``+split-batch``: each sample on its own; the gradients of weight and bias are sums over the samples."""

    suffix = "split-batch"
    part = "one sample"

    def _declined(self, case: Case) -> str | None:
        return "no batch of two samples and more" if (case.config.batch or 0) < 2 else None

    def _rewritten(self, case: Case) -> Case:
        return replace(case, config=case.config.replace(batch=1))

    def _count(self, config: ConvConfig) -> int:
        return config.batch or 0

    def _joined(self, config: ConvConfig, first: int, stop: int) -> tuple[Part, ConvConfig] | None:
        everything, some = (slice(None),), (slice(first, stop),)
        return Part(some, everything, everything, some), config.replace(batch=stop - first)


class Sample:
    """A split of one case with few parts on their own and the others in runs: what a campaign runs before all parts.

    It has the name and the arithmetic of its split, whose result it must equal.
    """

    def __init__(self, split: SplitVariant, parts: list[tuple[Part, Case]]) -> None:
        self._split, self._parts = split, parts
        self.name, self.versions = split.name, split.versions

    def supports(self, case: Case) -> Support:
        """The split's."""
        return self._split.supports(case)

    def numerics(self, case: Case) -> Numerics:
        """The split's."""
        return self._split.numerics(case)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the wrapped backend once per part or run of parts; of a case without its gradients only the forward pass."""
        parts = self._parts if case.grad else [(part, replace(one, grad=False)) for part, one in self._parts]
        return self._split.run_parts(case, tensors, parts)


def _put_together(totals: dict[str, Array], written: dict[str, Array], dtype: str) -> Outputs:
    """Round the totals; elements that no part has written are NaN."""
    for name, places in written.items():
        if totals[name].dtype.kind != "i":
            totals[name][~places] = np.nan
    return {name: rounded(total, dtype) if name in written else total for name, total in totals.items()}


def _of_groups(config: ConvConfig, groups: range, outputs: slice) -> tuple[Part, ConvConfig]:
    """Return the output kernels of some groups as one part, and its layer."""
    width = config.in_channels // config.groups
    inputs = slice(groups.start * width, groups.stop * width)
    part = Part(_channel(config, inputs), _weights(config, inputs, outputs), (outputs,), _channel(config, outputs))
    sizes = {"in_channels": width * len(groups), "out_channels": outputs.stop - outputs.start, "groups": len(groups)}
    return part, config.replace(**sizes)


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
    """Return where the weights between some input and some output channels lie: of one group, or of several whole ones."""
    if config.op == "conv":
        return outputs, _within(inputs, config.in_channels // config.groups)
    return inputs, _within(outputs, config.out_channels // config.groups)


def _within(channels: slice, per_group: int) -> slice:
    """Return which channels of a group some channels are; those of several groups are all of them."""
    first = channels.start // max(per_group, 1) * per_group
    return slice(channels.start - first, min(channels.stop - first, per_group))
