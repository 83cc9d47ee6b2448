"""What benchmarks share with the tests: ``of_tests.planted`` is the folder ``tests/planted``."""

from __future__ import annotations

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "tests")]
