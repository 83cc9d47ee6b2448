"""What running a case is expected to cost, from its shapes alone: a round that is drawn again expects the same."""

from __future__ import annotations

from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig

_OF_GRADIENTS = 0.6
_OF_ELEMENT = 10e-6
_OF_FLOP = 0.2e-6
_COMPLEX = 4

Numbers = TypeVar("Numbers", float, NDArray[np.float64])


def expected_cost(case: Case) -> float:
    """Return about how many times as long as a tiny case this one takes, with all that a campaign does for it; 1 is the least.

    Elements weigh more than operations: each is generated, laid out, guarded and judged. The weights are rounded ones of a
    least-squares fit to the processor time of 600 drawn cases on PyTorch; the spread about it is a factor of 1.6. What one
    backend is slow at is not known.
    """
    return cost_of(expected_work(case.config) * parts_of(case.config.dtype), float(case.grad))


def expected_work(config: ConvConfig) -> float:
    """Return the part of the cost of a forward pass that grows with the shapes, of real numbers; what is rejected is not computed."""
    if not config.is_valid:
        return 0.0
    elements = sum(map(prod, (config.padded_shape, config.weight_shape, config.output_shape)))
    return _OF_ELEMENT * elements + _OF_FLOP * config.flops


def parts_of(dtype: str) -> float:
    """Return how many times the work of a real number one of ``dtype`` is."""
    return _COMPLEX if dtype.startswith("complex") else 1


def cost_of(work: Numbers, grad: Numbers) -> Numbers:
    """Return the cost of a case of so much work, where ``grad`` is 1 with the backward passes, else 0."""
    return 1.0 + work + grad * (_OF_GRADIENTS + 2 * work)
