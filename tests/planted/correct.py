"""Five correct kernels, for both ops with their gradients, that differ only in the order or the precision of the summation."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import numpy as np

import convfuzz
from convfuzz.case.config import DTYPES, OPS

from . import backward
from .dense import layer
from .precision import accumulator, rounded, wide
from .summation import Summands, folded, grad_bias_terms, grad_input_terms, grad_weight_terms, output_terms

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .backward import Gradients
    from .receptive_field import Array

Correct = Callable[..., "Array"]
Sum = Callable[[Summands], "Array"]

_latest: dict[tuple[object, ...], Summands] = {}
_PASSES = 4


def terms_of(make: Callable[..., Summands], *operands: Array | None, config: ConvConfig, dtype: np.dtype[np.generic]) -> Summands:
    """Return the terms of a pass, the very same to every kernel that runs on the same numbers after another: only their order differs."""
    key = (make, config, dtype, *(None if array is None else array.tobytes() for array in operands))
    if key not in _latest:
        while len(_latest) >= 2 * _PASSES:  # those of two dtypes
            del _latest[next(iter(_latest))]
        _latest[key] = make(*operands, config, dtype)
    return _latest[key]


def correct(kept_in: Callable[[np.dtype[np.generic]], np.dtype[np.generic]]) -> Callable[[Sum], Correct]:
    """Make a kernel, and its backward function, of a way to add the terms of a sum; ``kept_in`` gives the dtype of the sums."""

    def with_gradients(add: Sum) -> Correct:
        def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> Gradients:
            dtype = kept_in(x.dtype)
            to_input = folded(add(terms_of(grad_input_terms, w, dy, config=config, dtype=dtype)), config)
            to_weight = add(terms_of(grad_weight_terms, x, dy, config=config, dtype=dtype))
            to_bias = add(terms_of(grad_bias_terms, dy, config=config, dtype=dtype))
            return rounded(to_input, x.dtype), rounded(to_weight, x.dtype), rounded(to_bias, x.dtype)

        @convfuzz.backend(ops=OPS, dtypes=DTYPES, gradients=gradients)
        @wraps(add)
        def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
            return rounded(add(terms_of(output_terms, x, w, b, config=config, dtype=kept_in(x.dtype))), x.dtype)

        return kernel

    return with_gradients


@correct(accumulator)
def sequential(terms: Summands) -> Array:
    """Adds the terms in the order of the weight's memory, the bias last."""
    return terms.sum_in_order(range(len(terms)))


@correct(accumulator)
def reversed_order(terms: Summands) -> Array:
    """Starts from the bias and adds the products from the last to the first."""
    return terms.sum_in_order(reversed(range(len(terms))))


@correct(accumulator)
def permuted(terms: Summands) -> Array:
    """Adds the terms in a shuffled order that depends on their number only."""
    return terms.sum_in_order(np.random.default_rng(len(terms)).permutation(len(terms)))


@correct(accumulator)
def pairwise(terms: Summands) -> Array:
    """Adds neighbours first, as a balanced tree."""
    return terms.sum_pairwise()


@correct(wide)
def in_float64(terms: Summands) -> Array:
    """Adds in the widest dtype of its kind whatever the dtype and rounds once at the end."""
    return terms.sum_in_order(range(len(terms)))


@convfuzz.backend(ops=OPS, dtypes=DTYPES, gradients=backward.gradients)
def dense(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Computes what every planted kernel computes outside its trigger."""
    return layer(x, w, b, config)


CORRECT: tuple[Correct, ...] = (sequential, reversed_order, permuted, pairwise, in_float64)
