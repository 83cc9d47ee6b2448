"""Print what drawing a batch costs in each named search space: ``python benchmarks/strategies.py [COUNT]``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from time import perf_counter

from hypothesis import Phase, given, settings
from hypothesis.strategies import SearchStrategy

from convfuzz.case import Case
from convfuzz.strategies import boundary, default, invalid, smoke


def measure(space: Callable[[], SearchStrategy[tuple[Case, ...]]], count: int) -> None:
    """Draw ``count`` batches of a space, as a round of a campaign does, and print a line."""
    flops: list[int] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None)
    @given(space())
    def draw(batch: tuple[Case, ...]) -> None:
        flops.append(max(batch[0].config.flops, 0))

    start = perf_counter()
    draw()
    took = (perf_counter() - start) / len(flops) * 1e3
    print(f"{space.__name__:10} {took:.2f} ms a batch; median {median(flops) / 1e6:.3f} Mflop, largest {max(flops) / 1e6:.1f}")


if __name__ == "__main__":
    batches = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"Hypothesis {version('hypothesis')}, {batches} batches per space")
    for named in (smoke, default, boundary, invalid):
        measure(named, batches)
