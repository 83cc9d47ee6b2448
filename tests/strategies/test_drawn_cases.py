"""What the strategies draw is valid, within its limits, and prints and parses back."""

from __future__ import annotations

from math import prod
from typing import Any

import convfuzz.strategies
import pytest
from convfuzz.strategies import batches, boundary, cases, configs, default, recipes, smoke
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import Case, DataRecipe
from convfuzz.config import ConvConfig

SPACES = {"smoke": smoke, "default": default, "boundary": boundary}
LIMITS = {"smoke": (500_000, 2**13), "default": (20_000_000, 2**18), "boundary": (20_000_000, 2**18)}


def elements(config: ConvConfig) -> list[int]:
    """Return the numbers of elements of input, weight and output."""
    return [prod(config.input_shape), prod(config.weight_shape), prod(config.output_shape)]


@settings(suppress_health_check=[], deadline=None)
@given(cases())
def test_everyday_cases(case: Case) -> None:
    """cases() draws valid cases within the default limits, with every health check on."""
    assert case.config.invalid_reason is None
    assert case.config.flops <= 20_000_000
    assert max(elements(case.config)) <= 2**18
    assert Case.parse(str(case)) == case


@settings(max_examples=300, deadline=None)
@given(
    st.data(),
    st.fixed_dictionaries(
        {},
        optional={
            "dims": st.sampled_from([(1,), (2,), (3,), (1, 3)]),
            "dtypes": st.sampled_from([("float16",), ("float64", "bfloat16")]),
            "layouts": st.sampled_from([("channels_last",), ("contiguous", "non_contiguous")]),
            "padding_modes": st.sampled_from([("zeros",), ("reflect",), ("circular", "replicate")]),
            "bias": st.sampled_from([(True,), (False,)]),
            "max_batch": st.integers(1, 20),
            "unbatched": st.booleans(),
            "max_groups": st.integers(1, 20),
            "max_kernel_size": st.integers(1, 12),
            "max_stride": st.integers(1, 5),
            "max_dilation": st.integers(1, 5),
            "negative_padding": st.booleans(),
            "empty": st.booleans(),
            "max_flops": st.integers(100, 10_000),
            "max_elements": st.integers(8, 1000),
        },
    ),
)
def test_options_hold(data: st.DataObject, options: dict[str, Any]) -> None:
    """Every option of configs() holds for everything drawn, alone and with any other."""
    config = data.draw(configs(**options))
    assert config.is_valid, config.invalid_reason
    for name, attribute in (
        ("dims", "dims"),
        ("dtypes", "dtype"),
        ("layouts", "layout"),
        ("padding_modes", "padding_mode"),
        ("bias", "bias"),
    ):
        assert name not in options or getattr(config, attribute) in options[name]
    assert config.batch is not None or options.get("unbatched", True)
    assert (config.batch or 0) <= options.get("max_batch", 2**18)
    for name, attribute in (("max_kernel_size", "kernel_size"), ("max_stride", "stride"), ("max_dilation", "dilation")):
        assert max(getattr(config, attribute)) <= options.get(name, 2**18)
    assert config.groups <= options.get("max_groups", 2**18)
    assert options.get("negative_padding", True) or min(map(min, config.pads)) >= 0
    assert options.get("empty", True) or min(elements(config)) > 0
    assert config.flops <= options.get("max_flops", 20_000_000)
    assert max(elements(config)) <= options.get("max_elements", 2**18)


@pytest.mark.parametrize("name", SPACES)
def test_spaces(name: str) -> None:
    """A named space draws batches of one configuration within its limits, whose cases print and parse back."""
    flops, most = LIMITS[name]

    @settings(max_examples=300, deadline=None, suppress_health_check=[])
    @given(SPACES[name]())
    def check(batch: tuple[Case, ...]) -> None:
        (config,) = {case.config for case in batch}
        assert max(elements(config)[:2]) <= most
        assert config.flops <= flops
        assert not config.is_valid or max(elements(config)) <= most
        assert [Case.parse(str(case)) for case in batch] == list(batch)

    check()


def test_space_names() -> None:
    """Every public name is a function, and each space says in one line what it covers."""
    for name in convfuzz.strategies.__all__:
        assert callable(getattr(convfuzz.strategies, name))
    for space in SPACES.values():
        assert (space.__doc__ or "").splitlines()[0].endswith(".")


@given(batches(configs(max_flops=1000)))
def test_batch_of_valid_configuration(batch: tuple[Case, ...]) -> None:
    """A batch holds three regimes of one seed, integers first."""
    regimes = [case.recipe.regime for case in batch]
    assert regimes[0] == "integers"
    assert len(set(regimes)) == len(regimes) == 3
    assert len({case.recipe.seed for case in batch}) == 1
    assert not any(case.grad for case in batch)


@given(batches(st.just(ConvConfig(in_channels=3, out_channels=4, groups=2, input_size=(5,), kernel_size=(3,)))))
def test_batch_of_invalid_configuration(batch: tuple[Case, ...]) -> None:
    """An invalid configuration comes with one recipe."""
    assert [case.recipe.regime for case in batch] == ["integers"]


@pytest.mark.parametrize("count", [1, 2, 10])
def test_batch_size(count: int) -> None:
    """The number of recipes is the caller's, up to one for each regime."""

    @settings(max_examples=5)
    @given(batches(configs(max_flops=1000), recipes=count))
    def check(batch: tuple[Case, ...]) -> None:
        assert len(batch) == count

    check()


@given(recipes(regimes=("one-hot", "special")))
def test_chosen_regimes(recipe: DataRecipe) -> None:
    """recipes() keeps to the chosen regimes."""
    assert recipe.regime in {"one-hot", "special"}


def test_representation() -> None:
    """A strategy prints as its options, not as the tables behind them."""
    assert "max_stride=3" in repr(configs(max_stride=3))
    assert len(repr(configs())) < 10_000
