"""``convfuzz check``: tables, JSON, cases from standard input, and the exit status."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from convfuzz.cli import streams

from .conftest import Call

CASE = "conv2d_c2_o3_i5_k3_b_f32@integers.1"


def test_agreement_exits_0(call: Call) -> None:
    """A case on which all agree exits 0 and shows a row per backend and the discrepancy of each pair."""
    called = call("check", CASE, "--backends", "kernels.py::right,reference")
    assert called.status == 0
    assert CASE in called.stdout
    assert called.stdout.count("agree") == 2
    assert "kernels.py::right against reference: max-abs 0" in called.stdout


def test_failure_exits_1_and_says_where(call: Call) -> None:
    """A failing case exits 1 and shows the largest error with its place and values."""
    called = call("check", CASE, "--backends", "reference,kernels.py::wrong")
    assert called.status == 1
    assert "kernels.py::wrong: integers off by 1: a tap is missing, doubled or misplaced" in called.stdout
    assert "largest at [0, 0, 0, 0]: expected " in called.stdout


def test_a_name_is_no_pictogram(call: Call) -> None:
    """What stands between colons, as in the mode of ``opencv:new: wrong``, is printed as it is."""
    Path("kernels.py").rename("of:new:kind.py")
    assert "of:new:kind.py::wrong: integers off by 1" in call("check", CASE, "--backends", "of:new:kind.py::wrong").stdout


def test_json_has_one_object_per_case(call: Call) -> None:
    """``--json`` prints one object a line, with verdicts, reasons, discrepancies and pairs."""
    called = call("check", CASE, "conv2d_c2_o3_i2_k3_f32", "--backends", "kernels.py::wrong,reference", "--json")
    first, second = (json.loads(line) for line in called.stdout.splitlines())
    assert called.status == 1
    assert (first["case"], first["valid"], first["skipped"]) == (CASE, True, "")
    assert [(r["backend"], r["verdict"], r["failing"]) for r in first["results"]] == [
        ("kernels.py::wrong", "wrong", True),
        ("reference", "agree", False),
    ]
    assert first["results"][0]["discrepancies"]["forward"]["max_abs"] == 1.0
    assert first["pairs"] == [{"a": "kernels.py::wrong", "b": "reference", "max_abs": 1.0}]
    assert (second["valid"], second["results"][0]["verdict"]) == (False, "unsupported")
    assert "larger than the padded input" in second["invalid_reason"]


def test_json_holds_nan_and_inf(call: Call) -> None:
    """Results that are NaN or Inf are strings in JSON, so that the line is JSON."""
    called = call("check", "conv2d_c2_o3_i5_k3_f32@special.2", "--backends", "kernels.py::wrong,reference", "--json")
    json.loads(called.stdout, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def test_cases_come_from_standard_input(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads cases, one a line, among those given as arguments."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("conv1d_c1_o1_i4_k2_f32\n\n  conv1d_c1_o1_i5_k2_f32\n"))
    called = call("check", CASE, "-", "--backends", "reference", "--json")
    assert [json.loads(line)["case"] for line in called.stdout.splitlines()] == [CASE, "conv1d_c1_o1_i4_k2_f32", "conv1d_c1_o1_i5_k2_f32"]


def test_empty_standard_input_exits_2(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` without a case on standard input is a usage error."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    called = call("check", "-", "--backends", "reference")
    assert (called.status, called.stderr) == (2, "convfuzz: no case given\n")


class Folder(io.StringIO):
    """Standard input that is a folder."""

    def read(self, _: int | None = -1, /) -> str:
        """Fail, as the system does."""
        raise IsADirectoryError(21, "Is a directory")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (io.TextIOWrapper(io.BytesIO(b"conv\xff\n"), encoding="utf-8"), "token 'conv\\\\xff' of case 'conv\\\\xff': expected conv1d"),
        (Folder(), "standard input cannot be read: Is a directory"),
        (io.StringIO("x" * 30), "standard input has more than 20 characters"),
        (None, "no case given"),
    ],
    ids=["bytes", "folder", "endless", "none"],
)
def test_standard_input_that_has_no_cases(call: Call, monkeypatch: pytest.MonkeyPatch, given: io.TextIOBase | None, message: str) -> None:
    """Bytes that are no text, a folder, what has no end, and no standard input at all are usage errors that say so."""
    monkeypatch.setattr(sys, "stdin", given)
    monkeypatch.setattr(streams, "_MOST_INPUT", 20)
    called = call("check", "-", "--backends", "reference")
    assert called.status == 2
    assert called.stderr.startswith(f"convfuzz: {message}")


def test_nothing_compared_exits_2(call: Call) -> None:
    """A check in which every backend declines is no success."""
    called = call("check", CASE, "--backends", "kernels.py::only_double")
    assert called.status == 2
    assert "nothing was compared" in called.stderr


def test_invalid_case_says_why_it_is_invalid(call: Call) -> None:
    """An invalid configuration is checked for being rejected, and its broken rule is shown."""
    called = call("check", "conv2d_c3_o2_g2_i5_k3_f32", "--backends", "reference")
    assert called.status == 0
    assert "invalid: groups=2" in called.stdout
    assert "rejected: ValueError" in called.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv2d_c2_o3_i5_k3_x9", "--backends", "reference"], "token 'x9' of case 'conv2d_c2_o3_i5_k3_x9' is unknown"),
        (["nonsense", "--backends", "reference"], "expected conv1d, conv2d"),
        ([f"{CASE[:-1]}x", "--backends", "reference"], "data recipe 'integers.x': expected regime.seed"),
        ([CASE, "--backends", "tensorflwo"], "unknown backend 'tensorflwo' (closest: 'tensorflow'); known are "),
        (
            [CASE, "--backends", "kernels.py::missing"],
            "has no 'missing'; it defines _correct, _rounded, as_wrong, only_double, right, wrong",
        ),
        ([CASE, "--backends", "nowhere.py::f"], "there is no file nowhere.py"),
        ([CASE, "--backends", ""], "no backend to compare with the reference"),
        ([CASE, "--backends", ",, ,"], "no backend to compare with the reference"),
        ([CASE, "--backends", "reference,reference"], "'reference' is listed twice"),
    ],
)
def test_usage_errors_exit_2_in_one_line(call: Call, arguments: list[str], message: str) -> None:
    """An unparsable case or an unknown backend exits 2 with one line that names it."""
    called = call("check", *arguments)
    assert called.status == 2
    assert called.stderr.startswith("convfuzz: ")
    assert message in called.stderr
    assert called.stderr.count("\n") == 1
    assert called.stdout == ""


def test_status_is_that_of_the_process(process: Call) -> None:
    """The exit status reaches the shell."""
    assert process("check", CASE, "--backends", "kernels.py::wrong").status == 1


def test_named_elements_are_checked(call: Call) -> None:
    """A case that names its elements runs like any other, and a misfit is a usage error that names the token."""
    called = call("check", "conv2d_c1_o1_i3_k2_f32@x4=2_w3=3", "--backends", "kernels.py::wrong")
    assert called.status == 1
    assert "largest at [0, 0, 0, 0]: expected 6.0, got 7.0" in called.stdout
    called = call("check", "conv2d_c1_o1_i3_k2_f32@x9=2", "--backends", "kernels.py::wrong")
    assert called.status == 2
    assert "x9=2: x has 9 elements" in called.stderr
