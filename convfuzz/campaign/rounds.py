"""How the cases of a round are drawn: from its seed alone, steered to what a campaign has tried least and what costs little.

Most rounds draw twice as many configurations as they run, and may put each one's layer together with another one's operands. A
configuration counts as new by the *pairs* of feature values that meet in it, such as stride 2 with channels-last memory: most
mistakes take two parameters, few take more (Kuhn, Wallace and Gallo, IEEE TSE 2004). :mod:`~convfuzz.campaign.candidates` says how
that is weighed against cost. Every eighth round climbs instead: Hypothesis's ``target()`` turns it towards larger errors relative to
the bound.

A steered round needs nothing of Hypothesis's engine, which remembers and varies examples: it hands it random bytes, as a fuzzer
does, and draws several configurations from each string of them.

A batch of several configurations is a list, such as the corpus, that a search space begins every round with; a worker runs its
part of it in its first round only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from random import Random

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants
from hypothesis.strategies import SearchStrategy

from convfuzz.campaign.candidates import DEAR, USUAL, Budget, Candidates, Steering, batch_cost, is_done, is_list
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.runtimes import Batch, Runtimes

BATCHES_PER_ROUND = 200
"""Configurations that run in one round, about: the memory that Hypothesis takes for a climbing one grows with its examples."""
CLIMBING = 8
"""One round of so many climbs. It finds larger errors, and fewer mistakes of any other kind: see ``benchmarks/steering.py``."""

_GROUP = 16
"""Configurations that are drawn together: a call of Hypothesis costs as much as drawing one or two."""
_DRAWN_FOR_ONE = 2
"""Configurations that are drawn for each that runs: what exchanges operands offers far more than that to choose from."""
_BYTES = 2**13
"""What a group is drawn from, as much as Hypothesis takes; configurations of convfuzz's own spaces take about 50 bytes each."""
_MOST_IN_VAIN = 1000


def round_seeds(base: int) -> Iterator[int]:
    """Yield the seed of each round of a campaign with seed ``base``."""
    source = Random(base)  # noqa: S311 - a reproducible sequence is what is wanted
    while True:
        yield source.getrandbits(63)


def draw_round(
    number: int,
    round_seed: int,
    batches: SearchStrategy[Batch],
    coverage: PairCoverage,
    run_batch: Callable[[Batch], float],
    steering: Steering = USUAL,
) -> None:
    """Draw the batches of round ``number`` and have each one run; the same arguments draw the same ones.

    Args:
        number: which round of the campaign it is; every eighth climbs, the others are steered.
        round_seed: what Hypothesis draws from; it remembers nothing between rounds.
        batches: the search space.
        coverage: what has been tried so far; ``run_batch`` adds to it.
        run_batch: runs a batch and returns its largest error in units of its bound, 0 where there is none. What it raises
            ends the round.
        steering: how a round that is steered chooses among what was drawn.
    """
    if number % CLIMBING == CLIMBING - 1:
        _climb(round_seed, batches, coverage, run_batch, steering.runtimes)
        return
    groups = _groups(batches, Random(round_seed))  # noqa: S311 - a reproducible sequence is what is wanted
    candidates = Candidates(coverage, steering)
    ran = 0
    for group in islice(groups, BATCHES_PER_ROUND // 2):
        candidates.add(group)
        for _ in range(max(len(group) // _DRAWN_FOR_ONE, 1)):
            if batch := candidates.take():
                run_batch(batch)
                ran += 1
        if ran >= BATCHES_PER_ROUND:
            return


def _groups(batches: SearchStrategy[Batch], random: Random) -> Iterator[list[Batch]]:
    """Draw without end groups of different batches; the first group is the simplest one alone."""
    group: list[Batch] = []
    wanted = 1

    @st.composite
    def several(draw: st.DrawFn) -> None:
        for _ in range(wanted):
            group.append(draw(batches))  # so that what was drawn counts where the bytes do not last for the rest  # noqa: PERF401

    @settings(database=None)
    @given(several())
    def collect(_: None) -> None:
        pass

    draw_from: Callable[[bytes], object] = collect.hypothesis.fuzz_one_input  # type: ignore[attr-defined] # what @given adds
    drawn_in_vain = 0
    buffer = bytes(_BYTES)  # zeros stand for the simplest of everything
    while drawn_in_vain < _MOST_IN_VAIN:
        group.clear()
        draw_from(buffer)
        drawn_in_vain = 0 if group else drawn_in_vain + 1
        if group:
            yield list(dict.fromkeys(group))
        buffer, wanted = random.randbytes(_BYTES), _GROUP
    raise Unsatisfiable(f"the search space has drawn nothing in {_MOST_IN_VAIN:,} tries")


def _climb(
    round_seed: int, batches: SearchStrategy[Batch], coverage: PairCoverage, run_batch: Callable[[Batch], float], runtimes: Runtimes
) -> None:
    """Run what Hypothesis draws, which turns towards larger errors; pass over what costs much beyond its share, or nobody computes."""
    budget = Budget()

    @seed(round_seed)
    @settings(
        max_examples=BATCHES_PER_ROUND,
        phases=[Phase.generate, Phase.target],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(batches)
    def drawn(batch: Batch) -> None:
        if runtimes.decline(batch):
            return
        cost = batch_cost(batch)
        is_dear = cost > DEAR * len(batch) and not is_list(batch)
        if not is_done(batch, coverage) and (budget.has_room_at_any_cost or not is_dear):
            budget.spend(cost, at_any_cost=is_dear)
            worst = run_batch(batch)
            target(math.log2(max(min(1.0, worst), 2.0**-20)), label="error ratio")  # beyond 1 it is a finding, which is enough

    with _no_constants_of_modules():
        drawn()


class _WithoutConstants(HypothesisProvider):
    """Hypothesis's way to draw, but for the constants of all modules that are loaded by then, whose source it parses for them.

    A round would draw otherwise where another module has been loaded, such as one that a worker needs for its first failure.
    """

    _local_constants = Constants()


@contextmanager
def _no_constants_of_modules() -> Iterator[None]:
    """Have engines that begin meanwhile draw alike in every process."""
    usual = AVAILABLE_PROVIDERS["hypothesis"]
    AVAILABLE_PROVIDERS["hypothesis"] = f"{__name__}.{_WithoutConstants.__name__}"  # not every release that is claimed takes the class
    try:
        yield
    finally:
        AVAILABLE_PROVIDERS["hypothesis"] = usual
