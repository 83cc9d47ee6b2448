"""ONNX Runtime on a CPU: a model of one Conv or ConvTranspose in an ``InferenceSession``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.onnx.model import (
    Layer,
    as_bits,
    crops_everything,
    declined,
    feeds_source,
    keeping,
    model_function,
    model_source,
)
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.source import CallSource
from convfuzz.case import Case
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors


@dataclass(frozen=True)
class _Mode:
    """The settings of a mode."""

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

        self._mode = _MODES[mode]
        self.name = f"onnxruntime:{mode}" if mode else "onnxruntime"
        self.versions: Mapping[str, str] = {"onnxruntime": str(onnxruntime.__version__), "onnx": str(onnx.__version__)}
        self._session = keeping(self._session_source().function("session", {"onnxruntime": onnxruntime}))
        self._calls = CallCache(self._make)

    def supports(self, case: Case) -> Support:
        """Decline what the operators' specification and the provider's list of types exclude."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in float32."""
        del case
        return Numerics()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Run the model on the arrays as they are; a session is kept for the next case of the same model."""
        return self._calls.run(case, as_bits(tensors))

    def _make(self, case: Case) -> Any:
        model = model_function(case, constant=self._mode.constant)
        return self._source(case).function("run", {"model": model, "session": self._session})

    def _source(self, case: Case) -> CallSource:
        feeds = feeds_source(case, constant=self._mode.constant)
        lines = [
            "def run(x, w, b):",
            f"    (y,) = session(model(x, w, b).SerializeToString()).run(None, {feeds})",
            "    return y",
        ]
        return CallSource(lines, {})

    def _session_source(self) -> CallSource:
        lines = [
            "def session(model):",
            "    options = onnxruntime.SessionOptions()",
            "    options.intra_op_num_threads = options.inter_op_num_threads = 1",
            "    options.log_severity_level = 4  # fatal only: an error is raised too",
            f"    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{self._mode.level}",
            '    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])',
        ]
        return CallSource(lines, {})

    def title(self, case: Case) -> str:
        """Name the operator and the runtime."""
        return f"ONNX Runtime, CPU execution provider: {Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        model = model_source(case, constant=self._mode.constant)
        return f"import onnxruntime\nfrom onnx import TensorProto, helper\n\n{model}\n\n{self._session_source()}\n\n{self._source(case)}"


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
