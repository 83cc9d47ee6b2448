"""ONNX's reference evaluator: a model of one Conv or ConvTranspose in NumPy, checked by ``onnx.checker`` first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.onnx.model import Layer, as_bits, crops_everything, declined, feeds_source, gaps, model_function, model_source
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.source import CallSource
from convfuzz.case import Case
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

MODES = {"": "onnx.checker and onnx.reference.ReferenceEvaluator, the operators in NumPy"}
_MOST_FLOPS = 10**6


class OnnxBackend:
    """The operators as the ONNX project evaluates them: one more implementation, not an oracle.

    Invalid configurations: ``onnx.checker.check_model(…, full_check=True)``, with shape inference, is what the project says
    about a model; the evaluator gets the models that pass.
    """

    name = "onnx"

    def __init__(self) -> None:
        import onnx.checker  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz
        import onnx.reference  # noqa: PLC0415 - the same

        self._onnx: Any = onnx
        self._calls = CallCache(self._make)
        self.versions: Mapping[str, str] = {"onnx": str(onnx.__version__)}

    def supports(self, case: Case) -> Support:
        """Decline what the operators' specification excludes."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Matrix products, whose columns a transposed convolution adds up in its dtype; the bias is a separate addition."""
        dtype = case.config.dtype
        narrow = case.config.op == "conv_transpose" and dtype in ("float16", "bfloat16")
        return Numerics(accumulator=dtype if narrow else None, bias="separate")

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Check the model and evaluate it."""
        with np.errstate(all="ignore"):  # otherwise NumPy warns of overflow
            return self._calls.run(case, as_bits(tensors))

    def _make(self, case: Case) -> Any:
        model = model_function(case, constant=True)
        return _source(case).function("run", {"onnx": self._onnx, "ml_dtypes": ml_dtypes, "model": model, "array": lambda a: a})

    def title(self, case: Case) -> str:
        """Name the operator and the runtime."""
        return f"onnx.reference.ReferenceEvaluator: {Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        narrow = case.config.dtype == "bfloat16"
        return "\n".join([
            *(["import ml_dtypes"] if narrow else []),
            "import onnx.checker",
            "import onnx.reference",
            "from onnx import TensorProto, helper",
            "",
            str(model_source(case, constant=True)),
            *([_BFLOAT16_ARRAY] if narrow else [""]),
            str(_source(case)),
        ])  # fmt: skip


_BFLOAT16_ARRAY = '''
def array(a):
    """Return an array of float32, which holds bfloat16."""
    return a.astype(np.float32)

'''


def _source(case: Case) -> CallSource:
    narrow = case.config.dtype == "bfloat16"
    feeds = feeds_source(case, constant=True, tensor="{}.view(ml_dtypes.bfloat16)" if narrow else "{}")
    lines = [
        "def run(x, w, b):",
        "    layer = model(x, w, b)",
        "    onnx.checker.check_model(layer, full_check=True)",
        f"    (y,) = onnx.reference.ReferenceEvaluator(layer).run(None, {feeds})",
        f"    return {'array(y)' if narrow else 'y'}",
    ]
    return CallSource(lines, {})


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    yield from declined(case)
    yield "cropping more than there is, which the text of Pad leaves open", crops_everything(case.config)
    yield (
        "more than a million operations, which take the evaluator's Python seconds",
        case.config.is_valid and case.config.flops > _MOST_FLOPS,
    )
    transposed = case.config.op == "conv_transpose"
    yield "SAME with a stride longer than the kernel: half of -1 is rounded down, to the start", transposed and gaps(case.config) > 0


def _load(mode: str) -> Backend:
    del mode
    return OnnxBackend()


FAMILY = Family(summary="ONNX's reference evaluator", modes=MODES, load=_load, extra="onnx")
