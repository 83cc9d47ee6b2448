"""The domains of what is under test: what the users' own kernels compute, as they declare it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from convfuzz.backends.protocol import Backend, Confined
from convfuzz.case import Case
from convfuzz.case.domain import Domain


def domain_of(backend: Backend) -> Domain | None:
    """Return what a backend says that it computes; ``None`` where it says nothing of it, as frameworks do."""
    return backend.domain if isinstance(backend, Confined) else None


def domains_of(backends: Iterable[Backend], near: Sequence[Case] = ()) -> dict[str, Domain]:
    """Return the domains of the backends that have one, by their names, in which ``near`` are examples more.

    The variants of a kernel share its domain.
    """
    found = {backend.name: domain for backend in backends if (domain := domain_of(backend)) is not None}
    if not near:
        return found
    examples = tuple(dict.fromkeys(case.config for case in near))
    started = {domain: replace(domain, examples=(*examples, *domain.examples)) for domain in found.values()}
    return {name: started[domain] for name, domain in found.items()}


def drawn_from(domains: Iterable[Domain], near: Sequence[Case] = ()) -> tuple[Domain, ...]:
    """Return the domains to draw cases from, each once; where there are none but ``near``, everything, from these on."""
    distinct = tuple(dict.fromkeys(domains))
    return distinct or ((Domain(examples=tuple(case.config for case in near)),) if near else ())
