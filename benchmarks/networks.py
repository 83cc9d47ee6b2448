"""How many kinds of network layers a night meets by drawing alone, and how many of the layers that it begins with each backend runs.

    python benchmarks/networks.py RUN_DIR    RUN_DIR is that of ``convfuzz run --strategy nightly``

A kind is what is particular about a layer, its sizes aside: kernel, stride, dilation, padding and groups, in float32.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from convfuzz.campaign.candidates import Batch
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import CLIMBING, draw_round
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.features import features
from convfuzz.record.events import BackendEnded, CaseStarted
from convfuzz.record.journal import read_journal
from convfuzz.strategies.case_lists import network_layers
from convfuzz.strategies.spaces import default

CONFIGURATIONS = (300, 1000, 3000)
_SEED = 20261130


def main(directory: Path) -> None:
    """Print both."""
    wanted = {kind(case.config) for case in network_layers()}
    drawn = _drawn(CONFIGURATIONS[-1])
    for number in CONFIGURATIONS:
        met = wanted & {kind(config) for config in drawn[:number]}
        print(f"{number:,} configurations of default: {len(met)} of {len(wanted)} kinds of layers")
    for backend, ran in sorted(_ran(directory).items()):
        print(f"{backend}: {len(ran)} of {len(network_layers())} layers")


def kind(config: ConvConfig) -> tuple[object, ...]:
    """Return what is particular about a layer."""
    values = features(config)
    return config.op, config.kernel_size, config.stride, config.dilation, config.dtype, values["padding"], values["groups"]


def _drawn(least: int) -> list[ConvConfig]:
    coverage, drawn = PairCoverage(), list[ConvConfig]()

    def run(batch: Batch) -> float:
        coverage.add(batch[0].config)
        drawn.append(batch[0].config)
        return 0.0

    number = 0
    while len(drawn) < least:
        draw_round(CLIMBING * number, _SEED + number, default(), coverage, run)  # steered rounds only
        number += 1
    return drawn


def _ran(directory: Path) -> dict[str, set[Case]]:
    """Return the layers that each backend of a run compared."""
    layers, ran = set(network_layers()), defaultdict[str, set[Case]](set)
    for journal in sorted(directory.glob("journal-[0-9]*.jsonl")):
        case: Case | None = None
        for event in read_journal(journal):
            if isinstance(event, CaseStarted):
                case = Case.parse(event.case)
            elif isinstance(event, BackendEnded) and case in layers and event.verdict != "unsupported":
                ran[event.backend].add(case)
    return ran


if __name__ == "__main__":
    main(Path(sys.argv[1]))
