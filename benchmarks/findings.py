"""What is known of released frameworks: rerun it, and write the pages that are made from it.

    python benchmarks/findings.py            reruns every sign; exits 1 where one that can show here does not
    python benchmarks/findings.py --write    writes docs/findings.md, the reproducing part of docs/known-bugs.md and strategies/found.txt
    python benchmarks/findings.py --check    exits 1 where these are not up to date

The file is convfuzz/record/known_upstream.toml. A sign that does not show is a bug that was fixed, or one that this processor or
what lies in memory does not show.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from checks import Checked, checked

from convfuzz.record.failure_kind import Signature
from convfuzz.record.known_upstream import Bug, Sign, known_upstream, short_link
from convfuzz.record.versions import instruction_sets
from convfuzz.verdicts import Verdict

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FINDINGS, KNOWN_BUGS = DOCS / "findings.md", DOCS / "known-bugs.md"
FOUND = ROOT / "strategies" / "found.txt"
REPRODUCING, REST = "## Wrong today", "## Right today"
_SLOW = {"torch:compile": 120.0}
"""Seconds that a case may take where a compiler needs more than usual."""
_INTRODUCED = {
    "ONNX Runtime": "The same in every optimisation level, with weights as initializers or inputs.",
    "ONNX": "`onnx.checker` and the reference evaluator, with which runtimes are often compared.",
}
_TRIES = 3
"""How often a sign is run before it counts as not seen: crashes, and what lies in memory, come and go."""


def main(arguments: list[str]) -> int:
    """Rerun the signs, or write or check the pages."""
    if arguments == ["--write"]:
        for path, text in pages().items():
            path.write_text(text, encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        stale = [path.name for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
        print(f"not up to date: {', '.join(stale)}; python benchmarks/findings.py --write" if stale else "up to date")
        return int(bool(stale))
    if arguments:
        print(__doc__)
        return 2
    return rerun()


def rerun() -> int:
    """Run each sign's case on the first backend that it names; print what no longer shows."""
    here = instruction_sets()
    signs = sorted(((sign.backends[0], bug, sign) for bug in known_upstream().bugs for sign in bug.sign), key=lambda one: one[0])
    shown = unseen = elsewhere = 0
    for backend, group in groupby(signs, key=lambda one: one[0]):
        left = [(bug, sign) for _, bug, sign in group]
        results: list[Checked] = []
        for _ in range(_TRIES):
            results = checked([sign.case for _, sign in left], [backend], case_timeout=_SLOW.get(backend, 20.0)) if left else []
            missed = [(one, result) for one, result in zip(left, results, strict=True) if not _shows(one[1], result)]
            shown += len(left) - len(missed)
            left, results = [one for one, _ in missed], [result for _, result in missed]
        for (bug, sign), result in zip(left, results, strict=True):
            if here.issuperset(sign.processor) and here.isdisjoint(sign.not_processor):
                unseen += 1
                said = f"{result.shown}{f' ({result.model})' * bool(result.model)}"
                print(f"{bug.name}: NOT SEEN on {backend}: {said}  {sign.case}", flush=True)
            else:
                elsewhere += 1
                takes = [*(f"with {name}" for name in sign.processor), *(f"without {name}" for name in sign.not_processor)]
                print(f"{bug.name}: takes a processor {' and '.join(takes)}", flush=True)
    print(f"\n{shown} signs show, {unseen} do not, {elsewhere} take another processor")
    return int(unseen > 0)


def _shows(sign: Sign, result: Checked) -> bool:
    return result.fails and Signature(result.backend, Verdict(result.verdict), result.in_pass, result.model) in set(sign.signatures)


def pages() -> dict[Path, str]:
    """Return the pages that are made from what is known, by path."""
    bugs = known_upstream().bugs
    before, _, after = KNOWN_BUGS.read_text(encoding="utf-8").partition(REPRODUCING)
    rest = REST + after.partition(REST)[2]
    return {FINDINGS: _findings(bugs), KNOWN_BUGS: f"{before}{_reproducing(bugs)}\n{rest}", FOUND: _found(bugs)}


def _found(bugs: Iterable[Bug]) -> str:
    """Return a case of each bug, with which a night begins."""
    return "\n".join([_FOUND_HEAD, *dict.fromkeys(bug.sign[0].case for bug in bugs)]) + "\n"


def _findings(bugs: Iterable[Bug]) -> str:
    listed = list(bugs)
    seen = ", ".join(f"{package} {version}" for package, version in sorted({(bug.package, bug.seen) for bug in listed}))
    return "\n".join([_HEAD.format(seen=seen), *_chapters(listed)]).rstrip() + "\n"


def _chapters(bugs: Iterable[Bug]) -> Iterator[str]:
    for framework, group in groupby(bugs, key=lambda bug: bug.framework):
        yield f"## {framework}\n"
        if framework in _INTRODUCED:
            yield f"{_INTRODUCED[framework]}\n"
        yield from map(_paragraph, group)


def _paragraph(bug: Bug) -> str:
    threads = [f"{'Threads' if len(bug.threads) > 1 else 'Thread'}: {_links(bug.threads)}."] if bug.threads else []
    related = [f"Related: {_links(bug.related)}."] if bug.related else []
    said = " ".join([f"**{bug.title}**", *([bug.text] if bug.text else []), *threads, *related])
    commands = "\n".join(f"    convfuzz check {command}" for command in bug.commands)
    return f'<a id="{bug.name}"></a>\n{said}\n\n{commands}\n'


def _reproducing(bugs: Iterable[Bug]) -> str:
    reported = [bug for bug in bugs if bug.threads]
    rows = [
        f"| {_links(bug.threads)} | {bug.title} | `{bug.sign[0].case}` | {bug.sign[0].backends[0]} | {bug.sign[0].verdicts[0]} |"
        for bug in reported
    ]
    count = sum(len(bug.threads) for bug in reported)
    head = [f"{REPRODUCING}: {count} reports of {len(reported)} bugs", "", "| reports | what | `convfuzz check` | backend | verdict |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows, ""])


def _links(links: Iterable[str]) -> str:
    return ", ".join(f"[{short_link(link)}]({link})" for link in links)


_FOUND_HEAD = """\
# A case of each bug that is known of a released framework: what was found once is looked for in every night.
# Made from convfuzz/record/known_upstream.toml by `python benchmarks/findings.py --write`."""
_HEAD = """\
# Real bugs found

Bugs that campaigns found in released frameworks, last seen with {seen},
on x86-64 processors.
The command under each entry runs it again; a crash is shown as a row of the table, and the command survives it.
If we know a thread that describes the same behaviour, it is named; if none is named, we know of none.

The page is made from `convfuzz/record/known_upstream.toml`, by which a campaign [labels what it meets](known-upstream.md):
edit that, then `python benchmarks/findings.py --write`. `python benchmarks/findings.py` reruns every sign of every bug and says
which no longer show.
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
