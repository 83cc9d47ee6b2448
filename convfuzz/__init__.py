"""convfuzz: differential testing and fuzzing of convolutions.

Importing this package loads no framework and no numerical library: the names below are looked up when first used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convfuzz.backends import Backend, Numerics, backend
    from convfuzz.backends.kernels.c_kernel import c_kernel
    from convfuzz.backends.onnx.model import onnx_model
    from convfuzz.case import Case, DataRecipe
    from convfuzz.case.config import ConvConfig
    from convfuzz.checking.checker import CheckResult, check
    from convfuzz.errors import ConvfuzzError, InvalidConfig, Unsupported
    from convfuzz.oracle import Expectation, reference
    from convfuzz.record.finding import Finding
    from convfuzz.revealing.measurement import reveal
    from convfuzz.solutions.judge import Judged, judge
    from convfuzz.testing.agreement import assert_agrees
    from convfuzz.testing.assert_close import assert_conv_close, assert_conv_grads_close
    from convfuzz.testing.disagreement import Disagreement
    from convfuzz.testing.fuzzing import fuzz
    from convfuzz.verdicts import Discrepancy, Verdict

__version__ = "0.2.0"

_HOMES = {
    "Backend": "backends",
    "Case": "case",
    "CheckResult": "checking.checker",
    "ConvConfig": "case.config",
    "ConvfuzzError": "errors",
    "DataRecipe": "case",
    "Disagreement": "testing.disagreement",
    "Discrepancy": "verdicts",
    "Expectation": "oracle",
    "Finding": "record.finding",
    "InvalidConfig": "errors",
    "Judged": "solutions.judge",
    "Numerics": "backends",
    "Unsupported": "errors",
    "Verdict": "verdicts",
    "assert_agrees": "testing.agreement",
    "assert_conv_close": "testing.assert_close",
    "assert_conv_grads_close": "testing.assert_close",
    "backend": "backends",
    "c_kernel": "backends.kernels.c_kernel",
    "check": "checking.checker",
    "fuzz": "testing.fuzzing",
    "judge": "solutions.judge",
    "onnx_model": "backends.onnx.model",
    "reference": "oracle",
    "reveal": "revealing.measurement",
}

_PACKAGES = ("reports", "strategies")
"""Public packages that need not be imported by name, as in ``@given(case=convfuzz.strategies.cases())``."""

__all__ = [
    "Backend",
    "Case",
    "CheckResult",
    "ConvConfig",
    "ConvfuzzError",
    "DataRecipe",
    "Disagreement",
    "Discrepancy",
    "Expectation",
    "Finding",
    "InvalidConfig",
    "Judged",
    "Numerics",
    "Unsupported",
    "Verdict",
    "__version__",
    "assert_agrees",
    "assert_conv_close",
    "assert_conv_grads_close",
    "backend",
    "c_kernel",
    "check",
    "fuzz",
    "judge",
    "onnx_model",
    "reference",
    "reveal",
]

# In a checkout's root, `python -m convfuzz` and `python -m pytest` find this folder before an installed package; its
# two sub-packages lie beside it there.
_root = Path(__file__).parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "strategies" / "__init__.py").is_file():
    __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"convfuzz.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'convfuzz' has no attribute {name!r}")
    return getattr(import_module(f"convfuzz.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
