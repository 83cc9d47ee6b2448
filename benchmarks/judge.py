"""The judge beside the check that kernels written by the hundred usually get: ``allclose`` on five random inputs of one shape.

    pip install -e '.[torch]'
    python benchmarks/judge.py                 # minutes: ten problems, right and wrong solutions (``tests/solutions/problems.py``)
    python benchmarks/judge.py --cheats        # and the solutions that cheat, with honest ones that look like it
    python benchmarks/judge.py --problem plain --large    # at the sizes that people use

Wrong solutions have to be rejected and right ones accepted. ``allclose`` seeds both models alike, gives both the same five inputs,
and allows the same absolute and relative error; it runs in this process, as in those harnesses, so that it is not asked about cheats.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch
from of_tests.solutions.cheats import CHEATS, LOOK_ALIKES, PROBLEM
from of_tests.solutions.problems import DECLARED, PROBLEMS

from convfuzz.judging.numerics import Numerics
from convfuzz.solutions.judge import ACCEPTED, REJECTED, judge

TOLERANCES = (1e-2, 1e-4, 1e-5)
TRIALS = 5


@dataclass
class Tally:
    """How many right solutions a check accused, and how many wrong ones it caught."""

    right: int = 0
    wrong: int = 0
    accused: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, name: str, *, is_right: bool, passed: bool) -> None:
        """Count one verdict."""
        self.right += is_right
        self.wrong += not is_right
        if is_right and not passed:
            self.accused.append(name)
        if passed and not is_right:
            self.missed.append(name)


def loaded(path: Path) -> ModuleType:
    """Return a file as a module."""
    module = ModuleType(path.stem)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)  # noqa: S102 - our own problems
    return module


def passes_allclose(problem: Path, solution: Path) -> dict[float, bool]:
    """Whether a solution passes ``allclose``, by its tolerance."""
    given, other = loaded(problem), loaded(solution)
    arguments = given.get_init_inputs()
    models = []
    for make in (given.Model, other.ModelNew):
        torch.manual_seed(0)
        models.append(make(*arguments).eval())
    passed = dict.fromkeys(TOLERANCES, True)
    with torch.no_grad():
        for seed in range(TRIALS):
            torch.manual_seed(100 + seed)
            inputs = given.get_inputs()
            try:
                right, actual = models[0](*inputs), models[1](*[one.clone() for one in inputs])
            except RuntimeError:
                return dict.fromkeys(TOLERANCES, False)
            for tolerance in TOLERANCES:
                passed[tolerance] &= right.shape == actual.shape and torch.allclose(actual, right, rtol=tolerance, atol=tolerance)
    return passed


def compare(name: str, folder: Path, options: argparse.Namespace, ours: Tally, theirs: dict[float, Tally]) -> None:
    """Judge every solution of a problem, by the judge and by ``allclose``."""
    one = PROBLEMS[name]
    problem, path = folder / f"problem_{name.replace('-', '_')}.py", folder / "solution.py"
    problem.write_text(one.source(large=options.large))
    solutions = {"eager": (one.forward, True)} | {way: (text, True) for way, text in one.right.items()}
    solutions |= {f"wrong: {way}": (text, False) for way, text in one.wrong.items()}
    for way, (text, is_right) in solutions.items():
        path.write_text(one.solution(text))
        numerics = Numerics(algorithm=DECLARED[way]) if way in DECLARED else None
        found = judge(problem, path, seed=options.seed, numerics=numerics, seconds=options.seconds)
        passed = passes_allclose(problem, path)
        ours.add(f"{name}, {way}", is_right=is_right, passed=found.verdict == ACCEPTED)
        for tolerance, tally in theirs.items():
            tally.add(f"{name}, {way}", is_right=is_right, passed=passed[tolerance])
        elements = f"{found.elements_judged:,} of {found.elements:,} elements"
        print(f"{name:20} {way:24} {found.verdict:9} {found.seconds:5.1f} s  {elements}  {'; '.join(found.reasons)[:120]}", flush=True)


def judged_cheats(folder: Path, seed: int | None) -> bool:
    """Judge the solutions that cheat and the honest ones that look like it; whether every verdict is right."""
    problem, path = folder / "problem.py", folder / "solution.py"
    problem.write_text(PROBLEM)
    right = {}
    for wanted, made in ((REJECTED, CHEATS), (ACCEPTED, LOOK_ALIKES)):
        right[wanted] = 0
        for name, one in made.items():
            path.write_text(one.source)
            verdict = judge(problem, path, seed=seed).verdict
            right[wanted] += verdict == wanted
            if verdict != wanted:
                print(f"{name}: {verdict}")
    print(f"\ncheats refused: {right[REJECTED]} of {len(CHEATS)}; honest look-alikes accepted: {right[ACCEPTED]} of {len(LOOK_ALIKES)}")
    return right == {REJECTED: len(CHEATS), ACCEPTED: len(LOOK_ALIKES)}


def main() -> int:
    """Run it, print the table, and fail where the judge was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=list(PROBLEMS), action="append", help="only these")
    parser.add_argument("--large", action="store_true", help="the sizes that people use")
    parser.add_argument("--cheats", action="store_true", help="solutions that cheat, too")
    parser.add_argument("--seed", type=int, help="of the judge's trials; drawn by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="that the judge has for a solution")
    options = parser.parse_args()
    ours, theirs = Tally(), {tolerance: Tally() for tolerance in TOLERANCES}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.problem or PROBLEMS:
            compare(name, Path(folder), options, ours, theirs)
        cheats_are_right = not options.cheats or judged_cheats(Path(folder), options.seed)
    print(f"\n| check | wrong ones caught, of {ours.wrong} | right ones accused, of {ours.right} |\n|---|---|---|")
    for label, tally in (
        ("convfuzz judge", ours),
        *((f"allclose({tolerance:g}), {TRIALS} inputs", tally) for tolerance, tally in theirs.items()),
    ):
        print(f"| {label} | {tally.wrong - len(tally.missed)} | {len(tally.accused)} |")
    for label, tally in (("the judge", ours), ("allclose(0.01)", theirs[1e-2])):
        for what, names in (("missed", tally.missed), ("accused", tally.accused)):
            if names:
                print(f"\n{label} {what}: {'; '.join(names)}")
    print(f"\n{time.monotonic() - began:.0f} s, PyTorch {torch.__version__}")
    return 1 if ours.missed or ours.accused or not cheats_are_right else 0


if __name__ == "__main__":
    sys.exit(main())
