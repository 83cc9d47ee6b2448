"""What is left of the planted bugs: for each, the first failing case of a campaign, reduced in this process.

    python benchmarks/reduction.py [--stated] [NAME…]

With ``--stated`` it starts from the case that the tests state for each bug instead of looking for one. A parameter is
non-default where it is not what the reduction of "everything fails" ends with: sizes and channels of 1, one dimension,
float32, nothing else; so that input and kernel size count as soon as they are more than 1.
"""

from __future__ import annotations

import sys
from statistics import median

from of_tests.planted.bugs import PLANTED, Planted
from of_tests.planted.campaigns import campaigns
from of_tests.planted.reducing import Reduced, reduced
from of_tests.planted.test_bugs import PAIRS

from convfuzz.case import Case

SECONDS = 30.0


def main(arguments: list[str]) -> None:
    """Print the table and its medians."""
    names = [argument for argument in arguments if argument != "--stated"]
    bugs = [bug for bug in PLANTED if not names or bug.name in names]
    found = {} if "--stated" in arguments else caught(bugs)
    print("| bug | minimal case | non-default | non-zeros | candidates | seconds |")
    print("|---|---|---|---|---|---|")
    rows = []
    for bug in bugs:
        row = reduced(bug, found.get(bug.name) or Case.parse(PAIRS[bug.name].inside), SECONDS)
        rows.append(row)
        print(line(row), flush=True)
    print()
    for what, values in measures(rows).items():
        print(f"{what}: median {median(values):g}, most {max(values):g}, over {len(values)} bugs")


def caught(bugs: list[Planted]) -> dict[str, Case]:
    """Return the first case of a campaign on which each bug shows."""
    outcomes = campaigns(bugs, ()).values()
    return {name: case for outcome in outcomes for name, (_, case, _) in outcome.caught.items()}


def line(row: Reduced) -> str:
    """Return a row of the table."""
    zeros = " ".join(f"{name} {count}" for name, count in row.non_zeros.items())
    dense = f" ({row.finding.dense})" if row.finding.dense else ""
    outcome = "" if row.finding.reduction == "minimal" else f", {row.finding.reduction}"
    cells = (
        row.bug.name,
        f"`{row.finding.case}`{outcome}{dense}",
        f"{len(row.non_default)}: {', '.join(row.non_default)}",
        zeros,
        str(row.tried),
        f"{row.seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def measures(rows: list[Reduced]) -> dict[str, list[float]]:
    """Return what is summed up, per bug; of the tensors, the one with the most non-zeros."""
    return {
        "non-default parameters": [len(row.non_default) for row in rows],
        "non-zeros per tensor": [max(row.non_zeros.values()) for row in rows],
        "candidates": [row.tried for row in rows],
        "seconds": [round(row.seconds, 2) for row in rows],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
