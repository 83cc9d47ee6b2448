"""The reference on a CUDA device: the same passes, with the taps added in device code, and the same bits in the result.

Importing this package starts nothing on a device; the first call does. Until then the process may be forked.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS
from convfuzz.oracle import passes
from convfuzz.oracle.cuda.arrays import found, on_host
from convfuzz.oracle.cuda.device import CUDA, device_name, synchronize
from convfuzz.oracle.expectation import Expectation

__all__ = ["device_name", "gradients", "reference", "synchronize"]


def reference(
    config: ConvConfig, x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike | None = None, *, moments: bool = True
) -> Expectation:
    """Compute the layer's output as :func:`convfuzz.oracle.reference` does, on the current CUDA device.

    Operands with a ``__cuda_array_interface__``, such as PyTorch's CUDA tensors, are read where they lie, in any memory
    layout, if their elements are float16, float32, float64 or integers of at most 32 bits. Others go by way of the host,
    as do a bias and all operands of complex and integer layers, which are made of several real ones.
    """
    return passes.reference(config, _operand(config, x), _operand(config, w), on_host(b), moments=moments, device=CUDA)


def gradients(config: ConvConfig, x: npt.ArrayLike, w: npt.ArrayLike, dy: npt.ArrayLike, *, moments: bool = True) -> dict[str, Expectation]:
    """Compute the layer's gradients as :func:`convfuzz.oracle.gradients` does; operands as for :func:`reference`."""
    x, w, dy = (_operand(config, values) for values in (x, w, dy))
    return passes.gradients(config, x, w, dy, moments=moments, device=CUDA)


def _operand(config: ConvConfig, values: npt.ArrayLike) -> Any:
    return found(values) if config.dtype in FLOATS else on_host(values)
