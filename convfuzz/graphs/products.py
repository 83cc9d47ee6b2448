"""Rules of products over axes and of products of several tensors: running products, sums over named indices, attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.arithmetic import add, mul
from convfuzz.graphs.bounded import Array, Bounded, Floats, Place
from convfuzz.graphs.functions import FEW
from convfuzz.graphs.layers import RULES as LAYERS
from convfuzz.graphs.reductions import softmax, total

_matmul = LAYERS["matmul"]


def _multiplied(at: Place, x: Bounded, axis: int, along: Callable[..., Floats]) -> Bounded:
    """Return products along an axis, whole or running: what the errors may make of them, and a rounding for each factor.

    In another order a part of a product may be larger or smaller than the whole: what may overflow is open, and what may vanish
    below the normal range costs that much times the other factors.
    """
    size, n = np.abs(x.value), along(np.full(x.value.shape, math.e), axis=axis)
    value, most = along(x.value, axis=axis), along(size + x.error, axis=axis)
    large = along(np.maximum(size + x.error, 1.0), axis=axis)
    factors = np.log(n)
    off = most - np.abs(value) + at.u * factors * most + factors * at.stored.tiny * large
    if at.stored.unit_roundoff > at.u:  # in 16 bits each product may be rounded before it is the next one's factor
        off = off + at.stored.unit_roundoff * factors * most
    return at.rounded(value, np.where(large > at.stored.max, np.inf, off))


def prod(at: Place, x: Bounded, dim: int | None = None, keepdim: bool = False, *, dtype: object = None) -> Bounded:  # noqa: FBT001, FBT002 - ATen's
    """Multiply along an axis, or all elements."""
    del dtype
    given = x.moved(np.ravel) if dim is None else x
    axis = 0 if dim is None else dim

    def along(values: Floats, axis: int) -> Floats:
        found: Floats = values.prod(axis=axis, keepdims=keepdim and dim is not None)
        return found

    return _multiplied(at, given, axis, along)


def cumprod(at: Place, x: Bounded, dim: int, *, dtype: object = None) -> Bounded:
    """Multiply up to each element."""
    del dtype
    return _multiplied(at, x, dim, np.cumprod)


def einsum(at: Place, equation: str, tensors: Sequence[Bounded], **named: object) -> Bounded:
    """Sum over named indices: of one tensor, or of the products of two, which is a batched matrix product."""
    del named  # in which order several are multiplied
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "->" not in equation:
        letters = left.replace(",", "")
        result = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    if "." in equation or len(terms) > 2 or any(len(set(term)) != len(term) for term in (*terms, result)):
        raise NotCovered(f"einsum with {equation}")
    sizes = {letter: size for term, one in zip(terms, tensors, strict=True) for letter, size in zip(term, one.value.shape, strict=True)}
    others = [set(terms[1 - k]) if len(terms) == 2 else set() for k in range(len(terms))]
    given = [
        _summed(at, one, term, [letter for letter in term if letter not in result and letter not in other])
        for one, term, other in zip(tensors, terms, others, strict=True)
    ]
    if len(given) == 1:
        one, term = given[0]
        return one.moved(lambda v: np.transpose(v, [term.index(letter) for letter in result]))
    (a, first), (b, second) = given
    batch = [letter for letter in result if letter in first and letter in second]
    rows = [letter for letter in first if letter not in second]
    columns = [letter for letter in second if letter not in first]
    inner = [letter for letter in first if letter in second and letter not in result]

    def matrices(x: Bounded, term: str, *groups: list[str]) -> Bounded:
        order = [term.index(letter) for group in groups for letter in group]
        shape = [math.prod(sizes[letter] for letter in group) for group in groups]
        return x.moved(lambda v: np.transpose(v, order).reshape(shape))

    shape = tuple(math.prod(sizes[letter] for letter in group) for group in (batch, rows, columns))
    found = _matmul(Place(shape, at.dtype, at.numerics), matrices(a, first, batch, rows, inner), matrices(b, second, batch, inner, columns))
    order = [*batch, *rows, *columns]
    return found.moved(lambda v: np.transpose(v.reshape([sizes[letter] for letter in order]), [order.index(letter) for letter in result]))


def _summed(at: Place, x: Bounded, term: str, letters: list[str]) -> tuple[Bounded, str]:
    """Sum what is in one term only."""
    if not letters:
        return x, term
    left = "".join(letter for letter in term if letter not in letters)
    shape = tuple(x.value.shape[term.index(letter)] for letter in left)
    return total(Place(shape, at.dtype, at.numerics), x, [term.index(letter) for letter in letters]), left


def attention(
    at: Place,
    query: Bounded,
    key: Bounded,
    value: Bounded,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002 - ATen's
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Bounded:
    """Return softmax(q·kᵀ·scale + mask)·v. That each block's largest score is divided by later costs no more than softmax's own bound."""
    if dropout_p or enable_gqa or query.value.ndim < 2 or (attn_mask is not None and not isinstance(attn_mask, Bounded)):
        raise NotCovered("attention with dropout, groups of queries, or a mask of truth values")
    shape = (*np.broadcast_shapes(query.value.shape[:-2], key.value.shape[:-2]), query.value.shape[-2], key.value.shape[-2])
    inside = Place(shape, at.dtype, at.numerics)
    factor = 1.0 / math.sqrt(query.value.shape[-1]) if scale is None else float(scale)
    scores = _matmul(inside, query, key.moved(lambda v: np.swapaxes(v, -1, -2)))
    # The factor may be divided among both operands: two roundings of each product more.
    scores = Bounded(scores.value * factor, scores.error * abs(factor) + FEW * at.u * np.abs(scores.value * factor))
    if attn_mask is not None:
        scores = add(inside, scores, attn_mask)
    if is_causal:
        kept = np.tril(np.ones(shape[-2:], bool))
        scores = Bounded(np.where(kept, scores.value, -np.inf), np.where(kept, scores.error, 0.0))
    return _matmul(at, softmax(inside, scores, -1), value)


def baddbmm(at: Place, offset: Bounded, a: Bounded, b: Bounded, *, beta: float = 1, alpha: float = 1) -> Bounded:
    """Add the product of matrices, one by one."""
    product = _matmul(at, a, b)
    offset = offset if beta == 1 else mul(Place(offset.value.shape, at.dtype, at.numerics), offset, beta)
    return add(at, offset, product, alpha=alpha)


def with_vectors(at: Place, a: Bounded, b: Bounded) -> Bounded:
    """Multiply matrices and vectors, of which the first is a row and the second a column."""
    if a.value.ndim > 1 and b.value.ndim > 1:
        return _matmul(at, a, b)
    left = a.moved(lambda v: v[None]) if a.value.ndim == 1 else a
    right = b.moved(lambda v: v[:, None]) if b.value.ndim == 1 else b
    shape = (*np.broadcast_shapes(left.value.shape[:-2], right.value.shape[:-2]), left.value.shape[-2], right.value.shape[-1])

    def as_shaped(v: Array) -> Array:
        return v.reshape(at.shape)

    return _matmul(Place(shape, at.dtype, at.numerics), left, right).moved(as_shaped)


RULES: dict[str, Callable[..., Bounded]] = {
    "prod": prod,
    "cumprod": cumprod,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
    "baddbmm": baddbmm,
    "matmul": with_vectors,
    "mv": with_vectors,
    "dot": with_vectors,
}
