"""Probes of the formats: sums of two to four terms among zeros, each of which asks for one rounding on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS
from convfuzz.revealing.element import Element, Floats
from convfuzz.revealing.range_ends import arrangements
from convfuzz.revealing.roundings import RULES, TELLING, rule_of
from convfuzz.revealing.sheet import Notes

_MOST_TRIPLES = 6
_MOST_BITS = 60
"""A significand of more bits than this is taken for one of any length."""
TOP = 15
"""The exponent of the large terms: the largest that float16 has, so that they are in the range of every format."""
OF_BITS = {form.precision: name for name, form in FLOATS.items() if name != "tfloat32"}
"""Formats by how many bits a significand has."""


@dataclass(frozen=True)
class _Place:
    """Three taps of which the first two, with masks of one sign, are added before the third."""

    large: int
    small: int
    opposite: int


class Probes:
    """Asks one output element for its formats, and notes what was seen."""

    def __init__(self, element: Element, notes: Notes) -> None:
        self._element, self._notes = element, notes
        n = element.taps
        self._pair = (0, n - 1)
        drawn = np.random.default_rng(n)
        triples = [
            (0, 1, 2),
            (0, 1, n - 1),
            (0, n // 2, n - 1),
            (n - 3, n - 2, n - 1),
            (n // 2 - 1, n // 2, n - 1),
            (0, n // 3, 2 * n // 3),
        ]
        triples += [triple for axis in range(len(element.axes)) for triple in _along(element.coordinates, axis)]
        triples += [tuple(sorted(drawn.choice(n, 3, replace=False).tolist())) for _ in range(6)]
        self._triples = sorted({t for t in triples if len(set(t)) == 3})

    # -- partial sums ---------------------------------------------------------------------------------------------------

    def accumulator(self, *, is_narrow: bool) -> tuple[int | None, int | None, int, _Place | None]:
        """Return the shortest and the longest significand of partial sums, how many bits the probes reach, and where the first was met."""
        reach = 29 if is_narrow else _MOST_BITS
        ways = [way for triple in self._triples for way in itertools.permutations(triple)]
        low, high = np.zeros(len(ways), int), np.full(len(ways), reach + 1)  # nothing is lost at low, something at high
        while (high - low > 1).any():
            k = (low + high) // 2
            small = np.ldexp(1.0, TOP - k)
            lost = self._three(ways, small) != small
            low, high = np.where(lost, low, np.maximum(low, k)), np.where(lost, np.minimum(high, k), high)
        by_triple: dict[tuple[int, ...], int] = {}
        for way, bits in zip(ways, high.tolist(), strict=True):
            key = tuple(sorted(way))
            by_triple[key] = min(by_triple.get(key, bits), bits)
        if is_narrow and max(by_triple.values()) > reach and (of_products := self._reach_of_products()) > reach:
            reach = of_products
            open_ones = [triple for triple, bits in by_triple.items() if bits > 29][:_MOST_TRIPLES]
            by_triple = {triple: bits for triple, bits in by_triple.items() if bits <= 29} | self._wide_accumulator(open_ones, reach)
        shortest, longest = min(by_triple.values()), max(by_triple.values())
        told = f"first loss of 1 beside 2^k at k = {shortest}" if shortest <= reach else f"no loss of 1 beside 2^{reach}"
        self._notes.saw(
            "2^k + 1 − 2^k, in every arrangement of three taps, at several places", told + f" to {longest}" * (longest != shortest)
        )
        place = next((_Place(w[0], w[1], w[2]) for w, bits in zip(ways, high.tolist(), strict=True) if bits == shortest <= reach), None)
        if longest != shortest:
            self._notes.inferred.append(f"partial sums are kept in {shortest} bits at some places and in {longest} at others")
        return (shortest if shortest <= reach else None), (longest if longest <= reach else None), reach, place

    def _reach_of_products(self) -> int:
        """Return how many bits lie between the largest product of a narrow range and the smallest that comes out."""
        taps, ks = self._element.taps, np.arange(30, 55)
        rows = np.zeros((len(ks), taps))
        rows[:, 0] = np.ldexp(1.0, 40 - ks)
        weights = np.ones(taps)
        weights[0] = 2.0**-10
        kept = self._element.values(rows, weights) == np.ldexp(1.0, 30 - ks)
        return int(ks[-1] if kept.all() else ks[np.argmin(kept)] - 1)

    def _wide_accumulator(self, triples: Sequence[tuple[int, ...]], reach: int) -> dict[tuple[int, ...], int]:
        """Return the first k at which 1 beside 2^k is lost of products: 2^15 times 2^15 is the large one. ``reach`` + 1 where none is."""
        taps, ks = self._element.taps, np.arange(30, reach + 1)
        found = dict.fromkeys(triples, reach + 1)
        for triple, small in [(three, tap) for three in triples for tap in three]:
            weights = np.full(taps, 2.0**TOP)
            weights[small] = 2.0**-10
            others = [tap for tap in triple if tap != small]
            rows = np.zeros((2 * len(ks), taps))
            rows[:, small] = np.tile(np.ldexp(1.0, 40 - ks), 2)
            rows[:, others] = np.repeat([[2.0**TOP, -(2.0**TOP)], [-(2.0**TOP), 2.0**TOP]], len(ks), axis=0)
            kept = (self._element.values(rows, weights) == np.tile(np.ldexp(1.0, 30 - ks), 2)).reshape(2, -1).all(axis=0)
            if not kept.all():
                found[triple] = min(found[triple], int(ks[np.argmin(kept)]))
        self._notes.saw("2^k + 1 − 2^k, made of products", f"first loss from k = {min(found.values())} on" if found else "not asked")
        return found

    def is_wide_in_nested_sums(self, reach: int) -> bool:
        """Whether a sum that loses nothing of three terms loses nothing of five, 2^k + 1 + 2^−k − 2^k − 1.

        One that keeps what it loses of a sum in a second one of its own format, and adds that at the end, does.
        """
        k, n = reach // 2 - 1, self._element.taps
        if n < 5:
            return True
        values = np.ldexp([1.0, 1.0, 1.0, -1.0, -1.0], [TOP, TOP - k, TOP - 2 * k, TOP, TOP - k])
        taps = (0, 1, n // 2, n - 2, n - 1)
        rows = np.zeros((3, n))
        for row, order in zip(rows, ((0, 1, 2, 3, 4), (1, 0, 2, 4, 3), (2, 1, 0, 3, 4)), strict=True):
            row[list(taps)] = values[list(order)]
        is_wide = bool((self._element.values(rows) == values[2]).all())
        self._notes.saw(f"2^{k} + 1 + 2^−{k} − 2^{k} − 1, in three orders", "no loss" if is_wide else "what is least is lost")
        return is_wide

    def accumulator_rounding(self, place: _Place, bits: int) -> str:
        """Return how a partial sum is rounded where a large and a small term meet."""
        spacing = np.ldexp(1.0, TOP - bits + 1)
        exact = [sign * (m + f) for m in (0.0, 2.0, 4.0) for f in TELLING for sign in (1.0, -1.0)]
        rows = np.zeros((len(exact), self._element.taps))
        signs = np.sign(exact)
        rows[:, place.large] = signs * 2.0**TOP
        rows[:, place.small] = np.array(exact) * spacing
        rows[:, place.opposite] = -signs * 2.0**TOP
        got, again = (self._element.values(rows) / spacing for _ in range(2))
        rule = rule_of(dict(zip(exact, got.tolist(), strict=True))) if np.array_equal(got, again) else "stochastic"
        self._notes.saw("quarters of a unit in the last place, added to a large partial sum", f"{rule}: {_shown(exact, got)}")
        if rule == "unknown":
            self._notes.not_understood.append(f"partial sums round in no way known here: {_shown(exact, got)}")
        return rule

    def accumulator_name(self, bits: int | None, reach: int) -> str:
        """Return the format that has so many bits."""
        if bits is None:
            return f"more than {reach} bits"
        if bits == FLOATS["float16"].precision and not self._overflows_as_float16():
            return "tfloat32"
        return OF_BITS.get(bits, f"{bits} bits")

    def _overflows_as_float16(self) -> bool:
        n, half = self._element.taps, 2.0**TOP
        taps = (0, 1, n // 2, n - 1)
        signs = [(1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1)]
        rows = np.zeros((len(signs), n))
        rows[:, taps] = np.array(signs) * half
        overflows = (self._element.values(rows) != 0.0).any()  # to Inf, or to the largest number
        self._notes.saw("2^15 + 2^15 − 2^15 − 2^15, arranged in every way", "overflows" if overflows else "0: no overflow at 2^16")
        return bool(overflows)

    def _three(self, ways: Sequence[tuple[int, ...]], small: Floats) -> Floats:
        rows = np.zeros((len(ways), self._element.taps))
        at = np.arange(len(ways))
        for role, value in enumerate((np.full(len(ways), 2.0**TOP), small, np.full(len(ways), -(2.0**TOP)))):
            rows[at, np.array([way[role] for way in ways])] = value
        return self._element.values(rows)

    # -- operands -------------------------------------------------------------------------------------------------------

    def has_narrow_range(self) -> bool:
        """Whether inputs beyond float16's range are lost, as they are in float16 itself."""
        if self._element.config.dtype == "float16":
            return True
        got = self._element.one({0: 2.0**20})
        self._notes.saw("an input of 2^20, which float16 has not", f"{got:g}")
        return got != 2.0**20

    def inputs(self, accumulator_bits: int | None, rounding: str, *, is_narrow: bool) -> str:
        """Return what each operand is rounded to before products are made."""
        names = {operand: self._operand(operand, accumulator_bits, rounding, is_narrow=is_narrow) for operand in ("x", "w")}
        if names["x"] == names["w"]:
            return names["x"]
        return "unknown" if "unknown" in names.values() else f"x {names['x']}, w {names['w']}"

    def _operand(self, operand: str, accumulator_bits: int | None, rounding: str, *, is_narrow: bool) -> str:
        """Take 1 away from 1 + 2^−k, which leaves 2^−k if the operand holds it."""
        most = self._element.form.precision - 1
        low, high = 0, most + 1
        while high - low > 1:
            k = (low + high) // 2
            low, high = (k, high) if self._keeps(operand, k) else (low, k)
        self._notes.saw(f"(1 + 2^−k) − 1, the first as a value of {operand}", f"kept to k = {low}")
        if low == most:
            return "exact"
        if accumulator_bits == low + 1:
            if not self._products_keep(accumulator_bits, rounding):
                return "unknown"
            return "exact"
        return self._coarse(operand, low, is_narrow=is_narrow)

    def in_parts(self, accumulator_bits: int | None) -> tuple[str, ...]:
        """Return the operands whose numbers with all of their bits do not come out of a sum with zeros.

        Those that are cut into parts, of which the last are left out, hold any single bit. It is asked where the formats on the
        way have as many bits.
        """
        form = self._element.form
        if (accumulator_bits is not None and accumulator_bits < form.precision) or self.output_bits() < form.precision:
            return ()
        return tuple(operand for operand in ("x", "w") if not self._holds_every_bit(operand))

    def _holds_every_bit(self, operand: str) -> bool:
        form = self._element.form
        draws = np.random.default_rng(13)
        drawn = np.ldexp(draws.integers(2 ** (form.precision - 1), 2**form.precision, 6) | 1, 1 - form.precision).astype(np.float64)
        if operand == "w":
            return all(self._element.one({0: 1.0}, {0: value}) == value for value in drawn.tolist())
        rows = np.zeros((len(drawn), self._element.taps))
        rows[:, 0] = drawn
        return bool(np.array_equal(self._element.values(rows), drawn))

    def _keeps(self, operand: str, k: int) -> bool:
        return any(self._less_one(operand, 1.0 + 2.0**-k, at) == 2.0**-k for at in arrangements(self._element))

    def _less_one(self, operand: str, value: float, at: tuple[int, int]) -> float:
        fine, one = at
        if operand == "x":
            return self._element.one({fine: value, one: -1.0})
        return self._element.one({fine: 1.0, one: -1.0}, {fine: value})

    def _products_keep(self, bits: int, rounding: str) -> bool:
        """Whether operands are exact though sums of so few bits hide them: (1 + 2^−(p+1))² rounds up only if neither lost its last bit."""
        fine = 1.0 + 2.0 ** -(bits + 1)
        got = self._element.one({0: fine}, {0: fine})
        self._notes.saw(f"(1 + 2^−{bits + 1})² in an accumulator of {bits} bits", f"{got!r}")
        return rounding.startswith(("nearest", "half")) and got == 1.0 + 2.0 ** (1 - bits)

    def _coarse(self, operand: str, kept: int, *, is_narrow: bool) -> str:
        spacing = 2.0**-kept
        seen = {}
        for f in TELLING:
            if (f * spacing) + 1.0 != self._element.form.round(np.array((f * spacing) + 1.0)):
                continue  # the case's dtype does not hold it
            seen[f] = self._less_one(operand, 1.0 + f * spacing, self._pair) / spacing
        if self._products_are_rounded(kept + 1):
            return "unknown"
        rule = rule_of(seen)
        self._notes.saw(f"quarters of a unit in the last place of {operand}", f"{rule}: {_shown(seen, list(seen.values()))}")
        name = {11: "float16" if is_narrow else "tfloat32"}.get(kept + 1, OF_BITS.get(kept + 1, f"{kept + 1} bits"))
        if rule == "truncation":
            return f"{name}-truncated"
        return name if rule in ("nearest-even", "half-away") else f"{name}-{rule}"

    def _products_are_rounded(self, bits: int) -> bool:
        """Whether not operands are rounded to so few bits but their products: (1 + 2^−p)² is then as much as its next number.

        Of operands that were rounded it is 1, or more than that where ties go up.
        """
        fine = 1.0 + 2.0**-bits
        got = self._element.one({0: fine}, {0: fine})
        self._notes.saw(f"(1 + 2^−{bits})², of operands that seem to have {bits} bits", f"{got!r}")
        if got != 1.0 + 2.0 ** (1 - bits):
            return False
        self._notes.not_understood.append(f"products seem to be rounded to {bits} bits, and operands not")
        return True

    # -- results --------------------------------------------------------------------------------------------------------

    def output_bits(self, *, beside_bias: bool = False, scale: float = 1.0) -> int:
        """Return how many bits of 1 + 2^−k come out, a sum of two terms, the first of which may be the bias."""
        i, j = self._pair
        most = self._element.form.precision - 1
        rows = np.zeros((most, self._element.taps))
        rows[:, i] = 0.0 if beside_bias else scale
        rows[:, j] = np.ldexp(scale, -np.arange(1, most + 1))
        kept = self._element.values(rows, None, scale if beside_bias else 0.0) == scale + rows[:, j]
        bits = 1 + (most if kept.all() else int(np.argmin(kept)))
        said = "1 + 2^−k as a sum" + ", 1 the bias" * beside_bias + f", times {scale:g}" * (scale != 1.0)
        self._notes.saw(said, f"comes out to k = {bits - 1}")
        return bits

    def are_floating(self, bits: int, *, is_narrow: bool) -> bool:
        """Whether sums of another size have as many bits, as those of a floating-point format have."""
        scale = 64.0 if is_narrow else 2.0**-20
        other = self.output_bits(scale=scale)
        if other != bits:
            self._notes.not_understood.append(f"sums have {bits} bits at 1 and {other} at {scale:g}: that is no floating-point format")
        return other == bits

    def output_rounding(self, bits: int) -> str:
        """Return how a sum of two terms is rounded on its way out: by the store, or by the addition where that has no more bits."""
        i, j = self._pair
        unit = 2.0 ** (1 - bits)
        fractions = np.array([m + r for m in range(8) for r in (0.25, 0.5, 0.75)])
        exact = np.concatenate([fractions, -fractions])
        rows = np.zeros((len(exact), self._element.taps))
        rows[:, i] = np.sign(exact)
        rows[:, j] = exact * unit
        got = (self._element.values(rows) - np.sign(exact)) / unit
        again = (self._element.values(rows) - np.sign(exact)) / unit
        rule = rule_of(dict(zip(exact.tolist(), got.tolist(), strict=True)))
        if not np.array_equal(got, again):
            rule = "stochastic"
        self._notes.saw("quarters of a unit in the last place of the output", f"{rule}: {_shown(exact[:6], got[:6])}")
        if rule == "unknown":
            self._notes.not_understood.append(f"outputs round in no way known here: {_shown(exact, got)}")
        if rule == "stochastic":
            self._notes.inferred.append(
                "outputs are rounded to either neighbour, " + ("differently in two runs" if (got != again).any() else "alike in two runs")
            )
        return rule

    def bias_is_separate(self, bits: int, rounding: str) -> bool | None:
        """Return whether a sum is rounded to the output's format before the bias is added: ask for what is beyond it."""
        i, j = self._pair
        unit = 2.0 ** (1 - bits)
        got = self._element.one({i: 1.0, j: 0.75 * unit}, b=-1.0) / unit
        self._notes.saw("1 + ¾ of a unit in the last place of the output, bias −1", f"{got:g} units")
        if got == 0.75:
            return False
        if rounding in RULES and got == RULES[rounding](0.75):
            return True
        if rounding != "stochastic":
            self._notes.not_understood.append(f"a bias of −1 on 1 + ¾ of a unit gives {got:g} units")
        return None


def _along(coordinates: npt.NDArray[np.intp], axis: int) -> Iterator[tuple[int, int, int]]:
    """Yield the first three taps along an axis, and the first two with the last tap of all: those that a block of it may hold."""
    line = np.flatnonzero((np.delete(coordinates, axis, axis=1) == 0).all(axis=1)).tolist()
    if len(line) >= 3:
        yield line[0], line[1], line[2]
    if len(line) >= 2:
        yield line[0], line[1], len(coordinates) - 1


def _shown(exact: object, got: object) -> str:
    pairs = zip(exact, got, strict=True)  # type: ignore[call-overload]
    return ", ".join(f"{e:g} → {g:g}" for e, g in list(pairs)[:8])
