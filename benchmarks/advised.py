"""Whether what ``convfuzz reveal`` advises can be declared: no correct kernel is accused, and every planted bug is still caught.

    python benchmarks/advised.py [--cases 3000]

Six correct kernels are revealed, declare what is advised in each operation and dtype, and run that many cases of the default space, as
kernels that reject invalid calls do of the invalid one. Beside them every planted kernel of `tests/planted` declares what is advised for
the correct kernel that it is outside its trigger. At last every planted kernel is revealed itself, as its author would who does not
know of the mistake, and declares that.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping

from of_tests.planted.advised import Declared, Own, advised, declaration, of_its_own
from of_tests.planted.bugs import PLANTED
from of_tests.planted.campaigns import SPACES, Outcome, campaigns
from of_tests.planted.correct import CORRECT, dense
from of_tests.planted.pairs import PAIRS

from convfuzz import Case
from convfuzz.backends.kernels.backend import KernelBackend


def main() -> None:
    """Measure and print; exit status 1 if a correct kernel is accused or a bug is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3000, help="how many cases the correct kernels run")
    options = parser.parse_args()
    declared = {}
    for kernel in (*CORRECT, dense):
        lines = advised(KernelBackend(kernel.__name__, kernel))
        declared[kernel.__name__] = Declared(KernelBackend(kernel.__name__, kernel), declaration(lines))
        print(f"{kernel.__name__}: {', '.join(f'{op} {dtype} {line}' for (op, dtype), line in lines.items())}", flush=True)
    of_dense = declared["dense"].numerics_of
    wrong = {bug.name: Declared(bug.backend, of_dense) for bug in PLANTED}
    outcomes = campaigns(PLANTED, list(declared.values()), wrong, of_correct=options.cases)
    failed = _printed(outcomes)
    own = defaultdict(list)
    for bug in PLANTED:
        own[of_its_own(bug.backend, Case.parse(PAIRS[bug.name].inside))].append(bug.name)
    print("\nof the planted kernels, each revealed itself:")
    for what in Own:
        shown = f": {', '.join(own[what])}" if what in (Own.COARSER, Own.UNSEEN) and own[what] else ""
        print(f"  {len(own[what]):4} {what}{shown}")
    raise SystemExit(1 if failed or own[Own.UNSEEN] else 0)


def _printed(outcomes: Mapping[str, Outcome]) -> bool:
    """Print what the campaigns found; return whether anything is not as it has to be."""
    missed = [bug.name for bug in PLANTED if bug.name not in outcomes[SPACES[bug.shows]].caught]
    for space, outcome in outcomes.items():
        print(f"{space}: {outcome.cases} cases, {len(outcome.caught)} planted kernels caught, {len(outcome.accused)} accusations")
        for case, event in outcome.accused[:5]:
            print(f"  accused: {event.backend} on {case}: {event.verdict}, {event.reason}")
    print(f"missed: {', '.join(missed) or 'none'} of {len(PLANTED)} planted kernels")
    return bool(missed) or any(outcome.accused for outcome in outcomes.values())


if __name__ == "__main__":
    main()
