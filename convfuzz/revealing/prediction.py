"""A tree put to the test: sums of fresh numbers, added as it says, held against the backend's bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS
from convfuzz.revealing.element import Element, Floats
from convfuzz.revealing.formats import Formats
from convfuzz.revealing.roundings import RULES, round_to
from convfuzz.revealing.sheet import Notes
from convfuzz.revealing.summation_tree import Node, chain

_SUMS = 48
_MOST_BITS = 25
"""A sum of two numbers of up to so many bits is rounded in float64 and then again without a trace."""

Rounds = Callable[[Floats], Floats]
Joins = Callable[[Node, list[Floats]], Floats]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Trial:
    """Sums of fresh numbers, the bias's among them, and what the backend makes of them."""

    terms: Floats
    got: Floats
    stored: Rounds
    before_bias: Rounds | None = None

    def agrees(self, tree: Node, join: Joins) -> Bools:
        """Return which sums come out as the tree says, each node's made by ``join``."""
        return np.asarray(self.got == self.stored(_evaluated(tree, self.terms, join, self.before_bias)))


def confirm(element: Element, tree: Node, formats: Formats, notes: Notes) -> bool | None:
    """Return whether the tree gives the very results of the backend on random terms, or ``None`` where they cannot be predicted.

    The factors have four significant bits and a spread of exponents: no product is rounded, nearly every sum is. What is added at
    once is predicted in the ways that hardware is known to have; where none of them gives the results, the masks were misled, as by
    a kernel that sorts its terms.
    """
    trial = _trial(element, formats)
    is_fused = any(len(node.children) > 2 for node in tree.nodes())
    if trial is not None and is_fused:
        return _confirm_fused(tree, trial, formats, notes)
    join = None if trial is None else _binary(element, tree, formats)
    if trial is None or join is None:
        notes.saw("the tree on fresh numbers", "not asked: its sums cannot be predicted")
        return False if is_fused else None
    same = int(trial.agrees(tree, join).sum())
    notes.saw(f"{_SUMS} sums of fresh numbers, added as the tree says", f"{same} of {_SUMS} are the backend's bit for bit")
    if same < _SUMS:
        notes.not_understood.append(f"order: added as the tree says, {_SUMS - same} of {_SUMS} sums of fresh numbers are not the backend's")
    return same == _SUMS


def is_compensated(element: Element, tree: Node, formats: Formats, notes: Notes) -> bool:
    """Return whether the sum carries on what it loses (Kahan, "Further remarks on reducing truncation errors", 1965).

    Such a sum keeps one bit more beside a large term than its format has, and rounds in no way that a format does.
    """
    bits, trial, terms = formats.widest_bits, _trial(element, formats), chain(tree)
    if (
        formats.accumulator_rounding != "unknown"
        or bits is None
        or bits - 1 > FLOATS["float32"].precision
        or trial is None
        or terms is None
    ):
        return False
    steps = [t for t in terms if t < element.taps]
    draws = np.random.default_rng(23)
    # Beside a large term that is taken away at last nothing hides behind the rounding of the result.
    rows = np.zeros((_SUMS, element.taps + element.has_bias))
    rows[:, steps[1:-1]] = np.ldexp(draws.integers(-7, 8, (_SUMS, len(steps) - 2)), 13 - bits)
    rows[:, steps[0]], rows[:, steps[-1]] = 2.0**14, -(2.0**14)
    same = int((trial.stored(_carried(rows, terms, element.taps, bits - 1)) == element.values(rows[:, : element.taps])).sum())
    same += int((trial.stored(_carried(trial.terms, terms, element.taps, bits - 1)) == trial.got).sum())
    notes.saw(f"{2 * _SUMS} sums that carry on what is lost, in {bits - 1} bits", f"{same} of {2 * _SUMS} are the backend's bit for bit")
    return same == 2 * _SUMS


def _carried(terms: Floats, order: list[int], bias: int, bits: int) -> Floats:
    def rounded(values: Floats) -> Floats:
        return round_to(values, bits, "nearest-even")

    total = terms[:, order[0]]
    rest = np.zeros_like(total)
    for t in order[1:]:
        if t == bias:  # added to what was a sum of products, whose rest is forgotten
            total, rest = rounded(total + terms[:, t]), np.zeros_like(total)
            continue
        term = rounded(terms[:, t] - rest)
        larger = rounded(total + term)
        rest = rounded(rounded(larger - total) - term)
        total = larger
    return total


# -- fresh numbers -------------------------------------------------------------------------------------------------------


def _trial(element: Element, formats: Formats) -> _Trial | None:
    """Return fresh sums, or ``None`` where nobody knows how results are stored."""
    stored = _stored(formats, element)
    before_bias = stored
    if formats.sum_bits < formats.output_bits:
        before_bias = _rounding("", formats.sum_bits, formats.output_rounding)
    if stored is None or before_bias is None:
        return None
    draws = np.random.default_rng(7)
    spread = 3 if element.form.emax < 20 or formats.input_range_is_narrow else 10
    rows = _factors(draws, (_SUMS, element.taps), spread)
    weights = _factors(draws, (element.taps,), 2)
    bias = float(_factors(draws, (), spread)) if element.has_bias else 0.0
    terms = rows * weights
    if element.has_bias:
        terms = np.concatenate([terms, np.full((_SUMS, 1), bias)], axis=1)
    return _Trial(terms, element.values(rows, weights, bias), stored, before_bias if formats.bias_is_separate else None)


def _factors(draws: np.random.Generator, shape: tuple[int, ...], spread: int) -> Floats:
    significands = draws.integers(8, 16, shape) * draws.choice([-1.0, 1.0], shape)
    return np.asarray(np.ldexp(significands, draws.integers(-spread, spread + 1, shape) - 3), np.float64)


def _evaluated(tree: Node, terms: Floats, join: Joins, before_bias: Rounds | None) -> Floats:
    sums: dict[int, Floats] = {}
    last = terms.shape[1] - 1
    for node in tree.nodes():
        if node.is_leaf:
            sums[id(node)] = terms[:, node.leaf]
            continue
        parts = [sums.pop(id(child)) for child in node.children]
        if before_bias is not None and any(child.leaf == last for child in node.children):
            parts = [before_bias(part) for part in parts]
        sums[id(node)] = join(node, parts)
    return sums[id(tree)]


# -- how partial sums are made -------------------------------------------------------------------------------------------


def _binary(element: Element, tree: Node, formats: Formats) -> Joins | None:
    """Return how a node of two children is added: everywhere alike, or some to fewer bits, which is asked node by node."""
    accumulator = _rounding(formats.shortest, formats.shortest_bits, formats.accumulator_rounding)
    if accumulator is None:
        return None
    if formats.shortest_bits == formats.widest_bits:
        return lambda _, parts: accumulator(parts[0] + parts[1])
    wide = _rounding("", formats.widest_bits, "nearest-even")
    if wide is None or formats.accumulator_rounding != "nearest-even":
        return None
    shorter = _rounded_nodes(element, tree, formats)
    # A sum that is stored in fewer bits may have been rounded to more of them first.
    return lambda node, parts: accumulator(wide(parts[0] + parts[1])) if id(node) in shorter else wide(parts[0] + parts[1])


def _rounded_nodes(element: Element, tree: Node, formats: Formats) -> set[int]:
    """Return the nodes whose sums have the shorter significand, the root among them, of which nobody can tell.

    Two terms meet at the node, a large and a small one, and a third, which cancels the large one, right above it.
    """
    assert formats.shortest_bits is not None, "two lengths were seen"
    found: set[int] = set() if formats.sum_bits < formats.output_bits else {id(tree)}
    rows, asked = [], []
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


def _confirm_fused(tree: Node, trial: _Trial, formats: Formats, notes: Notes) -> bool:
    """Return whether some hardware's way of adding several terms at once gives all of the results."""
    best, way = 0, ""
    for said, join in _ways_at_once(formats):
        same = int(trial.agrees(tree, join).sum())
        if same > best:
            best, way = same, said
        if same == _SUMS:
            break
    notes.saw(f"{_SUMS} sums of fresh numbers, several terms at once", f"{best} of {_SUMS} are the backend's bit for bit, {way}")
    if best < _SUMS:
        notes.not_understood.append(
            f"order: terms seem to be added at once, and in no way that was tried are {_SUMS - best} of {_SUMS} sums of fresh numbers the "
            "backend's; a kernel whose order depends on the numbers looks like that"
        )
    return best == _SUMS


def _ways_at_once(formats: Formats) -> Iterator[tuple[str, Joins]]:
    """Yield ways to add terms at once: exactly, or each cut to some bits of the largest one; and how the sum is rounded then.

    (Fasi et al., PeerJ Computer Science 2021, sections 3 and 4; Xie et al., "MMA-Sim", 2025, has the widths of later hardware.)
    """
    bits = formats.shortest_bits or formats.widest_bits
    if bits is None or bits > _MOST_BITS + 2:
        return
    of_results = dict.fromkeys((bits, FLOATS["float32"].precision))
    ways: list[tuple[int | None, str]] = [(None, ""), *itertools.product(range(bits - 1, bits + 4), ("truncation", "nearest-even"))]
    for (aligned, cut), kept, rule in itertools.product(ways, of_results, ("nearest-even", "truncation")):
        said = "added exactly" if aligned is None else f"each to {aligned} bits of the largest, {cut}"

        def join(
            node: Node, parts: list[Floats], aligned: int | None = aligned, cut: str = cut, kept: int = kept, rule: str = rule
        ) -> Floats:
            values = np.stack(parts)
            if aligned is not None and len(node.children) > 2:
                _, exponent = np.frexp(np.abs(values).max(axis=0))
                values = np.ldexp(_cut(np.ldexp(values, aligned - exponent), cut), exponent - aligned)
            return round_to(values.sum(axis=0), kept, rule)

        yield f"{said}, the sum to {kept} bits, {rule}", join


def _cut(values: Floats, rule: str) -> Floats:
    return np.trunc(values) if rule == "truncation" else np.rint(values)


def _stored(formats: Formats, element: Element) -> Rounds | None:
    bits = element.form.precision if formats.outputs == "exact" else formats.output_bits
    if formats.widest_bits is not None and formats.widest_bits <= bits:
        return lambda sums: sums  # the store has nothing to round: the accumulator's own rounding was seen
    return _rounding(element.form.name if formats.outputs == "exact" else formats.outputs, bits, formats.output_rounding)


def _rounding(name: str, bits: int | None, rule: str) -> Rounds | None:
    """Return a rounding that can be done after a sum in float64, and of a format that is known within its range."""
    form = FLOATS.get(name)
    if bits == FLOATS["float64"].precision:
        return (lambda sums: sums) if rule in ("nearest-even", "unknown") else None
    if bits is None or bits > _MOST_BITS or rule not in RULES:
        return None
    if form is not None and rule == "nearest-even":
        return form.round
    return lambda sums: round_to(sums, bits, rule)
