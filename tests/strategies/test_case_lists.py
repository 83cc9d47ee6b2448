"""Lists of cases: layers of networks run everywhere and are of every kind; each known bug has a case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.record.known_upstream import known_upstream
from convfuzz.strategies.case_lists import found_cases, network_layers, published_networks
from convfuzz.strategies.changes.neighbours import is_affordable

LAYERS = network_layers()
TEXT = (Path(__file__).parents[2] / "strategies" / "networks.toml").read_text(encoding="utf-8")


def test_layers_run_on_every_runtime() -> None:
    """A layer is valid, of float32, which every runtime takes, and costs little enough to have neighbours."""
    for case in LAYERS:
        assert case.config.is_valid, case
        assert case.config.dtype == "float32", case
        assert is_affordable(case.config), case


def test_layers_are_written_canonically() -> None:
    """The file has every line as a report would print it, and says where each network is described."""
    for network in published_networks():
        assert network.source.startswith("https://"), network
        assert network.layers, network
        for case in network.layers:
            assert f'"{case}"' in TEXT, case


def transposed(c: ConvConfig) -> bool:
    """Whether a layer is transposed."""
    return c.op == "conv_transpose"


def depthwise(c: ConvConfig) -> bool:
    """Whether a layer has a group for each channel."""
    return c.groups == c.in_channels > 1


@pytest.mark.parametrize(
    "kind",
    [
        lambda c: c.dims == 2 and c.kernel_size == (7, 7) and c.stride == (2, 2) and c.in_channels == 3,
        lambda c: c.kernel_size == (11, 11) and c.stride == (4, 4),
        lambda c: c.kernel_size == (1, 1) and c.stride == (2, 2),
        lambda c: c.kernel_size == (3, 3) and c.padding == "same" and c.stride == (2, 2) and c.groups == 1,
        lambda c: depthwise(c) and c.kernel_size == (3, 3) and c.stride == (2, 2),
        lambda c: depthwise(c) and c.kernel_size == (5, 5) and c.padding == "same",
        lambda c: depthwise(c) and min(c.dilation) > 1,
        lambda c: depthwise(c) and transposed(c),
        lambda c: depthwise(c) and c.dims == 1,
        lambda c: 1 < c.groups < c.in_channels,
        lambda c: c.dilation == (12, 12),
        lambda c: len(set(c.kernel_size)) == 2 and 1 in c.kernel_size,
        lambda c: c.kernel_size == (9, 9),
        lambda c: c.kernel_size == c.stride and min(c.stride) > 1 and not transposed(c),
        lambda c: transposed(c) and any(c.output_padding),
        lambda c: transposed(c) and c.padding == "same",
        lambda c: transposed(c) and c.dims == 1 and c.stride == (8,),
        lambda c: transposed(c) and c.dims == 3,
        lambda c: c.dims == 1 and c.pads[0][0] > c.pads[0][1],
        lambda c: c.dims == 1 and min(c.dilation) > 1,
        lambda c: c.dims == 3 and len(set(c.kernel_size)) == 2,
        lambda c: c.dims == 3 and min(c.dilation) > 1,
        lambda c: (c.batch or 1) > 1,
        lambda c: c.in_channels >= 256,
        lambda c: c.out_channels >= 512,
        lambda c: c.padding_mode == "reflect",
    ],
)
def test_a_kind_of_layer_is_among_them(kind: Callable[[ConvConfig], bool]) -> None:
    """Networks' kinds of layers are there: stems, bottlenecks, depthwise, dilated, long kernels, upsampling, 1-D and 3-D."""
    assert any(kind(case.config) for case in LAYERS)


def test_each_known_bug_has_a_case() -> None:
    """What is known of released frameworks is looked for in every night, each bug by a case that shows it."""
    cases = set(found_cases())
    missing = [bug.name for bug in known_upstream().bugs if not any(Case.parse(sign.case) in cases for sign in bug.sign)]
    assert missing == []
