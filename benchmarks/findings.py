"""Rerun every command of docs/findings.md, and say of each whether it still shows a bug.

    python benchmarks/findings.py

Exits 1 where a command shows none any more: the framework was fixed, or this processor takes another path.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from checks import checked

PAGE = Path(__file__).parents[1] / "docs" / "findings.md"
_COMMAND = "    convfuzz check "


def main() -> int:
    """Print one line for each command, under the framework and the finding that it belongs to."""
    silent = 0
    for framework, finding, lines, backends in _commands(PAGE.read_text(encoding="utf-8")):
        results = checked(lines, backends)
        failing = Counter(f"{result.shown} ({result.backend})" for result in results if result.fails)
        silent += not failing
        said = ", ".join(failing) or "NOTHING FAILS"
        print(f"{framework}: {finding}\n    {said}", flush=True)
    print(f"\n{silent} commands show nothing" if silent else "\nevery command shows its bug")
    return int(silent > 0)


def _commands(page: str) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Yield each command's cases and backends, with the headings above it."""
    framework = finding = ""
    for line in page.splitlines():
        if line.startswith("## "):
            framework = line.removeprefix("## ")
        elif line.startswith("**"):
            finding = line[2:].partition("**")[0]
        elif line.startswith(_COMMAND):
            words = shlex.split(line.removeprefix(_COMMAND))
            at = words.index("--backends")
            yield framework, finding, words[:at], words[at + 1].split(",")


if __name__ == "__main__":
    sys.exit(main())
