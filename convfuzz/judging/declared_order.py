"""The order in which a backend declares to add its products up, and Σ s_k² of the exact partial sums s_k in that order.

Rounding the k-th partial sum loses u·|s_k| at most, to either side as it falls out; so that many such losses are beyond
λ·u·√(Σ s_k² + Σ p²) with a probability of 2·exp(−λ²/2), as martingale differences are (Azuma and Hoeffding; Higham and Mary, "A new
approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019; Connolly, Higham and Mary 2021, section 4.3).
What a declaration leaves open, such as how the sums of lanes are reduced and whether the bias comes first, is tried in each way
that kernels have, and the largest of them counts. ``docs/numerics.md`` says more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convfuzz.errors import InvalidConfig

Floats = npt.NDArray[np.float64]

_WHOLE = ("sequential", "reversed", "pairwise")
_IN_PARTS = ("blocked", "lanes", "split")
_CHANNELS_LAST = "channels-last"
MOST = 2**16
"""The largest number of lanes or parts, or length of a block, that can be declared."""


@dataclass(frozen=True, slots=True)
class DeclaredOrder:
    """An order over a layer's taps: ``kind`` with its ``count``, over the taps as the weight lies in memory or with channels innermost."""

    kind: str
    count: int = 0
    channels_last: bool = False

    @classmethod
    def parse(cls, text: object) -> DeclaredOrder:
        """Read ``sequential``, ``reversed``, ``pairwise``, ``blocked-K``, ``lanes-K`` or ``split-K``, with ``-channels-last`` behind.

        Raises:
            InvalidConfig: it is none of these.
        """
        said = text.removesuffix(f"-{_CHANNELS_LAST}") if isinstance(text, str) else ""
        kind, _, count = said.partition("-")
        if said in _WHOLE:
            return cls(said, 0, said != text)
        if kind in _IN_PARTS and count.isascii() and count.isdecimal() and 2 <= int(count) <= MOST and not count.startswith("0"):
            return cls(kind, int(count), said != text)
        known = [*_WHOLE, *(f"{one}-K with K from 2 to {MOST}" for one in _IN_PARTS)]
        raise InvalidConfig(f"order={text!r} is not one of {', '.join(known)}; -{_CHANNELS_LAST} behind it adds each tap's channels first")

    def __str__(self) -> str:
        return self.kind + f"-{self.count}" * (self.count > 0) + f"-{_CHANNELS_LAST}" * self.channels_last

    def squares(self, products: Floats, bias: Floats | None = None) -> Floats:
        """Return Σ s_k² per sum, for ``products`` in that order of taps, (products, sums): the most of all variants."""
        found = np.zeros(products.shape[1])
        for terms, first in _biased(products, bias):
            for made in self._variants(terms, first):
                np.maximum(found, made, out=found)
        return found

    def _variants(self, terms: Floats, last: Floats | None) -> Iterator[Floats]:
        """Yield Σ s_k² as each kind of kernel has them; ``last`` is a bias that is added to the whole sum."""
        at_last = 0.0 if last is None else (terms.sum(axis=0) + last) ** 2
        for made in _KINDS[self.kind](terms, self.count):
            yield made + at_last


def _biased(products: Floats, bias: Floats | None) -> Iterator[tuple[Floats, Floats | None]]:
    """Yield the terms and what is added to their sum: the bias behind all, or as the first of them, or within the first term."""
    if bias is None:
        yield products, None
        return
    yield products, bias
    yield np.concatenate([bias[None], products]), None
    begun = products.copy()
    begun[:1] += bias
    yield begun, None


def _chain(terms: Floats) -> Floats:
    """Return Σ s_k² of a sum that adds one after the other, of which the first is no rounding: terms on the axis before the last."""
    sums = np.cumsum(terms, axis=-2)[..., 1:, :]
    squared: Floats = np.einsum("...km,...km->...m", sums, sums)
    return squared


def _tree(terms: Floats, pair: Callable[[Floats], tuple[Floats, Floats, Floats]]) -> Floats:
    """Return Σ s_k² of a balanced tree; what ``pair`` leaves over waits for the next level."""
    total = np.zeros(terms.shape[1])
    while len(terms) > 1:
        one, other, rest = pair(terms)
        sums = one + other
        total += np.einsum("km,km->m", sums, sums)
        terms = np.concatenate([sums, rest])
    return total


def _neighbours(terms: Floats) -> tuple[Floats, Floats, Floats]:
    even = len(terms) // 2 * 2
    return terms[:even:2], terms[1:even:2], terms[even:]


def _halves(terms: Floats) -> tuple[Floats, Floats, Floats]:
    half = (len(terms) + 1) // 2
    return terms[: len(terms) - half], terms[half:], terms[len(terms) - half : half]


def _reduced(sums: Floats) -> Floats:
    """Return the most that Σ s_k² is where a few sums are added: one after the other, as a tree, or in any order on average."""
    count = len(sums)
    if count < 2:
        return np.zeros(sums.shape[1])
    mean = sums.mean(axis=0)
    on_average = count * (count + 1) / 6.0 * (sums.var(axis=0) + (2.0 * count + 1.0) * mean * mean)
    ways = (on_average, _chain(sums), _chain(sums[::-1]), _tree(sums, _neighbours), _tree(sums, _halves))
    most: Floats = np.maximum.reduce(ways)
    return most


def _of_lines(lines: Floats) -> tuple[Floats, Floats]:
    """Return Σ s_k² within lines, (lines, terms of each, sums), and what the lines add up to."""
    return _chain(lines).sum(axis=0), lines.sum(axis=1)


def _in_one(order: Callable[[Floats], Floats]) -> Callable[[Floats, int], Iterator[Floats]]:
    def variants(terms: Floats, count: int) -> Iterator[Floats]:
        del count
        yield _chain(order(terms))

    return variants


def _in_pairs(terms: Floats, count: int) -> Iterator[Floats]:
    del count
    yield _tree(terms, _neighbours)
    yield _tree(terms, _halves)
    yield _split_in_half(terms)


def _split_in_half(terms: Floats) -> Floats:
    """Return Σ s_k² of a sum that is halved, and each half again, down to single terms."""
    edges, total = [(0, len(terms))], np.zeros(terms.shape[1])
    sums = np.concatenate([np.zeros((1, terms.shape[1])), np.cumsum(terms, axis=0)])
    while edges:
        a, b = edges.pop()
        if b - a < 2:
            continue
        total += (sums[b] - sums[a]) ** 2
        edges += [(a, (a + b) // 2), ((a + b) // 2, b)]
    return total


def _in_lanes(terms: Floats, count: int) -> Iterator[Floats]:
    """Deal the terms out to lanes; what is left over goes on in the lanes, or comes behind all of them."""
    full = len(terms) // count * count
    within, sums = _of_lines(terms[:full].reshape(-1, count, terms.shape[1]).swapaxes(0, 1))
    rest = terms[full:]
    if not full:
        yield _reduced(rest)
        return
    grown = sums.copy()
    grown[: len(rest)] += rest
    yield within + np.einsum("km,km->m", grown[: len(rest)], grown[: len(rest)]) + _reduced(grown)
    if len(rest):
        yield within + _reduced(sums) + _chain(np.concatenate([sums.sum(axis=0, keepdims=True), rest]))


def _in_runs(terms: Floats, edges: list[int]) -> Floats:
    """Add up runs of neighbours, then their sums."""
    within, sums = np.zeros(terms.shape[1]), []
    for a, b in itertools.pairwise(edges):
        if a < b:
            within += _chain(terms[a:b])
            sums.append(terms[a:b].sum(axis=0))
    return within + _reduced(np.stack(sums))


def _in_blocks(terms: Floats, size: int) -> Iterator[Floats]:
    yield _in_runs(terms, [*range(0, len(terms), size), len(terms)])


def _in_parts(terms: Floats, count: int) -> Iterator[Floats]:
    """Cut the terms into parts: all of one length but the last, or as even as can be, the longer ones first or in between."""
    n = len(terms)
    yield from _in_blocks(terms, -(-n // count))
    yield _in_runs(terms, [n * part // count for part in range(count + 1)])
    yield _in_runs(terms, [part * (n // count) + min(part, n % count) for part in range(count + 1)])


_KINDS: dict[str, Callable[[Floats, int], Iterator[Floats]]] = {
    "sequential": _in_one(lambda terms: terms),
    "reversed": _in_one(lambda terms: terms[::-1]),
    "pairwise": _in_pairs,
    "blocked": _in_blocks,
    "lanes": _in_lanes,
    "split": _in_parts,
}
