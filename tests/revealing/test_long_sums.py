"""Sums of 512 and of 4,608 products, as layers have them."""

from __future__ import annotations

import pytest

from .kernels import Kernel, backwards, lanes, pairwise, sequential, split
from .test_planted_arithmetic import fields_of


@pytest.mark.parametrize(
    ("kernel", "order", "block"),
    [
        (Kernel(), "sequential", None),
        (Kernel(pairwise), "pairwise", None),
        (Kernel(lanes(16)), "lanes", 16),
        (Kernel(split(64)), "split", 64),
        (Kernel(split(16, sequential)), "split", 16),
    ],
)
def test_512_products(kernel: Kernel, order: str, block: int | None) -> None:
    """A sum of 512 products has its order found."""
    wanted = {"order": order, "block": block, "bias": None, "accumulator": "float32", "innermost": "channel"}
    assert fields_of(kernel, "conv1d_n64_c512_o1_i1_k1_f32", wanted) == (wanted, [])


@pytest.mark.parametrize(("kernel", "order", "block"), [(Kernel(backwards), "reversed", None), (Kernel(split(32)), "split", 32)])
def test_4608_products(kernel: Kernel, order: str, block: int | None) -> None:
    """A sum of 4,608 products has its order found."""
    wanted = {"order": order, "block": block, "bias": None, "accumulator": "float32"}
    assert fields_of(kernel, "conv1d_n128_c512_o1_i9_k9_f32", wanted) == (wanted, [])
