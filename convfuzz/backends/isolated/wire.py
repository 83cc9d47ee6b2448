"""Cases, tensors and outputs as messages between two processes on one machine; nothing is unpickled."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, Literal

import msgspec
import numpy as np

from convfuzz.case.config import DTYPES
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.tensors.generator import Array

_PART = 2**24
_ALIGNMENT = 64
"""Fast paths depend on addresses modulo a cache line, so that much of an address is kept."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to a process: the name of its backend, and its limit of resident memory in bytes (0: none)."""

    backend: str
    memory_limit: int


class Strided(msgspec.Struct, frozen=True, kw_only=True):
    """The layout of an array within the memory that it spans: ``nbytes`` bytes that begin at ``address`` modulo the alignment."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    address: int
    nbytes: int


class Request(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A case to run; the memory of its tensors follows in this order."""

    case: str
    tensors: dict[str, Strided]


class Compiling(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Before the reply: a compilation begins, which may take ``limit`` seconds, or, without a limit, has taken ``seconds``."""

    limit: float | None = None
    seconds: float = 0.0


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The result of a call; the memory of the outputs follows, then that of the tensors that it ``changed``.

    ``raised`` is ``unsupported``, ``no array`` or the name of the exception's class, and ``""`` if nothing was raised.
    """

    outputs: dict[str, Strided] = {}
    changed: list[str] = []
    raised: str = ""
    message: str = ""


class Question(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A question about what a kernel's author has declared: all that is plain data, or the answer of one function for ``case``.

    ``watched`` asks for what the function reads and compares as well, which a search for what it accepts goes by.
    """

    about: Literal["declaration", "supports", "numerics"]
    case: str = ""
    watched: bool = False


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What a function has read of a configuration, and the comparisons: attribute, place in it, and the value wished for."""

    reads: list[str]
    wishes: list[tuple[str, list[int], Any]]
    compared: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was declared; ``raised`` is the name of the class of the exception that answering has raised."""

    value: Any = None
    watched: Watched | None = None
    raised: str = ""
    message: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended: its exit code, negative for a signal, and its resident memory if that exceeded the limit."""

    exitcode: int
    resident: int = 0


def describe(array: Array) -> Strided:
    """Return how ``array`` lies in the memory that it spans."""
    low, high = _bounds(array)
    first = array.__array_interface__["data"][0]
    return Strided(
        dtype=array.dtype.name,
        shape=array.shape,
        strides=array.strides,
        offset=first - low,
        address=low % _ALIGNMENT,
        nbytes=high - low,
    )


def memory_of(array: Array) -> Array:
    """Return the memory that ``array`` spans as writable bytes, including the bytes between its elements."""
    low, high = _bounds(array)
    return np.ctypeslib.as_array((ctypes.c_uint8 * (high - low)).from_address(low))


def receive_array(connection: Connection, described: Strided) -> Array:
    """Receive the memory of an array and return the array with its layout.

    Raises:
        EOFError: the other process is gone.
    """
    room = np.empty(described.nbytes + _ALIGNMENT, np.uint8)
    start = (described.address - room.__array_interface__["data"][0]) % _ALIGNMENT
    # Through a memoryview, so that the array's buffer begins where that of the other process does, and not where the room does.
    memory = np.frombuffer(room.data[start : start + described.nbytes], np.uint8)
    fill(memory, connection)
    dtype: np.dtype[Any] = numpy_dtype(described.dtype) if described.dtype in DTYPES else np.dtype(described.dtype)
    return np.ndarray(described.shape, dtype, memory, described.offset, described.strides)


def fill(memory: Array, connection: Connection) -> None:
    """Receive bytes into ``memory``.

    Raises:
        EOFError: the other process is gone.
    """
    for part in parts(len(memory)):
        memory[part] = np.frombuffer(connection.recv_bytes(), np.uint8)


def parts(nbytes: int) -> list[slice]:
    """Return the parts in which so many bytes are sent, a message each, so that nobody holds all of them twice; one of nothing, too."""
    return [slice(start, min(start + _PART, nbytes)) for start in range(0, max(nbytes, 1), _PART)]


def send_arrays(connection: Connection, arrays: Mapping[str, Array]) -> None:
    """Send the memory of ``arrays`` in their order."""
    for array in arrays.values():
        memory = memory_of(array)
        for part in parts(len(memory)):
            connection.send_bytes(memory[part].data)


def _bounds(array: Array) -> tuple[int, int]:
    if array.size == 0:
        first: int = array.__array_interface__["data"][0]
        return first, first
    low, high = np.lib.array_utils.byte_bounds(array)
    return low, high
