"""Measure how fast a campaign is and where its time goes: backends under test, reference, or convfuzz itself.

    python benchmarks/throughput.py [--cases N] [--seconds T] [--seed S] [--profile]

One run, below nine minutes on two cores, prints a table of figures with goals (``goals.py``) and whether each is met: cases a second
beside a plain Hypothesis test, which share of the time went where, the reference beside PyTorch on the layers that are drawn,
configurations a second, what isolation in worker processes costs and a second one brings, seconds to detection, and the start. Before
that: how long ``convfuzz --help`` takes beside a bare interpreter; what ``+split`` costs; and the reference against PyTorch on larger
layers (``reference.py``). ``--profile`` lists the functions that take the time of one more round. The exit status is 1 where a goal is
missed.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import itertools
import math
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import reference as reference_benchmark
from goals import Campaign, campaign, plain_rate, reference_ratios, seconds_to_detection, start_to_first_case
from reference import median_times

from convfuzz.backends import resolve_all
from convfuzz.campaign.candidates import Batch
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import draw_round, round_seeds
from convfuzz.case import Case
from convfuzz.checking.checker import Checker
from convfuzz.entry_points import load_strategy
from convfuzz.record.events import JournalOpened
from convfuzz.record.journal import JournalWriter, read_journal
from convfuzz.record.summary import Summary
from convfuzz.tensors.generator import make_tensors

BACKENDS = ("torch", "torch+split", "tensorflow")
FRAMEWORKS = {"torch", "tensorflow", "numba", "numpy", "hypothesis"}
SPLIT_CASES = ("conv2d_c3_o10_i32_k3_f32", "conv2d_c16_o64_i8_k3_f32", "conv2d_c16_o64_i56_k3_f32", "conv2d_c64_o64_i56_k3_f32")


@dataclass(frozen=True)
class Goal:
    """A figure beside its goal, which it is to reach or, with ``at_most``, not to exceed; ``of`` is what the figure is made of."""

    measure: str
    figure: float
    goal: float
    at_most: bool = False
    of: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is."""
        return self.figure <= self.goal if self.at_most else self.figure >= self.goal

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Measure, figure, goal, and whether it is met."""
        figure = f"{self.figure:.2f}" + (f" ({self.of})" if self.of else "")
        return self.measure, figure, f"{'≤' if self.at_most else '≥'} {self.goal:.3g}", "met" if self.is_met else "MISSED"


def goals(cases: int, seed: int, seconds: float) -> Iterator[Goal]:
    """Measure the figures that have a goal, each beside what it is measured against."""
    for_a_time = ("--time", f"{seconds:g}s")
    torch, plain = campaign(("torch",), seed, *for_a_time), plain_rate(seconds, seed)
    yield _ratio("cases/s on torch, one worker, over a plain Hypothesis test's", torch.cases, plain, 1.0)
    yield Goal("share of a torch campaign outside of framework and reference", torch.outside, 0.25, at_most=True, of=_shares(torch))
    ratio = statistics.geometric_mean(reference_ratios(150, seed))
    yield Goal("reference over PyTorch's three sums, geometric mean of 150 drawn layers", ratio, 1.0, at_most=True)
    default = campaign(BACKENDS, seed, "--max-cases", str(cases))
    yield Goal(f"default campaign of {cases} cases, distinct configurations/s", default.configurations, 80.0, of=_shares(default))
    one, two = (campaign(("reference",), seed, *for_a_time, workers=workers) for workers in (1, 2))
    yield _ratio("cases/s of two workers over one, nothing found (reference)", two.cases, one.cases, 1.95)
    both = campaign(("torch",), seed, *for_a_time, workers=2)
    yield _ratio("cases/s of two workers over one on torch", both.cases, torch.cases, 1.7)
    limit = seconds / 4
    ours, theirs = seconds_to_detection(limit, seed).items()
    caught = ", ".join(f"{name} caught {sum(map(math.isfinite, found))} of {len(found)}" for name, found in (ours, theirs))
    median = statistics.median(ours[1])
    other = statistics.median(min(found, limit) for found in theirs[1])  # what took longer took at least as long
    yield _ratio("median seconds to detection over a plain Hypothesis test's", median, other, 0.15 / 1.4, at_most=True, of=caught)
    yield _ratio("seconds from start to first case on torch, over import torch", *start_to_first_case(3), 1.5, at_most=True)


def _ratio(measure: str, one: float, other: float, goal: float, *, at_most: bool = False, of: str = "") -> Goal:
    both = f"{one:.3g} / {other:.3g}"
    return Goal(measure, one / other, goal, at_most=at_most, of=f"{both}; {of}" if of else both)


def _shares(campaign: Campaign) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in campaign.shares.items())


def isolation(cases: int, seed: int, repetitions: int) -> Iterator[Goal]:
    """Measure the rate of the same cases in this process, in one worker process, and in two."""
    rates: dict[str, list[float]] = {"in this process": [], "one worker": [], "two workers": []}
    for _ in range(repetitions):
        rates["in this process"].append(_in_this_process(cases, seed))
        rates["one worker"].append(_in_workers(cases, seed, 1))
        rates["two workers"].append(_in_workers(cases, seed, 2))
    here, one, two = (statistics.median(values) for values in rates.values())
    what = f"{cases} cases of smoke on {len(BACKENDS)} backends, cases/s"
    yield _ratio(f"{what} of one worker over those in one process", one, here, 0.95)
    yield _ratio(f"{what} of two workers over one", two, one, 1.8)


def _printed(measured: Iterable[Goal]) -> Iterator[Goal]:
    for goal in measured:
        print(": ".join(goal.cells[:2]) + f"; goal {goal.cells[2]}, {goal.cells[3]}", flush=True)
        yield goal


def _conclude(measured: Sequence[Goal]) -> int:
    """Print the table, and return the exit status that it means."""
    print("\n| measure | figure | goal | |\n|---|---|---|---|")
    print("\n".join(f"| {' | '.join(goal.cells)} |" for goal in measured))
    missed = sum(not goal.is_met for goal in measured)
    print(f"\n{len(measured) - missed} of {len(measured)} goals are met")
    return int(missed > 0)


def _in_this_process(cases: int, seed: int) -> float:
    """Return cases a second of a worker's work without the worker."""
    checker, batches, coverage = Checker(resolve_all(BACKENDS)), load_strategy("smoke"), PairCoverage()
    with tempfile.TemporaryDirectory() as directory, JournalWriter(Path(directory), "0") as journal:
        done = 0

        def run_batch(batch: Batch) -> float:
            nonlocal done
            for case in batch:
                if done == cases:
                    raise KeyboardInterrupt
                done += 1
                coverage.add(case.config)
                for event in checker.events(case):
                    journal.write(event)
            return 0.0

        began = time.perf_counter()
        with contextlib.suppress(KeyboardInterrupt):
            for number, round_seed in enumerate(round_seeds(seed)):
                draw_round(number, round_seed, batches, coverage, run_batch)
        return done / (time.perf_counter() - began)


def _in_workers(cases: int, seed: int, workers: int) -> float:
    """Return cases a second of worker processes, from the first one's beginning to the last one's end."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "convfuzz", "run", "--strategy", "smoke", "--backends", ",".join(BACKENDS), "--out", out]
        options = ["--max-cases", str(cases), "--seed", str(seed), "--workers", str(workers)]
        subprocess.run([*command, *options], check=False, capture_output=True)
        events = [
            event
            for worker in range(workers)
            for event in read_journal(Path(out, f"journal-{worker}.jsonl"))
            if not isinstance(event, JournalOpened)
        ]
        summary = Summary.of(events)
        return summary.cases / (summary.ended - summary.started)


def start_up(repetitions: int) -> None:
    """Print what ``convfuzz --help`` costs beside a bare interpreter, and what it imports."""
    show_help = "import sys; from convfuzz.cli import main; sys.argv = ['convfuzz', '--help']; main()"
    functions = [partial(subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True) for code in ("pass", show_help)]
    bare, own = median_times(functions, repetitions)
    show_loaded = f"import atexit, sys; atexit.register(lambda: print('loaded:', *{FRAMEWORKS!r} & sys.modules.keys()));"
    listed = subprocess.run([sys.executable, "-c", show_loaded + show_help], check=True, capture_output=True, text=True)
    loaded = listed.stdout.rpartition("loaded:")[2].strip() or "none"
    print(f"\nconvfuzz --help: {own * 1e3:.0f} ms, python -c pass: {bare * 1e3:.0f} ms")
    print(f"of {', '.join(sorted(FRAMEWORKS))} it loads {loaded}")


def splitting() -> None:
    """Print what ``+split`` costs: as many calls as there are output channels."""
    print("\n+split against one call, both of a shape that has been run before")
    for line in SPLIT_CASES:
        case = Case.parse(line)
        tensors = make_tensors(case)
        backends = resolve_all(name + variant for name in ("torch", "tensorflow") for variant in ("", "+split"))
        functions = [partial(backend.run, case, tensors) for backend in backends]
        median_times(functions, rounds=3)
        torch, torch_split, tensorflow, tensorflow_split = median_times(functions, rounds=25)
        print(f"{line:36} torch {torch * 1e3:6.2f} ms, x {torch_split / torch:5.1f}", end="; ")
        print(f"tensorflow {tensorflow * 1e3:6.2f} ms, x {tensorflow_split / tensorflow:5.1f}", flush=True)


def profile(seed: int, lines: int) -> None:
    """Print the functions with the largest own time in one round, after one round to warm up."""
    checker, batches = Checker(resolve_all(BACKENDS)), load_strategy("default")
    with tempfile.TemporaryDirectory() as directory, JournalWriter(Path(directory), "profile") as journal:
        coverage = PairCoverage()

        def run_batch(batch: Batch) -> float:
            for case in batch:
                coverage.add(case.config)
                for event in checker.events(case):
                    journal.write(event)
            return 0.0

        warm_up, measured = itertools.islice(round_seeds(seed), 2)
        draw_round(0, warm_up, batches, coverage, run_batch)
        profiler = cProfile.Profile()
        profiler.runcall(draw_round, 1, measured, batches, coverage, run_batch)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(lines)
    print(f"\nOne round, functions by own time (calls of built-ins belong to whoever calls them)\n{text.getvalue()}")


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="of the default campaign (default 1000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each campaign that runs for a time (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="profile one more round, in this process")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="Using padding='same'")
    began = time.perf_counter()
    start_up(repetitions=7)
    splitting()
    print("\nThe reference against PyTorch's float64 convolutions computing the same three sums")
    sys.argv[1:] = ["--rounds", "9"]
    reference_benchmark.main()
    if arguments.profile:
        profile(arguments.seed, lines=40)
    print()
    cases, seed = arguments.cases, arguments.seed
    measured = [*_printed(itertools.chain(goals(cases, seed, arguments.seconds), isolation(cases // 4, seed, repetitions=2)))]
    status = _conclude(measured)
    print(f"{time.perf_counter() - began:.0f} s")
    sys.exit(status)


if __name__ == "__main__":
    main()
