"""Run the corpus of public bug reports: which of them reproduce with what is installed here?

    python benchmarks/known_bugs.py > docs/known-bugs.md

Every case line of the corpus runs on the backend that it was reported for. A row that turns to ``agree`` is a bug that was
fixed, or a processor that takes another path.
"""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from checks import Checked, checked

from convfuzz.backends import families, resolve
from convfuzz.errors import BackendError
from convfuzz.strategies import KnownBug, known_bugs

_SLOW = {"torch:compile": 120.0}
"""Seconds that a case may take where a compiler needs more than usual."""


def main() -> int:
    """Print the page."""
    bugs = [bug for bug in known_bugs() if bug.cases]
    installed, missing = _versions({bug.backend for bug in bugs})
    results = _run([bug for bug in bugs if bug.backend in installed])
    wrong = [(bug, failing) for bug in bugs if (failing := next((r for r in results.get(bug.title, []) if r.fails), None))]
    libraries = ", ".join(sorted({library for versions in installed.values() for library in versions}))
    print(_HEAD.format(versions=libraries, machine=platform.machine()))
    print(f"## Wrong today: {len(wrong)} reports\n")
    print("| report | what | `convfuzz check` | backend | verdict |")
    print("|---|---|---|---|---|")
    for bug, failing in wrong:
        print(f"| {_linked(bug)} | {bug.title} | `{failing.case}` | {bug.backend} | {failing.shown} |")
    right = [bug for bug in bugs if bug.title in results and not any(r.fails for r in results[bug.title])]
    print(f"\n## Right today: {len(right)} reports\n")
    print("Fixed since, on another device or processor, or by a way in that is no backend here.\n")
    for backend, of_it in _by_backend(right).items():
        print(f"- **{backend}**: {', '.join(map(_linked, of_it))}.")
    print(f"\n## Not run: {len(bugs) - len(wrong) - len(right)} reports\n")
    for backend, of_it in _by_backend(bug for bug in bugs if bug.backend not in installed).items():
        print(f"- **{backend}** ({missing[backend]}): {', '.join(map(_linked, of_it))}.")
    return 0 if wrong else 1


def _versions(backends: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the versions of each backend that is here, and why each other one is not."""
    here: dict[str, list[str]] = {}
    missing: dict[str, str] = {}
    for name in sorted(backends):
        if name.partition(":")[0] not in families():
            missing[name] = "no backend of convfuzz"
            continue
        try:
            here[name] = [f"{library} {version.partition('-')[0]}" for library, version in resolve(name).versions.items()]
        except BackendError as error:
            missing[name] = str(error)
    return here, missing


def _run(bugs: list[KnownBug]) -> dict[str, list[Checked]]:
    """Run the cases of each report, those for one backend together; return the results by the reports' titles."""
    results: dict[str, list[Checked]] = {}
    for backend, of_it in _by_backend(bugs).items():
        lines = [str(case) for bug in of_it for case in bug.cases]
        print(f"{backend}: {len(lines)} cases", file=sys.stderr)
        answers = iter(checked(lines, [backend], case_timeout=_SLOW.get(backend, 20.0)))
        results.update({bug.title: [next(answers) for _ in bug.cases] for bug in of_it})
    return results


def _by_backend(bugs: Iterable[KnownBug]) -> dict[str, list[KnownBug]]:
    listed = list(bugs)
    order = Counter(bug.backend for bug in listed)
    return {backend: [bug for bug in listed if bug.backend == backend] for backend, _ in order.most_common()}


def _linked(bug: KnownBug) -> str:
    parts = Path(bug.link).parts
    return f"[{parts[-3]}#{parts[-1]}]({bug.link})" if bug.link else "no thread"


_HEAD = """\
# Known bugs, re-found

The [corpus](corpus.md) of public bug reports, run with {versions} on {machine}: every case line on the backend it was
reported for. Written by `python benchmarks/known_bugs.py`; every row is one `convfuzz check CASE --backends BACKEND`.
"""

if __name__ == "__main__":
    sys.exit(main())
