"""Memory for the arrays of one call: against guard pages, of which a process dies, and between canaries, which show what was written."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.tensors.layouts import Placement
from convfuzz.tensors.poison import canary_bytes, canary_value
from convfuzz.tensors.stretches import contents, copy_over

Array = npt.NDArray[Any]
Side = Literal["end", "beginning"]
SIDES: tuple[Side, Side] = ("end", "beginning")

DEFAULT_ALIGNMENT = 16
"""What malloc promises, and so NumPy, in bytes."""
PAGE = mmap.PAGESIZE
_CANARY = 256
"""The least number of bytes between an array and an end of its memory that is no guard page."""
_PROT_NONE, _PROT_READ = 0, 1


class Guards(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How arrays are guarded.

    Without ``pages`` there are canaries only, as in a process that must not die. Only the array named ``operand`` has a guard page,
    if one is named, and only on its ``side``: by default a first call has them at the ends, a second one at the beginnings.
    ``room`` bytes are left between the array and its page, which can be read where it is ``readable``.
    """

    pages: bool = True
    operand: str = ""
    side: Side | None = None
    room: int = 0
    readable: bool = False


@dataclass(frozen=True)
class BufferNeeds:
    """What a kernel says of its buffers: they begin at multiples of ``alignment`` bytes, and ``extra_bytes`` behind them may be read.

    An alignment of 1 is that of the elements, so that each array ends where its guard page begins. A buffer is what holds an array: in
    the layout ``offset`` the array begins at its second element.
    """

    alignment: int = DEFAULT_ALIGNMENT
    extra_bytes: int = 0


class _Buffer(np.ndarray[Any, np.dtype[Any]]):
    """What holds arrays: where code that follows bases to what owns the memory ends, as it does at an array of NumPy's own."""

    base = None


@dataclass(frozen=True)
class _Guarded:
    """One array: ``memory`` between the pages as bytes, from ``low`` to ``high`` the array's, and the canaries as they were."""

    name: str
    array: Array
    memory: Array
    low: int
    high: int
    before: bytes
    behind: bytes

    def overruns(self) -> list[str]:
        """Say what was written around the array and, where its elements do not fill its span, between them."""
        found = []
        if (written := self._changed(self.memory[: self.low], self.before, self.low)) is not None:
            first, count = written
            found.append(f"wrote {_bytes(count)} before the beginning of {self.name}, at offset -{self.low - first}")
        if (written := self._changed(self.memory[self.high :], self.behind, 0)) is not None:
            first, count = written
            found.append(f"wrote {_bytes(count)} beyond the end of {self.name}, at offset {first} behind it")
        if between := self._between():
            found.append(f"wrote {_bytes(between)} between the elements of {self.name}")
        return found

    def _changed(self, now: Array, then: bytes, phase: int) -> tuple[int, int] | None:
        """Return where the first element that was written to begins, and how many bytes such elements have; ``None`` without any.

        A number that is written may have some of its bytes in common with the canary.
        """
        if now.tobytes() == then:
            return None
        size = self.array.itemsize
        bytes_changed = np.flatnonzero(now != np.frombuffer(then, np.uint8))
        elements = np.unique((bytes_changed - phase) // size)
        return max(int(elements[0]) * size + phase, 0), len(elements) * size

    def _between(self) -> int:
        if self.array.nbytes >= self.high - self.low or not self.array.size:
            return 0
        span = self.memory[self.low : self.high].copy()
        offset = _address(self.array) - _address(self.memory) - self.low
        np.ndarray(self.array.shape, self.array.dtype, span, offset, self.array.strides)[...] = canary_value(self.array.dtype)
        item = canary_bytes(self.array.dtype)
        if span.tobytes() == item * (span.size // len(item)):
            return 0
        return len(np.flatnonzero((span.reshape(-1, len(item)) != np.frombuffer(item, np.uint8)).any(axis=1))) * len(item)


class GuardedMemory:
    """The arrays of one call, each in memory of its own, which lives as long as the array."""

    def __init__(self, guards: Guards, needs: BufferNeeds, side: Side = "end") -> None:
        self._guards, self._needs, self._side = guards, needs, guards.side or side
        self._arrays: list[_Guarded] = []
        self._originals: list[tuple[str, Array, bytes | int]] = []
        self._moved: list[tuple[Array, Array]] = []

    def copy(self, name: str, array: Array) -> Array:
        """Return a copy of ``array`` with the same strides and alignment; what lies between its elements is NaN."""
        copied = self.allocate(name, array.shape, array.strides, array.dtype, _offset(array))
        once = tuple(slice(1) if stride == 0 else slice(None) for stride in array.strides)
        copied[once] = array[once]
        self._originals.append((name, copied, contents(array)))
        return copied

    def move(self, name: str, array: Array) -> Array:
        """Return what :meth:`copy` does of a large array, whose own memory is given back to the system until :meth:`give_back`."""
        moved = self.allocate(name, array.shape, array.strides, array.dtype, _offset(array))
        self._originals.append((name, moved, contents(array)))
        copy_over(array, moved)
        self._moved.append((array, moved))
        return moved

    def give_back(self) -> None:
        """Fill the arrays that were moved with what is in their copies now, which are empty then."""
        for array, moved in self._moved:
            copy_over(moved, array)
        self._moved.clear()

    def place(self, name: str, values: Array, placement: Placement) -> Array:
        """Return a copy of ``values`` that lies as ``placement`` says."""
        size = values.itemsize
        strides = tuple(stride * size for stride in placement.strides)
        placed = self.allocate(name, placement.shape, strides, values.dtype, placement.offset * size)
        placed[...] = values
        self._originals.append((name, placed, contents(values)))
        return placed

    def changed(self) -> list[str]:
        """Return the names of the copies that no longer are what they are copies of."""
        return list(dict.fromkeys(name for name, copy, original in self._originals if contents(copy) != original))

    def allocate(self, name: str, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0) -> Array:
        """Return an array that holds canaries; ``strides`` and ``offset``, from the beginning of its buffer, are in bytes."""
        span = dtype.itemsize + sum((extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)) if 0 not in shape else 0
        alignment = max(self._needs.alignment, dtype.alignment)
        has_page = self._guards.pages and self._guards.operand in ("", name)
        room = self._guards.room if has_page else _CANARY
        whole = _up(span + self._needs.extra_bytes + room + alignment + _CANARY, PAGE)
        low = place_in(whole, span, offset, alignment, self._side, room, self._needs.extra_bytes)
        memory = self._beside_page(whole) if has_page else _mapped(whole)
        item = canary_bytes(dtype)
        before = (item * (low // len(item) + 1))[-low:] if low else b""
        behind = (item * ((whole - low - span) // len(item) + 1))[: whole - low - span]
        memory[:low], memory[low + span :] = np.frombuffer(before, np.uint8), np.frombuffer(behind, np.uint8)
        begins = max(low - offset, 0)
        elements = (low + span + self._needs.extra_bytes - begins) // dtype.itemsize
        buffer = memory[begins : begins + elements * dtype.itemsize].view(dtype)
        array: Array = np.ndarray(shape, dtype, buffer, low - begins, strides)
        if span > array.nbytes:
            memory[low : low + span].view(dtype)[...] = canary_value(dtype)
        self._arrays.append(_Guarded(name, array, memory, low, low + span, before, behind))
        return array

    def overruns(self) -> list[str]:
        """Say what was written outside of the arrays, operand by operand."""
        return [text for guarded in self._arrays for text in guarded.overruns()]

    def _beside_page(self, size: int) -> Array:
        """Return ``size`` bytes, whole pages, with a guard page on one side."""
        whole = _mapped(size + PAGE)
        at = size if self._side == "end" else 0
        if _mprotect()(_address(whole) + at, PAGE, _PROT_READ if self._guards.readable else _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
        return whole[:size] if at else whole[PAGE:]


def _mapped(size: int) -> Array:
    """Return fresh memory, which is given back with the last array that lies in it."""
    return np.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8).view(_Buffer)


def place_in(size: int, span: int, offset: int, alignment: int, side: Side, room: int = 0, extra: int = 0) -> int:
    """Return where in ``size`` bytes an array of ``span`` bytes begins: as near to its guard page as its alignment allows.

    Its buffer, which begins ``offset`` bytes before it, lies at a multiple of ``alignment``.
    """
    if side == "beginning":
        return room + (offset - room) % alignment
    last = size - extra - room - span
    return last - (last - offset) % alignment


def gap(array: Array, needs: BufferNeeds, side: Side) -> int:
    """Return how many bytes lie between ``array`` and its guard page because of its alignment."""
    alignment = max(needs.alignment, array.dtype.alignment)
    low, high = np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
    size = _up(high - low + alignment, PAGE)
    begins = place_in(size, high - low, _offset(array), alignment, side)
    return begins if side == "beginning" else size - begins - (high - low)


def _offset(array: Array) -> int:
    """Return how many bytes behind the beginning of its buffer an array begins."""
    base: Any = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return _address(array) - _address(base)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _bytes(count: int) -> str:
    return f"{count} byte{'s' * (count != 1)}"


@cache
def _mprotect() -> Any:
    function = ctypes.CDLL(None, use_errno=True).mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
