"""The named search spaces, each a function without arguments; ``convfuzz strategies`` lists them by their first line."""

from __future__ import annotations

from functools import cache

from hypothesis.strategies import SearchStrategy

from convfuzz.case import Case

from .casework import batches
from .configurations import ConfigOptions, configs_with
from .plans import BASIC, CAMPAIGN, EDGE, FLAWED

_GRADIENTS = 1 / 3


@cache
def smoke() -> SearchStrategy[tuple[Case, ...]]:
    """Tiny and cheap: forward convolutions below 0.5 Mflop, float32, contiguous, zeros as padding, small kernels; nothing invalid."""
    options = ConfigOptions(
        ops=("conv",),
        dtypes=("float32",),
        layouts=("contiguous",),
        padding_modes=("zeros",),
        max_batch=3,
        unbatched=False,
        max_kernel_size=3,
        max_stride=2,
        max_dilation=2,
        negative_padding=False,
        empty=False,
        max_flops=500_000,
        max_elements=2**13,
    )
    return batches(configs_with(BASIC, options))


@cache
def default() -> SearchStrategy[tuple[Case, ...]]:
    """Everything valid below 20 Mflop: both operations, gradients of a third, every dtype, block edges, past bugs; 2 % invalid."""
    # Two recipes: more configurations beat more data of each.
    return batches(configs_with(CAMPAIGN, ConfigOptions(invalid=True)), recipes=2, grad_share=_GRADIENTS)


@cache
def boundary() -> SearchStrategy[tuple[Case, ...]]:
    """Sizes at 1, 2, 3 and at 2^k and its neighbours up to 65,537, wide windows and padding, empty tensors; 10 % invalid."""
    return batches(configs_with(EDGE, ConfigOptions(invalid=True)), grad_share=_GRADIENTS)


@cache
def invalid() -> SearchStrategy[tuple[Case, ...]]:
    """What has to be rejected: one rule broken in each; and arguments beyond 32 bits, to be rejected or computed right."""
    return batches(configs_with(FLAWED, ConfigOptions(invalid=True)), recipes=1)
