"""The corpus: every entry is well-formed, within the limits of a campaign, and runs first; its neighbours stay near."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import strategies as st
from sampling import sample

from convfuzz.campaign.candidates import Batch
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import CLIMBING, draw_round
from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.entry_points import registered
from convfuzz.judging.sampled_judge import is_large
from convfuzz.strategies import corpus, known_bugs, networks, nightly, spaces
from convfuzz.strategies.case_lists import network_layers
from convfuzz.strategies.changes.neighbours import MOST_BYTES, MOST_FLOPS, is_affordable, near
from convfuzz.strategies.corpus_file import corpus_cases
from convfuzz.tensors.generator import make_tensors

BUGS = known_bugs()
EXPRESSED = [bug for bug in BUGS if bug.cases]
CASES = corpus_cases()
BACKENDS = "convfuzz.backends"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "corpus.md"
LARGEST = 500_000_000
"""Operations that a reference does in a second or so."""
PER_AXIS = ("input_size", "kernel_size", "stride", "dilation", "output_padding")


def parts(config: ConvConfig) -> dict[str, object]:
    """Return what a step may change, channels and groups as one, as both layouts; a change of operation can take three more with it."""
    fields = config.as_fields()
    channels = tuple(fields.pop(name) for name in ("in_channels", "out_channels", "groups"))
    layouts = (fields.pop("layout"), fields.pop("weight_layout"))
    return fields | {"channels": channels, "layouts": layouts}


def test_every_entry_is_either_expressed_or_explained() -> None:
    """An entry has cases and the backend that it was reported for, or the reason why it has none."""
    for bug in BUGS:
        assert bool(bug.cases) == bool(bug.backend) != bool(bug.reason), bug
        assert len(bug.title) > 15, bug


def test_links_are_threads_and_unique() -> None:
    """A link names an issue; no report is listed twice."""
    links = [bug.link for bug in BUGS if bug.link]
    assert [link for link, times in Counter(links).items() if times > 1] == []
    for link in links:
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/\d+", link), link


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cases_run_within_the_limits(case: Case) -> None:
    """A case of the corpus has tensors that can be made, is judged whole, and takes the reference a moment."""
    assert not is_large(case)
    assert not case.config.is_valid or case.config.flops <= LARGEST
    assert case.config.is_valid or not case.grad
    assert make_tensors(case).x.shape


def test_cases_are_written_canonically() -> None:
    """The file has every line as a report would print it, and no case twice in an entry."""
    text = (ROOT / "strategies" / "corpus.toml").read_text(encoding="utf-8")
    for bug in EXPRESSED:
        assert len(set(bug.cases)) == len(bug.cases)
        for case in bug.cases:
            assert f'"{case}"' in text
    for shape in (shape for bug in BUGS for shape in bug.shapes):
        assert f'"{shape}"' in text


def test_backends_are_known_by_their_names() -> None:
    """Where a framework has backends here, an entry names one of them."""
    elsewhere = {"tvm", "tinygrad"}  # what has none here
    for name in {bug.backend for bug in EXPRESSED} - elsewhere:
        family, _, mode = name.partition(":")
        assert mode in registered(BACKENDS)[family].load().modes, name


def test_page_counts_the_entries() -> None:
    """The pages say how many entries are expressed, and the one on the corpus names every other one."""
    page = PAGE.read_text(encoding="utf-8")
    assert f"{len(EXPRESSED)} of {len(BUGS)}" in page
    assert f"{len(EXPRESSED)} of {len(BUGS)}" in (PAGE.parent / "why.md").read_text(encoding="utf-8")
    assert f"{len(CASES)} cases" in page
    for bug in BUGS:
        assert bool(bug.cases) or f"({bug.link})" in page, bug


@pytest.mark.parametrize(
    ("space", "listed"),
    [(corpus, CASES), (networks, network_layers()), (nightly, spaces.listed_cases())],
    ids=["corpus", "networks", "nightly"],
)
def test_a_round_begins_with_the_whole_list(space: object, listed: Batch) -> None:
    """The first batch of a round is the list of a space; later ones are of one configuration, or the list, which is then passed over."""
    first, *later = sample(space(), 300)  # type: ignore[operator]
    assert first == listed
    assert {len({case.config for case in batch}) for batch in later if batch != listed} == {1}


def test_a_night_begins_with_the_corpus_among_others() -> None:
    """The list of a night has each case once, and all of the corpus."""
    listed = spaces.listed_cases()
    assert len(set(listed)) == len(listed)
    assert set(CASES) < set(listed)


class _Enough(KeyboardInterrupt):
    """Ends a round, as Ctrl-C does."""


@pytest.mark.parametrize("first_round", [0, CLIMBING - 1])
def test_a_worker_runs_the_corpus_once(first_round: int) -> None:
    """A worker's first round runs the corpus, whichever kind of round it is; the next one does not."""
    coverage = PairCoverage()
    for number in (first_round, first_round + 1):
        ran: list[Batch] = []

        def run(batch: Batch, ran: list[Batch] = ran) -> float:
            ran.append(batch)
            for case in batch:
                coverage.add(case.config)
            if len(ran) > 50:
                raise _Enough
            return 0.0

        with contextlib.suppress(_Enough):
            draw_round(number, number, corpus(), coverage, run)
        assert [batch for batch in ran if len({case.config for case in batch}) > 1] == ([CASES] if number == first_round else [])
        assert len(ran) > 50


@pytest.mark.parametrize("case", [case for case in CASES if is_affordable(case.config)], ids=str)
def test_neighbours_stay_near(case: Case) -> None:
    """A neighbour differs in three parameters at most, by small steps, costs little, and prints and parses back."""
    for batch in sample(near([case]), 20):
        (config,) = {case.config for case in batch}
        own, others = parts(case.config), parts(config)
        flipped = config.op != case.config.op
        unflawed = config.flaw != case.config.flaw  # by a step of what it is about, such as the bias
        assert sum(own[name] != others[name] for name in own) <= 3 + 3 * flipped + unflawed
        for name in PER_AXIS:
            if not flipped:
                moves = [abs(a - b) for a, b in zip(getattr(config, name), getattr(case.config, name), strict=True)]
                assert sum(moves) <= 6, (name, config)
        assert config.working_nbytes <= MOST_BYTES
        assert not config.is_valid or config.flops <= MOST_FLOPS
        assert [Case.parse(str(one)) for one in batch] == list(batch)
        assert len(batch) == (2 if config.is_valid else 1)
        assert all(one.grad for one in batch) or not (case.grad and config.is_valid and not config.dtype.startswith("int"))


@cache
def neighbours(line: str) -> set[ConvConfig]:
    """Return the configurations of a sample of the neighbours of a case."""
    return {batch[0].config for batch in sample(near([Case.parse(line)]), 1500)}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("conv2d_c4_o4_i5_k3_f32", "convt2d_c4_o4_i5_k3_f32"),
        ("convt2d_c4_o4_i5_k3_s2_op1_f32", "conv2d_c4_o4_i5_k3_s2_f32"),
        ("conv2d_c8_o8_g8_i5_k3_f32", "conv2d_c8_o16_g8_i5_k3_f32"),
        ("conv2d_c4_o6_i5_k3_f32", "conv2d_c4_o8_g4_i5_k3_f32"),
        ("conv2d_c4_o4_i5_k3_f32", "conv2d_c4_o4_i5_k3_s0x1_f32"),
        ("conv2d_c4_o4_i5_k3_f32", "conv2d_c4_o4_i5_k3_psame_f32"),
        ("conv2d_c4_o4_i5_k3_f32", "conv2d_c4_o4_i5_k3_p0x-1:0_f32"),
        ("conv2d_c4_o4_i5_k3_f32", "conv2d_n16_c4_o4_i5_k3_f32"),
        ("conv2d_c4_o4_i5_k3_f32", "conv2d_c4_o4_i5_k3_bf16"),
        ("conv2d_c4_o4_i5_k3_f32", "conv2d_c4_o4_i5_k3_f32_cl"),
        ("conv2d_c4_o4_i5_k3_b_f32_bad-bias-size", "conv2d_c4_o4_i5_k3_f32"),
        ("convt1d_c4_o4_i5_k3_f32_bad-output-length", "conv1d_c4_o4_i5_k3_f32"),
    ],
)
def test_each_kind_of_step_is_reached(line: str, wanted: str) -> None:
    """Neighbours are in the next size, dtype, group count and operation, valid and invalid."""
    assert Case.parse(wanted).config in neighbours(line)


def test_telling_data_are_kept() -> None:
    """Near a case of special data these are run, beside the integers."""
    for batch in sample(near([Case.parse("conv2d_c2_o1_i4_k3_f32@special.0")]), 50):
        if batch[0].config.is_valid and batch[0].config.dtype.startswith(("float", "bfloat")):
            assert [case.recipe.regime for case in batch] == ["integers", "special"]


def test_nightly_draws_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night draws from four spaces, in the shares that its description states."""
    shares = {"default": 40, "near_affordable": 30, "boundary": 20, "invalid": 10}
    for label, name in enumerate(shares):
        config = CASES[0].config.replace(batch=label)
        space = st.integers(0, 10**6).map(lambda seed, config=config: (Case(config, DataRecipe("normal", seed)),))
        monkeypatch.setattr(spaces, name, lambda *_, space=space: space)
    _, *drawn = sample(spaces.nightly.__wrapped__(), 2000)
    found = Counter(batch[0].config.batch for batch in drawn)
    for label, share in enumerate(shares.values()):
        assert abs(100 * found[label] / len(drawn) - share) < 7
