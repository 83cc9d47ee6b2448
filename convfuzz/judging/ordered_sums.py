"""Σ s_k² of a result's partial sums in a declared order, from the products of each element."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex
from convfuzz.judging.declared_order import DeclaredOrder
from convfuzz.judging.element_products import product_count, products_in_two_orders
from convfuzz.oracle.expectation import Expectation
from convfuzz.tensors.generator import Tensors

Floats = npt.NDArray[np.float64]

_MOST_PRODUCTS = 2**21
"""How many products of a result are added up in the declared order, which takes a few tenths of a second."""
_MOST_AT_ONCE = 2**17


def squares_in_order(expected: Expectation, config: ConvConfig, tensors: Tensors, in_pass: str, order: DeclaredOrder) -> Floats | None:
    """Return Σ s_k² per element of a forward pass, NaN where any order is allowed; ``None`` where that is every element.

    Those are elements that do not read all of their taps: whether a kernel adds zeros for the others or leaves them out decides on
    the lanes of those that follow. Of a result with too many products elements are drawn, and the others may have any order.
    """
    count = product_count(config, in_pass)
    if in_pass != "forward" or is_complex(config.dtype) or count - config.bias < 2 or expected.y.size == 0:
        return None
    whole = np.flatnonzero(np.broadcast_to(expected.n == count, expected.y.shape))
    if len(whole) > (most := max(_MOST_PRODUCTS // count, 1)):
        whole = np.sort(np.random.default_rng(expected.y.size).choice(whole, most, replace=False))
    if not len(whole):
        return None
    found = np.full(expected.y.size, np.nan)
    at_once = max(_MOST_AT_ONCE // count, 1)
    for first in range(0, len(whole), at_once):
        elements = whole[first : first + at_once]
        places = np.stack(np.unravel_index(elements, expected.y.shape), axis=1)
        with np.errstate(all="ignore"):
            products = products_in_two_orders(config, tensors, in_pass, places)[1 if order.channels_last else 0]
            taps, bias = (products[:-1], products[-1]) if config.bias else (products, None)
            found[elements] = order.squares(taps, bias)
    return found.reshape(expected.y.shape)
