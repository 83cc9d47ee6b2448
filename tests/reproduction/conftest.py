"""The environment without convfuzz, made once, and kernel files to write scripts about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .alone import Alone
from .scripts import KernelFile, forget_kernels


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The environment without convfuzz."""
    return Alone.make(tmp_path_factory.mktemp("alone") / "venv")


@pytest.fixture
def kernel_file(tmp_path: Path) -> Iterator[KernelFile]:
    """A kernel file in an empty folder."""
    yield KernelFile(tmp_path / "kernels.py")
    forget_kernels()
