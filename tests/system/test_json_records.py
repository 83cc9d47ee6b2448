"""Records as JSON: what is not finite survives, and what has another type does not get in."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.system.json_records import Real, decode, decode_file, encode, encode_indented
from convfuzz.verdicts import Discrepancy


class Sample(msgspec.Struct, frozen=True):
    """A record with reals in every place where one can be."""

    value: Real
    maybe: Real | None = None
    several: list[Real] = []
    named: dict[str, Real] = {}


def same(a: float, b: float) -> bool:
    """Tell whether two floats are the same number, or both NaN, with the same sign."""
    return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1.0, a) == math.copysign(1.0, b))


@given(st.floats())
def test_any_float_survives(value: float) -> None:
    """Every float comes back as it was, NaN, ±Inf, subnormals and the sign of zero included."""
    found = decode(encode(Sample(Real(value))), Sample)
    assert isinstance(found.value, Real)
    assert same(found.value, value)


def test_everywhere_in_a_record() -> None:
    """Reals that are not finite survive as optional values and inside lists and mappings."""
    sample = Sample(Real(1.5), Real("-inf"), [Real("nan"), Real("inf"), Real(0)], {"a": Real("nan")})
    found = decode(encode(sample), Sample)
    assert found.maybe == -math.inf
    assert [str(v) for v in found.several] == ["nan", "inf", "0.0"]
    assert math.isnan(found.named["a"])


def test_the_text_is_json() -> None:
    """What is written is JSON that any strict reader takes: one line of it, or indented with a newline at the end."""
    sample = Sample(Real("nan"), Real(0.1))
    line = encode(sample)
    assert b"\n" not in line
    assert json.loads(line, parse_constant=pytest.fail) == {"value": "nan", "maybe": 0.1, "several": [], "named": {}}
    indented = encode_indented(sample)
    assert indented.endswith(b"}\n")
    assert json.loads(indented) == json.loads(line)


@pytest.mark.parametrize("value", ["1", "NaN", "Infinity", "+inf", "", None, True, [1.0], {}])
def test_no_real(value: Any) -> None:
    """Where a real belongs, a number and the three words will do and nothing else."""
    with pytest.raises(msgspec.ValidationError):
        decode(json.dumps({"value": value}).encode(), Sample)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b'{"value": NaN}', b'{"value": 1} x', b'{"value": 1e999}'])
def test_no_record(data: bytes) -> None:
    """What is no JSON, or another shape of it, raises msgspec's DecodeError."""
    with pytest.raises(msgspec.DecodeError):
        decode(data, Sample)


def test_an_integer_too_large_for_a_float() -> None:
    """A whole number beyond the floats raises msgspec's DecodeError like any other that does not fit."""
    with pytest.raises(msgspec.DecodeError):
        decode(b'{"value": 1' + b"0" * 400 + b"}", Sample)


def test_whole_numbers_are_reals() -> None:
    """A real may be written as a whole number."""
    assert decode(b'{"value": 3}', Sample).value == 3.0


def test_a_discrepancy_round_trip() -> None:
    """A discrepancy comes back equal, with its defaults left out of the text."""
    found = Discrepancy(
        elements=4, max_abs=Real("inf"), index=(0, 1), expected=Real("-inf"), actual=Real(2), u_s=Real(0.5), ratio=Real("inf")
    )
    line = encode(found)
    assert decode(line, Discrepancy) == found
    assert set(json.loads(line)) == {"elements", "max_abs", "index", "expected", "actual", "u_s", "ratio"}


def test_other_objects_are_no_records() -> None:
    """An object that is no record is refused with its type rather than written in some form."""
    with pytest.raises(NotImplementedError, match="object is not a record"):
        encode(object())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"format": 1, "value": 2}' + b" " * 100, "x.json has 125 bytes; a sample has at most 99"),
        (b'{"format": 2, "value": "?"}', "x.json has sample format 2; this convfuzz reads format 1"),
        (b'{"format": true, "value": 2}', "x.json has sample format True; this convfuzz reads format 1"),
        (b'{"value": 2}', "x.json has sample format None; this convfuzz reads format 1"),
        (b'{"format": 1}', "x.json is not a sample: Object missing required field `value`"),
        (b"[1]", "x.json is not a sample: "),
    ],
)
def test_files_are_read_by_size_format_and_type(data: bytes, message: str) -> None:
    """A file is refused by its size first, then by its format version, then by what it holds."""
    with pytest.raises(UnreadableFile) as refused:
        decode_file(data, Sample, source="x.json", name="sample", version=1, most_bytes=99)
    assert message in str(refused.value)
    assert decode_file(b'{"format": 1, "value": "nan"}', Sample, source="x.json", name="sample", version=1, most_bytes=99)


def test_a_name_that_is_no_utf_8_is_refused() -> None:
    """The name of a file in bytes that are no text is a mistake with a remedy, since JSON has no word for it."""
    with pytest.raises(UsageError, match=r"k\\udcff\.py::f' is not UTF-8, in which a run keeps its names; rename the file or folder"):
        encode({"backend": os.fsdecode(b"k\xff.py::f")})
