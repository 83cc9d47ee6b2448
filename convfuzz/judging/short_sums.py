"""What the sums of one pass lose in a short format, each and all together: from their products, when it is first asked for."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FloatFormat
from convfuzz.judging.element_products import product_count, products_in_two_orders
from convfuzz.tensors.generator import Tensors

if TYPE_CHECKING:
    from convfuzz.judging.joint_errors import JointLimits

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_MOST_AT_ONCE = 2**17
_MOST_JOINT_PRODUCTS = 2**20
"""How many products of a sample of elements are added up, in more orders, to ask what their errors may be together."""


class ShortSums:
    """What the sums of one pass, of a result of ``shape``, lose in the formats that are asked for."""

    def __init__(self, config: ConvConfig, tensors: Tensors, in_pass: str, shape: tuple[int, ...]) -> None:
        self._config, self._tensors, self._pass, self._shape = config, tensors, in_pass, shape
        self._size = math.prod(shape)
        self._joint: dict[str, JointLimits | None] = {}
        self._lost: dict[str, tuple[Floats, Floats]] = {}

    @cached_property
    def count(self) -> int:
        """How many products are gathered for an element, at least 1."""
        return max(product_count(self._config, self._pass), 1)

    def lost(self, form: FloatFormat, elements: Indices, *, few: bool = False) -> tuple[Floats, Floats]:
        """Return by how much sums in ``form`` may be below and above the exact ones, of elements given by their flat index.

        With ``few`` no more than the first orders say it of elements of which not all have been added up yet.
        """
        from convfuzz.judging.accumulation import lost  # noqa: PLC0415 - Numba loads with the first reference

        if form.name not in self._lost:
            self._lost[form.name] = (np.full(self._size, np.nan), np.full(self._size, np.nan))
        known = self._lost[form.name]
        below, above = (values[elements] for values in known)
        missing = np.flatnonzero(np.isnan(below))
        at_once = max(_MOST_AT_ONCE // self.count, 1)
        for first in range(0, len(missing), at_once):
            part = missing[first : first + at_once]
            with np.errstate(all="ignore"):
                found = lost(self._products(elements[part]), form.precision, few=few)
            below[part], above[part] = (np.nan_to_num(values, nan=np.inf) for values in found)
        if not few:
            known[0][elements], known[1][elements] = below, above
        return below, above

    def joint_limits(self, form: FloatFormat) -> JointLimits | None:
        """Return what the errors of sums in ``form`` may be together, from elements all over the result."""
        from convfuzz.judging.joint_errors import joint_limits  # noqa: PLC0415 - Numba loads with the first reference

        if form.name not in self._joint:
            elements, found = self.sample(), None
            if elements.size:
                with np.errstate(all="ignore"):
                    found = joint_limits(self._products(elements), form.precision, elements)
            self._joint[form.name] = found
        return self._joint[form.name]

    def sample(self) -> Indices:
        """Return the elements that are asked what their errors are together, by their flat index; none where they are too few to say."""
        from convfuzz.judging.joint_errors import FEWEST, MOST  # noqa: PLC0415 - Numba loads with the first reference

        size = self._size
        many = min(size, MOST, _MOST_JOINT_PRODUCTS // self.count)
        if many < FEWEST:
            return np.zeros(0, np.int64)
        return np.sort(np.random.default_rng(size).choice(size, many, replace=False))

    def _products(self, elements: Indices) -> Floats:
        places = np.stack(np.unravel_index(elements, self._shape), axis=1)
        products = products_in_two_orders(self._config, self._tensors, self._pass, places)
        return products[:1] if np.array_equal(*products) else products
