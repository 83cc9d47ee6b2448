"""What steering finds: the cases that campaigns need until planted mistakes are caught.

    python benchmarks/steering.py [--kinds KIND…] [--weights W…] [--cases N] [--seeds N] [--beside BACKENDS]

Every planted mistake of the forward pass and the gradients (``tests/planted``) runs beside the others on the same cases,
until it is caught. ``by cost`` finds all pairs of feature values equally rare; ``steered`` and ``climbing`` are the two kinds of
round, ``campaign`` has both. ``--weights`` has each kind run with several weights of the cost: the power of the expected cost
that a batch's rarity is divided by. With ``--beside litert,ncnn`` cases are chosen for these runtimes too, as in a campaign that
has them. Seconds are of processor time, of drawing and of checking one correct kernel on the same cases.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
from contenders.kernels import CORRECT_KERNEL
from numpy.typing import NDArray
from of_tests.planted.bugs import PLANTED
from of_tests.planted.registry import Planted

from convfuzz.backends import resolve
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.campaign.candidates import Steering
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import CLIMBING, draw_round, round_seeds
from convfuzz.campaign.runtimes import Batch, Runtimes
from convfuzz.checking.checker import Checker
from convfuzz.entry_points import load_strategy
from convfuzz.processes import preload
from convfuzz.record.events import BackendEnded

WITHIN = (30, 100, 200, 400, 800)


class _Indifferent(PairCoverage):
    """Finds everything equally rare, so that of what is drawn the cheapest runs, and now and then the eldest."""

    def rarities(self, ones: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.ones((len(ones), len(others)))


class _Enough(KeyboardInterrupt):
    pass


KINDS: dict[str, tuple[type[PairCoverage], Callable[[int], int]]] = {
    "by cost": (_Indifferent, lambda _: 0),
    "steered": (PairCoverage, lambda _: 0),
    "climbing": (PairCoverage, lambda _: CLIMBING - 1),
    "campaign": (PairCoverage, lambda number: number),
}
"""The coverage and the number of a round, which says of which kind it is."""


@dataclass
class Found:
    """What one campaign caught, after how many cases and seconds, and how many pairs of feature values met."""

    caught: dict[str, tuple[int, float]]
    cases: int
    seconds: float
    pairs: int


def campaign(kind: str, steering: Steering, seed: int, cases: int) -> Found:
    """Run one campaign until so many cases are done."""
    make, numbered = KINDS[kind]
    coverage, correct = make(), Checker([CORRECT_KERNEL])
    found = Found({}, 0, 0.0, 0)
    waiting: dict[str, Planted] = {planted.name: planted for planted in PLANTED if planted.shows != "invalid"}
    left = time.process_time()

    def run_batch(batch: Batch) -> float:
        nonlocal left
        worst = 0.0
        for case in batch:
            if found.cases == cases:
                raise _Enough
            found.cases += 1
            coverage.add(case.config)
            for _ in correct.events(case):
                pass
            found.seconds += time.process_time() - left
            backends: list[KernelBackend] = [p.backend for p in waiting.values() if case.grad or p.shows != "gradients"]
            ended = (event for event in Checker(backends).events(case) if isinstance(event, BackendEnded))
            for event in islice(ended, len(backends)):
                if event.verdict.failing and event.backend in waiting:
                    found.caught[event.backend] = found.cases, found.seconds
                    del waiting[event.backend]
                else:
                    worst = max(worst, event.worst_ratio)
            left = time.process_time()
        return worst

    batches = load_strategy("default")
    with contextlib.suppress(_Enough):
        for number, round_seed in enumerate(round_seeds(seed)):
            draw_round(numbered(number), round_seed, batches, coverage, run_batch, steering)
    found.pairs = len(coverage)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=WITHIN[-1], help=f"of each campaign (default {WITHIN[-1]})")
    parser.add_argument("--seeds", type=int, default=3, help="campaigns of each kind (default 3)")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=[*KINDS], help="of rounds (default: all)")
    parser.add_argument("--weights", type=float, nargs="+", default=[Steering.weight_of_cost], help="of the cost (default 0.5)")
    parser.add_argument("--beside", default="", help="runtimes that stand beside the planted mistakes (default: none)")
    arguments = parser.parse_args()
    runtimes = Runtimes.among([CORRECT_KERNEL, *map(resolve, filter(None, arguments.beside.split(",")))])
    total = sum(planted.shows != "invalid" for planted in PLANTED)
    within = [cases for cases in WITHIN if cases <= arguments.cases]
    preload.load()  # compiles the reference, as a campaign does before its workers start
    print(f"of {total} mistakes, caught within so many cases; cases on average ({arguments.cases} where not caught), and median seconds")
    limits = "".join(f"{cases:>6}" for cases in within)
    print(f"{'round':9} {'weight':>6} {'seed':>4} {limits} {'average':>8} {'seconds':>8} {'pairs':>6}")
    for kind, weight, seed in product(arguments.kinds, arguments.weights, range(1, arguments.seeds + 1)):
        found = campaign(kind, Steering(weight_of_cost=weight, runtimes=runtimes), seed, arguments.cases)
        counts = "".join(f"{sum(cases <= limit for cases, _ in found.caught.values()):>6}" for limit in within)
        missed = [(arguments.cases, found.seconds)] * (total - len(found.caught))
        cases, seconds = zip(*found.caught.values(), *missed, strict=True)
        average, median = statistics.mean(cases), statistics.median(seconds)
        print(f"{kind:9} {weight:>6.2f} {seed:>4} {counts} {average:>8.1f} {median:>8.3f} {found.pairs:>6}", flush=True)


if __name__ == "__main__":
    main()
