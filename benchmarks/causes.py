"""Does a reader get one entry for one bug, and a minimal case with it?

    python benchmarks/causes.py [--only kernels,pairs,hostile] [--kernels 40] [--time 30s] [--hostile-time 240s] [--seed 1]

Three measures, each by campaigns as a user runs them, one after the other:

- **kernels**: every so-manieth planted kernel (``tests/planted``), alone, for ``--time``. Goals: 95 % end with a lead case of at most
  60 characters; the mean is at most 1.2 causes, and none has more than 2.
- **pairs**: kernels with two independent bugs (``planted_kernels.py``). Goal: each bug is the lead of a cause, in 10 of 10.
- **hostile**: a segfault, a hang, an abort and a memory eater beside a correct kernel (``hostile_kernels.py``), two workers. Goals: at
  most 5 causes, for each kernel a reduced one with the right verdict, and at least 1,500 cases compared on the correct kernel.

Ends with status 1 where a goal is missed. The machine has to be quiet: campaigns have limits of time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from hostile_kernels import CORRECT, VERDICTS
from planted_kernels import PAIRS, backends_of, every_kernel, pair_name

import convfuzz
from convfuzz.case import Case
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.finding import Finding
from convfuzz.record.run_directory import Run
from convfuzz.triage.causes import causes
from convfuzz.triage.reduction import Budget

HERE = Path(__file__).parent
LONGEST_LEAD, SHARE_OF_LEADS = 60, 0.95
MOST_ON_AVERAGE, MOST_CAUSES = 1.2, 2
MOST_HOSTILE_CAUSES, LEAST_COMPARED = 5, 1500


def main() -> int:
    """Take the measures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="kernels,pairs,hostile")
    parser.add_argument("--kernels", type=int, default=40, metavar="N", help="how many planted kernels, or 0 for all")
    parser.add_argument("--time", default="30s")
    parser.add_argument("--hostile-time", default="240s")
    parser.add_argument("--seed", default="1")
    asked = parser.parse_args()
    measures: dict[str, Callable[[argparse.Namespace], bool]] = {"kernels": of_kernels, "pairs": of_pairs, "hostile": of_hostile}
    reached = {name: measures[name](asked) for name in asked.only.split(",")}
    print(" · ".join(f"{name}: {'reached' if ok else 'MISSED'}" for name, ok in reached.items()))
    return int(not all(reached.values()))


def of_kernels(asked: argparse.Namespace) -> bool:
    """Print how many causes each planted kernel has, and its lead."""
    kernels = every_kernel()
    names = list(kernels)
    names = names[:: max(len(names) // asked.kernels, 1)][: asked.kernels] if asked.kernels else names
    counts, short = [], 0
    print("| kernel | findings | causes | lead |\n|---|---|---|---|")
    for name in names:
        strategy = "invalid" if kernels[name].shows == "invalid" else "default"
        run, leads = campaign("planted_kernels.py", [name], asked.time, asked.seed, "--strategy", strategy)
        first = leads[0].case if leads else ""
        counts += [len(leads)] if leads else []
        short += bool(first) and len(first) <= LONGEST_LEAD
        print(f"| {name} | {len(run.findings)} | {len(leads)} | {described(leads)} |", flush=True)
    print(f"leads of at most {LONGEST_LEAD} characters: {short} of {len(names)} (goal {SHARE_OF_LEADS:.0%})")
    print(f"causes of a caught bug: mean {mean(counts):.2f} (goal {MOST_ON_AVERAGE}), most {max(counts)} (goal {MOST_CAUSES})")
    return short >= SHARE_OF_LEADS * len(names) and mean(counts) <= MOST_ON_AVERAGE and max(counts) <= MOST_CAUSES


def of_pairs(asked: argparse.Namespace) -> bool:
    """Print which bugs of each pair are the lead of a cause."""
    kept = 0
    print("| pair | causes | leads by bug |\n|---|---|---|")
    for pair in PAIRS:
        _, leads = campaign("planted_kernels.py", [pair_name(*pair)], asked.time, asked.seed)
        bugs = [[lead for lead in leads if fails(lead, backend)] for backend in backends_of(*pair)]
        kept += all(bugs)
        print(f"| {' + '.join(pair)} | {len(leads)} | {' and '.join(str(len(bug)) for bug in bugs)} |", flush=True)
    print(f"both bugs kept: {kept} of {len(PAIRS)}")
    return kept == len(PAIRS)


def of_hostile(asked: argparse.Namespace) -> bool:
    """Print what a campaign over the hostile kernels ends with."""
    run, leads = campaign("hostile_kernels.py", [CORRECT, *VERDICTS], asked.hostile_time, asked.seed, "--workers", "2")
    compared = next(backend.compared for name, backend in run.summary.backends.items() if name.endswith(f"::{CORRECT}"))
    for lead in leads:
        print(f"{lead.backend.rpartition('::')[2]}: {lead.verdict} · {lead.reduction} · {lead.case} · {lead.reason.splitlines()[0]}")
    of_each = {name: [lead for lead in leads if lead.backend.endswith(f"::{name}")] for name in VERDICTS}
    right = {n: any(lead.verdict == VERDICTS[n] and lead.reduction == "minimal" for lead in found) for n, found in of_each.items()}
    print(f"{len(leads)} causes of {len(run.findings)} findings; {compared:,} compared on {CORRECT}; {run.info.elapsed_s:.0f} s; {right}")
    return len(leads) <= MOST_HOSTILE_CAUSES and all(right.values()) and compared >= LEAST_COMPARED


def campaign(file: str, kernels: Sequence[str], seconds: str, seed: str, *options: str) -> tuple[Run, list[Finding]]:
    """Run some kernels of a file; return the run and the leads of its causes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        names = [f"{HERE / file}::{kernel}" for kernel in kernels]
        command = ["run", "--backends", ",".join(names), "--time", seconds, "--seed", seed, "--out", str(out), *options]
        done = subprocess.run([sys.executable, "-m", "convfuzz", *command], check=False, capture_output=True, text=True)
        if not (out / "run.json").exists():
            raise SystemExit(f"{names}: {done.stderr}")
        run = Run.load(out)
        by_name = {finding.fingerprint: finding for finding in run.findings}
        return run, [by_name[lead] for lead in leads_of(out, run, names)]


def leads_of(directory: Path, run: Run, names: list[str]) -> list[str]:
    """Return the leads of the causes that ``run.json`` lists; where it lists none, of those that experiments find."""
    told: dict[str, Any] = json.loads((directory / "run.json").read_text())
    if "causes" in told:
        return [cause["lead"] for cause in told["causes"]]
    sandbox = Sandbox(names, None, directory / "causes.log")
    try:
        return [cause.lead for cause in causes(run.findings, lambda case, name: sandbox.evaluate(case, name, hasty=True), Budget(60.0))]
    finally:
        sandbox.close()


def fails(finding: Finding, backend: Any) -> bool:
    """Whether a kernel fails on the case of a finding."""
    return any(result.verdict.failing for result in convfuzz.check(Case.parse(finding.case), [backend]).results)


def described(leads: list[Finding]) -> str:
    """Return the leads in a cell of a table."""
    return "<br>".join(f"{lead.verdict} `{lead.case}`{'' if lead.reduction == 'minimal' else f' ({lead.reduction})'}" for lead in leads)


if __name__ == "__main__":
    sys.exit(main())
