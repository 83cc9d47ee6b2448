"""OpenVINO on a CPU: an ONNX model of one Conv or ConvTranspose, read and compiled by ``openvino.Core``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from convfuzz.backends.onnx.model import Layer, declined, feeds, feeds_source, keeping, model_source, serialize
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.case import Case
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, Tensors


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
        self._core = openvino.Core()
        hint = self._core.get_property("CPU", "INFERENCE_PRECISION_HINT")
        self._rounds_to_bfloat16 = self._mode.precision is None and hint == openvino.Type.bf16
        self._compiled = keeping(self._compile)

    def supports(self, case: Case) -> Support:
        """Decline what the operators' specification and the plugin's list of precisions exclude."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Float32 accumulation; everything in bfloat16 where that is the inference precision.

        The plugin replaces the subnormals of a model's constants by zero, whatever CPU_DENORMALS_OPTIMIZATION says
        (``Input::cloneBlobIfRequired``, src/plugins/intel_cpu/src/nodes/input.cpp), and bfloat16 is oneDNN's, whose kernels
        use the processor's dot product, which flushes them (Intel SDM, VDPBF16PS).
        """
        narrow = self._rounds_to_bfloat16 and case.config.dtype != "bfloat16"
        return Numerics(
            inputs="bfloat16" if narrow else "exact",
            outputs="bfloat16" if narrow else "exact",
            flushes_subnormals=self._mode.constant or case.config.dtype == "bfloat16",
            # Only a constant bias becomes the convolution's own; bfloat16 is rounded before another is added.
            bias="separate" if case.config.dtype == "bfloat16" and not self._mode.constant else "fused",
        )

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Infer with the compiled model on the arrays as they are; it is kept for the next case of the same model."""
        constant = self._mode.constant
        compiled = self._compiled(serialize(case.config, tensors, constant=constant))
        inputs = {name: self._handed(array) for name, array in feeds(tensors, constant=constant).items()}
        y = compiled(inputs)[0]
        # OpenVINO shows bfloat16 as NumPy's float16, which has as many bits.
        return {"forward": y.view(ml_dtypes.bfloat16) if compiled.output(0).element_type == self._openvino.Type.bf16 else y}

    def _handed(self, array: Array) -> Any:
        if array.dtype != ml_dtypes.bfloat16:
            return array
        bits = np.ascontiguousarray(array).view(np.uint16)
        return self._openvino.Tensor(bits, list(array.shape), self._openvino.Type.bf16)

    def _compile(self, model: bytes) -> Any:
        return self._core.compile_model(self._core.read_model(model), "CPU", _settings(self._mode))

    def title(self, case: Case) -> str:
        """Name the operator and who computes it."""
        return f"OpenVINO, CPU plugin: {Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Write the same model and calls down."""
        constant = self._mode.constant
        narrow = case.config.dtype == "bfloat16"
        lines = [
            "import openvino",
            "from onnx import TensorProto, helper",
            "",
            model_source(case, constant=constant),
            "",
            "def run(x, w, b):",
            "    core = openvino.Core()",
            "    layer = core.read_model(model(x, w, b).SerializeToString())",
            f'    compiled = core.compile_model(layer, "CPU", {_settings(self._mode)})',
            f"    inputs = {feeds_source(case, constant=constant)}",
            *([_BITS_AS_TENSORS] if narrow else []),
            "    y = compiled(inputs)[0]",
            *([_BITS_AS_FLOATS] if narrow else []),
            "    return y",
        ]
        return "\n".join(lines) + "\n"


_BITS_AS_TENSORS = (
    "    inputs = {name: openvino.Tensor(np.ascontiguousarray(a), list(a.shape), openvino.Type.bf16) for name, a in inputs.items()}"
)
_BITS_AS_FLOATS = """\
    if compiled.output(0).element_type == openvino.Type.bf16:  # shown as float16, which has as many bits
        y = (y.view(np.uint16).astype(np.uint32) << 16).view(np.float32)"""


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
