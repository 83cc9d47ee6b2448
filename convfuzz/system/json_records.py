"""Records as JSON: NaN and Inf survive, and what is read is validated against its type and its format version."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from convfuzz.errors import UnreadableFile, UsageError

T = TypeVar("T")


class Real(float):
    """A float whose NaN and ±Inf are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``: JSON has no word for them."""

    __slots__ = ()


def _encode(value: object) -> Any:
    if isinstance(value, Real):
        plain = float(value)
        return plain if math.isfinite(plain) else str(plain)
    raise NotImplementedError(f"a {type(value).__name__} is not a record")


def _decode(kind: type, value: object) -> Any:
    if kind is Real and not isinstance(value, bool) and (isinstance(value, int | float) or value in ("nan", "inf", "-inf")):
        return Real(value)
    raise NotImplementedError(f"{value!r} is not a {kind.__name__}")


encoder = msgspec.json.Encoder(enc_hook=_encode)


def encode(record: object) -> bytes:
    """Return ``record`` as one line of JSON, without the newline.

    Raises:
        UsageError: a text in it is no UTF-8, as only the name of a file or folder can be.
    """
    try:
        return encoder.encode(record)
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!r} is not UTF-8, in which a run keeps its names; rename the file or folder") from None


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


def decode_file(data: bytes, kind: type[T], *, source: str, name: str, version: int, most_bytes: int) -> T:
    """Read the JSON of a file from elsewhere: its size first, then its ``format``, then everything else.

    Args:
        data: its content.
        kind: the type of its record.
        source: the path of the file, for messages.
        name: what such a file is called, such as ``finding``, for messages.
        version: the format version that is read.
        most_bytes: how large it may be.

    Raises:
        UnreadableFile: it is too large, of another format version, or not such a record.
    """
    if len(data) > most_bytes:
        raise UnreadableFile(f"{source} has {len(data)} bytes; a {name} has at most {most_bytes}")
    try:
        require_format(decode(data, dict[str, Any]).get("format"), version, f"{source} has {name} format")
        return decode(data, kind)
    except msgspec.DecodeError as error:
        raise UnreadableFile(f"{source} is not a {name}: {_said(error)}") from None


def _said(error: msgspec.DecodeError) -> str:
    """Say what is wrong with JSON: its content, or that it is none."""
    return str(error) if isinstance(error, msgspec.ValidationError) else f"it is not JSON, or not all of it: {error}"


def require_format(found: object, version: int, has: str) -> None:
    """Make sure that a file is of the format version that is read; ``has`` begins the message, such as ``x.json has run format``.

    Raises:
        UnreadableFile: it is of another version, or does not say which.
    """
    if type(found) is not int or found != version:
        raise UnreadableFile(f"{has} {found!r}; this convfuzz reads format {version}")


@cache
def reader(kind: Any) -> Callable[[bytes], Any]:
    """Return a function that reads JSON as ``kind``, and raises ``msgspec.DecodeError`` whatever is wrong with it."""
    decoder = msgspec.json.Decoder(kind, dec_hook=_decode)

    def read(data: bytes) -> Any:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError:
            raise
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(f"not UTF-8 at byte {error.start}") from None
        except (NotImplementedError, OverflowError, RecursionError) as error:
            raise msgspec.ValidationError(str(error)) from None

    return read
