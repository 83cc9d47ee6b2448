"""What running a case is expected to cost, from its shapes alone: a round that is drawn again expects the same."""

from __future__ import annotations

from math import prod

from convfuzz.case import Case

_OF_GRADIENTS = 0.6
_OF_ELEMENT = 10e-6
_OF_FLOP = 0.2e-6
_COMPLEX = 4


def expected_cost(case: Case) -> float:
    """Return about how many times as long as a tiny case this one takes, with all that a campaign does for it; 1 is the least.

    Elements weigh more than operations: each is generated, laid out, guarded and judged. The weights are rounded ones of a
    least-squares fit to the processor time of 600 drawn cases on PyTorch; the spread about it is a factor of 1.6. What one
    backend is slow at is not known.
    """
    config = case.config
    if not config.is_valid:
        return 1.0  # what is rejected is not computed
    elements = sum(map(prod, (config.padded_shape, config.weight_shape, config.output_shape)))
    work = (_OF_ELEMENT * elements + _OF_FLOP * config.flops) * (_COMPLEX if config.dtype.startswith("complex") else 1)
    return 1.0 + work + (_OF_GRADIENTS + 2 * work if case.grad else 0.0)
