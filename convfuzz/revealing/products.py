"""Whether a product is rounded before it is added: the fused multiply-add."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from convfuzz.case.dtypes import FLOATS
from convfuzz.revealing.element import Element
from convfuzz.revealing.formats import Formats
from convfuzz.revealing.roundings import RULES, round_to
from convfuzz.revealing.sheet import Notes
from convfuzz.revealing.summation_tree import Node, chain

_MOST_PAIRS, _FEW = 8, 4
_FACTORS = 12


def measure_fma(element: Element, formats: Formats, tree: Node | None, notes: Notes) -> bool | None:
    """Return whether products enter a sum unrounded, or ``None`` where they are exact in the accumulator anyway.

    Of x = w = 1 + 2^−a with 2a above the accumulator's bits the product is 1 + 2^(1−a) + 2^−2a; beside −(1 + 2^(1−a)) the last term
    alone is left, or nothing if it was rounded off. A fused multiply-add shows only where the product is the later of the
    two, so that terms are asked that meet early, in either role.
    """
    bits, form = formats.widest_bits, element.form
    if formats.inputs == "exact" and formats.holds_products_of(form):
        return _measure_rounded(element, tree, notes)
    if bits is None or formats.accumulator_rounding not in ("nearest-even", "half-away", "truncation"):
        notes.saw("products", "not asked: the accumulator is not known well enough")
        return None
    a = (bits + 2) // 2
    if a > form.precision - 1 or formats.inputs != "exact":
        notes.saw("products", "exact in the accumulator, rounded or not")
        return None
    by_pair, told = _left(element, tree, a, notes)
    left = set().union(*by_pair.values())
    if left <= {0.0} and tree is not None and any(len(node.children) > 2 for node in tree.nodes()):
        notes.inferred.append("what is added at once is cut to the accumulator's bits: whether products were rounded is not to be seen")
        return None
    if left <= {0.0}:
        return False
    if left <= {0.0, 1.0}:
        if tree is None or all(1.0 in by_pair[pair] for pair in _chained(tree, by_pair)):
            return True
        notes.not_understood.append("some products enter a sum unrounded, and others rounded")
        return None
    notes.not_understood.append(f"products leave {told} units of what rounding takes from them")
    return None


def _measure_rounded(element: Element, tree: Node | None, notes: Notes) -> bool | None:
    """Return False where products are rounded to the operands' own format though the accumulator holds all of their bits."""
    precision = element.form.precision
    by_pair, told = _left(element, tree, (precision + 2) // 2, notes)
    left = set().union(*by_pair.values())
    if left == {0.0}:
        notes.inferred.append(f"products are rounded to the {precision} bits of the operands, and added up in more")
        return False
    if left != {1.0}:
        notes.not_understood.append(f"products leave {told} units of what rounding to the operands' format takes from them")
        return None
    notes.saw("products", "exact in the accumulator")
    return None


def _left(element: Element, tree: Node | None, a: int, notes: Notes) -> tuple[dict[tuple[int, int], set[float]], str]:
    """Return what is left of (1 + 2^−a)² beside −(1 + 2^(1−a)), in units of 2^−2a, by pairs of taps that meet early."""
    fine, rest = 1.0 + 2.0**-a, 2.0 ** (-2 * a)
    by_pair = {
        (i, j): {
            element.one({product: fine, other: -(1.0 + 2.0 ** (1 - a))}, {product: fine}) / rest for product, other in ((i, j), (j, i))
        }
        for i, j in _pairs(element.taps, tree)
    }
    told = ", ".join(f"{value:g}" for value in sorted(set().union(*by_pair.values())))
    notes.saw(f"(1 + 2^−{a})² − (1 + 2^{1 - a}), in units of what a rounded product lacks", told)
    return by_pair, told


def _chained(tree: Node, asked: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those pairs of which the later tap is added to a sum with the earlier one, where a fused multiply-add leaves something."""
    chains = [order for node in tree.nodes() if not node.is_leaf and node.size <= _FEW and (order := chain(node)) is not None]
    neighbours = {pair for order in chains for pair in itertools.pairwise(order)}
    return [pair for pair in asked if pair in neighbours]


def single_products_are_rounded(element: Element, formats: Formats, notes: Notes) -> bool | None:
    """Return whether products of numbers with all of their bits come out rounded once or twice; ``None`` where nobody can tell.

    Operands that are cut into parts, whose products are added up, give others.
    """
    form = element.form
    if formats.inputs != "exact" or form.precision > FLOATS["float32"].precision or formats.output_bits < form.precision:
        return None
    draws = np.random.default_rng(19)
    shape, rows, weights = (_FACTORS, _FACTORS), np.zeros((_FACTORS, element.taps)), np.zeros(element.taps)
    factors = np.ldexp(draws.integers(2 ** (form.precision - 1), 2**form.precision, (2, _FACTORS)) | 1, 1 - form.precision)
    x, w = (np.broadcast_to(one, shape) for one in (factors[0], factors[1][:, None]))
    rows[:, 0] = factors[0]
    got = np.stack([element.values(rows, np.concatenate([[one], weights[1:]])) for one in factors[1].tolist()])
    widths = {
        bits for bits in (form.precision, formats.widest_bits, formats.shortest_bits) if bits is not None and bits < 2 * form.precision
    }
    ways = [x * w, *(round_to(x * w, bits, rule) for bits in widths for rule in RULES)]
    stored = [round_to(way, formats.output_bits, rule) for way in ways for rule in RULES]
    is_rounded = any(np.array_equal(got, way) for way in stored)
    notes.saw(
        "single products of numbers with all of their bits", "the exact ones, rounded" if is_rounded else "others than the exact ones"
    )
    if is_rounded:
        return True
    if formats.output_rounding == "stochastic":
        return None
    notes.not_understood.append(
        "single products of numbers with all of their bits are not rounded as sums are, or parts of them are left out"
    )
    return False


def _pairs(taps: int, tree: Node | None) -> list[tuple[int, int]]:
    """Return taps that meet early: the first of each chain, and neighbours within it."""
    pairs: list[tuple[int, int]] = []
    if tree is not None:
        for node in tree.nodes():
            if not node.is_leaf and node.size <= _FEW and len(pairs) < _MOST_PAIRS:
                order = chain(node) or node.leaves()
                pairs += [(a, b) for a, b in itertools.pairwise(order) if max(a, b) < taps]
    return pairs[:_MOST_PAIRS] or [(0, 1), (taps - 2, taps - 1), (0, taps - 1), (0, taps // 2)]
