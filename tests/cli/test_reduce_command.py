"""``convfuzz reduce``."""

from __future__ import annotations

from .conftest import Call

LINE = "conv2d_n3_c4_o6_g2_i9x7_k3_s2_p1_b_f32@normal.7"


def test_failing_case_is_reduced(call: Call) -> None:
    """A failing case ends as the smallest one that fails in the same way, with exit status 1."""
    called = call("reduce", LINE, "--backends", "kernels.py::wrong,kernels.py::right")
    assert called.status == 1
    assert "minimal after" in called.stdout
    assert "not at its default: kernel=1x1" in called.stdout
    assert "conv1d_c1_o1_i1_k1_f32@zeros" in called.stdout
    assert "confirmed: failed in 5 of 5 fresh processes" in called.stdout


def test_case_that_does_not_fail_is_left_alone(call: Call) -> None:
    """There is nothing to reduce where no backend fails, and the exit status is 0."""
    called = call("reduce", LINE, "--backends", "kernels.py::right")
    assert called.status == 0
    assert "nothing to reduce" in called.stdout


def test_case_that_nothing_computes_is_no_case_that_passes(call: Call) -> None:
    """Where no backend computes the case, that is said with the reason, and the exit status is 2."""
    called = call("reduce", "conv1d_c1_o1_i3_k9_f32", "--backends", "kernels.py::right")
    assert (called.status, called.stdout) == (2, "")
    assert "nothing was compared: no backend computes conv1d_c1_o1_i3_k9_f32: kernels.py::right: invalid configuration" in called.stderr


def test_data_that_stay_dense_are_explained(call: Call) -> None:
    """Where the failure needs more non-zeros than a case is written out with, the command says so."""
    called = call("reduce", "conv1d_c1_o1_i200_k1_f32@normal.7", "--backends", "kernels.py::wrong_where_dense")
    assert called.status == 1
    assert "its data are still as drawn: x has" in called.stdout
    assert "conv1d_c1_o1_i101_k1_f32@integers.0" in called.stdout
    assert "fails at input size 101, works at 100: conv1d_c1_o1_i100_k1_f32@integers.0" in called.stdout


def test_the_nearest_passing_case_is_named(call: Call) -> None:
    """The command ends with the boundary and the case on the other side of it, or says that there is none."""
    called = call("reduce", LINE, "--backends", "kernels.py::wrong_when_batched")
    assert "fails at batch 2, works at 1: conv1d_c1_o1_i1_k1_f32@integers.0\n" in called.stdout
    assert "conv1d_n2_c1_o1_i1_k1_f32@zeros\n" in called.stdout
    called = call("reduce", LINE, "--backends", "kernels.py::wrong")
    assert "no companion: nothing is left of the case that could be simpler\n" in called.stdout
