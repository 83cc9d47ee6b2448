"""Kernel files, and entry points that only a test knows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convfuzz.backends import Family, registry

from .fakes import FakePoint


@pytest.fixture
def kernel_file(tmp_path: Path) -> Callable[..., str]:
    """A function that writes a kernel file and returns its path."""

    def write(source: str, name: str = "kernels.py") -> str:
        path = tmp_path / name
        path.write_text(source)
        return str(path)

    return write


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that puts families, or other objects, in the place of the installed entry points."""

    def register(**loaded: Family | object) -> None:
        points = {name: FakePoint(name, value) for name, value in loaded.items()}
        monkeypatch.setattr(registry, "_entry_points", lambda: points)

    return register


@pytest.fixture(autouse=True)
def _forget_kernel_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("convfuzz_kernel_", "kernel_under_test")):
            del sys.modules[name]
