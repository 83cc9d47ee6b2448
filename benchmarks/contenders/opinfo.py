"""PyTorch's OpInfo: the samples that PyTorch tests its own operators with, its result in the widest dtype, and ``assert_close``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from convfuzz.case import Case, DataRecipe
from convfuzz.case.dtypes import is_integer
from convfuzz.errors import InvalidConfig
from convfuzz.testing.given_layer import ForeignLayer

from .calls import Call, compared, normal_operands

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

OPERATORS = [op for op in op_db if op.name.startswith("nn.functional.conv")]


class OpInfo:
    """Every sample of the six convolutions in every dtype, with gradients where the dtype has them; there are no seeds."""

    name = "OpInfo samples + assert_close"
    version = f"PyTorch {torch.__version__}"
    made_for = "PyTorch's own operators: a fixed list of samples for each, in every dtype and on every device"

    def run(self, seed: int, visit: Callable[[Call], None]) -> None:
        """Go through the samples once."""
        torch.manual_seed(seed)
        for op in OPERATORS:
            for dtype in sorted(op.dtypes, key=str):
                for call in _calls(op, dtype):
                    visit(call)

    def judged(self, case: Case) -> Call:
        """Return a call compared with PyTorch's result in float64."""
        return compared(case, normal_operands(case), widest=True)


def _calls(op: Any, dtype: torch.dtype) -> Iterator[Call]:
    for sample in op.sample_inputs("cpu", dtype):
        w, b, *positional = *sample.args, *[None] * (2 - len(sample.args))
        names = ("stride", "padding", "output_padding", "groups", "dilation") if "transpose" in op.name else _FORWARD
        keywords = dict(zip(names, positional, strict=False)) | sample.kwargs
        b = keywords.pop("bias", b)
        operands = {"x": sample.input.detach(), "w": w.detach()} | ({} if b is None else {"b": b.detach()})
        try:
            config = ForeignLayer.of(operands, data_format="channels_first", **_parameters(op, keywords, b)).config
        except InvalidConfig:
            continue  # a sample that is no layer of ours; there is none in this release
        case = Case(config, DataRecipe("normal", 0), grad=not is_integer(config.dtype))
        if case.grad:
            operands["dy"] = torch.randn(config.output_shape).to(dtype)
        yield compared(case, operands, widest=True)


_FORWARD = ("stride", "padding", "dilation", "groups")


def _parameters(op: Any, keywords: dict[str, Any], b: object) -> dict[str, Any]:
    dims = int(op.name[-2])

    def per_axis(value: Any) -> tuple[int, ...]:
        values = (value,) if isinstance(value, int) else tuple(value)
        return values * dims if len(values) == 1 else values

    padding = keywords.get("padding", 0)
    return {
        "op": "conv_transpose" if "transpose" in op.name else "conv",
        "stride": per_axis(keywords.get("stride", 1)),
        "padding": padding if isinstance(padding, str) else per_axis(padding),
        "dilation": per_axis(keywords.get("dilation", 1)),
        "output_padding": per_axis(keywords.get("output_padding", 0)),
        "groups": keywords.get("groups", 1),
        "bias": b is not None,
    }
