"""MNN on a CPU: an ONNX model of one Conv or ConvTranspose, converted in the process and run by ``MNN.nn``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from convfuzz.backends.compile_cache import CallCache
from convfuzz.backends.onnx.model import Layer, as_bits, crops_everything, declined, model_function, model_source
from convfuzz.backends.protocol import Backend, Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.backends.source import BLANK, CallSource, indented
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors

MODES = {
    "": "MNN's CPU backend as it comes, one thread",
    "winograd-0": "the least memory for Winograd: WINOGRAD_MEMORY_LEVEL 0",
}
_WINOGRAD_MEMORY_LEVEL = 3
"""``Interpreter::HintMode`` in include/MNN/Interpreter.hpp."""
_LARGEST_TRANSFORMED = 7
"""The kernel of a Winograd tile of 8×8 with two sites of output (``CONVOLUTION_WINOGRAD_MAX_UNIT`` and ``_MIN_UNIT``)."""


class MnnBackend:
    """The convolutions of MNN on models that its converter makes of ONNX.

    The operators' specification is the documentation (:mod:`convfuzz.backends.onnx.model`). The converter is the module ``_tools`` of the
    wheel, called in the process: the console script ``mnnconvert`` installs a package that reports its use, and is never run.

    This object imports neither: it is asked about the backend in any process, and runs in one of its own.

    Invalid configurations: the operators' specification is the rule, as for the other runtimes of such models.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self.name = f"mnn:{mode}" if mode else "mnn"
        self.versions: Mapping[str, str] = {"mnn": version("MNN"), "onnx": version("onnx")}
        self._calls = CallCache(self._make)

    def supports(self, case: Case) -> Support:
        """Decline what the operators' specification excludes and the converter refuses."""
        return next((Support.no(reason) for reason, concerned in _declined(case) if concerned), Support.YES)

    def numerics(self, case: Case) -> Numerics:
        """Direct sums in float32, and Winograd, which the hint for its memory announces and with the least of it switches off."""
        transforms = not self._mode and _may_transform(case.config)
        return Numerics(algorithm="transform" if transforms else "direct")

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Convert the model and run it; what the converter prints is left out."""
        with _without_output():
            return self._calls.run(case, as_bits(tensors))

    def _make(self, case: Case) -> Any:
        import _tools  # noqa: PLC0415 - frameworks load with their backend, not with convfuzz
        import MNN  # noqa: PLC0415 - the same

        given = {"np": np, "MNN": MNN, "_tools": _tools, "Path": Path, "tempfile": tempfile, "model": model_function(case, constant=True)}
        return self._source().function("run", given)

    def _source(self) -> CallSource:
        load = [
            "with tempfile.TemporaryDirectory() as folder:",
            '    onnx, mnn = Path(folder, "layer.onnx"), Path(folder, "layer.mnn")',
            "    onnx.write_bytes(model(x, w, b).SerializeToString())",
            "    # Not the console script mnnconvert, which installs a package that reports its use.",
            '    arguments = ["-f", "ONNX", "--modelFile", str(onnx), "--MNNModel", str(mnn), "--bizCode", "layer"]',
            '    _tools.mnnconvert(["mnnconvert", *arguments])',
            "    if not mnn.exists():",
            '        raise RuntimeError("the converter has written no model")',
            '    runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": 1},))',
            *([f"    runtime.set_hint({_WINOGRAD_MEMORY_LEVEL}, 0)  # WINOGRAD_MEMORY_LEVEL"] if self._mode else []),
            '    return MNN.nn.load_module_from_file(str(mnn), ["x"], ["y"], runtime_manager=runtime)',
        ]
        body = [
            "layer = load(x, w, b)",
            "x = MNN.expr.const(np.ascontiguousarray(x), list(x.shape), MNN.expr.NCHW, MNN.expr.float)",
            "return np.array(layer.forward([x])[0].read())",
        ]
        return CallSource(["def load(x, w, b):", *indented(load), *BLANK, "def run(x, w, b):", *indented(body)], {})

    def title(self, case: Case) -> str:
        """Name the operator and the runtime."""
        return f"MNN, CPU backend: {Layer(case.config).operator}"

    def script(self, case: Case) -> str:
        """Return the source that :meth:`run` runs."""
        imports = "import tempfile\nfrom pathlib import Path\n\nimport _tools\nimport MNN\nfrom onnx import TensorProto, helper\n"
        return f"{imports}\n{model_source(case, constant=True)}\n\n{self._source()}"


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Send what C++ code prints to standard output nowhere; a crash tells of itself on standard error."""
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _may_transform(config: ConvConfig) -> bool:
    """Return whether the last two axes, to which layers of three come down, have a square kernel without stride and dilation."""
    inner = config.kernel_size[-2:]
    plain = {*config.stride[-2:], *config.dilation[-2:]} == {1}
    square = len(inner) > 1 and len(set(inner)) == 1 and 1 < inner[0] <= _LARGEST_TRANSFORMED
    return config.op == "conv" and plain and square


def _declined(case: Case) -> Iterator[tuple[str, bool]]:
    config = case.config
    yield from declined(case)
    yield "cropping more than there is, which the text of Pad leaves open", crops_everything(config)
    yield f"dtype {config.dtype}: float32 only", config.dtype != "float32"
    empty = config.is_valid and 0 in (*config.input_shape, *config.weight_shape)
    yield "empty tensors: a Var without elements cannot be read", empty
    yield "padding mode circular, of which the converter writes no model", config.padding_mode == "circular"


def _load(mode: str) -> Backend:
    return MnnBackend(mode)


def _preload(mode: str) -> None:
    del mode
    with _without_output():
        import _tools  # noqa: F401, PLC0415 - that is what preloading is
        import MNN  # noqa: F401, PLC0415 - the same
    import onnx  # noqa: F401, PLC0415 - the same


FAMILY = Family(summary="MNN on a CPU", modes=MODES, load=_load, extra="mnn", preload=_preload, own_process=True)
