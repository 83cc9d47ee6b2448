"""What steering finds: the cases that campaigns need until planted mistakes are caught.

    python benchmarks/steering.py

Every planted mistake of the forward pass and the gradients (``tests/planted``) runs beside the others on the same cases,
until it is caught. ``as drawn`` runs whatever Hypothesis draws; ``steered`` and ``climbing`` are the two kinds of round.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from itertools import islice

from of_tests.planted.bugs import PLANTED
from of_tests.planted.registry import Planted

from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import CLIMBING, Batch, draw_round, round_seeds
from convfuzz.case.config import ConvConfig
from convfuzz.checking.checker import Checker
from convfuzz.entry_points import load_strategy
from convfuzz.record.events import BackendEnded

WITHIN = (30, 100, 200, 400, 800)


class _Indifferent(PairCoverage):
    """Finds everything equally rare, so that whatever is drawn runs."""

    def rarity(self, config: ConvConfig) -> float:
        del config
        return 0.0


class _Enough(KeyboardInterrupt):
    pass


KINDS: dict[str, tuple[type[PairCoverage], Callable[[int], int]]] = {
    "as drawn": (_Indifferent, lambda _: 0),
    "steered": (PairCoverage, lambda _: 0),
    "climbing": (PairCoverage, lambda _: CLIMBING - 1),
    "campaign": (PairCoverage, lambda number: number),
}
"""The coverage and the number of a round, which says of which kind it is."""


def campaign(kind: str, seed: int, cases: int) -> tuple[dict[str, int], int]:
    """Return after how many cases each planted mistake was caught, and how many pairs of feature values have met."""
    make, numbered = KINDS[kind]
    coverage, caught, done = make(), dict[str, int](), 0
    waiting: dict[str, Planted] = {planted.name: planted for planted in PLANTED if planted.shows != "invalid"}

    def run_batch(batch: Batch) -> float:
        nonlocal done
        worst = 0.0
        for case in batch:
            if done == cases:
                raise _Enough
            done += 1
            coverage.add(case.config)
            backends: list[KernelBackend] = [p.backend for p in waiting.values() if case.grad or p.shows != "gradients"]
            ended = (event for event in Checker(backends).events(case) if isinstance(event, BackendEnded))
            for event in islice(ended, len(backends)):
                if event.verdict.failing and event.backend in waiting:
                    caught[event.backend] = done
                    del waiting[event.backend]
                else:
                    worst = max(worst, event.worst_ratio)
        return worst

    batches = load_strategy("default")
    with contextlib.suppress(_Enough):
        for number, round_seed in enumerate(round_seeds(seed)):
            draw_round(numbered(number), round_seed, batches, coverage, run_batch)
    return caught, len(coverage)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=WITHIN[-1], help=f"of each campaign (default {WITHIN[-1]})")
    parser.add_argument("--seeds", type=int, default=3, help="campaigns of each kind (default 3)")
    arguments = parser.parse_args()
    total = sum(planted.shows != "invalid" for planted in PLANTED)
    within = [cases for cases in WITHIN if cases <= arguments.cases]
    print(f"of {total} mistakes, caught within so many cases, and cases on average ({arguments.cases} where not caught)")
    print(f"{'round':9} {'seed':>4} " + "".join(f"{cases:>6}" for cases in within) + f" {'average':>8} {'pairs':>6}")
    for kind in KINDS:
        for seed in range(1, arguments.seeds + 1):
            caught, pairs = campaign(kind, seed, arguments.cases)
            counts = "".join(f"{sum(cases <= limit for cases in caught.values()):>6}" for limit in within)
            average = (sum(caught.values()) + arguments.cases * (total - len(caught))) / total
            print(f"{kind:9} {seed:>4} {counts} {average:>8.1f} {pairs:>6}", flush=True)


if __name__ == "__main__":
    main()
