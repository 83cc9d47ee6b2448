"""A solution's process on a device: how its inputs lie there, and what is taken of its outputs and when.

The device is ``cpu:0``, which is the processor by another name, with stand-ins for what waits for a CUDA device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a problem's model is PyTorch's")

from convfuzz.backends.isolated import wire  # noqa: E402 - behind the check for PyTorch
from convfuzz.errors import UsageError  # noqa: E402 - the same
from convfuzz.solutions import nursery  # noqa: E402 - the same
from convfuzz.solutions.judge import judge  # noqa: E402 - the same
from convfuzz.solutions.messages import Call, Returned  # noqa: E402 - the same
from convfuzz.tensors.layouts import placement  # noqa: E402 - the same

from .cheats import LOOK_ALIKES, PROBLEM  # noqa: E402 - the same

Ask = Callable[..., Returned]


@pytest.fixture
def steps() -> list[str]:
    """What was done to the device, in order."""
    return []


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, steps: list[str]) -> Iterator[Ask]:
    """Call a model as the solution's process does; ``later`` runs when all streams are waited for."""
    here, there = Pipe()
    session = nursery._Session(there)
    session._device = "cpu:0"
    monkeypatch.setattr(nursery, "poison_everything", steps.append)
    monkeypatch.setattr(nursery, "_current_stream", lambda: SimpleNamespace(synchronize=lambda: steps.append("stream")))

    def called(model: Any, *arrays: Any, later: Callable[[], object] = lambda: None) -> Returned:
        def synchronize() -> None:
            steps.append("device")
            later()

        monkeypatch.setattr(nursery, "_synchronize", synchronize)
        session._model = model
        found, _ = session._call(Call(inputs=[wire.describe(array) for array in arrays], plain=[]), list(arrays))
        return found

    yield called
    here.close()
    there.close()


@pytest.mark.parametrize("layout", ["contiguous", "non_contiguous", "channels_last", "offset"])
def test_inputs_lie_on_the_device_as_the_judge_has_them(ask: Ask, layout: str) -> None:
    """Strides and offset are the layout's, for integers and booleans as well, which have no NaN."""
    lies = placement(layout, (2, 3, 4, 5), channels=1, expanded=-1)
    for dtype in (np.float32, np.int64, np.bool_):
        values = np.arange(120).reshape(2, 3, 4, 5).astype(dtype)
        array = lies.place(values) if dtype is not np.bool_ else values
        seen = []

        def model(x: Any, seen: list[Any] = seen) -> Any:
            seen.append((x.stride(), x.storage_offset()))
            return x.float() + 1.0

        found = ask(model, array)
        assert (found.raised, found.acts) == ("", [])
        assert seen == [(lies.strides, lies.offset)] or dtype is np.bool_


def test_memory_is_poisoned_before_and_the_device_is_idle_when_outputs_are_taken(ask: Ask, steps: list[str]) -> None:
    """First comes the poison, then the call; the stream in which the result is used is waited for, and then all others."""
    ask(lambda x: steps.append("call") or x + 1.0, np.ones((2, 3), np.float32))
    assert steps == ["cpu:0", "call", "stream", "device"]


def test_a_result_that_another_stream_writes_later_is_seen(ask: Ask) -> None:
    """A result that changes while the other streams end was not there when the call returned."""
    results = []

    def model(x: Any) -> Any:
        results.append(torch.zeros_like(x))
        return results[0]

    found = ask(model, np.ones((2, 3), np.float32), later=lambda: results[0].fill_(2.0))
    assert found.acts == ["writes its result after it has returned"]


def test_without_a_device_no_solution_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch sees no CUDA device, that is a mistake in the command and no verdict."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "problem.py").write_text(PROBLEM)
    (tmp_path / "solution.py").write_text(LOOK_ALIKES["the-library"].source)
    with pytest.raises(UsageError, match="sees no CUDA device here"):
        judge(tmp_path / "problem.py", tmp_path / "solution.py", seed=1, device="cuda")
