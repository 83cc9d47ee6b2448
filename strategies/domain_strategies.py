"""Strategies for configurations within the domains of kernels: what they declare, and what a search has found that they accept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.case.config import ConvConfig
from convfuzz.case.domain import Domain, explore
from convfuzz.case.domain.fitting import fitted
from convfuzz.case.domain.search import is_affordable, varied
from convfuzz.strategies.choices import Emphasis, Options
from convfuzz.strategies.config_strategies import ConfigOptions, checked, configs_with
from convfuzz.strategies.construction import configuration
from convfuzz.strategies.weighted import weighted

_COSTS = ("max_flops", "max_elements")
_PARTS = 8
_OF_A_CHUNK = 32
_UNDECLARED_TRANSPOSED = 8
"""Of a kernel that does not say which operations it computes one in so many of the configurations found is transposed."""
_CHANGES = st.integers(0, 3 * 2**14)


@dataclass(frozen=True)
class _Source:
    """Where the configurations of one domain come from: a search space's own draw, the examples, and what was found."""

    domain: Domain
    limits: Options
    kinds: SearchStrategy[str]
    named: SearchStrategy[ConvConfig]
    examples: SearchStrategy[ConvConfig]
    found: SearchStrategy[ConvConfig]


def configs_within(emphasis: Emphasis, options: ConfigOptions, domains: Sequence[Domain]) -> SearchStrategy[ConvConfig]:
    """Draw what ``domains`` hold, or what the options say where there are none.

    A domain of which nothing is found is left out beside others. The rarest of several, of which the layers of networks are the
    smallest part, is drawn from as often as all others together. What a kernel declares goes before the options of a search
    space, and of its bounds only those of the cost hold, where anything is within them: a kernel of 7x7 taps has no others.
    """
    if not domains:
        return configs_with(emphasis, options)
    domains = [domain for domain in domains if explore(domain).configs] or domains
    rarest, *others = sorted(domains, key=lambda domain: explore(domain).share)
    shares = [(rarest, max(len(others), 1)), *((domain, 1) for domain in others)]
    return _within(weighted((_source(domain, emphasis, options), share) for domain, share in shares))


@st.composite
def _within(draw: st.DrawFn, sources: SearchStrategy[_Source]) -> ConvConfig:
    source = draw(sources)
    kind = draw(source.kinds)
    if kind == "named":
        config = draw(source.named)
        if config.is_valid:
            config = fitted(config, source.domain, Random(str(config)))  # noqa: S311 - the same each time
        if source.domain.accepts(config) and (not config.is_valid or _is_cheap(config, source, config)):
            return config
    start = draw(source.examples if kind == "example" else source.found)
    change = draw(_CHANGES)
    if change % 3:
        changed = varied(start, source.domain, Random(change))  # noqa: S311 - the same each time
        if changed.is_valid and _is_cheap(changed, source, start) and source.domain.accepts(changed):
            return changed
    return start


def _is_cheap(config: ConvConfig, source: _Source, start: ConvConfig) -> bool:
    """Whether a configuration costs what a search space allows, or no more than what it comes from."""
    return is_affordable(config) and config.flops <= max(source.limits.max_flops, start.flops if start is not config else 0)


def _source(domain: Domain, emphasis: Emphasis, options: ConfigOptions) -> _Source:
    narrowed: dict[str, Any] = {name: value for name, value in options.items() if not name.startswith("max_") or name in _COSTS}
    narrowed |= {name: value for name in ("ops", "dims", "dtypes", "layouts", "bias") if (value := getattr(domain, name))}
    if domain.padding_modes:
        narrowed["padding_modes"] = domain.padding_modes
    limits = checked(ConfigOptions(**narrowed))  # type: ignore[typeddict-item]
    explored = explore(domain)
    examples = [config for config in domain.examples if config.is_valid and domain.accepts(config)]
    found = explored.cheapest(limits.admit)
    named = min(round(_PARTS * explored.share), _PARTS - 1)
    kinds = {"found": (_PARTS - named) * bool(found), "example": _PARTS * bool(examples), "named": named}
    if not any(kinds.values()):
        kinds["named"] = 1  # nothing is known that is accepted: what is drawn shows what is declined, and why
    plain = configuration(limits, emphasis)
    return _Source(
        domain=domain,
        limits=limits,
        kinds=weighted(kinds),
        named=plain,
        examples=st.sampled_from(examples) if examples else st.nothing(),
        found=_found(found, domain) if found else st.sampled_from(examples) if examples else plain,
    )


def _found(configs: Sequence[ConvConfig], domain: Domain) -> SearchStrategy[ConvConfig]:
    """Draw one of many, the simplest first and otherwise one like the other."""
    transposed = [config for config in configs if config.op == "conv_transpose"]
    forward = [config for config in configs if config.op == "conv"]
    if domain.ops is not None or not transposed or not forward:
        return _one_of(configs)
    both = {False: _one_of(forward), True: _one_of(transposed)}
    return weighted({False: _UNDECLARED_TRANSPOSED - 1, True: 1}).flatmap(both.__getitem__)


def _one_of(configs: Sequence[ConvConfig]) -> SearchStrategy[ConvConfig]:
    """Draw in two small steps: in one wide range Hypothesis prefers the small numbers."""
    chunks = [st.sampled_from(configs[at : at + _OF_A_CHUNK]) for at in range(0, len(configs), _OF_A_CHUNK)]
    return st.sampled_from(chunks).flatmap(lambda chunk: chunk)
