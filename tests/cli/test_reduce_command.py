"""``convfuzz reduce``."""

from __future__ import annotations

from .conftest import Call

LINE = "conv2d_n3_c4_o6_g2_i9x7_k3_s2_p1_b_f32@normal.7"


def test_failing_case_is_reduced(call: Call) -> None:
    """A failing case ends as the smallest one that fails in the same way, with exit status 1."""
    called = call("reduce", LINE, "--backends", "kernels.py::wrong,kernels.py::right")
    assert called.status == 1
    assert "minimal after" in called.stdout
    assert "still particular: kernel=1x1" in called.stdout
    assert "conv1d_c1_o1_i1_k1_f32@integers.0" in called.stdout
    assert "confirmed: failed in 5 of 5 fresh processes" in called.stdout


def test_case_that_does_not_fail_is_left_alone(call: Call) -> None:
    """There is nothing to reduce where no backend fails, and the exit status is 0."""
    called = call("reduce", LINE, "--backends", "kernels.py::right")
    assert called.status == 0
    assert "nothing to reduce" in called.stdout
