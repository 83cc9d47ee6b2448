"""Modes that need an environment when their framework is imported, and which of them runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convfuzz.backends import Backend, Family, preload, registry, resolve
from convfuzz.backends.isolated import IsolatedBackend

from .fakes import Spy
from .frameworks import KNOWN_DEFECTS

ROOT = Path(__file__).parents[2]
NATIVE = """
from collections import Counter
import convfuzz
from convfuzz.backends import resolve
from convfuzz.strategies import cases
from backends.frameworks import SMALL, has_known_defect
from sampling import sample

backend, verdicts, failures = resolve("tensorflow:native"), Counter(), []

for case in sample(cases(**SMALL), 120, seed=20261122):
    if not has_known_defect("tensorflow:native", case):
        (result,) = convfuzz.check(case, [backend]).results
        verdicts[result.verdict] += 1
        if result.verdict.failing:
            failures.append(f"{case}: {result.verdict}, {result.reason}")

(rejecting,) = convfuzz.check("conv2d_c1_o1_i2_k3x1_f32", [backend]).results
assert rejecting.verdict == "agree", rejecting  # oneDNN's kernel accepts it
assert failures == [], failures
assert verdicts["agree"] > 30, verdicts
"""


@pytest.fixture(autouse=True)
def _environment_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_environments", {})
    monkeypatch.setattr(registry, "_found", {})
    monkeypatch.delenv("FAKE_FAST", raising=False)
    yield
    os.environ.pop("FAKE_FAST", None)


def family(seen: list[str | None]) -> Family:
    """Return a family of two modes whose framework notes the variable when it is imported."""

    def load(mode: str) -> Backend:
        seen.append(os.environ.get("FAKE_FAST"))
        return Spy(name=f"fake:{mode}" if mode else "fake")

    return Family(
        summary="a framework",
        modes={"": "as it comes", "plain": "the same", "fast": "fast"},
        load=load,
        preload=lambda _: seen.append(os.environ.get("FAKE_FAST")),
        environment={"fast": {"FAKE_FAST": "1"}},
    )


def test_the_environment_is_there_when_the_framework_is_imported(registered: Callable[..., None]) -> None:
    """Preloading and loading set what the mode declares first."""
    seen: list[str | None] = []
    registered(fake=family(seen))
    preload("fake:fast+split")
    resolve("fake:fast")
    assert seen == ["1", "1"]


def test_the_variables_that_somebody_set_are_those_of_the_default_mode(
    registered: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mode that comes second gets them as they were before the first one's were set."""
    registered(fake=family([]))
    monkeypatch.setenv("FAKE_FAST", "0")
    assert isinstance(resolve("fake:fast"), Spy)
    elsewhere = resolve("fake")
    assert isinstance(elsewhere, IsolatedBackend)
    assert elsewhere.surroundings.environment()["FAKE_FAST"] == "0"


def test_a_framework_that_somebody_else_imported_is_not_claimed(registered: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported without the variable before convfuzz came, it cannot be had with it in this process any more; with it, it can."""
    registered(fake=family([]))
    monkeypatch.setitem(sys.modules, "fake", registry)
    assert isinstance(resolve("fake:fast"), IsolatedBackend)
    monkeypatch.setenv("FAKE_FAST", "1")
    assert isinstance(resolve("fake:fast"), Spy)


def test_modes_of_one_environment_go_together(registered: Callable[..., None]) -> None:
    """Both are run in this process."""
    registered(fake=family([]))
    assert isinstance(resolve("fake"), Spy)
    assert isinstance(resolve("fake:plain"), Spy)


def test_tensorflow_without_onednn_agrees_with_the_reference() -> None:
    """``tensorflow:native`` over its declared domain, in a process of its own; its kernels are not oneDNN's."""
    pytest.importorskip("tensorflow", reason="the mode is TensorFlow's")
    assert KNOWN_DEFECTS["tensorflow:native"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", NATIVE], check=False, capture_output=True, text=True, cwd=ROOT / "tests", env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
