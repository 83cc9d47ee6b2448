"""Imported once by the forkserver: loads what every worker needs, so that a dead worker is replaced at once.

``CONVFUZZ_PRELOAD`` holds the backends' names. A framework that does not import is left for the worker to report.
"""

from __future__ import annotations

import contextlib
import os

from convfuzz import worker  # noqa: F401 - imported for the workers
from convfuzz.backends import preload
from convfuzz.case import Case
from convfuzz.judging import Judge
from convfuzz.tensors import make_tensors

for _name in os.environ.get("CONVFUZZ_PRELOAD", "").split(","):
    with contextlib.suppress(ImportError):
        preload(_name)

# Compile the reference here, or the first case of a campaign would look like a hang.
for _dtype in ("f32", "f64"):
    for _regime in ("normal", "integers"):
        _case = Case.parse(f"conv2d_c1_o1_i3_k2_b_{_dtype}@{_regime}.0")
        Judge(_case, make_tensors(_case))
