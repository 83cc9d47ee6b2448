"""Whether a product is rounded before it is added: the fused multiply-add."""

from __future__ import annotations

import itertools

from convfuzz.revealing.element import Element
from convfuzz.revealing.formats import Formats
from convfuzz.revealing.sheet import Notes
from convfuzz.revealing.summation_tree import Node, chain

_MOST_PAIRS = 8


def measure_fma(element: Element, formats: Formats, tree: Node | None, notes: Notes) -> bool | None:
    """Return whether products enter a sum unrounded, or ``None`` where they are exact in the accumulator anyway.

    Of x = w = 1 + 2^−a with 2a above the accumulator's bits the product is 1 + 2^(1−a) + 2^−2a; beside −(1 + 2^(1−a)) the last term
    alone is left, or nothing if it was rounded off. A fused multiply-add shows only where the product is the later of the
    two, so that terms are asked that meet early, in either role.
    """
    bits = formats.widest_bits
    if bits is None or formats.accumulator_rounding not in ("nearest-even", "half-away", "truncation"):
        notes.saw("products", "not asked: the accumulator is not known well enough")
        return None
    a = (bits + 2) // 2
    if a > element.form.precision - 1 or formats.inputs != "exact":
        notes.saw("products", "exact in the accumulator, rounded or not")
        return None
    fine, rest = 1.0 + 2.0**-a, 2.0 ** (-2 * a)
    left = set()
    for i, j in _pairs(element.taps, tree):
        for product, other in ((i, j), (j, i)):
            left.add(element.one({product: fine, other: -(1.0 + 2.0 ** (1 - a))}, {product: fine}) / rest)
    told = ", ".join(f"{value:g}" for value in sorted(left))
    notes.saw(f"(1 + 2^−{a})² − (1 + 2^{1 - a}), in units of what a rounded product lacks", told)
    if left <= {0.0} and tree is not None and any(len(node.children) > 2 for node in tree.nodes()):
        notes.inferred.append("what is added at once is cut to the accumulator's bits: whether products were rounded is not to be seen")
        return None
    if left <= {0.0}:
        return False
    if left <= {0.0, 1.0}:
        return True
    notes.not_understood.append(f"products leave {told} units of what rounding takes from them")
    return None


def _pairs(taps: int, tree: Node | None) -> list[tuple[int, int]]:
    """Return taps that meet early: the first of each chain, and neighbours within it."""
    pairs: list[tuple[int, int]] = []
    if tree is not None:
        for node in tree.nodes():
            if not node.is_leaf and node.size <= 4 and len(pairs) < _MOST_PAIRS:
                order = chain(node) or node.leaves()
                pairs += [(a, b) for a, b in itertools.pairwise(order) if max(a, b) < taps]
    return pairs[:_MOST_PAIRS] or [(0, 1), (taps - 2, taps - 1), (0, taps - 1), (0, taps // 2)]
