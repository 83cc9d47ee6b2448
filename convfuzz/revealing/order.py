"""The order in which one output element is added up: masked sums, the tree that they make, and its name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convfuzz.revealing.element import Element, Floats
from convfuzz.revealing.formats import Formats
from convfuzz.revealing.sheet import Notes
from convfuzz.revealing.summation_tree import ContradictionError, Indices, Node, Sizes, build, chain, text, without
from convfuzz.revealing.tree_names import Name, name_of

_AT_ONCE = 2**21
"""About how many numbers of probes are held at a time."""


@dataclass(frozen=True)
class Order:
    """The tree of the taps and the bias, which is its last term, and what it is called; without a tree, why there is none."""

    name: Name
    tree: Node | None
    bias: str | None
    text: str


class MaskedSums:
    """Sums in which two terms are large and opposite, and the others units.

    Every unit that is added to a partial sum with one mask in it is lost in it; when the masks meet they cancel, and what is
    added later is counted. So the result is how many terms are outside the smallest partial sum that holds both. (Xie et al., 2025,
    section 4.) Where the result's significand is too short to count them, or the range too narrow to hide them all, the units are
    dealt out over several calls, in each of which the other terms are zero.

    Args:
        element: the sum; its bias is term number ``element.taps``.
        formats: its formats, for the size of masks and units.
    """

    def __init__(self, element: Element, formats: Formats) -> None:
        self._element = element
        self.terms = element.taps + element.has_bias
        narrow = formats.input_range_is_narrow or formats.shortest == "float16"
        form = element.form
        wide = 100 if form.emax < 1000 else 500
        # Subnormal units widen the range of float16 by ten bits, where they survive.
        least = form.smallest_subnormal if form.emax < wide and formats.flushes == () else 2.0**-14
        self.mask, self.unit = (2.0**15, least) if narrow else (2.0**wide, 1.0)
        bits = formats.widest_bits or max(formats.reach, 53)
        hidden = self.mask / self.unit * 2.0 ** -(bits + 1)
        counted = 2.0 ** min(formats.output_bits, formats.shortest_bits or 60)
        self.at_once = int(min(hidden, counted, self.terms))

    def sizes(self, i: int, others: Indices, *, flipped: bool = False) -> Sizes:
        """Return, for each j of ``others``, how many terms the smallest partial sum has that holds i and j.

        Raises:
            ContradictionError: a result is no count.
        """
        per = max(_AT_ONCE // self.terms, 1)
        return np.concatenate([self._sizes(i, others[at : at + per], flipped=flipped) for at in range(0, len(others), per)])

    def _sizes(self, i: int, js: Indices, *, flipped: bool) -> Sizes:
        counts = np.zeros(len(js))
        at = np.arange(len(js))
        sign = -1.0 if flipped else 1.0
        for first in range(0, self.terms, self.at_once):
            rows = np.zeros((len(js), self.terms))
            rows[:, first : first + self.at_once] = self.unit
            rows[:, i] = sign * self.mask
            rows[at, js] = -sign * self.mask
            counts += self._sums(rows) / self.unit
        wrong = (counts != np.rint(counts)) | ~((counts >= 0) & (counts <= self.terms - 2))
        if wrong.any():
            j = int(js[np.argmax(wrong)])
            raise ContradictionError(f"with masks on terms {i} and {j} the sum is {counts[np.argmax(wrong)]:g} units, no count of terms")
        return (self.terms - counts).astype(np.int64)

    def _sums(self, rows: Floats) -> Floats:
        """Return the sums of rows of terms, the bias's value the same within a call."""
        if not self._element.has_bias:
            return self._element.values(rows)
        sums = np.zeros(len(rows))
        for bias in np.unique(rows[:, -1]):
            chosen = rows[:, -1] == bias
            sums[chosen] = self._element.values(rows[chosen, :-1], None, float(bias))
        return sums


def measure_order(element: Element, formats: Formats, notes: Notes) -> Order:
    """Build and name the tree of an element's sum; a contradiction leaves it unknown and says so."""
    masks = MaskedSums(element, formats)
    if masks.at_once < 1:
        notes.inferred.append(
            f"the range of {element.config.dtype} is too narrow to hide a unit behind a mask in this accumulator: no order"
        )
        return Order(Name(words="not to be seen: operands have too narrow a range for masks"), None, None, "")
    try:
        others = np.arange(1, masks.terms)
        first = masks.sizes(0, others)
        if not np.array_equal(first, masks.sizes(0, others, flipped=True)):
            raise ContradictionError("the masks' signs change what the sums count")  # noqa: TRY301 - told like any other
        tree = build(masks.terms, masks.sizes)
    except ContradictionError as error:
        notes.not_understood.append(f"order: {error}")
        return Order(Name(words="masked sums that no tree explains"), None, None, "")
    notes.saw("sums with two masks among units", f"a tree of {masks.terms} terms after {element.calls} calls in all")
    return named(element, tree, formats, notes)


def named(element: Element, tree: Node, formats: Formats, notes: Notes) -> Order:
    """Name a tree, and say where the bias is in it."""
    taps, bias = tree, None
    if element.has_bias:
        taps, sibling = without(tree, element.taps)
        begun = 1 < sibling.size < taps.size and sibling.first == taps.first
        name = name_of(taps, element.coordinates, element.axes, begun=begun)
        bias = _bias(tree, sibling, taps, name)
        if formats.bias_is_separate and bias == "last":
            bias = "separate"
        elif formats.bias_is_separate:
            notes.not_understood.append(f"the bias seems to come {bias}, and after a sum that was rounded to the output's format")
            bias = "unknown"
    else:
        name = name_of(taps, element.coordinates, element.axes)
    if name.also:
        notes.inferred.append(f"the same tree is also {name.also}")
    return Order(name, tree, bias, text(tree, element.taps))


def _bias(tree: Node, sibling: Node, taps: Node, name: Name) -> str:
    """Say when the bias is added: to everything, to the term or the block that sums begin with, or on the way, as the tree shows."""
    if any(child.leaf == tree.size - 1 for child in tree.children) and sibling.size == taps.size:
        return "last"
    begins_blocks = name.order in ("blocked", "split") and sibling.first == taps.first and chain(sibling) is not None
    is_fused = len(sibling.children) > 2 and all(child.is_leaf for child in sibling.children)
    return "first" if sibling.is_leaf or begins_blocks or is_fused else "between"
