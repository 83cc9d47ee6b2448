"""convfuzz: differential testing and fuzzing of convolutions.

Importing this package loads no framework and no numerical library: the names below are looked up when first used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convfuzz.asserting import assert_conv_close, assert_conv_grads_close
    from convfuzz.backends import Backend, Numerics, backend
    from convfuzz.case import Case, DataRecipe
    from convfuzz.checking import CheckResult, check
    from convfuzz.config import ConvConfig
    from convfuzz.errors import ConvfuzzError, InvalidConfig, Unsupported
    from convfuzz.findings import Finding
    from convfuzz.judging import Discrepancy, Verdict
    from convfuzz.oracle import Expectation, reference
    from convfuzz.testing.agreement import assert_agrees
    from convfuzz.testing.disagreement import Disagreement
    from convfuzz.testing.fuzzing import fuzz

__version__ = "0.1.0"

_HOMES = {
    "Backend": "backends",
    "Case": "case",
    "CheckResult": "checking",
    "ConvConfig": "config",
    "ConvfuzzError": "errors",
    "DataRecipe": "case",
    "Disagreement": "testing.disagreement",
    "Discrepancy": "judging",
    "Expectation": "oracle",
    "Finding": "findings",
    "InvalidConfig": "errors",
    "Numerics": "backends",
    "Unsupported": "errors",
    "Verdict": "judging",
    "assert_agrees": "testing.agreement",
    "assert_conv_close": "asserting",
    "assert_conv_grads_close": "asserting",
    "backend": "backends",
    "check": "checking",
    "fuzz": "testing.fuzzing",
    "reference": "oracle",
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
    "Numerics",
    "Unsupported",
    "Verdict",
    "__version__",
    "assert_agrees",
    "assert_conv_close",
    "assert_conv_grads_close",
    "backend",
    "check",
    "fuzz",
    "reference",
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
