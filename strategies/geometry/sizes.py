"""Batch sizes, channel counts and spatial sizes worth trying: dense at the edges of the blocks that kernels work in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from convfuzz.strategies.weighted import Ladder, ladder


def _at_edges(edges: dict[int, int]) -> dict[int, int]:
    """Give each edge of a block its two neighbours, all of the same weight."""
    return {edge + off: weight for edge, weight in edges.items() for off in (-1, 0, 1)}


def _of_batch(batch: int | None) -> int:
    return batch or 1


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Where the sizes of a search space come from."""

    batch: Ladder[int | None]
    channels: Ladder[int]
    groups: Ladder[int]
    per_group: Ladder[int]
    multiplier: Ladder[int]
    spatial: Ladder[int]

    def bounded(self, *, max_batch: int, unbatched: bool, max_groups: int) -> Sizes:
        """Return the same sizes without batches and group counts beyond the given ones."""
        return Sizes(
            batch=self.batch.only(lambda n: unbatched if n is None else n <= max_batch),
            channels=self.channels,
            groups=self.groups.only(lambda g: g <= max_groups),
            per_group=self.per_group,
            multiplier=self.multiplier,
            spatial=self.spatial,
        )


@cache
def everyday_sizes() -> Sizes:
    """Return small and ordinary sizes, with block edges often."""
    return Sizes(
        batch=Ladder(
            {1: 44, None: 12, 2: 13, 3: 8, 4: 4, 5: 3, 7: 2, 8: 4, 9: 2, 15: 4, 16: 8, 17: 5, 31: 1, 32: 2, 33: 1, 64: 1, 65: 1},
            _of_batch,
        ),
        channels=ladder(
            {1: 4, 2: 4, 3: 6, 4: 4, 5: 3, 6: 3, 7: 4, 8: 5, 9: 4}
            | dict.fromkeys((10, 11, 12, 13, 14, 18, 19, 20, 21, 28, 30, 36, 40, 48, 50, 56, 72, 80, 96, 105, 144, 160, 192, 384), 1)
            | _at_edges({16: 7, 24: 5, 32: 6, 64: 4, 128: 3, 256: 2, 512: 1})
            | {24: 9}
        ),
        groups=ladder({1: 1, 2: 6, 3: 7, 4: 4, 5: 3, 6: 1, 7: 3, 8: 3, 9: 2, 11: 1, 13: 1, 15: 1, 16: 1, 17: 1, 32: 1}),
        per_group=ladder(
            {1: 2, 2: 7, 3: 7, 4: 4, 5: 3, 6: 3, 7: 4, 8: 6, 9: 4}
            | dict.fromkeys((10, 11, 12, 13, 14, 20, 28), 1)
            | _at_edges({16: 4, 24: 2, 32: 4, 64: 1})
        ),
        multiplier=ladder({1: 1, 2: 5, 3: 4, 4: 1, 5: 1, 7: 1, 8: 1, 16: 1}),
        spatial=ladder(
            {1: 3, 2: 3, 3: 3, 4: 3, 5: 4, 6: 4, 7: 5, 8: 5, 9: 5, 10: 4, 11: 3, 12: 4, 13: 3, 14: 3, 18: 2, 19: 2, 20: 2, 21: 2, 22: 2}
            | dict.fromkeys((26, 27, 28, 29, 30, 35, 37, 38, 40, 42, 45, 46, 48, 49, 50, 53, 56, 60, 67, 70, 75, 80, 90, 96), 2)
            | dict.fromkeys((100, 112, 120, 144, 150, 192, 200, 224, 300, 384, 400, 480, 600, 720, 800, 1000, 1500, 2000, 3000), 1)
            | _at_edges({16: 9, 24: 7, 32: 8, 64: 7, 128: 4, 256: 3, 512: 2, 1024: 2, 4096: 2, 65536: 2})
        ),
    )


@cache
def edge_sizes() -> Sizes:
    """Return 1, 2, 3 and the edges of blocks, up to 65,537 where the rest of a configuration is small enough."""
    small = {1: 5, 2: 3, 3: 3}
    edges = _at_edges({8: 5, 16: 5, 24: 3, 32: 4, 64: 3, 128: 2, 256: 2, 512: 1, 1024: 1, 4096: 1, 65536: 1})
    batch: dict[int | None, int] = {1: 60, None: 15, 2: 10, 3: 8}
    batch.update(_at_edges({8: 3, 16: 8, 32: 3, 64: 2, 256: 1, 1024: 1, 65536: 1}).items())
    return Sizes(
        batch=Ladder(batch, _of_batch),
        channels=ladder(small | edges),
        groups=ladder({1: 1, 2: 2, 3: 3} | _at_edges({8: 1, 16: 1, 32: 1})),
        per_group=ladder(small | _at_edges({8: 3, 16: 3, 24: 1, 32: 2, 64: 1})),
        multiplier=ladder(small | _at_edges({8: 1, 16: 1, 32: 1})),
        spatial=ladder(small | edges),
    )


@cache
def small_sizes() -> Sizes:
    """Return the smallest sizes, each about as likely as any other: what is particular is elsewhere."""
    return Sizes(
        batch=Ladder({1: 4, None: 1, 2: 2, 3: 1}, _of_batch),
        channels=ladder(dict.fromkeys((1, 2, 3, 4, 6, 8), 1)),
        groups=ladder(dict.fromkeys((1, 2, 3, 4), 1)),
        per_group=ladder(dict.fromkeys((1, 2, 3), 1)),
        multiplier=ladder(dict.fromkeys((1, 2, 3), 1)),
        spatial=ladder(dict.fromkeys((*range(1, 11), 16, 17), 1)),
    )


LAYER_CHANNELS = ladder(
    {1: 1, 3: 2, 8: 3, 16: 5, 24: 5, 32: 6, 40: 2, 48: 1, 56: 2, 64: 6, 72: 2, 96: 3, 120: 1, 128: 4, 192: 1, 256: 2, 512: 1}
)
"""Channel counts of the layers that networks are made of."""
