"""Peak memory of large layers: what a backend takes by itself, and what it takes to judge it beside that, in processes of their own.

    python benchmarks/large_layers.py [--backend torch] [CASE…]

Ends with status 1 where judging takes more than 1 GiB beyond the backend's own need.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

from convfuzz.backends import resolve
from convfuzz.case import Case
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.tensors.generator import make_tensors

CASES = (
    "conv2d_n16_c64_o128_i128_k3_p1_f32",
    "conv2d_n16_c64_o128_i128_k3_p1_b_bf16",
    "conv2d_n32_c64_g64_o64_i224_k3_p1_f32",
    "conv3d_n2_c16_o32_i48x128x128_k3_p1_f32",
    "convt2d_n8_c64_o32_i128_k4_s2_p1_f32",
    "conv2d_n8_c32_o64_i128_k3_p1_b_f32_grad",
    "conv2d_n8_c16_o64_i96_k3_p1_b_f32",
)
MOST_BEYOND = 1.0
WARM = Case.parse("conv2d_c4_o4_i9_k3_p1_f32")


def main() -> int:
    """Measure each case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, metavar="CASE")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--child", choices=("alone", "judged"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(*_measured(given.child, Case.parse(given.cases[0]), given.backend))
        return 0
    print(f"{'case':<44} {'tensors':>8} {'alone':>8} {'judged':>8} {'beyond':>8}   GiB")
    worst = 0.0
    for line in given.cases:
        alone, judged = (_in_a_child(how, line, given.backend) for how in ("alone", "judged"))
        beyond = float(judged[0]) - float(alone[0])
        worst = max(worst, beyond)
        sizes = (Case.parse(line).config.nbytes / 2**30, float(alone[0]), float(judged[0]), beyond)
        print(f"{line:<44} {' '.join(f'{size:8.2f}' for size in sizes)}   {' '.join(judged[1:])}")
    print(f"{'fits' if worst <= MOST_BEYOND else 'DOES NOT FIT'}: judging takes at most {MOST_BEYOND:g} GiB beyond the backend's own need")
    return int(worst > MOST_BEYOND)


def _in_a_child(how: str, line: str, backend: str) -> list[str]:
    command = [sys.executable, __file__, line, "--backend", backend, "--child", how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(maxsplit=1)


def _measured(how: str, case: Case, name: str) -> tuple[str, str]:
    """Return the peak of this process in GiB, and what came of the case; backend and reference are loaded and warm before it begins."""
    backend, said = resolve(name), ""
    fold_check(WARM, Checker([backend]).events(WARM))
    began = time.perf_counter()
    if how == "alone":
        backend.run(case, make_tensors(case))
    else:
        result = fold_check(case, Checker([backend]).events(case))
        found = [f"{p}: {d.judged_of or f'all {d.elements:,}'}" for one in result.results for p, d in one.discrepancies.items()]
        said = f"{result.skipped or result.results[0].verdict}, {time.perf_counter() - began:.1f} s, {'; '.join(found)}"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.3f}", said


if __name__ == "__main__":
    sys.exit(main())
