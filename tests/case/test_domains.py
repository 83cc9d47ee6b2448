"""Domains: what options declare, and what a search finds that a predicate accepts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import pytest

from convfuzz.case.config import ConvConfig
from convfuzz.case.domain import Domain, explore
from convfuzz.case.domain.fitting import fitted
from convfuzz.case.domain.layers import layers
from convfuzz.case.domain.watched import watched
from convfuzz.case.parameters import parameters
from convfuzz.errors import InvalidConfig

Predicate = Callable[[ConvConfig], "str | bool | None"]


def _of_vocoder(c: ConvConfig) -> str | None:
    if c.op != "conv" or c.dims != 1 or c.kernel_size != (2,):
        return "1-D with two taps only"
    if c.dilation[0] & (c.dilation[0] - 1):
        return "the dilation is a power of two"
    return None if c.padding == ((c.dilation[0], 0),) and c.in_channels == c.out_channels else "causal, residual layers only"


NARROW: dict[str, Predicate] = {
    "causal depthwise": lambda c: (
        c.op == "conv"
        and c.dims == 1
        and c.groups == c.in_channels == c.out_channels
        and c.kernel_size[0] in (2, 3, 4)
        and c.padding == ((c.kernel_size[0] - 1, 0),)
    ),
    "stem": lambda c: c.op == "conv" and c.in_channels == 3 and c.kernel_size == (7, 7) and c.stride == (2, 2),
    "half precision": lambda c: c.dtype == "float16" and c.kernel_size == (3, 3) and c.pads == ((1, 1),) * 2 and c.in_channels % 8 == 0,
    "volume": lambda c: c.op == "conv" and c.dtype == "bfloat16" and c.kernel_size == (3, 3, 3) and c.padding == ((1, 1),) * 3,
    "halving": lambda c: c.dims == 2 and 1 < c.groups == c.in_channels and set(c.kernel_size) == {3} and set(c.stride) == {2},
    "upsampling": lambda c: (
        c.op == "conv_transpose" and c.kernel_size == (4, 4) and c.stride == (2, 2) and c.padding == ((1, 1), (1, 1)) and c.groups > 1
    ),
    "many channels": lambda c: max(c.kernel_size) == 1 and c.in_channels >= 64 and c.in_channels % 32 == 0,
    "vocoder": _of_vocoder,
    "unbatched": lambda c: c.batch is None,
    "patches": lambda c: c.kernel_size == c.stride == (16, 16) and c.in_channels == 3 and c.input_size[0] % 16 == c.input_size[1] % 16 == 0,
    "a shape": lambda c: c.input_shape == (2, 7, 13, 13) and c.weight_shape == (9, 7, 3, 3),
    "one layer": lambda c: (
        (c.op, c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, c.input_size)
        == ("conv", 48, 80, (5, 5), (3, 3), ((2, 2), (2, 2)), (30, 40))
    ),
}


@cache
def found_in(name: str) -> tuple[ConvConfig, ...]:
    """Return what a search finds of a narrow domain; it takes a second."""
    return explore(Domain(supports=NARROW[name])).configs


@pytest.mark.parametrize("name", NARROW)
def test_what_a_predicate_accepts_is_found(name: str) -> None:
    """A search finds dozens of configurations of each narrow domain, all of them valid and accepted."""
    predicate, found = NARROW[name], found_in(name)
    assert len(set(found)) == len(found) >= 50
    assert all(config.is_valid and predicate(config) in (True, None) for config in found)


def test_what_is_found_covers_the_values_that_are_accepted() -> None:
    """Kernel sizes, channels and dtypes are all there, and every two kernel sizes and dtypes have met."""
    dtypes = ("float32", "float64", "float16", "bfloat16")
    found = explore(Domain(supports=NARROW["causal depthwise"], dtypes=dtypes)).configs
    assert {(config.kernel_size[0], config.dtype) for config in found} == {(k, dtype) for k in (2, 3, 4) for dtype in dtypes}
    assert len({config.in_channels for config in found}) > 10
    assert {parameters(config)["output"] for config in found} == {"one site", "several sites"}


def test_a_search_is_the_same_each_time() -> None:
    """Two searches of the same domain find the same configurations in the same order: no clock, no hash of a text, no global seed."""
    assert explore(Domain(supports=NARROW["vocoder"])).configs == found_in("vocoder")


def test_an_example_starts_what_no_search_finds() -> None:
    """A predicate that compares nothing is not followed; from an example its neighbours are found."""

    def is_listed(c: ConvConfig) -> bool:
        return f"{c.in_channels}/{c.kernel_size}/{c.stride}" in {"37/(5, 9)/(3, 1)", "38/(5, 9)/(3, 1)"}

    assert explore(Domain(supports=is_listed)).configs == ()
    example = ConvConfig.parse("conv2d_c37_o4_i9x20_k5x9_s3x1")
    found = explore(Domain(supports=is_listed, examples=(example,))).configs
    assert example in found
    assert {config.in_channels for config in found} == {37, 38}


@pytest.mark.parametrize("name", NARROW)
def test_a_watched_configuration_is_answered_as_a_plain_one(name: str) -> None:
    """Whether it is accepted does not depend on being watched."""
    asked = [*layers(), *found_in(name)[:50]]
    assert [NARROW[name](watched(config)[0]) for config in asked] == [NARROW[name](config) for config in asked]


def test_a_watched_configuration_notes_what_it_is_compared_with() -> None:
    """Each comparison leaves the value that gives it the other outcome, with where it is."""
    config, notes = watched(ConvConfig.parse("conv2d_c3_o4_i9_k3"))
    assert not (config.op == "conv" and config.in_channels % 8 == 0 and config.kernel_size[1] == 5)
    assert notes.reads == ["op", "in_channels"]
    assert [(wish.name, wish.path, wish.value) for wish in notes.wishes] == [("op", (), "conv"), ("in_channels", (), 8)]
    assert config.padding != ((1, 1), (1, 1))
    assert notes.wishes[-1].value == ((1, 1), (1, 1))


def test_a_predicate_that_raises_accepts() -> None:
    """What makes it raise is run, which accuses it, instead of being left out in silence."""

    def raises(c: ConvConfig) -> bool:
        raise ValueError(c)

    assert Domain(supports=raises).accepts(layers()[0])
    assert explore(Domain(supports=raises)).configs


DECLARED: dict[str, tuple[dict[str, Any], str, str]] = {
    "depthwise": ({"groups": ("depthwise",)}, "conv2d_c4_o8_g4_i5_k3", "conv2d_c4_o8_g2_i5_k3"),
    "dense": ({"groups": ("none",)}, "conv2d_c4_o8_i5_k3", "conv2d_c4_o8_g2_i5_k3"),
    "groups": ({"groups": (2, 3)}, "conv2d_c4_o8_g2_i5_k3", "conv2d_c4_o8_g4_i5_k3"),
    "multiple": ({"channel_multiple": 8}, "conv2d_c8_o16_i5_k3", "conv2d_c8_o12_i5_k3"),
    "kernel": ({"kernel_sizes": (3, (1, 5))}, "conv2d_c1_o1_i5_k1x5", "conv2d_c1_o1_i5_k5"),
    "stride": ({"strides": (2,)}, "conv2d_c1_o1_i5_k3_s2", "conv2d_c1_o1_i5_k3_s2x1"),
    "dilation": ({"dilations": (1,)}, "conv2d_c1_o1_i5_k3", "conv2d_c1_o1_i5_k3_d2"),
    "causal": ({"paddings": ("causal",)}, "conv1d_c1_o1_i5_k3_p4:0_d2", "conv1d_c1_o1_i5_k3_p2:0_d2"),
    "half": ({"paddings": ("half",)}, "conv2d_c1_o1_i5_k5_p2", "conv2d_c1_o1_i5_k5_p1"),
    "sides": ({"paddings": ((0, 1), 0)}, "conv2d_c1_o1_i5_k2_p0:1", "conv2d_c1_o1_i5_k2_p1:0"),
    "same": ({"paddings": ("same",)}, "conv2d_c1_o1_i5_k3_psame", "conv2d_c1_o1_i5_k3_p1"),
    "mode": ({"padding_modes": ("reflect",)}, "conv2d_c1_o1_i5_k3_p1_pmreflect", "conv2d_c1_o1_i5_k3_p1"),
    "layout": ({"layouts": ("channels_last",)}, "conv2d_c2_o1_i5_k3_cl", "conv2d_c2_o1_i5_k3_cl_wtr"),
    "batch": ({"batches": (None, 4)}, "conv2d_n-_c2_o1_i5_k3", "conv2d_c2_o1_i5_k3"),
    "bias": ({"bias": (True,)}, "conv2d_c2_o1_i5_k3_b", "conv2d_c2_o1_i5_k3"),
}


@pytest.mark.parametrize("name", DECLARED)
def test_a_declaration_takes_what_it_says_and_nothing_else(name: str) -> None:
    """Each option accepts the one configuration and declines the other with a reason; what is fitted to it is accepted."""
    options, inside, outside = DECLARED[name]
    domain = Domain(**options)
    assert domain.declines(ConvConfig.parse(inside)) == ""
    assert domain.declines(ConvConfig.parse(outside)) != ""
    random = Random(0)  # noqa: S311 - a fixed sample
    fits = [fitted(layer, domain, random) for layer in layers()]
    assert all(domain.accepts(config) for config in fits if config.is_valid)
    assert sum(config.is_valid for config in fits) > 0.8 * len(fits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ("depthwize",)}, r"groups=\('depthwize',\): 'depthwize' is not one of .*closest: 'depthwise'"),
        ({"kernel_sizes": 3}, "kernel_sizes=3 is not a tuple of whole numbers"),
        ({"kernel_sizes": (0,)}, r"kernel_sizes=\(0,\): 0 is not one of whole numbers"),
        ({"paddings": ("casual",)}, "closest: 'causal'"),
        ({"strides": ()}, r"strides=\(\) is empty"),
        ({"dims": (2.0,)}, r"dims=\(2.0,\): 2.0 is not one of 1, 2, 3"),
        ({"channel_multiple": 0}, "channel_multiple=0 is not a whole number of at least 1"),
        ({"batches": (-1,)}, "-1 is not one of whole numbers"),
        ({"supports": True}, "supports=True is not a function"),
    ],
)
def test_options_are_checked_when_they_are_given(options: dict[str, Any], message: str) -> None:
    """A message names the option, its value, what is allowed and the closest name."""
    with pytest.raises(InvalidConfig, match=message):
        Domain(**options)
