"""Folders to start campaigns from, and the campaigns that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .launch import WARM, Finished, Place

KERNELS = """
import contextlib
import time
from pathlib import Path

CALLS, HOLD_AFTER = (Path(__file__).with_name(name) for name in ("calls", "hold-after"))


def right(x, w, b, config):
    print("NOISE on standard output")
    with contextlib.suppress(FileNotFoundError):  # nobody wants it to wait, or no longer
        while CALLS.stat().st_size >= int(HOLD_AFTER.read_text()):
            time.sleep(0.01)
        with CALLS.open("a") as calls:
            calls.write("x")
    return correct(x, w, b, config)


def wrong(x, w, b, config):
    \"\"\"Ignores all strides but the first.\"\"\"
    y = correct(x, w, b, config)
    if len(set(config.stride)) > 1:
        y += 1
    return y


def doubled(x, w, b, config):
    return correct(x, w, b, config) * (2 if config.dims == 1 else 1)
"""


@pytest.fixture(scope="session", autouse=True)
def _warm_process_ends() -> Iterator[None]:
    """End the process of warm campaigns after the last test."""
    yield
    WARM.close()


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder to start campaigns from."""
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def session_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The folder of the campaigns that several tests look at."""
    return Place(tmp_path_factory.mktemp("session"))


@pytest.fixture(scope="session")
def found(session_place: Place) -> Finished:
    """A campaign of 60 cases over one correct and two wrong kernels."""
    return session_place.run(KERNELS, ["right", "wrong", "doubled"], "--seed", "5", "--max-cases", "60", "--strategy", "smoke")


@pytest.fixture(scope="session")
def clean(session_place: Place) -> Finished:
    """A campaign of 25 cases in two workers over a correct kernel."""
    return session_place.run(KERNELS, ["right"], "--seed", "5", "--max-cases", "25", "--workers", "2", "--strategy", "smoke")
