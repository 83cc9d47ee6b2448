"""convfuzz: rounds as a campaign draws them, three of four from ``default``, one from ``invalid``."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

import convfuzz
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.campaign.candidates import Batch
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import draw_round, round_seeds
from convfuzz.case import Case
from convfuzz.checking.checker import Checker
from convfuzz.entry_points import load_strategy
from convfuzz.processes import preload
from convfuzz.record.events import BackendEnded

from .calls import Call


class Convfuzz:
    """A campaign in one process."""

    name = "convfuzz"
    version = convfuzz.__version__
    made_for = "convolutions: kernels and runtimes, against a reference"

    def __init__(self) -> None:
        preload.load()  # compiles the reference, as a campaign does before its workers start

    def run(self, seed: int, visit: Callable[[Call], None]) -> None:
        """Draw rounds for ever."""
        coverage = PairCoverage()
        spaces = {name: load_strategy(name) for name in ("default", "invalid")}
        batches = st.sampled_from(["default", "default", "default", "invalid"]).flatmap(spaces.__getitem__)

        def run_batch(batch: Batch) -> float:
            for case in batch:
                coverage.add(case.config)
                visit(self.judged(case))
            return 0.0

        for number, round_seed in enumerate(round_seeds(seed)):
            draw_round(number, round_seed, batches, coverage, run_batch)

    def judged(self, case: Case) -> Call:
        """Return a call that the reference judges."""

        def judge(kernel: KernelBackend) -> str:
            ended = (event for event in Checker([kernel]).events(case) if isinstance(event, BackendEnded))
            result = next(ended, None)
            return f"{result.verdict}: {result.reason}" if result is not None and result.verdict.failing else ""

        return Call(case, judge)
