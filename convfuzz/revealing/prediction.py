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
Rounds = Callable[[Floats], Floats]


def confirm(element: Element, tree: Node, formats: Formats, notes: Notes) -> bool | None:
    """Return whether the tree gives the very results of the backend on random terms, or ``None`` where they cannot be predicted.

    The factors have four significant bits and a spread of exponents: no product is rounded, nearly every sum is.
    """
    stored = _stored(formats, element)
    is_fused = any(len(node.children) > 2 for node in tree.nodes())
    rounding = None if stored is None or is_fused else _partial_sums(element, tree, formats)
    if rounding is None or stored is None:
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
    expected = stored(_evaluated(tree, terms, rounding, stored if separate else None))
    got = element.values(rows, weights, bias)
    same = int(np.sum(got == expected))
    notes.saw(f"{_SUMS} sums of fresh numbers, added as the tree says", f"{same} of {_SUMS} are the backend's bit for bit")
    if same < _SUMS:
        notes.not_understood.append(f"order: added as the tree says, {_SUMS - same} of {_SUMS} sums of fresh numbers are not the backend's")
    return same == _SUMS


def _factors(draws: np.random.Generator, shape: tuple[int, ...], spread: int) -> Floats:
    significands = draws.integers(8, 16, shape) * draws.choice([-1.0, 1.0], shape)
    return np.asarray(np.ldexp(significands, draws.integers(-spread, spread + 1, shape) - 3), np.float64)


def _evaluated(tree: Node, terms: Floats, rounding: Callable[[Node, Floats], Floats], before_bias: Rounds | None) -> Floats:
    sums: dict[int, Floats] = {}
    last = terms.shape[1] - 1
    for node in tree.nodes():
        if node.is_leaf:
            sums[id(node)] = terms[:, node.leaf]
            continue
        one, other = (sums.pop(id(child)) for child in node.children)
        if before_bias is not None and any(child.leaf == last for child in node.children):
            one, other = before_bias(one), before_bias(other)
        sums[id(node)] = rounding(node, one + other)
    return sums[id(tree)]


def _partial_sums(element: Element, tree: Node, formats: Formats) -> Callable[[Node, Floats], Floats] | None:
    """Return how a node's sum is rounded: everywhere alike, or some to fewer bits, which is asked node by node."""
    accumulator = _accumulator(formats)
    if accumulator is None:
        return None
    if formats.shortest_bits == formats.widest_bits:
        return lambda _, sums: accumulator(sums)
    wide = next((form for form in FLOATS.values() if form.precision == formats.widest_bits), None)
    if wide is None or formats.accumulator_rounding != "nearest-even":
        return None
    shorter = _rounded_nodes(element, tree, formats)
    # A sum that is stored in fewer bits may have been rounded to more of them first.
    return lambda node, sums: accumulator(wide.round(sums)) if id(node) in shorter else wide.round(sums)


def _rounded_nodes(element: Element, tree: Node, formats: Formats) -> set[int]:
    """Return the nodes whose sums have the shorter significand, the root among them, of which nobody can tell.

    Two terms meet at the node, a large and a small one, and a third, which cancels the large one, right above it.
    """
    assert formats.shortest_bits is not None, "two lengths were seen"
    found, rows, asked = {id(tree)}, [], []
    for parent in tree.nodes():
        for node, other in zip(parent.children, reversed(parent.children), strict=True):
            terms = [] if node.is_leaf else [node.children[0].first, node.children[1].first, other.first]
            if terms and max(terms) < element.taps:
                row = np.zeros(element.taps)
                row[terms] = 2.0**15, 2.0 ** (14 - formats.shortest_bits), -(2.0**15)
                rows.append(row)
                asked.append(node)
            elif not node.is_leaf:
                found.add(id(node))  # the bias takes part, whose value is one for all rows
    if rows:
        kept = element.values(np.array(rows)) == 2.0 ** (14 - formats.shortest_bits)
        found |= {id(node) for node, is_kept in zip(asked, kept, strict=True) if not is_kept}
    return found


def _accumulator(formats: Formats) -> Rounds | None:
    """Return the rounding of partial sums where it is one that can be done after a sum in float64."""
    form = FLOATS.get(formats.shortest)
    if form is None:
        return None
    if form.precision == FLOATS["float64"].precision:
        return (lambda sums: sums) if formats.accumulator_rounding in ("nearest-even", "unknown") else None
    return _rounding(form, formats.accumulator_rounding)


def _stored(formats: Formats, element: Element) -> Rounds | None:
    form = element.form if formats.outputs == "exact" else FLOATS.get(formats.outputs)
    if form is None:
        return None
    if form.precision == FLOATS["float64"].precision:
        return lambda sums: sums
    if formats.widest_bits is not None and formats.widest_bits <= form.precision:
        return lambda sums: sums  # the store has nothing to round: the accumulator's own rounding was seen
    return _rounding(form, formats.output_rounding)


def _rounding(form: FloatFormat, rule: str) -> Rounds | None:
    if rule == "nearest-even":
        return form.round
    if rule == "truncation":
        return Rounding(form, truncated=True).apply
    return None
