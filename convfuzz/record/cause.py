"""Causes: the findings that one bug has made are one entry, in the order in which a reader wants to see them.

Experiments tell which findings have one cause (:mod:`convfuzz.triage.causes`), and ``run.json`` keeps what they have told. Where
none were made, what looks alike is one, and all else stays apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec

from convfuzz.backend_names import framework_of
from convfuzz.case import Case
from convfuzz.case.complexity import complexity
from convfuzz.case.features import particular
from convfuzz.errors import InvalidConfig
from convfuzz.record.events import Fingerprint
from convfuzz.record.finding import Finding, alike

_MOST_UNLIKE = 100
"""How many causes of one gravity are put in the order of their unlikeness, which takes the square of their number."""


_READ_AT_A_GLANCE = 60
"""So many characters of a case are; a sum that overflows may take dozens of numbers, where a wrong one takes two."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of one cause, by fingerprint: the ``lead`` is one of the ``members``, of the short cases the gravest and simplest.

    ``cause`` names it. ``known`` is a link to where it is known, upstream or to the ledger, or empty.
    """

    cause: Fingerprint
    lead: Fingerprint
    members: list[Fingerprint]
    known: str = ""


class Groups:
    """A union-find over fingerprints: each is alone at first."""

    def __init__(self, names: Iterable[str]) -> None:
        self._above = {name: name for name in names}

    def _root(self, name: str) -> str:
        while self._above[name] != name:
            self._above[name] = name = self._above[self._above[name]]
        return name

    def are_one(self, one: str, other: str) -> bool:
        """Whether the two are in one group."""
        return self._root(one) == self._root(other)

    def unite(self, names: Sequence[str]) -> None:
        """Make one group of the groups of ``names``."""
        for name in names[1:]:
            self._above[self._root(name)] = self._root(names[0])

    def members(self) -> list[list[str]]:
        """Return the groups; they and their members are in the order in which the names came."""
        groups: dict[str, list[str]] = {}
        for name in self._above:
            groups.setdefault(self._root(name), []).append(name)
        return list(groups.values())


def likely(findings: Iterable[Finding], upstream: Mapping[str, str], told: Iterable[Cause] = ()) -> Groups:
    """Group findings by what can be said without running anything.

    One are those that look alike in modes and variants of one framework or kernel, those that are known ``upstream`` as the
    same, and those that one of the causes ``told`` before has as members.
    """
    listed = {finding.fingerprint: finding for finding in findings}
    groups, by_framework = Groups(listed), dict[str, list[Finding]]()
    for finding in listed.values():
        by_framework.setdefault(framework_of(finding.backend), []).append(finding)
    for own in by_framework.values():
        for same in alike(own):
            groups.unite([finding.fingerprint for finding in same])
    by_bug: dict[str, list[str]] = {}
    for name in listed:
        if reference := upstream.get(name):
            by_bug.setdefault(reference, []).append(name)
    for names in (*by_bug.values(), *(cause.members for cause in told)):
        groups.unite([name for name in names if name in listed])
    return groups


def causes_of(
    findings: Iterable[Finding],
    upstream: Mapping[str, str],
    tolerated: Mapping[str, str] | None = None,
    told: Iterable[Cause] = (),
) -> list[Cause]:
    """Return the causes of ``findings`` without an experiment, as :func:`likely` groups them.

    Args:
        findings: of one run, or of several.
        upstream: of those that are known upstream, where to read of it, by fingerprint.
        tolerated: of those that the ledger tolerates, its entry's link, by fingerprint.
        told: what experiments have shown of these findings and of others.

    """
    listed = {finding.fingerprint: finding for finding in findings}
    return finished(likely(listed.values(), upstream, told), listed, {**(tolerated or {}), **upstream})


def finished(groups: Groups, findings: Mapping[str, Finding], known: Mapping[str, str]) -> list[Cause]:
    """Return the causes that ``groups`` are, in order; one is known where each of its members is."""
    return in_order([_cause([findings[name] for name in members], known) for members in groups.members()], findings)


def in_order(found: Iterable[Cause], findings: Mapping[str, Finding]) -> list[Cause]:
    """Put causes in order: unknown before known, then the gravest, then what is most unlike all that stands above it.

    The last is furthest point first (Chen et al., *Taming compiler fuzzers*, PLDI 2013, section 3).
    """
    ranked = sorted(found, key=lambda cause: (*_rank(cause, findings), len(findings[cause.lead].case), cause.lead))
    words = {cause.lead: _described(findings[cause.lead]) for cause in ranked}
    ordered: list[Cause] = []
    for _, equals in groupby(ranked, key=lambda cause: _rank(cause, findings)):
        level = list(equals)
        nearest = {
            cause.lead: min((_distance(words[cause.lead], words[above.lead]) for above in ordered[:_MOST_UNLIKE]), default=1.0)
            for cause in level[:_MOST_UNLIKE]
        }
        level, left = level[:_MOST_UNLIKE], level[_MOST_UNLIKE:]
        while level:
            chosen = max(level, key=lambda cause: nearest[cause.lead])  # the simplest of those that are equally far
            ordered.append(chosen)
            level.remove(chosen)
            for cause in level:
                nearest[cause.lead] = min(nearest[cause.lead], _distance(words[cause.lead], words[chosen.lead]))
        ordered += left
    return ordered


def _rank(cause: Cause, findings: Mapping[str, Finding]) -> tuple[bool, int]:
    return bool(cause.known), findings[cause.lead].verdict.gravity


def _described(finding: Finding) -> frozenset[str]:
    """Return what a reader sees of a finding, in words."""
    case = _parsed(finding)
    return frozenset([finding.backend, finding.verdict, finding.in_pass, finding.model, *(particular(case.config) if case else ())])


def _distance(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of words that only one of the two has (Jaccard)."""
    return len(one ^ other) / len(one | other)


def _cause(members: Sequence[Finding], known: Mapping[str, str]) -> Cause:
    """Return the cause of some findings."""
    ordered = sorted(members, key=_simplicity)
    links = [known.get(finding.fingerprint, "") for finding in ordered]
    lead = ordered[0].fingerprint
    return Cause(cause=lead, lead=lead, members=[finding.fingerprint for finding in ordered], known=links[0] if all(links) else "")


def _simplicity(finding: Finding) -> tuple[bool, bool, int, bool, tuple[int, int, str], str, str]:
    """Order the members of a cause: what is reduced, what is read at a glance, the gravest, the simplest."""
    case = _parsed(finding)
    size = complexity(case) if case else (0, 0, finding.case)
    is_long = len(finding.case) > _READ_AT_A_GLANCE
    return not finding.is_telling, is_long, finding.verdict.gravity, case is None, size, finding.backend, finding.fingerprint


def _parsed(finding: Finding) -> Case | None:
    """Return the case; ``None`` where a damaged journal has something else there."""
    try:
        return Case.parse(finding.case)
    except InvalidConfig:
        return None
