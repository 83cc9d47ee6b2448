"""The shares of slow backends in a campaign: the same configurations everywhere, whole ones, and as many as declared."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from backends.fakes import Spy

import convfuzz
from convfuzz import Case, InvalidConfig
from convfuzz.backends import Backend, resolve
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.variants import Split
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.checking.shares import Shares

LINES = [f"conv1d_n{n}_c2_o3_i{size}_k2_s{stride}_f32" for n in range(1, 5) for size in range(5, 25) for stride in range(1, 6)]


@dataclass
class Slow(Spy):
    """Declares a share."""

    name: str = "slow"
    share: float = 0.1


def run_by(shares: Shares, backend: Backend) -> list[str]:
    """Return the configurations that are in a backend's share."""
    return [line for line in LINES if shares.of(backend, Case.parse(line))]


def test_a_share_is_as_large_as_declared_and_says_why_the_rest_is_left_out() -> None:
    """Of 400 configurations about one in ten run on a backend of that share, and all on one that declares none."""
    slow, fast = Slow(), Spy()
    shares = Shares([slow, fast])
    assert 20 <= len(run_by(shares, slow)) <= 60
    assert run_by(shares, fast) == LINES
    assert {s.reason for line in LINES if not (s := shares.of(slow, Case.parse(line)))} == {"not in its share of 1 in 10 configurations"}


def test_every_data_recipe_of_a_configuration_is_in_the_share_or_none() -> None:
    """What was compiled for a configuration serves all of its recipes and passes."""
    slow = Slow()
    shares = Shares([slow, Spy()])
    for line in LINES[:100]:
        assert (
            len(
                {bool(shares.of(slow, Case.parse(f"{line}{grad}@{recipe}"))) for grad in ("", "_grad") for recipe in ("normal.1", "huge.2")}
            )
            == 1
        )


def test_what_a_slow_backend_runs_is_costly() -> None:
    """A configuration is costly where a slow backend runs it, all of them are where it is alone, and none for fast ones."""
    slow, fast = Slow(), Spy()
    shares = Shares([slow, fast])
    configs = {line: Case.parse(line).config for line in LINES[:100]}
    assert [line for line, config in configs.items() if shares.are_costly_for(config)] == [
        line for line in configs if shares.of(slow, Case.parse(line))
    ]
    assert all(map(Shares([slow]).are_costly_for, configs.values()))
    assert not any(map(Shares([fast]).are_costly_for, configs.values()))


def test_two_slow_backends_take_different_configurations() -> None:
    """Together they see more of the space than either, and no case waits for all of them."""
    one, other = Slow(), Slow(name="other")
    shares = Shares([one, other, Spy()])
    assert set(run_by(shares, one)) != set(run_by(shares, other))


def test_backends_that_are_all_slow_have_nobody_to_wait_for_them() -> None:
    """Shares are relative to the largest: a slow backend alone runs everything, two keep their proportion."""
    slow, slower = Slow(), Slow(name="slower", share=0.05)
    assert run_by(Shares([slow]), slow) == LINES
    assert run_by(Shares([slow, slower]), slow) == LINES
    assert 130 <= len(run_by(Shares([slow, slower]), slower)) <= 270


def test_a_checker_applies_shares_where_it_is_given_them() -> None:
    """A campaign's worker leaves a case out and says so; a check by name runs it."""
    slow, fast = Slow(), Spy()
    shares = Shares([slow, fast])
    left_out = next(line for line in LINES if not shares.of(slow, Case.parse(line)))
    case = Case.parse(left_out)
    first, second = fold_check(case, Checker([slow, fast], shares=shares).events(case)).results
    assert (first.verdict, first.reason) == ("unsupported", "not in its share of 1 in 10 configurations")
    assert second.verdict == "agree"
    assert [result.verdict for result in convfuzz.check(case, [slow, fast]).results] == ["agree", "agree"]


def test_a_kernel_declares_its_share_and_a_variant_has_it_too() -> None:
    """``@convfuzz.backend(share=…)`` is the kernel's share; a variant of a slow backend is as slow."""

    @convfuzz.backend(share=0.25)
    def kernel(x: object, w: object, b: object, config: object) -> None: ...

    backend = KernelBackend("kernel", kernel)
    split = Split(backend)
    shares = Shares([backend, split, resolve("reference+split")])
    assert 60 <= len(run_by(shares, backend)) <= 140
    assert 60 <= len(run_by(shares, split)) <= 140
    assert run_by(shares, resolve("reference+split")) == LINES


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_is_a_part_of_the_whole(share: float) -> None:
    """A share outside of (0, 1] is refused by its value."""
    with pytest.raises(InvalidConfig, match=f"share={share!r} is not above 0 and at most 1"):
        convfuzz.backend(share=share)
