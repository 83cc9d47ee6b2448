"""ONNX Runtime on a CPU: a model of one Conv or ConvTranspose in an ``InferenceSession``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convfuzz.backends.onnx.model import Layer, crops_everything, declined, feeds, feeds_source, keeping, model_source, serialize
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.case import Case
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors


@dataclass(frozen=True)
class _Mode:
    """How ONNX Runtime is asked to compute."""

    summary: str
    level: str = "ORT_ENABLE_ALL"
    constant: bool = True


_MODES = {
    "": _Mode("CPU sessions with all graph optimisations, as they come; weight and bias are initializers"),
    "disabled": _Mode("no graph optimisations", level="ORT_DISABLE_ALL"),
    "basic": _Mode("basic graph optimisations: constants folded, nodes fused", level="ORT_ENABLE_BASIC"),
    "extended": _Mode("extended graph optimisations, without the blocked memory layout", level="ORT_ENABLE_EXTENDED"),
    "inputs": _Mode("weight and bias are inputs of the graph, which no optimisation sees", constant=False),
}
MODES = {name: mode.summary for name, mode in _MODES.items()}


class OnnxRuntimeBackend:
    """The convolutions of ONNX Runtime's CPU provider, in one thread.

    The operators' specification is the documentation (:mod:`convfuzz.backends.onnx.model`). ``docs/OperatorKernels.md`` of
    the release lists the provider's types: Conv and ConvTranspose in float32; for float16 the runtime inserts casts around
    them, float64 and bfloat16 are "not implemented".

    Invalid configurations: the runtime checks a model's nodes and infers its shapes when a session is created, and
    ``ConvAttributes`` and ``ConvTransposeAttributes`` (core/providers/cpu/nn) check the rest when it runs.
    """

    def __init__(self, mode: str) -> None:
        import onnx  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz
        import onnxruntime  # noqa: PLC0415 - the same

        self._onnxruntime: Any = onnxruntime
        self._mode = _MODES[mode]
        self.name = f"onnxruntime:{mode}" if mode else "onnxruntime"
        self.versions: Mapping[str, str] = {"onnxruntime": str(onnxruntime.__version__), "onnx": str(onnx.__version__)}
        self._session = keeping(self._create_session)

    def supports(self, case: Case) -> Support:
        """Decline what the operators' specification and the provider's list of types exclude."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in float32."""
        del case
        return Numerics()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the model on the arrays as they are; a session is kept for the next case of the same model."""
        constant = self._mode.constant
        session = self._session(serialize(case.config, tensors, constant=constant))
        (y,) = session.run(None, feeds(tensors, constant=constant))
        return {"forward": y}

    def _create_session(self, model: bytes) -> Any:
        ort = self._onnxruntime
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal only: an error is raised too
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, self._mode.level)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def title(self, case: Case) -> str:
        """Name the operator and who computes it."""
        return f"ONNX Runtime, CPU execution provider: {Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Write the same model and session down."""
        constant = self._mode.constant
        return "\n".join([
            "import onnxruntime",
            "from onnx import TensorProto, helper",
            "",
            model_source(case, constant=constant),
            "",
            "def run(x, w, b):",
            "    options = onnxruntime.SessionOptions()",
            "    options.intra_op_num_threads = options.inter_op_num_threads = 1",
            f"    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{self._mode.level}",
            '    session = onnxruntime.InferenceSession(model(x, w, b).SerializeToString(), options, providers=["CPUExecutionProvider"])',
            f"    (y,) = session.run(None, {feeds_source(case, constant=constant)})",
            "    return y",
            "",
        ])  # fmt: skip


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    yield from declined(case)
    yield "cropping more than there is, which the text of Pad leaves open", crops_everything(case.config)
    yield f"dtype {case.config.dtype}", case.config.dtype not in ("float32", "float16")


def _load(mode: str) -> Backend:
    return OnnxRuntimeBackend(mode)


def _preload(mode: str) -> None:
    del mode
    import onnx  # noqa: F401, PLC0415 - that is what preloading is
    import onnxruntime  # noqa: F401, PLC0415 - the same


FAMILY = Family(summary="ONNX Runtime's CPU provider", modes=MODES, load=_load, extra="onnx", preload=_preload)
