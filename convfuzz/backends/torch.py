"""PyTorch: ``torch.nn.functional.conv1d/2d/3d`` as a user calls them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.numerics import Numerics
from convfuzz.tensors import Tensors

MODES = {
    "": "the functional convolutions as they come; oneDNN does most of the work on a CPU",
    "native": "oneDNN off: PyTorch's own kernels and NNPACK",
    "channels_last": "input and weight converted to the channels-last memory format first (2-D and 3-D)",
}
_DTYPES = ("float64", "float32", "float16", "bfloat16")
_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class TorchBackend:
    """The functional convolutions of PyTorch in one mode.

    ``"same"`` and ``"valid"`` reach the framework as these words and symmetric zeros as its ``padding``. What its
    convolutions have no argument for (other padding modes, a different amount at either side, cropping) goes through
    ``torch.nn.functional.pad`` first, which is what ``torch.nn.Conv2d`` does.
    """

    def __init__(self, mode: str) -> None:
        import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._torch = torch
        self._mode = mode
        self.name = f"torch:{mode}" if mode else "torch"
        torch.set_num_threads(1)
        self.versions: Mapping[str, str] = {"torch": str(torch.__version__)}

    def supports(self, case: Case) -> Support:
        """Decline what PyTorch's documentation and argument checks exclude."""
        config = case.config
        if config.op != "conv":
            return Support.no("transposed convolution is not wired up yet")
        if case.grad:
            return Support.no("gradients are not wired up yet")
        if config.dtype not in _DTYPES:
            return Support.no(f"dtype {config.dtype}")
        if self._mode == "channels_last" and (config.dims == 1 or config.batch is None):
            return Support.no("the channels-last memory format needs a batch and 2 or 3 spatial dimensions")
        if config.padding == "same" and any(stride != 1 for stride in config.stride):
            return Support.no("padding='same' needs stride 1")
        if config.out_channels == 0:
            return Support.no("no output channels: the weight needs at least one row per group")
        if 0 in config.input_shape[-config.dims :] and config.is_valid:
            return Support.no("an input of spatial size 0")
        if config.in_channels == 0 and (config.padding_mode in ("reflect", "replicate")):
            return Support.no(f"padding mode {config.padding_mode} needs an input channel")
        return Support.YES

    def numerics(self, case: Case) -> Numerics:
        """Float32 accumulation for 16-bit types, direct algorithms: what the documentation leads one to expect.

        oneDNN's bfloat16 kernels use the processor's dot product, which takes subnormal operands as zero and flushes
        subnormal results whatever the floating-point environment says (Intel SDM, VDPBF16PS).
        """
        return Numerics(flushes_subnormals=case.config.dtype == "bfloat16" and self._mode != "native")

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Call the functional convolution on tensors that share the arrays' memory."""
        torch, config = self._torch, case.config
        x, w = to_torch(tensors.x), to_torch(tensors.w)
        b = None if tensors.b is None else to_torch(tensors.b)
        with torch.inference_mode(), _onednn_off(torch) if self._mode == "native" else nullcontext():
            if self._mode == "channels_last":
                memory_format = torch.channels_last if config.dims == 2 else torch.channels_last_3d
                x, w = x.contiguous(memory_format=memory_format), w.contiguous(memory_format=memory_format)
            call = _Call(config)
            if call.pad is not None:
                x = torch.nn.functional.pad(x, call.pad, mode=_PAD_MODES[config.padding_mode])
            convolution = getattr(torch.nn.functional, call.function)
            y = convolution(x, w, b, stride=config.stride, padding=call.padding, dilation=config.dilation, groups=config.groups)
        return {"forward": to_numpy(y)}

    def script(self, case: Case) -> str:
        """Write the same call down."""
        config, call = case.config, _Call(case.config)
        lines = ["import torch", "", "torch.set_num_threads(1)"]
        if self._mode == "native":
            lines.append("torch.backends.mkldnn.enabled = False")
        lines += [
            "",
            "",
            "def run(x, w, b):",
            f"    x, w = torch.from_numpy(x).to(torch.{config.dtype}), torch.from_numpy(w).to(torch.{config.dtype})",
            f"    b = None if b is None else torch.from_numpy(b).to(torch.{config.dtype})",
        ]
        lines += [f"    {line}" for line in _layout_lines(config)]
        if self._mode == "channels_last":
            memory_format = "torch.channels_last" if config.dims == 2 else "torch.channels_last_3d"
            lines.append(f"    x, w = x.contiguous(memory_format={memory_format}), w.contiguous(memory_format={memory_format})")
        if call.pad is not None:
            lines.append(f"    x = torch.nn.functional.pad(x, {call.pad}, mode={_PAD_MODES[config.padding_mode]!r})")
        arguments = f"stride={config.stride}, padding={call.padding!r}, dilation={config.dilation}, groups={config.groups}"
        lines += [
            f"    y = torch.nn.functional.{call.function}(x, w, b, {arguments})",
            f"    assert y.dtype is torch.{config.dtype}, y.dtype",
            "    return y.double().numpy()",
        ]
        return "\n".join(lines) + "\n"


@contextmanager
def _onednn_off(torch: Any) -> Iterator[None]:
    # torch.backends.mkldnn.flags() would set TF32 flags too, and warn about them on every call.
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


class _Call:
    """Which function is called with which padding: an explicit pad before it only where its own argument cannot say it."""

    def __init__(self, config: ConvConfig) -> None:
        self.function = f"conv{config.dims}d"
        self.pad: list[int] | None = None
        self.padding: str | tuple[int, ...] = (0,) * config.dims
        symmetric = all(lo == hi >= 0 for lo, hi in config.pads)
        if config.padding_mode == "zeros" and isinstance(config.padding, str):
            self.padding = config.padding
        elif config.padding_mode == "zeros" and symmetric:
            self.padding = tuple(lo for lo, _ in config.pads)
        elif any(side for sides in config.pads for side in sides):
            self.pad = list(itertools.chain.from_iterable(reversed(config.pads)))  # torch pads the last axis first


def _layout_lines(config: ConvConfig) -> list[str]:
    """Rebuild the case's memory layout from contiguous tensors."""
    if config.layout == "contiguous":
        return []
    if config.layout == "channels_last":
        axis = 0 if config.batch is None else 1
        return [
            f"x = x.movedim({axis}, -1).contiguous().movedim(-1, {axis})",
            "w = w.movedim(1, -1).contiguous().movedim(-1, 1)",
        ]
    return [
        "x = torch.stack([torch.full_like(x, torch.nan), x], dim=-1).flatten(-2)[..., 1::2]",
        "w = w.permute(*reversed(range(w.ndim))).contiguous().permute(*reversed(range(w.ndim)))",
    ]


def _load(mode: str) -> Backend:
    return TorchBackend(mode)


def _preload() -> None:
    import torch  # noqa: F401, PLC0415 - that is what preloading is


FAMILY = Family(summary="PyTorch's functional convolutions", modes=MODES, load=_load, extra="torch", preload=_preload)
