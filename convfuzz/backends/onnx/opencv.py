"""OpenCV's DNN module on a CPU: an ONNX model of one Conv or ConvTranspose, read by ``cv2.dnn.readNetFromONNX``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.onnx.model import Layer, as_bits, crops_everything, declined, model_function, model_source
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.source import CallSource, indented
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors


@dataclass(frozen=True)
class _Mode:
    """Which of OpenCV's engines computes, and whether it may use Winograd."""

    summary: str
    engine: str = "ENGINE_AUTO"
    winograd: bool = True


_MODES = {
    "": _Mode("the engine that OpenCV chooses, on a CPU: the new one, which falls back to the classic"),
    "classic": _Mode("the engine of OpenCV 4", engine="ENGINE_CLASSIC"),
    "new": _Mode("the graph engine of OpenCV 5", engine="ENGINE_NEW"),
    "winograd-off": _Mode("without the Winograd branch of 3×3 convolutions", winograd=False),
}
MODES = {name: mode.summary for name, mode in _MODES.items()}


class OpenCvBackend:
    """The convolutions of OpenCV 5's DNN module, in one thread, on models that its ONNX importer reads.

    The operators' specification is the documentation (:mod:`convfuzz.backends.onnx.model`). ``Net.setInput`` takes float32 of the
    floating-point types ("Should have CV_32F or CV_8U depth").

    Invalid configurations: importer and layers assert what they need (``CV_Assert`` in modules/dnn).
    """

    def __init__(self, mode: str) -> None:
        import cv2  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz
        import onnx  # noqa: PLC0415 - the same

        if not hasattr(cv2.dnn, "ENGINE_AUTO"):
            raise ImportError(f"OpenCV {cv2.__version__} has no choice of engines; OpenCV 5 has")
        self._cv2: Any = cv2
        self._mode = _MODES[mode]
        self.name = f"opencv:{mode}" if mode else "opencv"
        self.versions: Mapping[str, str] = {"opencv": str(cv2.__version__), "onnx": str(onnx.__version__)}
        _settings().function("quiet", {"cv2": cv2})()
        self._calls = CallCache(self._make)

    def supports(self, case: Case) -> Support:
        """Decline what the operators' specification and ``Net.setInput`` exclude."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in float32, and Winograd for 3×3 kernels without stride and dilation: ``Net.enableWinograd``.

        Subnormals are flushed: importer and ``Net::Impl::forward`` set the processor so (``FPDenormalsIgnoreHintScope``, modules/dnn).
        """
        transforms = self._mode.winograd and _may_transform(case.config)
        return Numerics(algorithm="transform" if transforms else "direct", flushes_subnormals=True)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Read the model and run it on a copy of the input."""
        return self._calls.run(case, as_bits(tensors))

    def _make(self, case: Case) -> Any:
        return self._source().function("run", {"np": np, "cv2": self._cv2, "model": model_function(case, constant=True)})

    def _source(self) -> CallSource:
        body = [
            "layer = np.frombuffer(model(x, w, b).SerializeToString(), np.uint8)",
            f"net = cv2.dnn.readNetFromONNX(layer, cv2.dnn.{self._mode.engine})",
            *([] if self._mode.winograd else ["net.enableWinograd(False)"]),
            'net.setInput(np.ascontiguousarray(x), "x")',
            "y = net.forward()",
            "if y is None:",
            '    raise RuntimeError("OpenCV returns a Mat without elements, which has no shape")',
            "return y.copy()",
        ]
        return CallSource(["def run(x, w, b):", *indented(body)], {})

    def title(self, case: Case) -> str:
        """Name the operator and the runtime."""
        return f"cv2.dnn.readNetFromONNX: {Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        model = model_source(case, constant=True)
        return f"import cv2\nfrom onnx import TensorProto, helper\n\n{model}\n\n{_settings()}\n\nquiet()\n\n\n{self._source()}"


def _settings() -> CallSource:
    body = [
        "cv2.setNumThreads(1)",
        "cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # an error is raised too",
    ]
    return CallSource(["def quiet():", *indented(body)], {})


def _may_transform(config: ConvConfig) -> bool:
    """Whether Winograd can compute a layer: its windows are next to each other, their taps too."""
    plain = {*config.stride, *config.dilation} == {1}
    return config.op == "conv" and config.dims == 2 and plain and set(config.kernel_size) == {3}


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    yield from declined(case)
    yield "cropping more than there is, which the text of Pad leaves open", crops_everything(case.config)
    empty = case.config.is_valid and 0 in (*case.config.input_shape, *case.config.weight_shape)
    yield "empty tensors: weights must not be empty, and a Mat without elements has no shape", empty
    yield f"dtype {case.config.dtype}: Net.setInput takes float32", case.config.dtype != "float32"


def _load(mode: str) -> Backend:
    return OpenCvBackend(mode)


def _preload(mode: str) -> None:
    del mode
    import cv2  # noqa: F401, PLC0415 - that is what preloading is
    import onnx  # noqa: F401, PLC0415 - the same


FAMILY = Family(summary="OpenCV's DNN module on a CPU", modes=MODES, load=_load, extra="opencv", preload=_preload)
