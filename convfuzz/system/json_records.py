"""Writes records as JSON, NaN and Inf included, and validates what it reads against a type."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")


class Real(float):
    """A float whose NaN and ±Inf are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``, since JSON has no numbers for them."""

    __slots__ = ()


def _encode(value: object) -> Any:
    if isinstance(value, Real):
        plain = float(value)
        return plain if math.isfinite(plain) else str(plain)
    raise NotImplementedError(f"a {type(value).__name__} is no record")


def _decode(kind: type, value: object) -> Any:
    if kind is Real and not isinstance(value, bool) and (isinstance(value, int | float) or value in ("nan", "inf", "-inf")):
        return Real(value)
    raise NotImplementedError(f"{value!r} is no {kind.__name__}")


encoder = msgspec.json.Encoder(enc_hook=_encode)


def encode(record: object) -> bytes:
    """Return ``record`` as one line of JSON, without the newline."""
    return encoder.encode(record)


def encode_indented(record: object) -> bytes:
    """Return ``record`` as JSON for people, with a newline at the end."""
    return msgspec.json.format(encode(record), indent=2) + b"\n"


def decode(data: bytes, kind: type[T]) -> T:
    """Read JSON as ``kind``.

    Raises:
        msgspec.DecodeError: it is not JSON, or not of that type.
    """
    record: T = reader(cast("Any", kind))(data)
    return record


@cache
def reader(kind: Any) -> Callable[[bytes], Any]:
    """Return a function that reads JSON as ``kind``, and raises ``msgspec.DecodeError`` whatever is wrong with it."""
    decoder = msgspec.json.Decoder(kind, dec_hook=_decode)

    def read(data: bytes) -> Any:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError:
            raise
        except (NotImplementedError, OverflowError, RecursionError, UnicodeDecodeError) as error:
            raise msgspec.ValidationError(str(error)) from None

    return read
