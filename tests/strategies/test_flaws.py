"""Every flaw breaks one rule and no other, with small tensors that can be made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import sample

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.line import FLAWS as CALL_FLAWS
from convfuzz.strategies import configs, invalid
from convfuzz.strategies.changes.extremes import EXTREMES
from convfuzz.strategies.changes.flaws import FLAWS, Flaw
from convfuzz.tensors.generator import make_tensors

COUNT = 1500

Repair = Callable[[ConvConfig], ConvConfig]


def with_(**changes: Any) -> Repair:
    """Put a parameter right by a value that is always valid."""
    return lambda config: config.replace(**changes)


def at_least(least: int, name: str) -> Repair:
    """Put a parameter right where it is too small."""
    return lambda config: config.replace(**{name: tuple(max(value, least) for value in getattr(config, name))})


def less_output_padding(config: ConvConfig) -> ConvConfig:
    """Put the output padding right where it is too large."""
    limits = map(max, config.stride, config.dilation)
    return config.replace(output_padding=tuple(min(extra, limit - 1) for extra, limit in zip(config.output_padding, limits, strict=True)))


RULES: dict[str, tuple[str, Repair]] = {
    "groups_beside_inputs": ("does not divide in_channels", with_(groups=1)),
    "groups_beside_outputs": ("does not divide out_channels", with_(groups=1)),
    "groups_out_of_range": ("groups=", with_(groups=1)),
    "groups_beyond_channels": ("does not divide in_channels", with_(groups=1)),
    "stride_out_of_range": ("stride=", at_least(1, "stride")),
    "dilation_out_of_range": ("dilation=", at_least(1, "dilation")),
    "no_taps": ("kernel_size=", at_least(1, "kernel_size")),
    "kernel_beyond_input": ("is larger than the padded input", with_(kernel_size=1)),
    "dilation_beyond_input": ("is larger than the padded input", with_(kernel_size=1)),
    "dilation_beyond_everything": ("is larger than the padded input", with_(kernel_size=1)),
    "cropping_beyond_input": ("crops more than the input size", with_(padding="same")),
    "cropping_everything": ("is larger than the padded input", with_(padding="same")),
    "mode_too_wide": ("the most that padding_mode=", with_(padding_mode="zeros")),
    "mode_with_cropping": ("only zeros can crop", with_(padding_mode="zeros")),
    "output_padding_at_limit": ("is not less than max(stride", less_output_padding),
    "output_padding_beyond_limit": ("is not less than max(stride", less_output_padding),
    "output_padding_beyond_everything": ("is not less than max(stride", lambda config: less_output_padding(config).replace(padding=0)),
    "output_padding_negative": ("output_padding=", at_least(0, "output_padding")),
    "nothing_left": ("output size", with_(padding=0)),
    "padding_beyond_everything": ("output size", with_(padding=0)),
} | {f"of_call({name!r})": (rule, with_(flaw=None)) for name, rule in CALL_FLAWS.items()}
"""What the message of the broken rule says, and how the parameter that broke it is put right."""


@st.composite
def changed(draw: st.DrawFn, op: str, changes: Iterable[Flaw]) -> dict[str, ConvConfig]:
    """Draw a small valid configuration of an operation, and return it with each change."""
    config = draw(configs(ops=(op,), padding_modes=("zeros",), negative_padding=False, empty=False, max_flops=20_000, max_elements=2**10))
    config = config.replace(padding=tuple((max(lo, 0), max(hi, 0)) for lo, hi in config.pads))
    return {change.__name__: change(draw, config) for change in changes}


@pytest.mark.parametrize("op", FLAWS)
def test_flaw_breaks_one_rule(op: str) -> None:
    """The message names the rule that the flaw is about, and the parameter put right makes the configuration valid."""

    @settings(max_examples=150, deadline=None, database=None)
    @given(changed(op, FLAWS[op]))
    def check(flawed: dict[str, ConvConfig]) -> None:
        for flaw, config in flawed.items():
            rule, repair = RULES[flaw]
            assert rule in str(config.invalid_reason), flaw
            assert repair(config).invalid_reason is None, flaw
            assert config.working_nbytes < 10**6, flaw

    check()


@pytest.mark.parametrize("op", EXTREMES)
def test_extreme_is_valid(op: str) -> None:
    """An extreme has a number beyond 32 bits, small tensors, and nothing wrong."""

    @settings(max_examples=150, deadline=None, database=None)
    @given(changed(op, EXTREMES[op]))
    def check(extremes: dict[str, ConvConfig]) -> None:
        for extreme, config in extremes.items():
            assert config.invalid_reason is None, extreme
            assert config.is_extreme, extreme
            assert config.working_nbytes < 10**6, extreme

    check()


@pytest.fixture(scope="module")
def drawn() -> list[Case]:
    """Return a sample of ``invalid``."""
    batches = sample(invalid(), COUNT)
    assert {len(batch) for batch in batches} == {1}
    return [case for (case,) in batches]


def test_invalid_draws_what_is_invalid_or_extreme(drawn: list[Case]) -> None:
    """Nothing is drawn that every implementation has to compute, and about one in ten may be computed."""
    assert all(not case.config.is_valid or case.config.is_extreme for case in drawn)
    assert 0.04 * COUNT <= sum(case.config.is_valid for case in drawn) <= 0.2 * COUNT


def test_invalid_reaches_every_rule(drawn: list[Case]) -> None:
    """Every rule is broken several times in a campaign of a minute, by both operations where both have it."""
    reasons = [str(case.config.invalid_reason) for case in drawn]
    rules = {rule for rule, _ in RULES.values()}
    assert {rule for rule in rules if sum(rule in reason for reason in reasons) < 0.003 * COUNT} == set()
    assert {case.config.flaw for case in drawn} == {None, *CALL_FLAWS}
    by_op = Counter(case.config.op for case in drawn)
    assert min(by_op["conv"], by_op["conv_transpose"]) >= 0.2 * COUNT


def test_invalid_reaches_the_ends_of_the_integers(drawn: list[Case]) -> None:
    """Every enormous number is an argument, at 31 bits and at 63."""
    lines = [str(case) for case in drawn]
    for number in (2**31 - 1, 2**31, 2**31 + 1, 2**62, 2**63 - 1):
        assert sum(str(number) in line for line in lines) >= 0.005 * COUNT


def test_tensors_of_invalid_cases_can_be_made(drawn: list[Case]) -> None:
    """Whatever is wrong with a call, its tensors exist and are small."""
    for case in drawn[:600]:
        assert sum(array.nbytes for array in make_tensors(case).named().values()) < 10**6


def test_lines_of_invalid_cases(drawn: list[Case]) -> None:
    """An invalid case prints and parses back, so that a finding can be pasted."""
    assert [Case.parse(str(case)) for case in drawn] == drawn
