"""What a backend declares of its arithmetic, and how far from the exact sum that arithmetic may end.

The bounds are per output element and derived, not chosen; ``docs/numerics.md`` has the derivations and sources.
Notation: p = one product, n = number of products (taps), y = Σp, S = Σ|p|, Q = Σp², u = unit roundoff of the
accumulator, u_out = unit roundoff of the output's dtype.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS, FloatFormat, component_format
from convfuzz.errors import InvalidConfig
from convfuzz.judging.declared_order import DeclaredOrder

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rounding:
    """A rounding of operands, or of results, to another format: to nearest, or ``truncated``, which drops the bits beyond it."""

    form: FloatFormat
    truncated: bool = False

    @property
    def error(self) -> float:
        """The largest relative error: half a unit in the last place, or all of one."""
        return self.form.unit_roundoff * (2.0 if self.truncated else 1.0)

    def in_range_of(self, wide: FloatFormat) -> Rounding:
        """Return the rounding to as many bits, in the range of a wider format where that is wider."""
        form = self.form
        return replace(self, form=replace(form, emin=min(form.emin, wide.emin), emax=max(form.emax, wide.emax)))

    def apply(self, values: Floats) -> Floats:
        """Round."""
        if not self.truncated:
            return self.form.round(values)
        spacing = self.form.spacing(values)
        with np.errstate(invalid="ignore", over="ignore"):
            cut = np.trunc(values / spacing) * spacing
        return np.where(np.isfinite(values) & np.isfinite(cut), cut, values)


INPUT_ROUNDINGS = {
    "tfloat32": Rounding(FLOATS["tfloat32"]),
    "tfloat32-truncated": Rounding(FLOATS["tfloat32"], truncated=True),
    "bfloat16": Rounding(FLOATS["bfloat16"]),
    "bfloat16-truncated": Rounding(FLOATS["bfloat16"], truncated=True),
}
"""What operands may be declared to be rounded to before they are multiplied."""

OUTPUT_ROUNDINGS = {"float16": Rounding(FLOATS["float16"]), "bfloat16": Rounding(FLOATS["bfloat16"])}
"""What results may be declared to be rounded to before they are stored."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """The arithmetic a backend declares for one case; going beyond it is a finding.

    ``accumulator`` is the dtype of partial sums: by default float32 for 16-bit types and the type itself otherwise.
    ``inputs`` is what inputs are rounded to before they are multiplied, to nearest or, with ``-truncated``, by leaving bits out as
    hardware does that is handed float32 words. ``algorithm`` is ``"transform"`` where Winograd or FFT may be used: those are
    accurate relative to the whole map only, and smear NaN and Inf over it.
    ``bias="separate"`` rounds the sum to the output's dtype once before the bias is added. ``flushes_subnormals``
    says that subnormal operands and results may become zero. ``complex_products="three"`` computes a complex product from
    three real ones, (xr + xi)·(wr + wi) among them, whose rounding is relative to the sum of both parts' magnitudes.
    ``truncates`` says that partial sums may be truncated to the accumulator's format instead of rounded, as tensor cores do.
    ``deterministic=False`` says that two runs may differ. ``outputs`` is what a result may be rounded to before it is stored
    in the case's dtype, where a whole model is computed in another; where it is the case's own dtype, a result may be one unit in
    the last place off instead of half of one, as a truncated one is. ``values=False`` says that shapes and dtypes are computed and
    no values, as on PyTorch's meta device: nothing else is judged then. ``gradients`` is the arithmetic of the backward passes where
    that is another. ``order`` is the order in which the forward pass adds its products up, as ``sequential``, ``reversed``, ``pairwise``,
    ``blocked-K``, ``lanes-K`` and ``split-K`` say, with ``-channels-last`` behind where a tap's channels come one after the other. It is
    held to the exact partial sums in that order, where a real dtype's accumulator has more than 16 bits: elements that read padding,
    which some kernels leave out, and those of large layers that are not drawn, may have any order.

    Raises:
        InvalidConfig: a value is none of these.
    """

    accumulator: str | None = None
    inputs: Literal["exact", "tfloat32", "tfloat32-truncated", "bfloat16", "bfloat16-truncated"] = "exact"
    algorithm: Literal["direct", "transform"] = "direct"
    bias: Literal["fused", "separate"] = "fused"
    flushes_subnormals: bool = False
    complex_products: Literal["four", "three"] = "four"
    truncates: bool = False
    deterministic: bool = True
    outputs: Literal["exact", "float16", "bfloat16"] = "exact"
    values: bool = True
    gradients: Numerics | None = None
    order: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("accumulator", (None, *FLOATS)),
            ("inputs", ("exact", *INPUT_ROUNDINGS)),
            ("algorithm", ("direct", "transform")),
            ("bias", ("fused", "separate")),
            ("complex_products", ("four", "three")),
            ("outputs", ("exact", *OUTPUT_ROUNDINGS)),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidConfig(f"{name}={getattr(self, name)!r} is not one of {', '.join(map(str, allowed))}")
        for name in ("flushes_subnormals", "truncates", "deterministic", "values"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InvalidConfig(f"{name}={getattr(self, name)!r} is not True or False")
        if self.order is not None:
            DeclaredOrder.parse(self.order)
            if self.algorithm == "transform":
                raise InvalidConfig(f"order={self.order!r} is that of a direct sum; algorithm='transform' adds up something else")
        if self.gradients is not None and self.gradients.order is not None:
            raise InvalidConfig(f"gradients have order={self.gradients.order!r}; an order is of the forward pass alone: leave it out there")

    def accumulator_format(self, dtype: str) -> FloatFormat:
        """Return the format of partial sums for a case of ``dtype``."""
        return FLOATS[self.accumulator] if self.accumulator else component_format("float32" if dtype in ("float16", "bfloat16") else dtype)

    def stored(self, y: Floats, actual: Floats) -> Floats:
        """Return exact results as they may be stored before they are rounded to the case's dtype: where ``actual`` is not exact.

        What lies in the middle of two numbers may be stored as either.
        """
        if self.outputs == "exact":
            return y
        rounding = OUTPUT_ROUNDINGS[self.outputs]
        nearest = rounding.apply(y)
        with np.errstate(invalid="ignore", over="ignore"):
            as_near = (rounding.apply(actual) == actual) & (np.abs(actual - y) == np.abs(nearest - y))
        return np.where((actual == y) | as_near, actual, nearest)

    def in_pass(self, name: str) -> Numerics:
        """Return the arithmetic of one pass; an order is that of the forward pass alone."""
        if name == "forward":
            return self
        return self.gradients or (self if self.order is None else self.in_any_order())

    def in_any_order(self) -> Numerics:
        """Return the same arithmetic without an order."""
        return replace(self, order=None)


def overflows_from(dtype: str, numerics: Numerics) -> float:
    """Return the magnitude from which on a result may be rounded to Inf, in the dtype or in what results are stored in first."""
    form = component_format(dtype)
    return top(form) if numerics.outputs == "exact" else min(top(form), top(OUTPUT_ROUNDINGS[numerics.outputs].form))


def top(form: FloatFormat) -> float:
    """Return the largest finite number and half a unit in the last place, from where rounding to nearest gives Inf."""
    return form.max if form.name == "float64" else form.max + 2.0 ** (form.emax - form.precision)
