"""The environment without convfuzz, made once."""

from __future__ import annotations

import pytest

from .alone import Alone


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The environment without convfuzz."""
    return Alone.make(tmp_path_factory.mktemp("alone") / "venv")
