"""Guarded memory: copies that end or begin where a page cannot be accessed, and canaries that show what was written around them."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from convfuzz import Case
from convfuzz.case.config import LAYOUTS
from convfuzz.tensors.generator import make_tensors
from convfuzz.tensors.guards import PAGE, SIDES, BufferNeeds, GuardedMemory, Guards, Side, gap
from convfuzz.tensors.poison import count_unwritten, unwritten

LINE = "conv2d_n2_c3_o5_i7x5_k3_b_f32_grad@normal.3"
both_sides = pytest.mark.parametrize("side", SIDES)


def poke(array: np.ndarray, offset: int, value: int = 1) -> None:
    """Write one byte at an offset in bytes from an array's first element."""
    ctypes.memset(array.ctypes.data + offset, value, 1)


@both_sides
@pytest.mark.parametrize("alignment", [1, 16, 64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "complex128"])
def test_copies_keep_strides_and_alignment_and_lie_against_a_page(dtype: str, layout: str, alignment: int, side: Side) -> None:
    """A copy is the array in value and strides; its buffer is aligned; less than the alignment lies between it and its page."""
    case = Case.parse(LINE)
    tensors = make_tensors(case.changed(config=case.config.replace(dtype=dtype, layout=layout)))
    needs = BufferNeeds(alignment)
    memory = GuardedMemory(Guards(), needs, side)
    for name, array in tensors.named().items():
        copy = memory.copy(name, array)
        assert copy.strides == array.strides
        assert copy.tobytes() == array.tobytes()
        low, high = np.lib.array_utils.byte_bounds(copy)
        room = gap(array, needs, side)
        assert 0 <= room < max(alignment, array.dtype.alignment)
        assert (high + room if side == "end" else low - room) % PAGE == 0
        offset = array.ctypes.data - np.asarray(array.base).ctypes.data
        assert (copy.ctypes.data - offset) % alignment == 0
    assert memory.changed() == memory.overruns() == []


@both_sides
@pytest.mark.parametrize("guards", [Guards(), Guards(pages=False)])
def test_writes_around_an_array_are_said_with_their_place(guards: Guards, side: Side) -> None:
    """Where no page is, a write is seen by the canary: its operand, its side, how many bytes and where."""
    x = np.arange(15, dtype=np.float32)
    memory = GuardedMemory(guards, BufferNeeds(1), side)
    copy = memory.copy("x", x)
    expected = []
    if side == "end" or not guards.pages:
        poke(copy, -8)
        expected.append("wrote 4 bytes before the beginning of x, at offset -8")
    if side == "beginning" or not guards.pages:
        poke(copy, copy.nbytes)
        poke(copy, copy.nbytes + 4)
        expected.append("wrote 8 bytes beyond the end of x, at offset 0 behind it")
    assert memory.overruns() == expected
    assert memory.changed() == []


def test_writes_between_elements_are_said() -> None:
    """An array that does not fill its span has canaries in it."""
    x = make_tensors(Case.parse("conv1d_c2_o1_i4_k1_f32_nc")).x
    memory = GuardedMemory(Guards(), BufferNeeds())
    poke(memory.copy("x", x), 4)
    assert memory.overruns() == ["wrote 4 bytes between the elements of x"]


def test_changed_copies_are_named() -> None:
    """A copy that is written to is no longer what it is a copy of."""
    memory = GuardedMemory(Guards(), BufferNeeds())
    memory.copy("x", np.ones(3))
    memory.copy("w", np.ones(3))[1] = 2
    assert memory.changed() == ["w"]


@both_sides
def test_bases_end_at_the_buffer_of_the_array(side: Side) -> None:
    """Code that looks for what owns a view's memory finds an array that ends where the operand's buffer does, and can be read."""
    original = make_tensors(Case.parse(f"{LINE.replace('_f32', '_f32_of')}")).x
    copy = GuardedMemory(Guards(), BufferNeeds(), side).copy("x", original)
    owner = copy[1:]
    while owner.base is not None:
        owner = owner.base
    assert np.lib.array_utils.byte_bounds(owner)[1] == np.lib.array_utils.byte_bounds(copy)[1]
    assert copy.ctypes.data - owner.ctypes.data in (original.itemsize, copy.ctypes.data % PAGE)
    assert owner.dtype == original.dtype
    assert np.isfinite(owner[-copy.size :]).all()


def test_extra_bytes_may_be_read() -> None:
    """The bytes that a kernel may read behind an operand lie in front of the guard page."""
    copy = GuardedMemory(Guards(), BufferNeeds(1, extra_bytes=16)).copy("x", np.ones(3, np.float32))
    assert (copy.ctypes.data + copy.nbytes + 16) % PAGE == 0
    assert len(ctypes.string_at(copy.ctypes.data + copy.nbytes, 16)) == 16


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128", "int32", "int64"])
def test_unwritten_elements_are_counted_and_others_are_not(dtype: str) -> None:
    """An ordinary NaN, which a kernel may have computed, is no unwritten element."""
    memory = unwritten((2, 3), np.dtype(dtype))
    memory[0] = 1 if dtype.startswith("int") else np.nan
    assert count_unwritten(memory) == (3, (1, 0))
    memory[1] = 0
    assert count_unwritten(memory) == (0, ())


def test_nothing_is_said_of_bytes() -> None:
    """The largest of 256 numbers is a result like any other."""
    assert count_unwritten(unwritten((4,), np.dtype("int8"))) == (0, ())
