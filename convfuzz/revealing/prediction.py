"""A tree put to the test: sums of fresh numbers, added as it says, held against the backend's bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convfuzz.case.dtypes import FLOATS, FloatFormat
from convfuzz.judging.numerics import Rounding
from convfuzz.revealing.element import Element, Floats
from convfuzz.revealing.formats import Formats
from convfuzz.revealing.sheet import Notes
from convfuzz.revealing.summation_tree import Node

_SUMS = 48


def confirm(element: Element, tree: Node, formats: Formats, notes: Notes) -> bool | None:
    """Return whether the tree gives the very results of the backend on random terms, or ``None`` where they cannot be predicted.

    The factors have four significant bits and a spread of exponents: no product is rounded, nearly every sum is.
    """
    accumulator, stored = _accumulator(formats), _stored(formats, element)
    if accumulator is None or stored is None or any(len(node.children) > 2 for node in tree.nodes()):
        notes.saw("the tree on fresh numbers", "not asked: its sums cannot be predicted")
        return None
    draws = np.random.default_rng(7)
    spread = 3 if element.form.emax < 20 or formats.input_range_is_narrow else 10
    rows = _factors(draws, (_SUMS, element.taps), spread)
    weights = _factors(draws, (element.taps,), 2)
    bias = float(_factors(draws, (), spread)) if element.has_bias else 0.0
    terms = rows * weights
    if element.has_bias:
        terms = np.concatenate([terms, np.full((_SUMS, 1), bias)], axis=1)
    separate = bool(formats.bias_is_separate)
    expected = stored(_evaluated(tree, terms, accumulator, stored if separate else None))
    got = element.values(rows, weights, bias)
    same = int(np.sum(got == expected))
    notes.saw(f"{_SUMS} sums of fresh numbers, added as the tree says", f"{same} of {_SUMS} are the backend's bit for bit")
    if same < _SUMS:
        notes.not_understood.append(f"order: added as the tree says, {_SUMS - same} of {_SUMS} sums of fresh numbers are not the backend's")
    return same == _SUMS


def _factors(draws: np.random.Generator, shape: tuple[int, ...], spread: int) -> Floats:
    significands = draws.integers(8, 16, shape) * draws.choice([-1.0, 1.0], shape)
    return np.asarray(np.ldexp(significands, draws.integers(-spread, spread + 1, shape) - 3), np.float64)


def _evaluated(tree: Node, terms: Floats, rounding: Callable[[Floats], Floats], before_bias: Callable[[Floats], Floats] | None) -> Floats:
    sums: dict[int, Floats] = {}
    last = terms.shape[1] - 1
    for node in tree.nodes():
        if node.is_leaf:
            sums[id(node)] = rounding(terms[:, node.leaf])
            continue
        one, other = (sums.pop(id(child)) for child in node.children)
        if before_bias is not None and any(child.leaf == last for child in node.children):
            one, other = before_bias(one), before_bias(other)
        sums[id(node)] = rounding(one + other)
    return sums[id(tree)]


def _accumulator(formats: Formats) -> Callable[[Floats], Floats] | None:
    """Return the rounding of partial sums where it is one that can be done after a sum in float64."""
    form = FLOATS.get(formats.accumulator)
    if form is None or formats.accumulator_bits != formats.widest_bits:
        return None
    if form.precision == FLOATS["float64"].precision:
        return (lambda sums: sums) if formats.accumulator_rounding in ("nearest-even", "unknown") else None
    return _rounding(form, formats.accumulator_rounding)


def _stored(formats: Formats, element: Element) -> Callable[[Floats], Floats] | None:
    form = element.form if formats.outputs == "exact" else FLOATS.get(formats.outputs)
    if form is None:
        return None
    if form.precision == FLOATS["float64"].precision:
        return lambda sums: sums
    if formats.widest_bits is not None and formats.widest_bits <= form.precision:
        return lambda sums: sums  # the store has nothing to round: the accumulator's own rounding was seen
    return _rounding(form, formats.output_rounding)


def _rounding(form: FloatFormat, rule: str) -> Callable[[Floats], Floats] | None:
    if rule == "nearest-even":
        return form.round
    if rule == "truncation":
        return Rounding(form, truncated=True).apply
    return None
