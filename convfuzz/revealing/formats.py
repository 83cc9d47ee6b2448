"""The number formats that an output element passes through: what the probes tell of them together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convfuzz.case.dtypes import FloatFormat
from convfuzz.revealing.element import Element
from convfuzz.revealing.format_probes import OF_BITS, TOP, Probes
from convfuzz.revealing.range_ends import measure_flushes, measure_negative_zero, measure_overflow
from convfuzz.revealing.sheet import Notes
from convfuzz.revealing.summation_tree import Node, without


@dataclass(frozen=True)
class Formats:
    """What the probes of the formats tell; ``bits`` counts a significand's bits, the hidden one too.

    ``shortest_bits`` is the shortest significand of a partial sum that was met, ``widest_bits`` the longest, None if no bit
    was lost as far as the operands reach, which is ``reach`` bits. ``accumulator`` is the format of the longest; ``between_blocks``
    of the shortest where that is another. ``sum_bits`` are those of a sum of products alone, which may be rounded to fewer than
    ``output_bits`` before the bias is added.
    """

    shortest_bits: int | None
    widest_bits: int | None
    reach: int
    accumulator: str
    accumulator_rounding: str
    between_blocks: str
    inputs: str
    inputs_are_whole: bool
    input_range_is_narrow: bool
    output_bits: int
    sum_bits: int
    outputs: str
    output_rounding: str
    bias_is_separate: bool | None
    flushes: tuple[str, ...] | None
    overflow: str
    negative_zero: str
    is_short_within: bool = False
    """Whether sums within blocks are the shorter ones, and ``between_blocks`` the longer."""

    @property
    def shortest(self) -> str:
        """The shortest format that a partial sum is rounded to."""
        return self.accumulator if self.between_blocks == "none seen" or self.is_short_within else self.between_blocks

    def placed(self, element: Element, tree: Node | None, notes: Notes) -> Formats:
        """Return which of two formats is that within blocks and which that between them.

        Sums are the shorter ones within blocks if the first of all loses what the last but one keeps, until the term that comes next.
        """
        if self.between_blocks == "none seen" or self.shortest_bits is None or self.input_range_is_narrow or tree is None:
            return self
        taps = without(tree, element.taps)[0] if element.has_bias else tree
        sums = [node for node in taps.nodes() if not node.is_leaf and len(node.children) == 2 and node is not taps]
        if not sums:
            return self
        first, last = min(sums, key=lambda node: node.size), max(sums, key=lambda node: node.size)
        rows = np.zeros((2, element.taps))
        small = 2.0 ** (TOP - self.shortest_bits)
        for row, node in zip(rows, (first, last), strict=True):
            above = next(parent for parent in taps.nodes() if any(child is node for child in parent.children))
            one, other = (child.first for child in node.children)
            row[[one, other]] = 2.0**TOP, small
            row[next(child.first for child in above.children if child is not node)] = -(2.0**TOP)
        kept = (element.values(rows) == small).tolist()
        notes.saw("2^k + 1 − 2^k at the first sum, and at the last but one", " and ".join("kept" if one else "lost" for one in kept))
        if kept != [False, True]:
            return self
        notes.inferred.append(f"sums within blocks are kept in {self.between_blocks}, and those of blocks in {self.accumulator}")
        return replace(self, accumulator=self.between_blocks, between_blocks=self.accumulator, is_short_within=True)

    def holds_products_of(self, form: FloatFormat) -> bool:
        """Whether the longest partial sums hold a product of two numbers of a format exactly."""
        return self.widest_bits is None or self.widest_bits >= 2 * form.precision

    def without_names(self) -> Formats:
        """Return what is left where numbers are of no floating-point format."""
        names = ("accumulator", "accumulator_rounding", "between_blocks", "inputs", "outputs", "output_rounding")
        return replace(self, **dict.fromkeys(names, "unknown"), bias_is_separate=None, flushes=None)  # type: ignore[arg-type]

    def compensated(self) -> Formats:
        """Return the formats of a sum that carries on what it loses, which seems to be one bit longer than its format."""
        assert self.widest_bits is not None, "it was predicted"
        return replace(
            self, accumulator=OF_BITS.get(self.widest_bits - 1, "unknown"), accumulator_rounding="compensated", between_blocks="none seen"
        )

    def with_known_names(self, notes: Notes) -> Formats:
        """Return the formats without those of a width that no format has and that no sum was predicted with."""
        known = {name: value for name in ("accumulator", "between_blocks") if (value := getattr(self, name)).endswith(" bits")}
        doubtful = {name: "unknown" for name, value in known.items() if not value.startswith("more than")}
        for name in doubtful:
            notes.inferred.append(f"partial sums of {known[name]} were seen, a width that no format has, and they predict no other sums")
        return replace(self, **doubtful)  # type: ignore[arg-type]


def measure_formats(element: Element, notes: Notes) -> Formats:
    """Measure every format by sums of a few terms, the others being zero.

    An accumulator of p bits adds 1 to 2^k and takes 2^k away again without a loss just as long as k < p; which of three terms
    meet first is not known yet, so that all six ways to deal out the roles are tried, in several places. Of the roundings
    it is asked what becomes of quarters of a unit in the last place, on either side of zero, ties at even and odd places
    among them. (Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 2021,
    has the probes of subnormals, of roundings and of the accumulator's width.)
    """
    probes = Probes(element, notes)
    is_narrow = probes.has_narrow_range()
    shortest, widest, reach, place = probes.accumulator(is_narrow=is_narrow)
    rounding = "unknown" if place is None or shortest is None else probes.accumulator_rounding(place, shortest)
    sum_bits = probes.output_bits()
    output_bits = max(sum_bits, probes.output_bits(beside_bias=True)) if element.has_bias else sum_bits
    is_stored_shorter = widest is None or widest > output_bits
    output_rounding = probes.output_rounding(sum_bits)
    inputs = probes.inputs(shortest, rounding, is_narrow=is_narrow)
    in_parts = probes.in_parts(shortest) if inputs == "exact" else ()
    for operand in in_parts:
        notes.not_understood.append(f"single bits of {operand} come out, and numbers with many bits come out as others")
    accumulator = probes.accumulator_name(widest, reach)
    if widest is None and not is_narrow and not probes.is_wide_in_nested_sums(reach):
        notes.not_understood.append(f"sums of three terms are kept in more than {reach} bits, and sums of five are not")
        accumulator = "unknown"
    between = "none seen" if shortest == widest else probes.accumulator_name(shortest, reach)
    stored = output_bits < element.form.precision and is_stored_shorter
    bias_is_separate = None
    if sum_bits < output_bits:
        notes.inferred.append(f"a sum is rounded to {sum_bits} bits before the bias is added, and the result is not")
        bias_is_separate = True
    elif element.has_bias and (shortest is None or shortest > output_bits):  # else the sum has no more bits anyway
        bias_is_separate = probes.bias_is_separate(output_bits, output_rounding)
    found = Formats(
        shortest_bits=shortest,
        widest_bits=widest,
        reach=reach,
        accumulator=accumulator,
        accumulator_rounding=rounding,
        between_blocks=between,
        inputs="unknown" if in_parts else inputs,
        inputs_are_whole=not in_parts,
        input_range_is_narrow=is_narrow,
        output_bits=output_bits,
        sum_bits=sum_bits,
        outputs=OF_BITS.get(output_bits, f"{output_bits} bits") if stored else "exact",
        output_rounding=output_rounding,
        bias_is_separate=bias_is_separate,
        flushes=None
        if is_narrow and element.config.dtype != "float16"
        else measure_flushes(element, accumulator if shortest == widest else between, notes),
        overflow=measure_overflow(element, notes),
        negative_zero=measure_negative_zero(element, notes),
    )
    return found if probes.are_floating(sum_bits, is_narrow=is_narrow) else found.without_names()
