"""Modes that need an environment when their framework is imported: one per process, and a clear word where two meet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convfuzz.backends import Backend, Family, available, preload, registry, resolve
from convfuzz.errors import BackendError

from .fakes import Spy
from .frameworks import KNOWN_DEFECTS

ROOT = Path(__file__).parents[2]
NATIVE = """
from collections import Counter
from convfuzz.strategies import cases
from hypothesis import Phase, given, seed, settings
import convfuzz
from convfuzz.backends import resolve
from backends.frameworks import SMALL, has_known_defect

backend, verdicts, failures = resolve("tensorflow:native"), Counter(), []

@seed(20261122)
@settings(max_examples=120, database=None, deadline=None, phases=[Phase.generate])
@given(case=cases(**SMALL))
def drawn(case):
    if not has_known_defect("tensorflow:native", case):
        (result,) = convfuzz.check(case, [backend]).results
        verdicts[result.verdict] += 1
        if result.verdict.failing:
            failures.append(f"{case}: {result.verdict}, {result.reason}")

drawn()
(rejecting,) = convfuzz.check("conv2d_c1_o1_i2_k3x1_f32", [backend]).results
assert rejecting.verdict == "agree", rejecting  # oneDNN's kernel accepts it
assert failures == [], failures
assert verdicts["agree"] > 30, verdicts
"""


@pytest.fixture(autouse=True)
def _environment_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_environments", {})
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
        preload=lambda: seen.append(os.environ.get("FAKE_FAST")),
        environment={"fast": {"FAKE_FAST": "1"}},
    )


def test_the_environment_is_there_when_the_framework_is_imported(registered: Callable[..., None]) -> None:
    """Preloading and loading set what the mode declares first."""
    seen: list[str | None] = []
    registered(fake=family(seen))
    preload("fake:fast+split")
    resolve("fake:fast")
    assert seen == ["1", "1"]


@pytest.mark.parametrize("names", [("fake", "fake:fast"), ("fake:fast", "fake"), ("fake:plain", "fake:fast")])
def test_two_environments_in_one_process_are_refused(registered: Callable[..., None], names: tuple[str, str]) -> None:
    """The second of them says what it needs and what to do, whichever comes first; modes of one environment go together."""
    registered(fake=family([]))
    resolve(names[0])
    resolve(names[0] if names[0] == "fake:fast" else "fake:plain")
    with pytest.raises(BackendError, match=f"backend {names[1]!r} needs .* when fake is imported, .*of their own"):
        resolve(names[1])


def test_preloading_the_second_environment_leaves_it_to_the_worker(registered: Callable[..., None]) -> None:
    """The forkserver goes on with the first; the worker that resolves the second raises."""
    seen: list[str | None] = []
    registered(fake=family(seen))
    preload("fake")
    preload("fake:fast")
    assert seen == [None]


def test_a_framework_that_somebody_else_imported_is_not_claimed(registered: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported without the variable before convfuzz came, it cannot be had with it any more; with it, it can."""
    registered(fake=family([]))
    monkeypatch.setitem(sys.modules, "fake", registry)
    with pytest.raises(BackendError, match="needs FAKE_FAST=1"):
        resolve("fake:fast")
    monkeypatch.setenv("FAKE_FAST", "1")
    assert resolve("fake:fast").name == "fake:fast"


def test_a_mode_of_another_environment_is_available_where_its_framework_is(registered: Callable[..., None]) -> None:
    """Listing the modes in one process loads the framework once."""
    registered(fake=family([]))
    assert available("fake") is None
    assert available("fake:fast") is None


def test_tensorflow_without_onednn_agrees_with_the_reference() -> None:
    """``tensorflow:native`` over its declared domain, in a process of its own; its kernels are not oneDNN's."""
    pytest.importorskip("tensorflow", reason="the mode is TensorFlow's")
    assert KNOWN_DEFECTS["tensorflow:native"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", NATIVE], check=False, capture_output=True, text=True, cwd=ROOT / "tests", env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
