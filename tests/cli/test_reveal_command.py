"""``convfuzz reveal``: the sheet for people, as JSON, and what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convfuzz import Case

from .conftest import Call

CASE = "conv1d_n4_c6_o2_i4_k2_b_f32"


def test_the_sheet_has_every_part(call: Call) -> None:
    """The sheet names backend and case, the arithmetic, what may change a result, what to declare, and below it what was seen."""
    called = call("reveal", "kernels.py::right", "--case", CASE)
    assert called.status == 0
    said = ("kernels.py::right on " + CASE, "accumulator      float64", "declare          Numerics(accumulator='float64')", "a second run")
    assert all(words in called.stdout for words in said)
    assert called.stdout.index("What was seen") > called.stdout.index("Bit for bit the same")


def test_json_has_what_is_promised(call: Call) -> None:
    """``--json`` prints one object with the fields that other programs rely on."""
    called = call("reveal", "kernels.py::right", "--case", CASE, "--json")
    sheet = json.loads(called.stdout)
    promised = {"order", "block", "tree", "fma", "accumulator", "inputs", "output_rounding", "bias", "flushes", "invariant", "declare"}
    assert promised <= set(sheet)
    assert {"batch", "position", "threads", "layout", "runs"} <= set(sheet["invariant"])
    assert (sheet["backend"], sheet["invariant"]["runs"], sheet["invariant"]["threads"]) == ("kernels.py::right", True, None)
    assert all({"probe", "result"} == set(seen) for seen in sheet["seen"])
    assert Case.parse(sheet["case"]).config == Case.parse(CASE).config


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-backend"], "unknown backend 'no-such-backend'"),
        (["kernels.py::right", "--case", "conv1d_c0x_o1_i1_k1"], "c0x"),
        (["kernels.py::right", "--case", "conv1d_c8_o1_i4_k2_i32"], "dtype='int32' is not one of float64"),
        (["kernels.py::right", "--case", "conv1d_c1_o1_i4_k2_f32"], "adds up 2 products at most, fewer than 4"),
        (["kernels.py::right", "--case", "conv1d_c8_o1_i1_k2_f32"], "larger than the padded input"),
        (["kernels.py::only_double", "--case", CASE], "does not compute"),
        (["kernels.py::wrong", "--case", CASE], "it is wrong, and its arithmetic is not measured"),
        (["torch:meta", "--case", CASE], "computes shapes and dtypes only"),
        ([], "Missing argument 'BACKEND'"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_exits_2(call: Call, arguments: list[str], said: str) -> None:
    """A backend or case with nothing to measure ends with status 2, and one line says why."""
    called = call("reveal", *arguments)
    assert called.status == 2
    assert said in called.stderr
    assert called.stdout == ""


def test_a_kernel_that_fails_is_no_crash(call: Call) -> None:
    """A kernel that raises ends with status 2 and its message."""
    called = call("reveal", "kernels.py::wrong_when_batched", "--case", "conv1d_n-_c8_o1_i4_k2_f32")
    assert called.status == 2
    assert "raised TypeError" in called.stderr


def test_the_tree_is_drawn(call: Call, tmp_path: Path) -> None:
    """``--svg`` writes a picture of the summation tree beside what is printed; without a tree there is none, and a message says why."""
    called = call("reveal", "kernels.py::right", "--case", CASE, "--svg", str(tmp_path / "tree.svg"))
    assert called.status == 0
    assert "accumulator" in called.stdout
    assert (tmp_path / "tree.svg").read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')
