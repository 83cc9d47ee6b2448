"""Which cases a round runs: the same ones each time, more new combinations than chance, and the same after a death."""

from __future__ import annotations

import contextlib
from typing import NoReturn

import pytest
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.internal.conjecture import providers
from sampling import sample

from convfuzz.campaign.candidates import Batch
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import BATCHES_PER_ROUND, CLIMBING, draw_round
from convfuzz.case import Case
from convfuzz.record.events import CaseStarted
from convfuzz.record.journal import read_journal
from convfuzz.strategies import default

from .launch import Finished, Place

FAILS_AT_TIMES = """
import os
import zlib


def fails_on(config):
    return zlib.crc32(repr((config.input_shape, config.weight_shape, config.stride)).encode()) % 20 == 0


def raises(x, w, b, config):
    if fails_on(config):
        raise RuntimeError("at times")
    return correct(x, w, b, config)


def dies(x, w, b, config):
    if fails_on(config):
        os._exit(3)
    return correct(x, w, b, config)
"""


def drawn(number: int, coverage: PairCoverage, most: int = 10**9) -> list[Case]:
    """Return the cases of a round, of which each has an error of its own."""
    cases: list[Case] = []

    class Enough(KeyboardInterrupt):
        pass

    def run_batch(batch: Batch) -> float:
        for case in batch:
            if len(cases) == most:
                raise Enough
            cases.append(case)
            coverage.add(case.config)
        return 1e-4 * len(str(batch[0])) * batch[0].config.in_channels

    with contextlib.suppress(Enough):
        draw_round(number, 42, default(), coverage, run_batch)
    return cases


@pytest.mark.parametrize("number", [0, CLIMBING - 1])
def test_round_is_drawn_again_from_what_was_known_when_it_began(number: int) -> None:
    """The same seed, number, coverage and errors make the same cases."""
    before = PairCoverage()
    drawn(1, before)
    first = drawn(number, PairCoverage(before.counts()))
    assert len(first) >= BATCHES_PER_ROUND
    assert drawn(number, PairCoverage(before.counts())) == first


def test_climbing_round_asks_for_no_constants_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis parses no module for constants, which would make a round draw otherwise where another module has been loaded."""

    def asked() -> NoReturn:
        raise AssertionError("Hypothesis asked for the constants of the modules that are loaded")

    monkeypatch.setattr(providers, "_get_local_constants", asked)
    assert drawn(CLIMBING - 1, PairCoverage(), most=50)


def test_steered_rounds_meet_more_pairs() -> None:
    """As many cases hold a fifth more pairs of feature values than cases drawn by chance."""
    steered, chance = PairCoverage(), PairCoverage()
    drawn(0, steered, most=200)
    for case in [case for batch in sample(default(), 200) for case in batch][:200]:
        chance.add(case.config)
    assert len(steered) > 1.2 * len(chance)


def test_large_configurations_are_drawn_as_far_as_the_bytes_last() -> None:
    """A search space that takes far more bytes for a configuration than convfuzz's own has its round all the same."""
    ran: list[Batch] = []
    numbers = st.lists(st.integers(0, 255), min_size=2000, max_size=2000)
    space = numbers.map(lambda drawn: (Case.parse(f"conv1d_c{1 + drawn[0]}_o1_i{1 + drawn[-1]}_k1_f32@zeros"),))
    draw_round(0, 42, space, PairCoverage(), lambda batch: ran.append(batch) or 0.0)
    assert len(set(ran)) >= BATCHES_PER_ROUND / 2


def test_a_search_space_that_draws_nothing_is_an_error() -> None:
    """It does not end in an endless round."""
    with pytest.raises(Unsatisfiable, match="has drawn nothing in 1,000 tries"):
        draw_round(0, 42, st.just(()).filter(len), PairCoverage(), lambda _: 0.0)


def test_climbing_round_turns_to_larger_errors() -> None:
    """Its second half has larger errors than the first: here, more input channels."""
    cases = drawn(CLIMBING - 1, PairCoverage())
    half = len(cases) // 2
    first, second = (sum(case.config.in_channels for case in part) / len(part) for part in (cases[:half], cases[half:]))
    assert second > 1.5 * first


def lines(done: Finished, worker: int) -> list[str]:
    """Return the cases that one worker began, in their order."""
    return [event.case for event in read_journal(done.directory / f"journal-{worker}.jsonl") if isinstance(event, CaseStarted)]


def test_deaths_change_nothing_about_the_cases(place: Place) -> None:
    """A kernel that keeps killing its worker sees the very cases, each once, that one sees which raises instead."""
    options = ("--seed", "9", "--max-cases", str(15 * CLIMBING), "--workers", str(CLIMBING), "--strategy", "smoke")
    raises = place.run_warm(FAILS_AT_TIMES, ["raises"], *options)
    dies = place.run_warm(FAILS_AT_TIMES, ["dies"], *options)
    assert dies.info["verdicts"]["kernels.py::dies"]["crash"] == raises.info["verdicts"]["kernels.py::raises"]["error"] >= 3
    for worker in range(CLIMBING):
        assert lines(dies, worker) == lines(raises, worker)
        assert len(lines(dies, worker)) == 15


def test_workers_share_the_corpus(place: Place) -> None:
    """Two workers run no case of the corpus twice."""
    done = place.run_warm(FAILS_AT_TIMES, ["raises"], "--seed", "9", "--max-cases", "40", "--workers", "2", "--strategy", "corpus")
    first, second = lines(done, 0), lines(done, 1)
    assert len(first) == len(second) == 20
    assert not set(first) & set(second)
