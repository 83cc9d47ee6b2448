"""What the strategies draw is valid, within its limits, and prints and parses back."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convfuzz.strategies
from convfuzz.case import REGIMES, Case, DataRecipe, regimes_of
from convfuzz.case.config import DTYPES, LAYOUTS, ConvConfig
from convfuzz.errors import Unsupported
from convfuzz.strategies import batches, boundary, cases, configs, default, invalid, recipes, smoke
from convfuzz.strategies.corpus_file import shapes_of_wrong_gradients
from convfuzz.tensors.generator import draw_values

SPACES = {"smoke": smoke, "default": default, "boundary": boundary, "invalid": invalid}
LIMITS = {"smoke": (500_000, 2**13), "default": (20_000_000, 2**18), "boundary": (20_000_000, 2**18), "invalid": (10_000_000, 2**14)}


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
            "ops": st.sampled_from([("conv",), ("conv_transpose",), ("conv_transpose", "conv")]),
            "dims": st.sampled_from([(1,), (2,), (3,), (1, 3)]),
            "dtypes": st.sampled_from([("float16",), ("float64", "bfloat16"), ("complex64", "int8")]),
            "layouts": st.sampled_from([("channels_last",), ("contiguous", "non_contiguous"), ("expanded", "offset", "loose_strides")]),
            "padding_modes": st.sampled_from([("zeros",), ("zeros", "reflect"), ("circular", "replicate", "zeros")]),
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
        ("ops", "op"),
        ("dims", "dims"),
        ("dtypes", "dtype"),
        ("layouts", "layout"),
        ("padding_modes", "padding_mode"),
        ("bias", "bias"),
    ):
        assert name not in options or getattr(config, attribute) in options[name]
    assert config.weight_layout in (None, *options.get("layouts", LAYOUTS))
    assert config.batch is not None or options.get("unbatched", True)
    assert (config.batch or 0) <= options.get("max_batch", 2**18)
    for name, attribute in (("max_kernel_size", "kernel_size"), ("max_stride", "stride"), ("max_dilation", "dilation")):
        assert max(getattr(config, attribute)) <= options.get(name, 2**18)
    assert config.groups <= options.get("max_groups", 2**18)
    assert options.get("negative_padding", True) or min(map(min, config.pads)) >= 0
    assert options.get("empty", True) or min(elements(config)) > 0
    assert config.flops <= options.get("max_flops", 20_000_000)
    assert max(elements(config)) <= options.get("max_elements", 2**18)


@settings(max_examples=300, deadline=None)
@given(configs(padding_modes=("reflect", "circular"), max_flops=10_000))
def test_padding_modes_without_zeros(config: ConvConfig) -> None:
    """Where zeros are not to be padded, neither is a transposed convolution drawn nor an input without sites."""
    assert config.is_valid, config.invalid_reason
    assert config.op == "conv"
    assert config.padding_mode in {"reflect", "circular"}
    assert 0 not in config.input_size


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
    """A batch holds three regimes of one seed that the dtype has, integers first, without gradients."""
    regimes = [case.recipe.regime for case in batch]
    assert regimes[0] == "integers"
    assert len(set(regimes)) == len(regimes) == 3
    assert set(regimes) <= set(regimes_of(batch[0].config.dtype))
    assert len({case.recipe.seed for case in batch}) == 1
    assert not any(case.grad for case in batch)


@pytest.mark.parametrize("dtype", DTYPES)
def test_regimes_of_a_dtype(dtype: str) -> None:
    """The regimes that are drawn for a dtype are those that have values of it."""
    config = ConvConfig(in_channels=1, out_channels=1, input_size=(3, 3), kernel_size=(2, 2), dtype=dtype)
    for regime in REGIMES:
        case = Case(config, DataRecipe(regime))
        if regime in regimes_of(dtype):
            assert set(draw_values(case)) == {"x", "w"}
        else:
            with pytest.raises(Unsupported):
                draw_values(case)


@given(batches(configs(max_flops=1000, invalid=True), grad_share=1.0))
def test_batch_with_gradients(batch: tuple[Case, ...]) -> None:
    """Where all are to have gradients, all cases of a batch have them but those that cannot: integers, and what is invalid."""
    config = batch[0].config
    assert {case.grad for case in batch} == {config.is_valid and not config.dtype.startswith("int")}


@given(batches(st.sampled_from(sorted(shapes_of_wrong_gradients(), key=str)), grad_share=0.01))
def test_past_bugs_of_gradients(batch: tuple[Case, ...]) -> None:
    """A shape of which a gradient was wrong has its gradients checked, however rare they are."""
    assert all(case.grad for case in batch)


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
        assert len(batch) == min(count, len(regimes_of(batch[0].config.dtype)))

    check()


@given(cases(regimes=("one-hot", "special"), grad=(True,), max_flops=1000))
def test_chosen_regimes_and_gradients(case: Case) -> None:
    """cases() keeps to the regimes and passes that are asked for, and leaves out the dtypes that have none of them."""
    assert case.recipe.regime in {"one-hot", "special"}
    assert case.grad
    assert not case.config.dtype.startswith("int")
    assert case.recipe.regime == "one-hot" or not case.config.dtype.startswith("complex")


@given(cases(grad=(False,), max_flops=1000))
def test_no_gradients(case: Case) -> None:
    """cases() draws no gradients where none are asked for."""
    assert case.passes == ("forward",)


@given(recipes(regimes=("one-hot", "special")))
def test_chosen_regimes(recipe: DataRecipe) -> None:
    """recipes() keeps to the chosen regimes."""
    assert recipe.regime in {"one-hot", "special"}


def test_representation() -> None:
    """A strategy prints as its options, not as the tables behind them."""
    assert "max_stride=3" in repr(configs(max_stride=3))
    assert "max_stride=3" in repr(cases(max_stride=3))
    assert len(repr(configs())) < 10_000
