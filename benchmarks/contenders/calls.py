"""A call of a kernel under test: its case, and the judgement of what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.torch.call import TorchCall
from convfuzz.case import Case
from convfuzz.errors import Unsupported
from convfuzz.tensors.generator import Tensors

Judge = Callable[[KernelBackend], str]
Close = Callable[[torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True)
class Call:
    """One call; ``judge`` runs a kernel on it and returns what is wrong, nothing where nothing is."""

    case: Case
    judge: Judge


class Enough(KeyboardInterrupt):
    """Ends a contender's run; derived from KeyboardInterrupt so that no test framework takes it for a failure."""


class Contender(Protocol):
    """A way to test convolutions."""

    name: str
    version: str
    made_for: str

    def run(self, seed: int, visit: Callable[[Call], None]) -> None:
        """Make calls and have each visited, until there are no more or ``visit`` raises :class:`Enough`."""
        ...

    def judged(self, case: Case) -> Call:
        """Return a call of this forward case on normal data, judged as the contender judges."""
        ...


def compared(case: Case, operands: dict[str, torch.Tensor], *, widest: bool, close: Close | None = None) -> Call:
    """Return a call on ``operands`` (x, w, perhaps b and dy) whose results have to be PyTorch's.

    PyTorch computes in the operands' dtype, or in the ``widest`` of its kind, and the result is rounded. The comparison is
    ``torch.testing.assert_close`` as it comes unless ``close`` is another. A kernel that declines the gradients is asked for the
    forward pass.
    """
    close = close or torch.testing.assert_close
    expected = _passes(case, operands, widest=widest)
    arrays = {name: to_numpy(tensor) for name, tensor in operands.items()}

    def judge(kernel: KernelBackend) -> str:
        asked = case if kernel.supports(case) else replace(case, grad=False)
        if not kernel.supports(asked):
            return ""
        given = {name: array.copy() for name, array in arrays.items()}
        try:
            outputs = kernel.run(asked, Tensors(given["x"], given["w"], given.get("b"), given.get("dy") if asked.grad else None))
            for name in asked.passes:
                close(to_torch(np.asarray(outputs[name])), expected[name])
        except Unsupported:
            return ""
        except Exception as error:  # noqa: BLE001 - whatever a test raises is its failure
            return str(error) or type(error).__name__
        return ""

    return Call(case, judge)


_WIDEST = {True: torch.complex128, False: torch.float64}


def _passes(case: Case, operands: dict[str, torch.Tensor], *, widest: bool) -> dict[str, torch.Tensor]:
    dtype = operands["x"].dtype
    has_wider = widest and (dtype.is_floating_point or dtype.is_complex)
    wide = {name: tensor.to(_WIDEST[dtype.is_complex] if has_wider else dtype, copy=True) for name, tensor in operands.items()}
    leaves = [wide[name].requires_grad_(case.grad) for name in ("x", "w", "b") if name in wide]
    layer = TorchCall(case.config).layer().function("layer", {"torch": torch})
    y = layer(wide["x"], wide["w"], wide.get("b"))
    results: Iterable[Any] = (y, *torch.autograd.grad(y, leaves, wide["dy"])) if case.grad else (y,)
    return {name: result.detach().to(dtype) for name, result in zip(case.passes, results, strict=True)}


def normal_operands(case: Case) -> dict[str, torch.Tensor]:
    """Return ``torch.randn`` tensors of the case's shapes and dtype."""
    config = case.config
    shapes = {"x": config.input_shape, "w": config.weight_shape}
    if config.bias:
        shapes["b"] = (config.out_channels,)
    if case.grad:
        shapes["dy"] = config.output_shape
    return {name: torch.randn(shape).to(getattr(torch, config.dtype)) for name, shape in shapes.items()}
