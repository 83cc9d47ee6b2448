"""The figures that say whether convfuzz is fast where it counts, each beside something measured in the same run.

``throughput.py`` prints them. Rates are of the workers' own time, from the start of a first round to the end of a last one; ratios
are of figures taken one after the other on the same machine.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from contenders.calls import Call, Contender, Enough
from contenders.kernels import BUGS, CORRECT_KERNEL, pytorch
from contenders.ours import Convfuzz
from contenders.plain_hypothesis import PlainHypothesis
from contenders.race import Race
from reference import median_times, torch_three_sums

from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.campaign.candidates import Batch
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import draw_round, round_seeds
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATING
from convfuzz.entry_points import load_strategy
from convfuzz.oracle import reference
from convfuzz.record.events import CaseStarted, JournalOpened
from convfuzz.record.journal import read_journal
from convfuzz.record.run_directory import Run
from convfuzz.record.summary import REFERENCE, Summary
from convfuzz.tensors.generator import make_tensors

WARMING_SECONDS = 1.0


@dataclass(frozen=True)
class Campaign:
    """A campaign that has run: its rates, and the shares of its workers' time."""

    cases: float
    comparisons: float
    configurations: float
    span: float
    shares: dict[str, float]

    @property
    def outside(self) -> float:
        """The share of the time that neither the backends nor the reference had."""
        return 1.0 - self.shares["backends"] - self.shares["reference"]


def campaign(backends: tuple[str, ...], seed: int, *limits: str, workers: int = 1) -> Campaign:
    """Run ``convfuzz run`` and return its figures; rates are per second, and of workers side by side they add up."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "convfuzz", "run", "--backends", ",".join(backends), "--seed", str(seed), *limits]
        ended = subprocess.run([*command, "--workers", str(workers), "--out", out], check=False, capture_output=True, text=True)
        if ended.returncode not in (0, 1):
            raise SystemExit(ended.stdout + ended.stderr)
        return _figures(Run.load(Path(out)), workers)


def _figures(run: Run, workers: int) -> Campaign:
    cases = comparisons = configurations = span = 0.0
    for worker in range(workers):
        events = [e for e in read_journal(run.directory / f"journal-{worker}.jsonl") if not isinstance(e, JournalOpened)]
        summary = Summary.of(events)
        seconds = summary.ended - summary.started
        span += seconds
        cases += summary.cases / seconds
        comparisons += summary.comparisons / seconds
        configurations += len({e.case.partition("@")[0] for e in events if isinstance(e, CaseStarted)}) / seconds
    parts = {
        "backends": sum(seconds for name, seconds in run.info.backend_s.items() if name != REFERENCE),
        "reference": run.info.backend_s[REFERENCE],
        "tensors, judging": run.summary.overhead_seconds,
    }
    parts["drawing, journal"] = span - sum(parts.values())
    return Campaign(cases, comparisons, configurations, span, {name: seconds / span for name, seconds in parts.items()})


def plain_rate(seconds: float, seed: int) -> float:
    """Return how many cases a second a plain Hypothesis test makes of PyTorch; the first second is for warming up."""
    torch.set_num_threads(1)  # as in a worker
    kernel, made, began = KernelBackend("pytorch", pytorch), 0, time.perf_counter()

    def visit(call: Call) -> None:
        nonlocal made
        passed = time.perf_counter() - began
        if passed > WARMING_SECONDS + seconds:
            raise Enough
        made += passed > WARMING_SECONDS
        call.judge(kernel)

    _run(PlainHypothesis(), seed, visit)
    return made / seconds


def _run(contender: Contender, seed: int, visit: object) -> None:
    try:
        contender.run(seed, visit)  # type: ignore[arg-type]
    except Enough:
        return


def seconds_to_detection(seconds: float, seed: int) -> dict[str, list[float]]:
    """Return for each contender after how long it caught each planted mistake, ``inf`` for those within ``seconds`` that it did not."""
    found = {}
    for contender in (Convfuzz(), PlainHypothesis()):
        kernels = [planted.backend for planted in BUGS.values()]
        race = Race(contender, kernels, seconds, seed, CORRECT_KERNEL).run()
        found[contender.name] = [race.caught[name].seconds if name in race.caught else math.inf for name in BUGS]
    return found


def drawn_layers(count: int, seed: int) -> Iterator[ConvConfig]:
    """Yield layers that ``default`` draws, those that one call of PyTorch expresses and that have an output."""
    layers: list[ConvConfig] = []

    def run_batch(batch: Batch) -> float:
        config = batch[0].config
        if _is_one_call(config):
            layers.append(config)
        if len(layers) >= count:
            raise KeyboardInterrupt
        return 0.0

    try:
        for number, round_seed in enumerate(round_seeds(seed)):
            draw_round(8 * number, round_seed, load_strategy("default"), PairCoverage(), run_batch)
    except KeyboardInterrupt:
        yield from layers


def _is_one_call(c: ConvConfig) -> bool:
    plain = c.is_valid and c.dtype in FLOATING and c.op == "conv" and c.padding_mode == "zeros" and 0 not in c.output_shape
    return plain and 0 not in c.input_shape and all(lo == hi >= 0 for lo, hi in c.pads)


def reference_ratios(count: int, seed: int, rounds: int = 7) -> list[float]:
    """Return the reference's time for (y, S, Q) over PyTorch's for the same three sums in float64, of each of ``count`` drawn layers."""
    torch.set_num_threads(1)
    ratios = []
    for config in drawn_layers(count, seed):
        tensors = make_tensors(Case(config))
        x, w = (np.ascontiguousarray(array.astype(np.float64)) for array in (tensors.x, tensors.w))
        functions = [partial(reference, config, tensors.x, tensors.w), torch_three_sums(config, x, w)]
        median_times(functions, rounds=2)
        ours, theirs = median_times(functions, rounds)
        ratios.append(ours / theirs)
    return ratios


def start_to_first_case(repetitions: int) -> tuple[float, float]:
    """Return the medians of: seconds from the start of a campaign on ``torch`` to its first case, and of ``import torch``."""
    starts, imports = [], []
    for _ in range(repetitions):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True, capture_output=True)
        imports.append(time.perf_counter() - began)
        with tempfile.TemporaryDirectory() as out:
            started = time.time()
            command = [sys.executable, "-m", "convfuzz", "run", "--backends", "torch", "--max-cases", "1", "--seed", "1", "--out", out]
            subprocess.run(command, check=False, capture_output=True)
            starts.append(next(e.time for e in read_journal(Path(out, "journal-0.jsonl")) if isinstance(e, CaseStarted)) - started)
    return statistics.median(starts), statistics.median(imports)
