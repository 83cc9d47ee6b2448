"""TensorFlow and Triton in one process: whoever comes second with LLVM's options must not abort it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from convfuzz.backends import resolve


def test_triton_cannot_be_imported_behind_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TensorFlow is loaded first, PyTorch is told that there is no Triton, which would end the process."""
    pytest.importorskip("tensorflow")
    (tmp_path / "triton.py").write_text("raise SystemExit('the process would have ended')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    resolve("tensorflow")
    with pytest.raises(ModuleNotFoundError, match="triton"):
        importlib.import_module("triton")


def test_triton_that_came_first_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow bears Triton before it: what a kernel has imported is left to it."""
    pytest.importorskip("tensorflow")
    monkeypatch.setitem(sys.modules, "triton", first := ModuleType("triton"))
    resolve("tensorflow")
    assert sys.modules["triton"] is first
