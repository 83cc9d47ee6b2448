"""What a backend declares of its arithmetic, and how far from the exact sum that arithmetic may end.

The bounds are per output element and derived, not chosen; ``docs/numerics.md`` has the derivations and sources.
Notation: p = one product, n = number of products (taps), y = Σp, S = Σ|p|, Q = Σp², u = unit roundoff of the
accumulator, u_out = unit roundoff of the output's dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS, FloatFormat, component_format
from convfuzz.errors import InvalidConfig

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """The arithmetic a backend declares for one case; going beyond it is a finding.

    ``accumulator`` is the dtype of partial sums: by default float32 for 16-bit types and the type itself otherwise.
    ``inputs`` is what inputs are rounded to before they are multiplied. ``algorithm`` is ``"transform"`` where
    Winograd or FFT may be used: those are accurate relative to the whole map only, and smear NaN and Inf over a tile.
    ``bias="separate"`` rounds the sum to the output's dtype once before the bias is added. ``flushes_subnormals``
    says that subnormal operands and results may become zero. ``complex_products="three"`` computes a complex product from
    three real ones, (xr + xi)·(wr + wi) among them, whose rounding is relative to the sum of both parts' magnitudes.
    ``deterministic=False`` says that two runs may differ. ``outputs`` is what a result may be rounded to before it is stored
    in the case's dtype, where a whole model is computed in another. ``values=False`` says that shapes and dtypes are computed and
    no values, as on PyTorch's meta device: nothing else is judged then. ``gradients`` is the arithmetic of the backward passes where
    that is another.

    Raises:
        InvalidConfig: a value is none of these.
    """

    accumulator: str | None = None
    inputs: Literal["exact", "tfloat32", "bfloat16"] = "exact"
    algorithm: Literal["direct", "transform"] = "direct"
    bias: Literal["fused", "separate"] = "fused"
    flushes_subnormals: bool = False
    complex_products: Literal["four", "three"] = "four"
    deterministic: bool = True
    outputs: Literal["exact", "bfloat16"] = "exact"
    values: bool = True
    gradients: Numerics | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("accumulator", (None, *FLOATS)),
            ("inputs", ("exact", "tfloat32", "bfloat16")),
            ("algorithm", ("direct", "transform")),
            ("bias", ("fused", "separate")),
            ("complex_products", ("four", "three")),
            ("outputs", ("exact", "bfloat16")),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidConfig(f"{name}={getattr(self, name)!r} is not one of {', '.join(map(str, allowed))}")

    def accumulator_format(self, dtype: str) -> FloatFormat:
        """Return the format of partial sums for a case of ``dtype``."""
        return FLOATS[self.accumulator] if self.accumulator else component_format("float32" if dtype in ("float16", "bfloat16") else dtype)

    def stored(self, y: Floats, actual: Floats) -> Floats:
        """Return exact results as they may be stored before they are rounded to the case's dtype: where ``actual`` is not exact."""
        return y if self.outputs == "exact" else np.where(actual == y, y, FLOATS[self.outputs].round(y))

    def in_pass(self, name: str) -> Numerics:
        """Return the arithmetic of one pass."""
        return self if name == "forward" or self.gradients is None else self.gradients
