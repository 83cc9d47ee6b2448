"""The search for the configurations of a domain: it asks about layers, finds its way to what is accepted, and grows from there.

Asking a predicate costs microseconds where drawing a configuration costs milliseconds, so that thousands are asked about before
the first case runs. The search has a fixed seed and counts questions, not seconds: it finds the same in every process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from random import Random

from convfuzz.case.config import ConvConfig
from convfuzz.case.domain.declared import Domain
from convfuzz.case.domain.fitting import fitted
from convfuzz.case.domain.layers import layers
from convfuzz.case.domain.moves import granted, moved
from convfuzz.case.domain.watched import Notes, watched
from convfuzz.case.parameters import parameters
from convfuzz.errors import ConvfuzzError

MOST_FLOPS = 2**31
"""What a configuration of the search costs at most: a single layer of a large network still is within."""
MOST_BYTES = 2**28

_CHEAP_FLOPS = 500_000
_LEAST = 64
"""Where fewer configurations are within a limit, the cheapest beyond it count as well, up to this many."""
_SEED = 12
_CLIMBS = 24
"""From so many of the layers that came furthest the search finds its way on where none is accepted."""
_STEPS = 40
_TRIED_AT_EACH = 12
_GROWN = 4000
"""Questions that the growth asks at most."""
_KEPT = 1000
_SIMPLIFIED = 200
_OF_A_COMBINATION = 3
"""A configuration is kept while one of its pairs of values has been met less often than this."""


@dataclass(frozen=True)
class Explored:
    """What a search knows of a domain: accepted configurations, the simplest first, and the part of the layers that is accepted."""

    configs: tuple[ConvConfig, ...]
    share: float

    def cheapest(self, admits: Callable[[ConvConfig], bool]) -> tuple[ConvConfig, ...]:
        """Return those that ``admits`` takes, and where these are few the cheapest others, the simplest first in both."""
        within = tuple(filter(admits, self.configs))
        others = sorted(set(self.configs).difference(within), key=lambda config: (config.flops, str(config)))
        return within + tuple(others[: max(_LEAST - len(within), 0)])

    def values(self, domain: Domain) -> dict[str, dict[str, int]]:
        """Count the configurations that every search space can pay for by each parameter's value.

        Of a kernel that does not say which operations it computes forward convolutions are meant.
        """
        counts: dict[str, Counter[str]] = {}
        for config in self.cheapest(lambda config: config.flops <= _CHEAP_FLOPS):
            if domain.ops is not None or config.op == "conv":
                for name, value in parameters(config).items():
                    counts.setdefault(name, Counter())[value] += 1
        return {name: dict(values) for name, values in counts.items()}


@lru_cache(maxsize=64)
def explore(domain: Domain) -> Explored:
    """Search ``domain``, from its examples and from layers as networks have them."""
    return _Search(domain).run()


def is_affordable(config: ConvConfig) -> bool:
    """Whether a valid configuration costs no more than one of a search may."""
    return config.working_nbytes <= MOST_BYTES and config.flops <= MOST_FLOPS


class _Search:
    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._random = Random(_SEED)  # noqa: S311 - a reproducible sequence is what is wanted
        self._asked: dict[ConvConfig, bool] = {}
        self._kept: list[ConvConfig] = []
        self._met: Counter[tuple[tuple[str, str], tuple[str, str]]] = Counter()
        self._left = math.inf if domain.most_questions is None else domain.most_questions
        self._for_growing = self._left / 2

    def run(self) -> Explored:
        starts = [fitted(layer, self._domain, self._random) for layer in layers()]
        starts = [start for start in starts if start.is_valid]
        share = sum(self._accepts(start) for start in starts) / max(len(starts), 1)
        for example in self._domain.examples:
            self._accepts(example)
        if share < 1:
            for start in self._furthest(starts):
                self._climb(start)
        self._grow()
        self._simplify()
        kept = sorted(self._kept, key=_complexity)
        return Explored(tuple(kept), share)

    # -- asking -----------------------------------------------------------------------------------------------------

    def _accepts(self, config: ConvConfig) -> bool:
        """Ask about a configuration, and keep it where it is accepted and brings something new."""
        known = self._asked.get(config)
        if known is None:
            affordable = config.is_valid and config.flaw is None and min(config.output_shape, default=1) > 0 and is_affordable(config)
            if affordable and self._left <= 0:
                return False
            self._left -= affordable
            known = self._asked[config] = affordable and self._domain.accepts(config)
            if known:
                self._keep(config)
        return known

    def _keep(self, config: ConvConfig) -> None:
        pairs = list(combinations(parameters(config).items(), 2))
        if len(self._kept) < _KEPT and any(self._met[pair] < _OF_A_COMBINATION for pair in pairs):
            self._kept.append(config)
            self._met.update(pairs)

    def _watch(self, config: ConvConfig) -> Notes:
        """Ask about a configuration that notes what it is asked for."""
        copy, notes = watched(config)
        self._left -= 1
        try:
            self._domain.declines(copy)
        except Exception:  # noqa: BLE001 - the author's code, which may not expect a watched value
            notes.wishes.clear()
        return notes

    # -- finding a first one ------------------------------------------------------------------------------------------

    def _furthest(self, starts: list[ConvConfig]) -> list[ConvConfig]:
        """Return the starts that are declined latest."""
        declined = [(start, self._watch(start).progress) for start in starts if not self._accepts(start)]
        declined.sort(key=lambda found: found[1], reverse=True)
        return [start for start, _ in declined[:_CLIMBS]]

    def _climb(self, config: ConvConfig) -> bool:
        """Follow what the predicate compares with until it accepts, or gets no further; say whether it has accepted."""
        notes, idle = self._watch(config), 0
        for _ in range(_STEPS):
            best, best_notes = None, notes
            for candidate in self._tries(config, notes):
                if self._accepts(candidate):
                    return True
                if self._left < self._for_growing:
                    return False
                seen = self._watch(candidate)
                if seen.progress > best_notes.progress or (seen.progress == notes.progress and best is None):
                    best, best_notes = candidate, seen
            idle = 0 if best_notes.progress > notes.progress else idle + 1
            if best is None or idle > 4 or self._left < self._for_growing:
                return False
            config, notes = best, best_notes
        return False

    def _tries(self, config: ConvConfig, notes: Notes) -> Iterator[ConvConfig]:
        """Yield changes that may get ``config`` further: the latest comparisons granted, and moves of what was read last."""
        tries: list[ConvConfig] = []
        for wish in reversed(notes.wishes[-8:]):
            try:
                tries += granted(config, wish, self._random)
            except ConvfuzzError:  # no configuration has such a value
                continue
        tries = list(dict.fromkeys(tries))[: 2 * _TRIED_AT_EACH]
        if notes.reads:
            tries += [moved(config, self._random, self._random.choice(notes.reads[-3:])) for _ in range(_TRIED_AT_EACH // 2)]
        tries += [moved(config, self._random) for _ in range(2)]
        for one in tries:
            candidate = fitted(one, self._domain, self._random)
            if candidate.is_valid and is_affordable(candidate):
                yield candidate

    # -- growing ------------------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Change one or two parameters of what is accepted, of the newest and of any, as long as it brings new pairs of values."""
        if not self._kept:
            return
        for _ in range(_GROWN):
            newest = self._random.random() < 0.3
            parent = self._kept[-1] if newest else self._random.choice(self._kept)
            self._accepts(varied(parent, self._domain, self._random))
            if len(self._kept) >= _KEPT or self._left <= 0:
                return

    def _simplify(self) -> None:
        """Add what is plain in everything that has no geometry, for each geometry that is accepted: failures shrink to it."""
        seen: set[object] = set()
        for config in list(self._kept):
            geometry = (config.op, config.kernel_size, config.stride, config.dilation, config.padding, config.groups == 1)
            if geometry in seen or len(seen) == _SIMPLIFIED:
                continue
            dtype = config.dtype if self._domain.dtypes is not None and "float32" not in self._domain.dtypes else "float32"
            plain = config.replace(batch=1, bias=False, layout="contiguous", weight_layout=None, dtype=dtype, padding_mode="zeros")
            if self._accepts(plain):
                seen.add(geometry)
                if plain not in self._kept:
                    self._kept.append(plain)


def varied(config: ConvConfig, domain: Domain, random: Random) -> ConvConfig:
    """Return ``config`` with one parameter changed, or two, and what the domain declares put back; it may be invalid."""
    for _ in range(random.choice((1, 1, 2))):
        config = moved(config, random)
    return fitted(config, domain, random)


def _complexity(config: ConvConfig) -> tuple[int, int, str]:
    """Order configurations from simple to complex."""
    plain = {
        "op": "conv",
        "batch": "1",
        "groups": "none",
        "dtype": "float32",
        "layout": "contiguous",
        "bias": "no",
        "padding mode": "zeros",
    }
    words = parameters(config)
    return sum(words[name] != value for name, value in plain.items()), config.flops, str(config)
