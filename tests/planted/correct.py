"""Five correct forward convolutions that differ only in the order, or the precision, of the summation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .summation import Summands, accumulator

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array

Correct = Callable[..., "Array"]


def sequential(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the products in the order of the weight's memory, then the bias."""
    terms = Summands(x, w, b, config, accumulator(x.dtype))
    return terms.result(terms.sum_in_order(range(len(terms))))


def reversed_order(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Starts from the bias and adds the products from the last to the first."""
    terms = Summands(x, w, b, config, accumulator(x.dtype))
    return terms.result(terms.sum_in_order(reversed(range(len(terms)))))


def permuted(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the terms in a shuffled order that depends on their number only."""
    terms = Summands(x, w, b, config, accumulator(x.dtype))
    order = np.random.default_rng(len(terms)).permutation(len(terms))
    return terms.result(terms.sum_in_order(order.tolist()))


def pairwise(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds neighbours first, as a balanced tree."""
    terms = Summands(x, w, b, config, accumulator(x.dtype))
    return terms.result(terms.sum_pairwise())


def in_float64(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds in float64 whatever the dtype and rounds once at the end."""
    terms = Summands(x, w, b, config, np.float64)
    return terms.result(terms.sum_in_order(range(len(terms))))


CORRECT: tuple[Correct, ...] = (sequential, reversed_order, permuted, pairwise, in_float64)
