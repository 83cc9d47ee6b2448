"""Do campaigns find what is wrong with kernels of narrow domains, and leave the right ones alone?

    python benchmarks/domains.py [--wrong 60s] [--right 30s] [NAME …]

Each kernel of ``narrow_kernels.py`` is run as its author would run it, and nothing else at the same time. The command ends with
status 1 where a wrong kernel is missed, a right one is accused, or a right one was compared on fewer than 50 configurations.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from narrow_kernels import NAMES

from convfuzz.record.coverage import ENOUGH
from convfuzz.record.run_directory import Run

KERNELS = Path(__file__).with_name("narrow_kernels.py")


def main() -> int:
    """Run every kernel and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", default="60s", metavar="TIME", help="how long each wrong kernel is run")
    parser.add_argument("--right", default="30s", metavar="TIME", help="how long each right kernel is run")
    parser.add_argument("--seed", default="1", metavar="N")
    parser.add_argument("names", nargs="*", metavar="NAME", default=NAMES)
    asked = parser.parse_args()
    bad = 0
    print(f"{'kernel':18} {'status':>6} {'compared':>9} {'configurations':>14}  verdicts")
    for name in asked.names:
        for kind, seconds in (("wrong", asked.wrong), ("right", asked.right)):
            status, run = campaign(f"{kind}_{name}", seconds, asked.seed)
            (backend,) = run.summary.backends.values()
            configs = len(backend.coverage.configs)
            is_bad = status != 1 if kind == "wrong" else status != 0 or configs < ENOUGH
            bad += is_bad
            verdicts = ", ".join(f"{verdict} {n}" for verdict, n in sorted(backend.verdicts.items()))
            print(f"{kind}_{name:12} {status:6} {backend.compared:9,} {configs:14,}  {verdicts}{'  ← BAD' if is_bad else ''}", flush=True)
    print(f"{bad} of {2 * len(asked.names)} not as they should be")
    return bool(bad)


def campaign(kernel: str, seconds: str, seed: str) -> tuple[int, Run]:
    """Run one kernel; return the exit status and the run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        command = ["run", "--backends", f"{KERNELS}::{kernel}", "--time", seconds, "--seed", seed, "--out", str(out)]
        done = subprocess.run([sys.executable, "-m", "convfuzz", *command], check=False, capture_output=True, text=True)
        if not (out / "run.json").exists():
            raise SystemExit(f"{kernel}: {done.stderr}")
        return done.returncode, Run.load(out)


if __name__ == "__main__":
    sys.exit(main())
