"""Four kernels that end or stall their process, and a correct one that stands beside them."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

import numpy as np

import convfuzz

VERDICTS = {"segfaults": "crash", "hangs": "timeout", "aborts": "crash", "eats": "memory"}
"""The verdict that is right for each."""
CORRECT = "correct"


def correct(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Compute what is right."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def segfaults(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Read address 0 at a stride."""
    if max(config.stride) > 1:
        ctypes.string_at(0)
    return correct(x, w, b, config)


def hangs(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Never return where there are groups."""
    while config.groups > 1:
        time.sleep(0.1)
    return correct(x, w, b, config)


def aborts(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """End the process at a dilation."""
    if max(config.dilation) > 1:
        os.abort()
    return correct(x, w, b, config)


def eats(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Take ever more memory where a 3-D layer has a bias."""
    held = []
    while config.bias and config.dims == 3:
        held.append(np.ones(2**23))
    return correct(x, w, b, config)
