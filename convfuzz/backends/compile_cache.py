"""A cache of the calls that were prepared or compiled for recent configurations, so that other data and repeats reuse them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convfuzz.backends.protocol import Outputs
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.tensors.generator import Tensors


class CallCache:
    """One function ``run(x, w, b)``, or ``run(x, w, b, dy)``, for each configuration; all are dropped when there are ``most``.

    Args:
        make: returns the function of a case, whose data it does not see.
        most: how many are kept.
        forget: makes the framework drop what it keeps of them itself.
    """

    def __init__(self, make: Callable[[Case], Any], *, most: int = 1000, forget: Callable[[], object] | None = None) -> None:
        self._make, self._most, self._forget = make, most, forget
        self._kept: dict[tuple[ConvConfig, bool], Any] = {}

    def run(self, case: Case, tensors: Tensors, *others: object) -> Outputs:
        """Call the function of the case's configuration; without an output gradient, which no invalid case has, forward only.

        ``others`` are arguments behind the tensors.
        """
        x, w, b, dy = tensors.x, tensors.w, tensors.b, tensors.dy
        run = self._function(case.config, grad=dy is not None)
        outputs: Outputs = {"forward": run(x, w, b, *others)} if dy is None else run(x, w, b, dy, *others)
        return outputs

    def _function(self, config: ConvConfig, *, grad: bool) -> Any:
        function = self._kept.get((config, grad))
        if function is None:
            if len(self._kept) >= self._most:
                self._kept.clear()
                if self._forget is not None:
                    self._forget()
            function = self._kept[config, grad] = self._make(Case(config, grad=grad))
        return function
