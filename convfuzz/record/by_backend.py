"""What a run found, framework by framework, in a sentence each: a user's kernels first, since the run is about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from convfuzz.backend_names import family_of, framework_of
from convfuzz.record.cause import Cause
from convfuzz.record.finding import Finding
from convfuzz.record.summary import REFERENCE, Summary
from convfuzz.system.counted import counted


@dataclass(frozen=True)
class BackendLine:
    """A framework with its modes and variants, or a kernel: its ``name`` as short as is clear, and what was ``said`` of it.

    ``causes`` of failure were found, ``known`` of which are known.
    """

    name: str
    said: str
    causes: int
    known: int
    is_sound: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.said}"


def by_backend(backends: Iterable[str], summary: Summary, causes: Iterable[Cause], findings: Mapping[str, Finding]) -> list[BackendLine]:
    """Return a line for each framework and kernel of ``backends``; a cause counts for that of its lead, so that they add up."""
    together: dict[str, list[str]] = {}
    for name in dict.fromkeys([*backends, *summary.backends]):
        if name != REFERENCE:
            together.setdefault(framework_of(name), []).append(name)
    kernels = [framework for framework in together if not family_of(framework)]
    functions = Counter(framework.rpartition("::")[2] for framework in together)
    found: Counter[str] = Counter()
    known: Counter[str] = Counter()
    examined: Counter[str] = Counter()
    for cause in causes:
        framework = framework_of(findings[cause.lead].backend)
        found[framework] += 1
        known[framework] += bool(cause.known)
    for finding in summary.findings.values():
        examined[framework_of(finding.backend)] += finding.count
    lines = []
    for framework in sorted(together, key=lambda one: one not in kernels):
        names = [name for name in together[framework] if name in summary.backends]
        failures = sum(summary.backends[name].failures for name in names)
        open_ones = max(failures - examined[framework], 0)
        function = framework.rpartition("::")[2]
        lines.append(
            BackendLine(
                name=function if functions[function] == 1 else framework.rpartition("/")[2],
                said=_said(found[framework], known[framework], open_ones, _extent(summary, framework, names)),
                causes=found[framework],
                known=known[framework],
                is_sound=found[framework] == known[framework] and not open_ones,
            )
        )
    return lines


def _said(causes: int, known: int, open_ones: int, extent: str) -> str:
    if causes:
        found = f"{causes:,} cause{'s'[: causes != 1]}"
        if known:
            found += ", known" if known == causes == 1 else ", all known" if known == causes else f", {known:,} of them known"
    else:
        found = "no finding"
    if open_ones:
        found = f"{found if causes else 'no finding yet'}, {open_ones:,} failure{'s'[: open_ones != 1]} not examined"
    return f"{found}{',' * (',' in found)} in {extent}" if extent else "nothing was compared" if found == "no finding" else found


def _extent(summary: Summary, framework: str, names: Iterable[str]) -> str:
    """Return what was compared; what each mode and variant was compared on follows, where there are several, and what was left out."""
    parts = [(name, summary.backends[name]) for name in names if summary.backends[name].compared]
    if not parts:
        return ""
    (first, backend), *others = parts
    others_said = [f"{name.rpartition('::')[2]} in {one.compared:,} of {len(one.coverage.configs):,}" for name, one in others]
    alone = f" ({first.rpartition('::')[2]})" if first != framework else ""
    spared = sum(summary.backends[name].spared for name in summary.backends if framework_of(name) == framework)
    left_out = f"; {counted(spared, 'case')} left out, known to end its process" if spared else ""
    return ", ".join([f"{backend.said}{alone}", *others_said]) + left_out
