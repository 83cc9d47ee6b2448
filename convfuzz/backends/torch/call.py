"""How a configuration is called in PyTorch: the function, its arguments, and the padding and cropping that it has no argument for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from convfuzz.backends.script_parts import arguments, operands, results
from convfuzz.backends.source import CallSource, indented, keywords
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex

_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
_TENSOR = '''\
def tensor(a):
    """Return an array as a tensor{of_bits}."""
    return {expression}
'''
_ARRAY = '''\
def array(a):
    """Return a tensor as an array{as_float}."""
{check}    return {expression}
'''


class TorchCall:
    """A call of ``torch.nn.functional``: ``lines`` compute y from x, w and b, and ``values`` are what their ``$`` names stand for.

    ``extends`` says that a transposed convolution's padding would need more output padding than the call takes.
    """

    def __init__(self, config: ConvConfig) -> None:
        transposed = config.op == "conv_transpose"
        self.function = f"conv_transpose{config.dims}d" if transposed else f"conv{config.dims}d"
        self.extends = False
        pad: list[int] | None = None
        crop: tuple[object, ...] | None = None
        output_padding = config.output_padding
        padding: str | tuple[int, ...] = (0,) * config.dims
        symmetric = all(lo == hi for lo, hi in config.pads)
        if transposed:
            padding = tuple(lo if hi < 0 <= lo else min(lo, hi) for lo, hi in config.pads)
            output_padding = tuple(
                op + lo - hi if hi < 0 <= lo else op for op, (lo, hi) in zip(config.output_padding, config.pads, strict=True)
            )
            limits = map(max, config.stride, config.dilation)
            self.extends = any(op >= limit for op, limit in zip(output_padding, limits, strict=True))
            if not symmetric and config.is_valid:
                cuts = zip(config.pads, padding, strict=True)
                crop = (..., *(slice(lo - p, -(hi - p) if hi > p else None) for (lo, hi), p in cuts))
        elif config.padding_mode == "zeros" and isinstance(config.padding, str):
            padding = config.padding
        elif config.padding_mode == "zeros" and symmetric and min(config.pads)[0] >= 0:
            padding = tuple(lo for lo, _ in config.pads)
        elif any(side for sides in config.pads for side in sides):
            pad = list(itertools.chain.from_iterable(reversed(config.pads)))  # torch pads the last axis first
        named: dict[str, Any] = {
            "stride": config.as_called("stride", config.stride),
            "padding": padding if isinstance(padding, str) else config.as_called("padding", padding),
            "dilation": config.as_called("dilation", config.dilation),
            "groups": config.groups,
        }
        if transposed:
            named["output_padding"] = output_padding if config.flaw != "output-length" else (*output_padding, 0)
        self.values: dict[str, object] = {**named, "pad": pad, "pad_mode": _PAD_MODES[config.padding_mode], "crop": crop}
        self.lines = [
            *(["x = torch.nn.functional.pad(x, $pad, mode=$pad_mode)"] if pad is not None else []),
            f"y = torch.nn.functional.{self.function}(x, w, b, {keywords(named)})",
            *(["y = y[$crop]"] if crop is not None else []),
        ]

    def layer(self) -> CallSource:
        """Return the definition of ``layer(x, w, b)`` on tensors; it uses the name ``torch``."""
        return CallSource(["def layer(x, w, b):", *indented([*self.lines, "return y"])], self.values)


def run_lines(
    case: Case,
    layer: Iterable[str],
    *,
    before: Iterable[str] = (),
    leaves: str = "[a.requires_grad_() for a in ({operands})]",
) -> list[str]:
    """Return the definition of ``run``: ``layer`` are the lines that compute y, and autograd gives the gradients to ``leaves``.

    ``before`` are lines between these two steps and the conversion of the operands. The source uses the names ``torch``,
    ``tensor`` and ``array``.
    """
    names = operands(case)
    return [
        f"def run({arguments(case)}):",
        *indented([
            f"{names} = map(tensor, ({names}))",
            *before,
            *([f"leaves = {leaves.format(operands=names.removesuffix(', dy'))}"] if case.grad else []),
            *layer,
            *(["gradients = torch.autograd.grad(y, leaves, dy, materialize_grads=True)"] if case.grad else []),
            *results(case),
        ]),
    ]  # fmt: skip


def conversions(case: Case, device: str = "cpu") -> str:
    """Return a script's ``tensor`` and ``array``: bfloat16 comes as bits and goes as float32, and the meta device has zeros."""
    narrow = case.config.dtype == "bfloat16"
    expression = "torch.from_numpy(a)"
    if narrow:
        expression = f"torch.from_numpy(a.view(np.int16)).view(torch.bfloat16) if a.dtype == np.uint16 else {expression}"
    placing = ""
    if device != "cpu":
        from convfuzz.backends.torch.device_memory import placed_source  # noqa: PLC0415 - it imports PyTorch

        placing, expression = f"{placed_source()}\n\n", f"placed(a, {expression}, {device!r})"
    tensor = placing + _TENSOR.format(of_bits=", which holds bfloat16 as bits" if narrow else "", expression=expression)
    if not narrow and device == "cpu":
        tensor = "tensor = torch.from_numpy\n"
    steps = [
        "torch.zeros_like(a, device='cpu')" if device == "meta" else "a.detach()",
        ".cpu()" if device not in ("cpu", "meta") else "",
        ".resolve_conj().resolve_neg()" if is_complex(case.config.dtype) else "",
        ".float()" if narrow else "",
        ".numpy()",
    ]
    # An invalid call may return anything.
    check = "    assert a.dtype == torch.bfloat16, a.dtype\n" if narrow and case.config.is_valid else ""
    array = _ARRAY.format(as_float=" of float32, which holds bfloat16" if narrow else "", check=check, expression="".join(steps))
    between = "\n\n" if tensor.startswith("def") else ""
    return f"{between}{tensor}\n\n{array}\n\n"
