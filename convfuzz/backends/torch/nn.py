"""PyTorch's modules: ``torch.nn.Conv1d/2d/3d`` and ``ConvTranspose1d/2d/3d``, with their own padding modes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.source import CallSource, keywords
from convfuzz.backends.torch.call import conversions, run_lines
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors


class ModuleBackend:
    """A module made with the configuration's arguments, which then gets the case's weight and bias as its parameters.

    A padding mode is the module's ``padding_mode``, also with ``padding="same"``. The domain is that of ``functional``, the
    backend on the functional convolutions, minus what a module has no argument for. Invalid configurations are refused by
    the constructor (groups that do not divide, a padding mode with a transposed convolution) or by the call.
    """

    def __init__(self, functional: Any) -> None:
        import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._torch, self._functional = torch, functional
        self._calls = CallCache(self._make)
        self.name = "torch:nn"
        self.versions: Mapping[str, str] = functional.versions

    def supports(self, case: Case) -> Support:
        """Decline what the functional convolutions decline, and what a module has no argument for."""
        own = next((Support.no(reason) for reason, declined in _declined(case.config) if declined), Support.YES)
        return self._functional.supports(case) if own else own

    def numerics(self, case: Case) -> Numerics:
        """The functional convolutions'."""
        numerics: Numerics = self._functional.numerics(case)
        return numerics

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Make the module, give it the case's parameters and call it; autograd gives the gradients."""
        with warnings.catch_warnings(), self._torch.inference_mode() if tensors.dy is None else nullcontext():
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")  # the case's weight takes its place
            return self._calls.run(case, tensors)

    def _make(self, case: Case) -> Any:
        return _source(case).function("run", {"torch": self._torch, "tensor": to_torch, "array": to_numpy})

    def title(self, case: Case) -> str:
        """Name the module."""
        return f"torch.nn.{_name(case.config)}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        return f"import torch\n\ntorch.set_num_threads(1)\n{conversions(case)}{_source(case)}"


def _source(case: Case) -> CallSource:
    named = _arguments(case.config)
    make = [
        f'layer = torch.nn.{_name(case.config)}($in_channels, $out_channels, {keywords(named)}, device="meta")',
        f"layer.weight = torch.nn.Parameter(w, requires_grad={case.grad})",
        *([f"layer.bias = torch.nn.Parameter(b, requires_grad={case.grad})"] if case.config.bias else []),
    ]
    values = {"in_channels": case.config.in_channels, "out_channels": case.config.out_channels, **named}
    return CallSource(run_lines(case, ["y = layer(x)"], before=make, leaves="[x.requires_grad_(), *layer.parameters()]"), values)


def _name(config: ConvConfig) -> str:
    return f"Conv{'Transpose' if config.op == 'conv_transpose' else ''}{config.dims}d"


def _arguments(config: ConvConfig) -> dict[str, Any]:
    padding = config.padding if isinstance(config.padding, str) else tuple(lo for lo, _ in config.pads)
    arguments = {
        "kernel_size": config.kernel_size,
        "stride": config.as_called("stride", config.stride),
        "padding": padding if isinstance(padding, str) else config.as_called("padding", padding),
        "dilation": config.as_called("dilation", config.dilation),
        "groups": config.groups,
        "bias": config.bias,
        "padding_mode": config.padding_mode,
    }
    if config.op == "conv_transpose":
        extra = config.output_padding
        arguments["output_padding"] = (*extra, 0) if config.flaw == "output-length" else extra
    return arguments


def _declined(config: ConvConfig) -> Iterator[tuple[str, bool]]:
    words, transposed = isinstance(config.padding, str), config.op == "conv_transpose"
    yield "a module pads alike at either side", not words and any(lo != hi for lo, hi in config.pads)
    yield "negative padding: a module does not crop", config.is_valid and not words and min(config.pads)[0] < 0
    yield "padding in words of a transposed convolution, whose module takes numbers", words and transposed
    yield "padding is a word, which has no length", words and config.flaw == "padding-length"
