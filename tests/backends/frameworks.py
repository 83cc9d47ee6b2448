"""The adapters over their whole declared domain: what is drawn, and which real defects of the frameworks are left out."""

from __future__ import annotations

from collections.abc import Callable

from convfuzz.case import Case
from convfuzz.config import ConvConfig

ADAPTERS = ("torch", "torch:native", "torch:channels_last", "tensorflow")
SMALL = {"max_flops": 200_000, "max_elements": 2**12}

Exclusion = tuple[str, Callable[[Case], bool]]


def _smears_nan(case: Case) -> bool:
    return case.config.dtype == "bfloat16" and case.recipe.regime == "special"


def _misreads_weight(config: ConvConfig) -> bool:
    return config.dims == 3 and config.dtype == "bfloat16" and config.in_channels == 1 and config.layout == "non_contiguous"


def _reaches_nnpack(config: ConvConfig) -> bool:
    return config.dtype == "float32" and (config.batch or 1) >= 16


KNOWN_DEFECTS: dict[str, tuple[Exclusion, ...]] = {
    "torch": (
        ("PyTorch returns another shape for a layer without input channels", lambda case: case.config.in_channels == 0),
        ("oneDNN's bfloat16 kernels spread NaN and Inf to their neighbours", _smears_nan),
    ),
    "torch:native": (
        ("PyTorch returns another shape for a layer without input channels", lambda case: case.config.in_channels == 0),
        (
            "without oneDNN, float32 batches of 16 and more go to NNPACK, whose transforms are imprecise",
            lambda c: _reaches_nnpack(c.config),
        ),
    ),
    "torch:channels_last": (
        ("PyTorch returns another shape for a layer without input channels", lambda case: case.config.in_channels == 0),
        ("oneDNN's bfloat16 kernels spread NaN and Inf to their neighbours", _smears_nan),
        (
            "oneDNN's bfloat16 conv3d misreads a one-channel weight that came to channels-last from another order",
            lambda case: _misreads_weight(case.config),
        ),
    ),
    "tensorflow": (
        ("TensorFlow returns another shape, or rejects the bias, for a batch of 0", lambda case: case.config.batch == 0),
        ("oneDNN's bfloat16 kernels spread NaN and Inf to their neighbours", _smears_nan),
    ),
}
"""Defects of the frameworks themselves, which campaigns find; everything else that is declared has to agree."""


def has_known_defect(name: str, case: Case) -> bool:
    """Say whether the framework is known to be wrong on the case."""
    return any(applies(case) for _, applies in KNOWN_DEFECTS.get(name, ()))
