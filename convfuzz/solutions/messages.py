"""The messages between the judge and the solution's process: JSON, followed by the bytes of tensors; nothing is unpickled."""

from __future__ import annotations

from typing import Any

import msgspec

from convfuzz.backends.isolated.wire import Strided
from convfuzz.errors import UsageError


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first message: the file with ``ModelNew``, an empty folder to work in, and where it computes."""

    path: str
    folder: str
    device: str


class Construct(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make a new instance: seed PyTorch, call ``ModelNew``, and copy this state over what it has of equal name and shape.

    ``arguments`` is in the form of :func:`packed`; the memory of the state's tensors follows in their order.
    """

    arguments: Any
    seed: int
    state: dict[str, Strided]


class Call(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Call the instance. An input is a tensor, whose memory follows, or packed plain data; ``traced`` asks which operations it calls."""

    inputs: list[Strided | None]
    plain: list[Any]
    traced: bool = False


class End(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """There is no more to do."""


Request = Load | Construct | Call | End


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request; the memory of ``outputs`` follows, which came in a ``container`` (``tuple``, ``list``) or as one tensor.

    ``raised`` is an exception's class with its ``message``. ``acts`` are what the solution was seen to do that no solution has to
    do, ``noted`` what a reader may want to know, ``opened`` the files that it read as text.
    """

    outputs: list[Strided] = []
    container: str = ""
    raised: str = ""
    message: str = ""
    acts: list[str] = []
    noted: list[str] = []
    opened: list[str] = []
    missing: list[str] = []
    seconds: float = 0.0


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended: its exit code, negative for a signal, and how many processes it ``left`` behind, which were ended."""

    exitcode: int
    left: int = 0


def packed(value: Any) -> Any:
    """Return plain Python data in a form from which JSON makes the same again: tuples stay tuples.

    Raises:
        UsageError: there is something else in it.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return [type(value).__name__, [packed(one) for one in value]]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return ["dict", {name: packed(one) for name, one in value.items()}]
    raise UsageError(
        f"an argument of type {type(value).__name__}: a problem's arguments are numbers, strings, lists, and tensors to call with"
    )


def unpacked(value: Any) -> Any:
    """Return what :func:`packed` was given."""
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "float":
        return float.fromhex(content)
    if kind == "dict":
        return {name: unpacked(one) for name, one in content.items()}
    return (tuple if kind == "tuple" else list)(unpacked(one) for one in content)
