"""The named search spaces; ``convfuzz strategies`` lists them by their first line.

Each is a function that may be called without arguments; one with a parameter ``domains`` draws what kernels compute, where some
that are under test say so. Without any the draw is of everything.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.case import Case
from convfuzz.case.domain import Domain
from convfuzz.strategies.case_lists import found_cases, network_layers
from convfuzz.strategies.case_strategies import batches
from convfuzz.strategies.changes.neighbours import is_affordable, near
from convfuzz.strategies.choices import BASIC, CAMPAIGN, EDGE, FLAWED
from convfuzz.strategies.config_strategies import ConfigOptions, configs_with
from convfuzz.strategies.corpus_file import corpus_cases
from convfuzz.strategies.domain_strategies import configs_within

_GRADIENTS = 1 / 3


@cache
def smoke(domains: tuple[Domain, ...] = ()) -> SearchStrategy[tuple[Case, ...]]:
    """Tiny and cheap: forward convolutions below 0.5 Mflop, float32, contiguous, zeros as padding, small kernels; nothing invalid."""
    options = ConfigOptions(
        ops=("conv",),
        dtypes=("float32",),
        layouts=("contiguous",),
        padding_modes=("zeros",),
        max_batch=3,
        unbatched=False,
        max_kernel_size=3,
        max_stride=2,
        max_dilation=2,
        negative_padding=False,
        empty=False,
        max_flops=500_000,
        max_elements=2**13,
    )
    return batches(configs_within(BASIC, options, domains), exchangeable=not domains)


@cache
def default(domains: tuple[Domain, ...] = ()) -> SearchStrategy[tuple[Case, ...]]:
    """Everything valid below 20 Mflop: both operations, gradients of a third, every dtype, block edges, past bugs; 2 % invalid."""
    # Two recipes: more configurations beat more data of each.
    drawn = configs_within(CAMPAIGN, ConfigOptions(invalid=True), domains)
    return batches(drawn, recipes=2, grad_share=_GRADIENTS, exchangeable=not domains)


@cache
def boundary(domains: tuple[Domain, ...] = ()) -> SearchStrategy[tuple[Case, ...]]:
    """Sizes at 1, 2, 3 and at 2^k and its neighbours up to 65,537, wide windows and padding, empty tensors; 10 % invalid."""
    drawn = configs_within(EDGE, ConfigOptions(invalid=True), domains)
    return batches(drawn, grad_share=_GRADIENTS, exchangeable=not domains)


@cache
def invalid() -> SearchStrategy[tuple[Case, ...]]:
    """What has to be rejected: one rule broken in each; and arguments beyond 32 bits, to be rejected or computed right."""
    return batches(configs_with(FLAWED, ConfigOptions(invalid=True)), recipes=1)


@cache
def corpus(domains: tuple[Domain, ...] = ()) -> SearchStrategy[tuple[Case, ...]]:
    """Public bug reports: each worker runs all that a case can express, then cases near them, two in five invalid."""
    return _list_first(corpus_cases(), [default(domains) if domains else near_affordable(corpus_cases())])


@cache
def networks(domains: tuple[Domain, ...] = ()) -> SearchStrategy[tuple[Case, ...]]:
    """Layers of networks that people ship, ResNet to V-Net, in float32: each worker runs its part of them, then cases near them."""
    return _list_first(network_layers(), [default(domains) if domains else near_affordable(network_layers())])


@cache
def nightly(domains: tuple[Domain, ...] = ()) -> SearchStrategy[tuple[Case, ...]]:
    """For a night: layers of networks, past findings and the corpus, then 4 parts of default, 3 near those, 2 boundary, 1 invalid."""
    listed = listed_cases()
    if domains:
        return _list_first(listed, [default(domains)] * 7 + [boundary(domains)] * 2 + [invalid()])
    return _list_first(listed, [default()] * 4 + [near_affordable(listed)] * 3 + [boundary()] * 2 + [invalid()])


@cache
def listed_cases() -> tuple[Case, ...]:
    """Return what a night begins with: layers of networks, a case of each bug that is known, and the corpus, each case once."""
    return tuple(dict.fromkeys((*network_layers(), *found_cases(), *corpus_cases())))


@cache
def near_affordable(cases: tuple[Case, ...]) -> SearchStrategy[tuple[Case, ...]]:
    """Cases near those of a list that cost little enough."""
    return near(tuple(case for case in cases if is_affordable(case.config)))


def _list_first(cases: tuple[Case, ...], spaces: list[SearchStrategy[tuple[Case, ...]]]) -> SearchStrategy[tuple[Case, ...]]:
    """Draw a whole list of cases as one batch, and then from ``spaces``, one like the other.

    Hypothesis begins a run with the simplest example, and comes back to none where there are others: the first batch of a
    round is the list. A campaign shares it among its workers, each of which runs its part in its first round only.
    """
    return st.integers(0, len(spaces)).flatmap(lambda n: spaces[n - 1] if n else st.just(cases))
