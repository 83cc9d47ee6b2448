"""convfuzz beside what people would use instead: NNSmith, PyTorch's OpInfo samples, a plain Hypothesis test.

    pip install -e '.[torch]' nnsmith expecttest
    python benchmarks/alternatives.py --write docs/comparison.md     # a quarter of an hour

All of them get the same kernels (``tests/planted``): every planted mistake, and correct kernels that no test should accuse.
Each kernel has a clock of its own and ``--seconds`` for each contender; see ``benchmarks/contenders/race.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
from contenders.calls import Call, Contender, Enough
from contenders.kernels import BUGS, CORRECT_KERNEL, DECLARED, DIRECT, pytorch
from contenders.opinfo import OpInfo
from contenders.ours import Convfuzz
from contenders.plain_hypothesis import PlainHypothesis
from contenders.race import Caught, Race
from of_tests.planted.reducing import non_default, reduced

import convfuzz
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.case import Case

PAGE = Path(__file__).parent / "contenders" / "page.md"
LONG = Case.parse("conv2d_c1280_o16_i6_k3_p1_f32@normal.0")
KINDS = {"forward": "forward", "gradients": "gradients", "invalid": "invalid calls"}
SHRINKING_SECONDS = 10.0
WARMING_SECONDS = 1.0
_SAID = 160


@dataclass
class Row:
    """What one contender made of everything."""

    contender: Contender
    bugs: Race
    direct: Race
    declared: Race
    long: list[str]
    cases_per_second: float

    def size(self, sample: list[str], seed: int) -> tuple[float, float]:
        """Return the medians of non-default parameters and of elements of the failing cases, shrunk where there is a shrinker."""
        cases = [self._final(name, self.bugs.caught[name], seed) for name in sample if name in self.bugs.caught]
        return _median(len(non_default(case)) for case in cases), _median(map(_elements, cases))

    def _final(self, name: str, caught: Caught, seed: int) -> Case:
        if isinstance(self.contender, Convfuzz):
            return reduced(BUGS[name], caught.case, SHRINKING_SECONDS).case
        if isinstance(self.contender, PlainHypothesis):
            return self.contender.shrunk(seed, BUGS[name].backend, caught.number, SHRINKING_SECONDS)
        return caught.case


def _median(values: Iterable[float]) -> float:
    """Return the median, NaN of nothing."""
    kept = list(values)
    return median(kept) if kept else float("nan")


def _seconds(values: list[float], limit: float) -> str:
    """Return the median of seconds; what is not caught counts as the limit."""
    middle = _median(values)
    return f"{middle:.2g}" if not middle >= limit else f"more than {limit:g}"


def _elements(case: Case) -> int:
    config = case.config
    return int(np.prod(config.input_shape) + np.prod(config.weight_shape) + (config.out_channels if config.bias else 0))


def row(contender: Contender, seconds: float, seed: int) -> Row:
    """Run everything with one contender."""

    def race(kernels: Iterable[KernelBackend], correct: KernelBackend | None = None) -> Race:
        return Race(contender, list(kernels), seconds, seed, correct).run()

    own = KernelBackend("pytorch", pytorch)
    speed = calls_per_second(contender, own, seconds, seed)
    bugs = race((planted.backend for planted in BUGS.values()), CORRECT_KERNEL)
    direct, declared = race(DIRECT), race(DECLARED)
    torch.manual_seed(seed)
    long = contender.judged(LONG)
    accused = [kernel.name for kernel in (*DIRECT, own) if long.judge(kernel)]
    return Row(contender, bugs, direct, declared, accused, speed)


def calls_per_second(contender: Contender, kernel: KernelBackend, seconds: float, seed: int) -> float:
    """Return how many calls a second a contender makes and judges, whatever it finds; the first second is for warming up."""
    calls, began, ended = 0, time.perf_counter(), 0.0

    def visit(call: Call) -> None:
        nonlocal calls, ended
        call.judge(kernel)
        ended = time.perf_counter() - began
        calls += ended > WARMING_SECONDS
        if ended > seconds:
            raise Enough

    with contextlib.suppress(Enough):
        contender.run(seed, visit)
    return calls / max(ended - WARMING_SECONDS, sys.float_info.min)


def contenders() -> tuple[list[Contender], str]:
    """Return those that are installed, and why NNSmith is not among them."""
    others: list[Contender] = [Convfuzz(), PlainHypothesis(), OpInfo()]
    try:
        from contenders.nnsmith_models import NNSmith  # noqa: PLC0415 - it is the one that may be missing
    except ImportError as error:
        return others, f"NNSmith was not run: {error}."
    return [*others, NNSmith()], ""


def shared_by(rows: list[Row]) -> list[str]:
    """Return the bugs that every contender caught."""
    return [name for name in BUGS if all(name in row.bugs.caught for row in rows)]


def sample_of(rows: list[Row], size: int) -> list[str]:
    """Return up to ``size`` bugs, evenly spaced, of those that convfuzz and the Hypothesis test both caught."""
    both = shared_by(rows[:2])
    return both[:: max(len(both) // size, 1)][:size]


def caught_of(race: Race, shows: str) -> str:
    """Return how many mistakes of a kind were caught, of how many."""
    names = [name for name, planted in BUGS.items() if planted.shows == shows]
    return f"{sum(name in race.caught for name in names)} of {len(names)}"


def table(rows: list[Row], seconds: float, seed: int, shrunk: int) -> str:
    """Return the table, a line for each figure."""
    common, sample = shared_by(rows), sample_of(rows, shrunk)
    sizes = [row.size(sample, seed) for row in rows]
    fastest = max(row.cases_per_second for row in rows)

    def line(figure: str, cells: Iterable[object]) -> str:
        return f"| {figure} | " + " | ".join(map(str, cells)) + " |"

    every = [[row.bugs.caught[name].seconds if name in row.bugs.caught else seconds for name in BUGS] for row in rows]
    in_common = [[row.bugs.caught[name].seconds for name in common] for row in rows]
    return "\n".join([
        line("", (row.contender.name for row in rows)),
        "|---" * (len(rows) + 1) + "|",
        *(line(f"planted bugs caught: {label}", (caught_of(row.bugs, shows) for row in rows)) for shows, label in KINDS.items()),
        line(f"seconds to detection, median over all {len(BUGS)} bugs", (_seconds(s, seconds) for s in every)),
        line(f"seconds to detection, median over the {len(common)} bugs that all catch", (_seconds(s, seconds) for s in in_common)),
        line("cases before that", (f"{_median(row.bugs.caught[name].number for name in common):g}" for row in rows)),
        line(f"correct direct kernels accused, of {len(DIRECT)}", (len(row.direct.caught) for row in rows)),
        line(f"correct direct kernels accused of a sum of 11,520 products, of {len(DIRECT) + 1}", (len(row.long) for row in rows)),
        line(f"kernels with a declared arithmetic accused, of {len(DECLARED)}", (len(row.declared.caught) for row in rows)),
        line("failing case: parameters that are not default, median", (f"{size[0]:g}" for size in sizes)),
        line("failing case: elements of its tensors, median", (f"{size[1]:,.0f}" for size in sizes)),
        line("shrunk", ("yes", "yes", *["no, as found"] * (len(rows) - 2))),
        line("cases/s, PyTorch as the kernel", (f"{row.cases_per_second:.0f} (× {row.cases_per_second / fastest:.2f})" for row in rows)),
    ])  # fmt: skip


def listed(names: Iterable[str]) -> str:
    """Return names for prose."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def accusations_of(row: Row) -> Iterable[str]:
    """Yield a line of the table for each correct kernel that a contender accused."""
    for race in (row.direct, row.declared):
        for name, caught in race.caught.items():
            said = " ".join(caught.wrong.split()).replace("|", "\\|")
            yield f"| {row.contender.name} | `{name}` | `{caught.case}` | {said[:_SAID]} |"
    if row.long:
        yield f"| {row.contender.name} | {listed(row.long)} | `{LONG.config}` | the long sum |"


def page(rows: list[Row], why_missing: str, arguments: argparse.Namespace) -> str:
    """Return the page."""
    ours, others = rows[0], rows[1:]
    by_others = {name for other in others for name in other.bugs.caught}
    alone = [name for name in ours.bugs.caught if name not in by_others]
    missed = [name for name in BUGS if name not in ours.bugs.caught]
    accusations = [line for row in rows for line in accusations_of(row)]
    versions = {
        "convfuzz": convfuzz.__version__,
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "Python": platform.python_version(),
    }
    return PAGE.read_text().format(
        table=table(rows, arguments.seconds, arguments.seed, arguments.shrunk),
        contenders="\n".join(f"- **{row.contender.name}** ({row.contender.version}). Made for {row.contender.made_for}." for row in rows),
        missing=f"\n{why_missing}\n" if why_missing else "",
        accusations="\n".join(accusations),
        seconds=arguments.seconds,
        seed=arguments.seed,
        sample=len(sample_of(rows, arguments.shrunk)),
        alone=f"{len(alone)} bugs: {listed(alone)}",
        missed=listed(missed),
        caught_elsewhere=listed(name for name in missed if name in by_others),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        cores=os.cpu_count(),
    )


def main() -> None:
    """Run all contenders and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each kernel and contender (default 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shrunk", type=int, default=30, help="bugs whose failing cases are shrunk (default 30)")
    parser.add_argument("--write", type=Path, help="write the page to this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    chosen, why_missing = contenders()
    rows = []
    for contender in chosen:
        rows.append(row(contender, arguments.seconds, arguments.seed))
        print(f"{contender.name}: {len(rows[-1].bugs.caught)} of {len(BUGS)}", file=sys.stderr, flush=True)
    text = page(rows, why_missing, arguments)
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
