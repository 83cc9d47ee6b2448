"""PyTorch: ``torch.nn.functional.conv1d/2d/3d`` and ``conv_transpose1d/2d/3d`` as a user calls them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.cuda import device_work
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.source import CallSource
from convfuzz.backends.torch.call import TorchCall, conversions, run_lines
from convfuzz.backends.torch.compile import CompileBackend, prepare
from convfuzz.backends.torch.nn import ModuleBackend
from convfuzz.case import Case
from convfuzz.case.dtypes import is_integer, numpy_dtype
from convfuzz.errors import BackendError
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors

if TYPE_CHECKING:
    from convfuzz.backends.torch.device_memory import HandOver


@dataclass(frozen=True)
class _Mode:
    """The settings of a mode."""

    summary: str
    onednn: bool = True
    channels_last: bool = False
    device: str = "cpu"
    tf32: bool = False
    benchmark: bool = False
    deterministic: bool = False
    threads: int = 1
    no_avx512: bool = False


_MODES = {
    "": _Mode("the functional convolutions as they come; oneDNN does most of the work on a CPU"),
    "native": _Mode("oneDNN off: PyTorch's own kernels and NNPACK", onednn=False),
    "channels_last": _Mode("input and weight converted to the channels-last memory format first (2-D and 3-D)", channels_last=True),
    "avx2": _Mode("kernels for processors without AVX-512, ATen's and oneDNN's", no_avx512=True),
    "threads": _Mode("four threads, where the other modes have one", threads=4),
    "meta": _Mode("the meta device: output shapes and dtypes, and which calls are accepted; no values", device="meta"),
    "cuda": _Mode("cuDNN on a CUDA device, TF32 off", device="cuda"),
    "cuda-tf32": _Mode("cuDNN with TF32 inputs allowed, as PyTorch has it by default", device="cuda", tf32=True),
    "cuda-channels_last": _Mode("cuDNN on channels-last tensors, TF32 off", device="cuda", channels_last=True),
    "cuda-benchmark": _Mode("cuDNN with the fastest algorithm by trial, TF32 off", device="cuda", benchmark=True),
    "cuda-deterministic": _Mode("cuDNN with deterministic algorithms only, TF32 off", device="cuda", deterministic=True),
}
MODES = {
    **{name: mode.summary for name, mode in _MODES.items()},
    "nn": "the modules torch.nn.Conv1d to ConvTranspose3d, with their padding modes",
    "compile": "the functional convolutions compiled by torch.compile with Inductor; needs a C++ compiler",
}
_ENVIRONMENT = {"avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}


class TorchBackend:
    """The functional convolutions of PyTorch in one mode, and their gradients by autograd.

    ``"same"`` and ``"valid"`` are passed as these words, and symmetric zeros as numbers. Padding that PyTorch's convolutions
    have no argument for (other modes, unequal sides, cropping) is done by ``torch.nn.functional.pad`` first, as
    ``torch.nn.Conv2d`` does it. Of a transposed convolution's unequal padding the common part is its ``padding``, and the
    rest is cut off its output.

    Invalid configurations: ``check_shape_forward`` (aten/src/ATen/native/Convolution.cpp) is PyTorch's rule. It wants
    strides and dilations above 0, padding of at least 0, a weight of the input's rank, groups that divide, a bias of
    one axis with one element per output channel, and a kernel no larger than the padded input; the dtypes have to be
    the same, ``output_padding`` less than stride or dilation.
    """

    def __init__(self, mode: str) -> None:
        import torch  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._torch = torch
        self._mode = _MODES[mode]
        self._variables = _ENVIRONMENT.get(mode, {})
        self.name = f"torch:{mode}" if mode else "torch"
        torch.set_num_threads(1)
        self.versions: Mapping[str, str] = {"torch": str(torch.__version__)}
        self._calls = CallCache(self._make)
        self._hand_over: HandOver | None = None
        if self._mode.device != "cpu":
            from convfuzz.backends.torch.device_memory import HandOver  # noqa: PLC0415 - it imports PyTorch

            self._hand_over = HandOver(self._mode.device)
        if self._mode.device == "cuda":
            if not torch.cuda.is_available():
                raise BackendError(f"backend {self.name!r} needs a CUDA device; PyTorch {torch.__version__} sees none")
            self.versions = {"torch": str(torch.__version__), "CUDA": str(torch.version.cuda), "CUDA device": torch.cuda.get_device_name()}

    def supports(self, case: Case) -> Support:
        """Decline what PyTorch's documentation and argument checks exclude."""
        return next((Support.no(reason) for reason, declined in _declined(case, self._mode) if declined), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Float32 accumulation for 16-bit types, direct algorithms: what the documentation suggests.

        oneDNN's bfloat16 kernels use the processor's dot product, which takes subnormal operands as zero and flushes
        subnormal results whatever the floating-point environment says (Intel SDM, VDPBF16PS). Complex convolutions are
        three real ones (``complex_convolution`` in Convolution.cpp). cuDNN chooses among algorithms, Winograd and FFT
        with them, and adds in any order unless it is asked to be deterministic. "cuDNN convolutions does not handle
        bias. Bias is handled outside" (cudnn/ConvShared.cpp). 16-bit types, and float32 where TF32 is allowed, are
        multiplied by tensor cores, which add up in float32 and truncate; of TF32's operands "only the first 10 bits of the
        input mantissa are read" (PyTorch, *Numerical accuracy*).
        """
        mode, dtype = self._mode, case.config.dtype
        if mode.device == "meta":
            return Numerics(values=False)
        if mode.device == "cuda":
            is_tf32 = mode.tf32 and dtype in ("float32", "complex64")
            on_tensor_cores = is_tf32 or dtype in ("float16", "bfloat16")
            return Numerics(
                algorithm="transform",
                inputs="tfloat32-truncated" if is_tf32 else "exact",
                bias="separate",
                complex_products="three",
                truncates=on_tensor_cores,
                flushes_subnormals=on_tensor_cores,
                deterministic=mode.deterministic,
            )
        return Numerics(flushes_subnormals=dtype == "bfloat16" and mode.onednn, complex_products="three")

    def with_threads(self, count: int) -> TorchBackend:
        """Return the same mode with so many threads."""
        other = copy.copy(self)
        other._mode = replace(self._mode, threads=count)  # noqa: SLF001 - the same class
        return other

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the call on tensors that share the arrays' memory, or lie alike on the device; autograd gives the gradients."""
        torch = self._torch
        on_device = device_work(torch.cuda.synchronize) if self._mode.device == "cuda" else nullcontext()
        with on_device, _settings(torch, self._mode), torch.inference_mode() if tensors.dy is None else nullcontext():
            if self._hand_over is None:
                return self._calls.run(case, tensors)
            self._hand_over.begin(case, tensors)
            outputs = self._calls.run(case, tensors)
            self._hand_over.end(tensors)
            return outputs

    def _make(self, case: Case) -> Any:
        device = self._mode.device
        return self._source(case).function(
            "run",
            {
                "torch": self._torch,
                "tensor": to_torch if self._hand_over is None else self._hand_over.tensor,
                "array": _valueless if device == "meta" else to_numpy,
            },
        )

    def _source(self, case: Case) -> CallSource:
        call, layer = TorchCall(case.config), []
        if self._mode.channels_last:
            memory_format = "torch.channels_last" if case.config.dims == 2 else "torch.channels_last_3d"
            layer.append(f"x, w = x.contiguous(memory_format={memory_format}), w.contiguous(memory_format={memory_format})")
        return CallSource(run_lines(case, [*layer, *call.lines]), call.values)

    def title(self, case: Case) -> str:
        """Name the function."""
        return f"torch.nn.functional.{TorchCall(case.config).function}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs, with the settings of the mode."""
        variables = [f"os.environ[{name!r}] = {value!r}" for name, value in self._variables.items()]
        lines = ["import os", "", *variables, ""] if variables else []
        lines += ["import torch", "", f"torch.set_num_threads({self._mode.threads})"]
        lines += [f"torch.backends.{flag} = {value}" for flag, value in _flags(self._mode).items()]
        return "\n".join(lines) + "\n" + conversions(case, self._mode.device) + str(self._source(case))


def _valueless(tensor: Any) -> Array:
    """Return an array of the shape and dtype of a tensor that has no values."""
    return np.broadcast_to(np.zeros((), numpy_dtype(str(tensor.dtype).removeprefix("torch."))), tuple(tensor.shape))


@contextmanager
def _settings(torch: Any, mode: _Mode) -> Iterator[None]:
    # torch.backends.mkldnn.flags() would set TF32 flags too, and warn about them on every call.
    wanted: list[tuple[Any, str, bool]] = []
    for flag, value in _flags(mode).items():
        owner, _, name = flag.rpartition(".")
        wanted.append((operator.attrgetter(owner)(torch.backends), name, value))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    for owner, name, value in wanted:
        setattr(owner, name, value)
    if mode.threads != 1:
        torch.set_num_threads(mode.threads)
    try:
        yield
    finally:
        if mode.threads != 1:
            torch.set_num_threads(1)
        for owner, name, value in before:
            setattr(owner, name, value)


def _flags(mode: _Mode) -> dict[str, bool]:
    """Return what a mode sets in ``torch.backends``."""
    if mode.device != "cuda":
        return {} if mode.onednn else {"mkldnn.enabled": False}
    return {
        "cudnn.allow_tf32": mode.tf32,
        "cudnn.benchmark": mode.benchmark,
        "cudnn.deterministic": mode.deterministic,
        # Convolutions may end in a matrix product, whose sums of 16-bit types are in 16 bits unless that is off.
        "cuda.matmul.allow_tf32": mode.tf32,
        "cuda.matmul.allow_fp16_reduced_precision_reduction": False,
        "cuda.matmul.allow_bf16_reduced_precision_reduction": False,
    }


def _declined(case: Case, mode: _Mode) -> Iterator[tuple[str, bool]]:
    config = case.config
    whole, transposed = is_integer(config.dtype), config.op == "conv_transpose"
    sides = [side for sides in config.pads for side in sides]
    yield "integers on a CUDA device", whole and mode.device == "cuda"
    yield "gradients of integers", whole and case.grad
    yield "16-bit types take PyTorch's own kernels there, as in torch:native", mode.no_avx512 and config.dtype in ("float16", "bfloat16")
    narrow, dilated = config.dtype in ("int8", "int32"), set(config.dilation) != {1}
    yield f"dilated or transposed convolution of dtype {config.dtype}", narrow and (transposed or (dilated and config.is_valid))
    yield f"padding mode {config.padding_mode} of integers", whole and config.padding_mode in ("reflect", "replicate")
    yield (
        "the channels-last memory format needs a batch and 2 or 3 spatial dimensions",
        mode.channels_last and (config.dims == 1 or config.batch is None),
    )
    if transposed:
        yield "padding that extends the output at its low end", config.is_valid and any(lo < 0 for lo, _ in config.pads)
        yield "padding that extends the output by more than output_padding can", config.is_valid and TorchCall(config).extends
    else:
        yield "torch.nn.functional.pad crops in every mode", config.padding_mode != "zeros" and min(sides) < 0
        yield "padding='same' needs stride 1", config.padding == "same" and any(stride != 1 for stride in config.stride)
    word = config.flaw == "padding-length" and isinstance(TorchCall(config).values["padding"], str)
    yield "padding is a word, which has no length", word
    yield "no output channels: the weight needs at least one row per group", config.out_channels == 0
    yield "an input of spatial size 0", 0 in config.input_size and config.is_valid
    yield (
        f"padding mode {config.padding_mode} needs an input channel",
        config.in_channels == 0 and config.padding_mode in ("reflect", "replicate"),
    )
    yield "a transposed convolution needs an input channel", transposed and config.in_channels == 0 and config.is_valid
    yield (
        "a transposed convolution's output channels are groups times the weight's: only a bias can ask for another number",
        transposed and not config.bias and config.groups > 0 and config.out_channels % config.groups != 0,
    )
    yield "negative padding beside a call's own padding", transposed and not config.is_valid and min(sides) < 0 and len(set(sides)) > 1


def _load(mode: str) -> Backend:
    if mode == "nn":
        return ModuleBackend(TorchBackend(""))
    return CompileBackend(TorchBackend("")) if mode == "compile" else TorchBackend(mode)


def _preload(mode: str) -> None:
    import torch  # noqa: F401, PLC0415 - that is what preloading is

    if mode == "compile":
        prepare()


FAMILY = Family(
    summary="PyTorch's functional convolutions", modes=MODES, load=_load, extra="torch", preload=_preload, environment=_ENVIRONMENT
)
