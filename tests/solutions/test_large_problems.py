"""A solution of a large problem takes what it needs, and judging it little more: what is sent in parts, looked at by digest, put aside."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a problem's model is PyTorch's")

from convfuzz.backends.isolated import wire  # noqa: E402 - behind the check for PyTorch
from convfuzz.solutions import comparing, nursery, trials  # noqa: E402 - the same
from convfuzz.solutions.comparing import put_aside  # noqa: E402 - the same
from convfuzz.solutions.problem import problem_of  # noqa: E402 - the same
from convfuzz.solutions.process import SolutionProcess  # noqa: E402 - the same
from convfuzz.solutions.trials import drawn, plan  # noqa: E402 - the same

from .cheats import PROBLEM  # noqa: E402 - the same


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have messages of 24 bytes, and no copies."""
    monkeypatch.setattr(wire, "_PART", 24)
    monkeypatch.setattr(nursery, "_MOST_COPIED", 0)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kept", [None, (0,), (1, 4), (4,), (0, 1, 2, 3, 4), (9,)])
def test_what_is_sent_in_parts_arrives(kept: tuple[int, ...] | None) -> None:
    """The judge gets an output's members as they were, whichever it keeps; of an output that has fewer it gets all."""
    tensor = torch.arange(5 * 7 * 2).reshape(5, 2, 7).transpose(1, 2).float()
    taken = nursery._taken(tensor)
    sent = (bytes(taken.part(part)) for part in wire.parts(taken.size))
    process = object.__new__(SolutionProcess)
    process._memory = 2**20
    process._read = lambda _: next(sent)  # type: ignore[method-assign] # what comes from a process
    received = process._receive(taken.header, kept)
    np.testing.assert_array_equal(received, tensor.numpy() if kept is None or 9 in kept else tensor.numpy()[list(kept)])


@pytest.mark.usefixtures("small_parts")
def test_a_large_result_that_changes_later_is_seen() -> None:
    """A digest shows that a result is not what it was when the call returned."""
    tensor = torch.zeros(40)
    taken = nursery._taken(tensor)
    assert not nursery._taken(tensor).differs(taken)
    tensor[33] = 1.0
    assert nursery._taken(tensor).differs(taken)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int64])
def test_what_is_put_aside_is_as_it_was(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array in a file has the values, shape and dtype that it had."""
    monkeypatch.setattr(comparing, "_LEAST_PUT_ASIDE", 0)
    monkeypatch.setattr(comparing, "_AT_ONCE", 8)
    array = np.arange(60).reshape(3, 4, 5).astype(dtype).transpose(0, 2, 1)
    aside = put_aside(array)
    assert (aside.dtype, aside.shape, aside.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("regime", ["integers", "cancellation", "sparse", "huge", "tiny", "positive", "normal", "special"])
def test_large_inputs_are_drawn_as_small_ones_are(regime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are drawn a stretch at a time are those that are drawn at once."""
    like = np.empty((2, 6, 5), np.float16)
    whole = drawn(like, regime, 3)
    monkeypatch.setattr(trials, "_AT_ONCE", 7)
    assert drawn(like, regime, 3).tobytes() == whole.tobytes()


def test_a_large_batch_is_not_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large input the other batch has one member more, or two, so that it is odd; of a small one it is twice as large."""
    (tmp_path / "problem.py").write_text(PROBLEM)
    problem = problem_of(tmp_path / "problem.py")

    def batches() -> list[str]:
        return [trial.name for part in plan(problem, 1) for one in part for trial in one.trials if trial.name.startswith("batch")]

    assert batches() == ["batch 5"]
    monkeypatch.setattr(trials, "_MANY", 0)
    assert batches() == ["batch 3"]
