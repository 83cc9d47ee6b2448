"""Where in a result an element lies: which axes the result of each pass has, and which part of a complex number it is."""

from __future__ import annotations

from dataclasses import dataclass

from convfuzz.case import PASSES, Case
from convfuzz.case.dtypes import is_complex

FORWARD, GRAD_INPUT, GRAD_WEIGHT, GRAD_BIAS = PASSES
MEANING: dict[str, str] = {
    FORWARD: "the output",
    GRAD_INPUT: "the gradient with respect to the input",
    GRAD_WEIGHT: "the gradient with respect to the weight",
    GRAD_BIAS: "the gradient with respect to the bias",
}
"""What each pass computes."""

PARTS = (".real", ".imag")
SITE_AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}


@dataclass(frozen=True)
class Place:
    """One element of the result of a pass: its index, and ``.real`` or ``.imag`` where its numbers are complex."""

    index: tuple[int, ...]
    part: str = ""

    @classmethod
    def of(cls, case: Case, index: tuple[int, ...]) -> Place:
        """Read an index as judging gives it, whose last axis is the real or imaginary part if the case is complex."""
        if is_complex(case.config.dtype) and index and index[-1] in (0, 1):
            return cls(index[:-1], PARTS[index[-1]])
        return cls(index)

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.index))}]{self.part}"

    def sites(self, case: Case, in_pass: str) -> tuple[int, ...]:
        """Return the spatial part of the index, or of a weight's index its tap; empty if it is not an index into that result."""
        if in_pass not in PASSES or in_pass == GRAD_BIAS:
            return ()
        shape = case.shape_of(in_pass)
        if len(shape) != len(self.index) or not all(0 <= i < size for i, size in zip(self.index, shape, strict=True)):
            return ()
        return self.index[-case.config.dims :]


def axes(case: Case, in_pass: str) -> tuple[str, ...]:
    """Return the names of the axes of a result, in order; empty for an unknown pass."""
    config = case.config
    sites = SITE_AXES[config.dims]
    if in_pass == GRAD_WEIGHT:
        within = "" if config.groups == 1 else " of the group"
        channels = ("out", f"in{within}") if config.op == "conv" else ("in", f"out{within}")
        return (*channels, *(f"k{site}" for site in sites))
    if in_pass == GRAD_BIAS:
        return ("out",)
    if in_pass not in PASSES:
        return ()
    return ("c", *sites) if config.batch is None else ("n", "c", *sites)


def suffix(in_pass: str) -> str:
    """Return `` in grad_weight``, to be put behind a verdict; nothing for the forward pass."""
    return "" if in_pass == FORWARD else f" in {in_pass}"
