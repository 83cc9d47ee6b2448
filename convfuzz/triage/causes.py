"""Which findings have one cause, decided by experiment (:mod:`convfuzz.triage.experiments`); what that leaves open stays apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import combinations

from convfuzz.record.cause import Cause, finished, likely
from convfuzz.record.finding import Finding
from convfuzz.triage.experiments import Evaluate, Explain, Laboratory, Specimen, nothing_explains
from convfuzz.triage.reduction import Budget


def causes(
    findings: Iterable[Finding],
    evaluate: Evaluate,
    budget: Budget,
    upstream: Mapping[str, str] | None = None,
    tolerated: Mapping[str, str] | None = None,
    explain: Explain = nothing_explains,
    taken: Callable[[Finding], Collection[str] | None] = lambda _: None,
) -> list[Cause]:
    """Group ``findings`` by cause, in the order in which a reader wants to see them.

    Args:
        findings: of one run, or of several.
        evaluate: runs a case on a backend, in a process that may die of it.
        budget: when to stop; what no experiment was left for stays apart.
        upstream: of findings that are known upstream, where to read of it, by fingerprint. What is known as the same is one cause.
        tolerated: of findings that the ledger tolerates, its entry's link, by fingerprint.
        taken: says of a finding that was not reduced on which axes its failure takes something; ``None`` where that is not known.
        explain: names the mistakes that explain all that a backend computes for a configuration, in a process that may die of it.

    """
    listed = {finding.fingerprint: Specimen.of(finding, taken(finding)) for finding in findings}
    plain = {name: one.finding for name, one in listed.items()}
    groups, laboratory = likely(plain.values(), upstream or {}), Laboratory(evaluate, budget, explain)
    pairs = combinations(sorted(listed.values(), key=lambda one: one.cost), 2)
    for a, b in sorted(pairs, key=lambda pair: (pair[0].cost[0] or pair[1].cost[0], pair[1].cost[1])):
        if laboratory.is_closed:
            break
        names = a.finding.fingerprint, b.finding.fingerprint
        if not groups.are_one(*names) and laboratory.one_cause(a, b):
            groups.unite(names)
    return finished(groups, plain, {**(tolerated or {}), **(upstream or {})})
