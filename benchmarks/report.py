"""How large the report of a nightly is, and how long it takes: ``python benchmarks/report.py [--cases 100000]``.

Journals, run files, findings and maps of errors are made up, and written and read by the project's own code.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from of_tests.reports import synthetic

from convfuzz.record.error_map import map_errors
from convfuzz.record.nights import History, read_history
from convfuzz.record.run_directory import Run, read_run_info, write_run_info
from convfuzz.reports import render_html, render_markdown

MOST_BYTES = 1_000_000
MOST_SECONDS = 5.0
DAY = 86_400.0


def main() -> None:
    """Write a run, read it, render it, and hold the page against its limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--findings", type=int, default=600, help="how many distinct findings the run has")
    parser.add_argument("--nights", type=int, default=30, help="how many earlier runs the trends go over")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory, folder = Path(scratch, "run"), Path(scratch, "nights")
        directory.mkdir()
        timed(
            f"writing {asked.cases:,} cases", lambda: synthetic.write_campaign(directory, cases=asked.cases, found=findings(asked.findings))
        )
        size = sum(journal.stat().st_size for journal in directory.glob("journal-*.jsonl"))
        run = timed(f"reading the journal of {size / 2**20:.0f} MiB", lambda: Run.load(directory))
        write_nights(folder, directory, asked.nights)
        nights, _ = timed(f"reading {asked.nights} earlier nights", lambda: read_history(folder))
        history = History(tuple(nights))
        seconds, page = clocked(lambda: render_html([run], history))
        print(f"{'rendering the page':48} {seconds:7.2f} s")
        timed("rendering the Markdown", lambda: render_markdown([run]))
        bytes_ = len(page.encode())
        print(f"{'the page':48} {bytes_ / 1000:7.0f} kB")
    fits = bytes_ <= MOST_BYTES and seconds <= MOST_SECONDS
    print(f"{'fits' if fits else 'DOES NOT FIT'}: at most {MOST_BYTES / 1000:.0f} kB, rendered in at most {MOST_SECONDS:g} s")
    sys.exit(not fits)


def findings(number: int) -> list[Any]:
    """Return findings of every kind, each with a map whose cells differ from place to place: the largest that a map can be."""
    draw = np.random.default_rng(1)
    made, kinds = [], synthetic.findings()
    for i in range(number):
        one = kinds[i % len(kinds)]
        error_map = map_errors("conv2d_n8_c8_o32_i64_k3_p1_f32", draw.random((8, 32, 64, 64)) < draw.random((64, 64)) ** 4, sites=2)
        made.append(msgspec.structs.replace(one, fingerprint=f"{i:08x}", backend=f"{one.backend}_{i // 40}", error_map=error_map))
    return made


def write_nights(folder: Path, directory: Path, number: int) -> None:
    """Write the run files of earlier nights, each with most of the findings of the one before and a new version now and then."""
    draw = np.random.default_rng(2)
    info = read_run_info(directory)
    for night in range(number):
        (folder / f"night-{night:03d}").mkdir(parents=True)
        kept = [line for line in info.findings if draw.random() < 0.1]
        versions = info.versions | {"torch": f"2.{11 + night // 10}.0"}
        changed = {"findings": kept, "versions": versions, "started": info.started - DAY * (number - night)}
        write_run_info(folder / f"night-{night:03d}", msgspec.structs.replace(info, **changed))


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds ``work`` takes, and what it returns."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do ``work`` and print how long it took."""
    seconds, result = clocked(work)
    print(f"{what:48} {seconds:7.2f} s")
    return result


if __name__ == "__main__":
    main()
