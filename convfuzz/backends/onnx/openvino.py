"""OpenVINO on a CPU: an ONNX model of one Conv or ConvTranspose, read and compiled by ``openvino.Core``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.onnx.model import Layer, as_bits, declined, feeds_source, keeping, model_function, model_source
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.source import CallSource
from convfuzz.case import Case
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors


@dataclass(frozen=True)
class _Mode:
    """How OpenVINO is asked to compute."""

    summary: str
    precision: str | None = None
    constant: bool = True


_MODES = {
    "": _Mode("the CPU plugin as it comes: where the processor has bfloat16 instructions it rounds operands to bfloat16"),
    "f32": _Mode("inference precision float32", precision="f32"),
    "inputs": _Mode("weight and bias are inputs of the graph; inference precision float32", precision="f32", constant=False),
}
MODES = {name: mode.summary for name, mode in _MODES.items()}


class OpenVinoBackend:
    """The convolutions of OpenVINO's CPU plugin, in one thread, on models that its ONNX frontend reads.

    The operators' specification is the documentation (:mod:`convfuzz.backends.onnx.model`); "Supported Model Precision" of
    the CPU device's page lists float32, bfloat16 and float16. The same page says that bfloat16 is the default inference
    precision where the processor computes in it.

    Invalid configurations: the frontend and the shape inference of OpenVINO's operations check a model when it is read,
    the plugin's primitives when it is compiled.
    """

    def __init__(self, mode: str) -> None:
        import onnx  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz

        self._openvino = openvino = _without_telemetry()
        self._mode = _MODES[mode]
        self.name = f"openvino:{mode}" if mode else "openvino"
        self.versions: Mapping[str, str] = {"openvino": str(openvino.__version__), "onnx": str(onnx.__version__)}
        core = openvino.Core()
        hint = core.get_property("CPU", "INFERENCE_PRECISION_HINT")
        self._computes_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._rounds_to_bfloat16 = self._mode.precision is None and hint == openvino.Type.bf16
        self._compiled = keeping(self._compiled_source().function("compiled", {"core": core}))
        self._tensor = _TENSOR.function("tensor", {"np": np, "openvino": openvino})
        self._calls = CallCache(self._make)

    def supports(self, case: Case) -> Support:
        """Decline what the operators' specification and the plugin's list of precisions exclude."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Float32 accumulation; everything in bfloat16 where that is the inference precision.

        The plugin replaces the subnormals of a model's constants by zero, whatever CPU_DENORMALS_OPTIMIZATION says
        (``Input::cloneBlobIfRequired``, src/plugins/intel_cpu/src/nodes/input.cpp), and bfloat16 is oneDNN's, whose kernels
        use the processor's dot product, which flushes them (Intel SDM, VDPBF16PS). On a processor without it bfloat16 is
        converted: computed in float32 and rounded by ``bfloat16::round_to_nearest_even``
        (src/core/include/openvino/core/type/bfloat16.hpp), which rounds odd numbers to nearest and truncates even ones.
        """
        narrow = self._rounds_to_bfloat16 and case.config.dtype != "bfloat16"
        return Numerics(
            inputs="bfloat16" if narrow else "exact",
            outputs="bfloat16" if narrow or (case.config.dtype == "bfloat16" and not self._computes_bfloat16) else "exact",
            flushes_subnormals=self._mode.constant or case.config.dtype == "bfloat16",
            # Only a constant bias is fused into the convolution; before any other is added, bfloat16 is rounded.
            bias="separate" if case.config.dtype == "bfloat16" and not self._mode.constant else "fused",
        )

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Infer with the compiled model on the arrays as they are; it is kept for the next case of the same model."""
        return self._calls.run(case, as_bits(tensors))

    def _make(self, case: Case) -> Any:
        model = model_function(case, constant=self._mode.constant)
        given = {"model": model, "compiled": self._compiled, "tensor": self._tensor, "array": lambda a: a.view(ml_dtypes.bfloat16)}
        return self._source(case).function("run", given | {"openvino": self._openvino})

    def _source(self, case: Case) -> CallSource:
        narrow = case.config.dtype == "bfloat16"
        lines = [
            "def run(x, w, b):",
            "    layer = compiled(model(x, w, b).SerializeToString())",
            f"    y = layer({feeds_source(case, constant=self._mode.constant, tensor='tensor({})')})[0]",
            # OpenVINO shows bfloat16 as NumPy's float16, which has as many bits.
            *(["    y = array(y) if layer.output(0).element_type == openvino.Type.bf16 else y"] if narrow else []),
            "    return y",
        ]
        return CallSource(lines, {})

    def _compiled_source(self) -> CallSource:
        lines = ["def compiled(model):", '    return core.compile_model(core.read_model(model), "CPU", $settings)']
        return CallSource(lines, {"settings": _settings(self._mode)})

    def title(self, case: Case) -> str:
        """Name the operator and the runtime."""
        return f"OpenVINO, CPU plugin: {Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        return "\n".join([
            "import openvino",
            "from onnx import TensorProto, helper",
            "",
            "core = openvino.Core()",
            str(model_source(case, constant=self._mode.constant)),
            "",
            str(self._compiled_source()),
            "",
            str(_TENSOR),
            *([_BFLOAT16_ARRAY] if case.config.dtype == "bfloat16" else []),
            "",
            str(self._source(case)),
        ])  # fmt: skip


_TENSOR = CallSource(
    [
        "def tensor(a):",
        '    """Return what OpenVINO takes for an array; one of uint16 holds bfloat16 as bits."""',
        "    if a.dtype != np.uint16:",
        "        return a",
        "    return openvino.Tensor(np.ascontiguousarray(a), list(a.shape), openvino.Type.bf16)",
    ],
    {},
)
_BFLOAT16_ARRAY = '''
def array(a):
    """Return an array of float32 of one of float16, as which bfloat16 is shown: it has as many bits."""
    return (a.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
'''


def _settings(mode: _Mode) -> dict[str, Any]:
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    return settings if mode.precision is None else settings | {"INFERENCE_PRECISION_HINT": mode.precision}


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    yield from declined(case)
    yield f"dtype {case.config.dtype}", case.config.dtype not in ("float32", "float16", "bfloat16")
    yield "padding mode circular: Pad has constant, edge, reflect and symmetric", case.config.padding_mode == "circular"


_TELEMETRY = "openvino_telemetry"


def _without_telemetry() -> Any:
    """Import OpenVINO as where the package that reports its use is not installed.

    Otherwise the import itself sends a message to Intel from a process that a new thread forks
    (``openvino_telemetry/backend/backend_ga4.py``). A forkserver is to have no threads, and the fork of a process in which
    JAX or TensorFlow computes may hang.
    """
    loaded = _TELEMETRY in sys.modules
    if not loaded:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # how the import system notes what is not there
    try:
        import openvino  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz
    finally:
        if not loaded:
            del sys.modules[_TELEMETRY]
    return openvino


def _load(mode: str) -> Backend:
    return OpenVinoBackend(mode)


def _preload(mode: str) -> None:
    del mode
    import onnx  # noqa: F401, PLC0415 - that is what preloading is

    _without_telemetry()


FAMILY = Family(summary="OpenVINO's CPU plugin", modes=MODES, load=_load, extra="openvino", preload=_preload)
