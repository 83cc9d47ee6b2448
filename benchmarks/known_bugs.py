"""Run the corpus of public bug reports: which of them reproduce with what is installed here?

    python benchmarks/known_bugs.py    writes docs/known-bugs.md, but for its reproducing part

Every case line of the corpus runs on the backend that it was reported for. The reproducing part is made from what is known
upstream (benchmarks/findings.py); a report that reproduces and is not in there is printed, and the exit status is 1.
"""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from checks import Checked, checked
from findings import KNOWN_BUGS as PAGE
from findings import REPRODUCING, REST, pages

from convfuzz.backends import families, resolve
from convfuzz.case import Case
from convfuzz.errors import BackendError
from convfuzz.record.failure_kind import Signature
from convfuzz.record.known_upstream import known_upstream, short_link
from convfuzz.strategies import KnownBug, known_bugs
from convfuzz.verdicts import Verdict

_SLOW = {"torch:compile": 120.0}
"""Seconds that a case may take where a compiler needs more than usual."""


def main() -> int:
    """Write the page; say which reports reproduce that nothing is known of."""
    bugs = [bug for bug in known_bugs() if bug.cases]
    installed, missing = _versions({bug.backend for bug in bugs})
    results = _run([bug for bug in bugs if bug.backend in installed])
    threads = {link for known in known_upstream().bugs for link in (*known.threads, *known.related)}
    unknown = 0
    for bug in bugs:
        failing = [result for result in results.get(bug.title, []) if result.fails]
        if failing and not _is_known(bug, failing, threads):
            unknown += 1
            print(f"not in known_upstream.toml: {_named(bug)}: {bug.title}: {failing[0].shown}  {failing[0].case}")
    right = [bug for bug in bugs if bug.title in results and bug.link not in threads and not any(r.fails for r in results[bug.title])]
    PAGE.write_text("".join(f"{line}\n" for line in _page(bugs, right, installed, missing)), encoding="utf-8")
    PAGE.write_text(pages()[PAGE], encoding="utf-8")
    return int(unknown > 0)


def _page(bugs: list[KnownBug], right: list[KnownBug], installed: dict[str, list[str]], missing: dict[str, str]) -> Iterator[str]:
    libraries = ", ".join(sorted({library for versions in installed.values() for library in versions}))
    yield _HEAD.format(versions=libraries, machine=platform.machine())
    yield f"{REPRODUCING}\n"
    yield f"{REST}: {len(right)} reports\n"
    yield "Fixed since, on another device or processor, or by a way in that is no backend here.\n"
    for backend, of_it in _by_backend(right).items():
        yield f"- **{backend}**: {', '.join(map(_linked, of_it))}."
    absent = [bug for bug in bugs if bug.backend not in installed]
    yield f"\n## Not run: {len(absent)} reports\n"
    for backend, of_it in _by_backend(absent).items():
        yield f"- **{backend}** ({missing[backend]}): {', '.join(map(_linked, of_it))}."


def _is_known(bug: KnownBug, failing: list[Checked], threads: set[str]) -> bool:
    """Whether the report's thread is in what is known, or, where it has none, what fails is a sign of something in there."""
    if bug.link:
        return bug.link in threads
    return all(
        known_upstream().explaining(Signature(r.backend, Verdict(r.verdict), r.in_pass, r.model), Case.parse(r.case), {}) for r in failing
    )


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
    return f"[{_named(bug)}]({bug.link})" if bug.link else _named(bug)


def _named(bug: KnownBug) -> str:
    return short_link(bug.link) if bug.link else "no thread"


_HEAD = """\
# Known bugs, re-found

The [corpus](corpus.md) of public bug reports: every case line on the backend it was reported for, by
`convfuzz check CASE --backends BACKEND`.
What reproduces is [known upstream](findings.md) and made from that. The rest was run with {versions} on {machine}
by `python benchmarks/known_bugs.py`.
"""

if __name__ == "__main__":
    sys.exit(main())
