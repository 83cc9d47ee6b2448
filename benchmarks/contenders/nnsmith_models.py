"""NNSmith: models of one convolution, solved for by Z3, PyTorch's eager result, and NNSmith's own tolerance."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from typing import Any

import torch

from convfuzz.case import Case, DataRecipe
from convfuzz.testing.given_layer import ForeignLayer

from .calls import Call, compared, normal_operands

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would like pygraphviz
    from nnsmith.abstract.dtype import DType
    from nnsmith.abstract.op import Conv1d, NCHWConv2d
    from nnsmith.difftest import assert_allclose
    from nnsmith.graph_gen import model_gen
    from nnsmith.materialize.torch import TorchModelCPU

OPTIONS = {"method": "symbolic-cinit", "max_elem_per_tensor": 65536, "timeout_ms": 10000}
"""The defaults of ``nnsmith.fuzz``."""


class NNSmith:
    """Its generator with the two convolutions that it knows, ``core.Conv1d`` and ``core.NCHWConv2d``, one to a model."""

    name = "NNSmith, convolutions only"
    version = f"NNSmith {version('nnsmith')}"
    made_for = "compilers of whole networks: graphs of many operators"

    def run(self, seed: int, visit: Callable[[Call], None]) -> None:
        """Generate models for ever."""
        for number in count(seed * 10**6):
            generator = model_gen(
                opset=[Conv1d, NCHWConv2d], seed=number, max_nodes=1, rank_choices=[3, 4], dtype_choices=[DType.float32], **OPTIONS
            )
            model = TorchModelCPU.from_gir(generator.make_concrete())
            model.refine_weights()
            (x,) = model.make_oracle().input.values()
            (layer,) = (module for module in model.native_model.modules() if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d)))
            visit(_call(layer, torch.from_numpy(x)))

    def judged(self, case: Case) -> Call:
        """Return a call compared with PyTorch's result in the same dtype, by NNSmith's tolerance."""
        return compared(case, normal_operands(case), widest=False, close=_close)


def _call(layer: Any, x: torch.Tensor) -> Call:
    operands = {"x": x, "w": layer.weight.detach(), "b": layer.bias.detach()}
    parameters = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
    config = ForeignLayer.of(operands, data_format="channels_first", op="conv", bias=True, **parameters).config
    return compared(Case(config, DataRecipe("normal", 0)), operands, widest=False, close=_close)


def _close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert_allclose({"y": actual.numpy()}, {"y": expected.numpy()}, "the kernel", "PyTorch", equal_nan=True)
