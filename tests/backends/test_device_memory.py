"""Operands on a PyTorch device: how they lie there, the poison around them and in free memory, and what a call does to them.

The device is the processor itself, or PyTorch's meta device, where a tensor has strides and an offset and no values.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz import Case
from convfuzz.backends import resolve
from convfuzz.backends.arrays import to_torch
from convfuzz.backends.protocol import Scripted
from convfuzz.case.config import LAYOUTS
from convfuzz.case.dtypes import is_integer
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.tensors.layouts import placements

torch = pytest.importorskip("torch", reason="the devices are PyTorch's")

from convfuzz.backends.torch import device_memory  # noqa: E402 - it imports PyTorch
from convfuzz.backends.torch.device_memory import HandOver, placed, poison  # noqa: E402 - the same

DTYPES = ["float64", "float32", "float16", "bfloat16", "complex64", "complex128", "int8", "int64"]
VECTOR = 64
"""Bytes from a multiple of which every allocator's blocks begin."""


def tensors_of(layout: str, dtype: str, **changed: Any) -> tuple[Case, Tensors]:
    """Return a case in a layout, and its tensors."""
    config = Case.parse("conv2d_n2_c3_o4_i4x5_k3x1_p1_b_f32").config.replace(layout=layout, dtype=dtype, **changed)
    case = Case.parse(f"{config}{'' if is_integer(dtype) else '_grad'}@integers.3")
    return case, make_tensors(case)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_operands_lie_on_a_device_as_their_line_says(layout: str, dtype: str, device: str) -> None:
    """Strides, those of axes of one element too, and the offset in the buffer are those of the case's layout; so are the values."""
    case, tensors = tensors_of(layout, dtype)
    for name, array in tensors.named().items():
        lies = placements(case.config)[name]
        there = placed(array, to_torch(array), device)
        assert there.shape == lies.shape
        assert there.stride() == lies.strides
        assert there.storage_offset() == lies.offset
        assert there.untyped_storage().nbytes() >= lies.size * array.itemsize
        if device == "cpu":
            assert torch.equal(there, to_torch(array))
            assert there.data_ptr() % VECTOR == lies.offset * array.itemsize


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int8"])
@pytest.mark.parametrize("layout", ["contiguous", "non_contiguous", "offset"])
def test_what_lies_around_an_operand_is_poison(layout: str, dtype: str) -> None:
    """Gaps, what is before and 256 bytes behind are NaN or the largest integer, so that a read beyond an operand shows."""
    _, tensors = tensors_of(layout, dtype)
    array = tensors.x
    there = placed(array, to_torch(array), "cpu")
    extent = there.untyped_storage().nbytes() // array.itemsize
    everything = there.as_strided((extent,), (1,), 0)
    around = torch.ones(extent, dtype=bool)
    around.as_strided(there.shape, there.stride(), there.storage_offset()).logical_not_()
    assert int(around.sum()) >= 256 // array.itemsize
    if is_integer(dtype):
        assert set(everything[around].tolist()) == {127}
    else:
        assert bool(torch.isnan(everything[around]).all())


def test_a_slice_of_a_callers_array_keeps_its_alignment() -> None:
    """Of a large buffer that is not convfuzz's own, what matters of an operand's place is kept and the rest is not copied."""
    buffer = np.zeros(100_000, np.float32)
    array = buffer[70_003:70_010]
    there = placed(array, to_torch(array), "cpu")
    assert there.storage_offset() == 70_003 % 64
    assert there.untyped_storage().nbytes() < 1024


class CachingAllocator:
    """Hands out memory as PyTorch's allocator does on a CUDA device: what was freed last, as it was left."""

    def __init__(self) -> None:
        self._free: dict[int, list[Any]] = {}
        self.fresh = 0

    def empty(self, size: int, *, dtype: Any = torch.uint8, device: str = "cpu") -> Any:
        """Return a tensor of that many bytes."""
        assert (dtype, device) == (torch.uint8, "cpu")
        free = self._free.setdefault(size, [])
        self.fresh += not free
        memory = free.pop() if free else np.zeros(size, np.uint8)
        tensor = torch.from_numpy(memory)
        weakref.finalize(tensor, free.append, memory)
        return tensor


def test_free_memory_is_poisoned_before_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call gets to write its outputs to is NaN in every format, twice over, so that an element that it does not write shows."""
    allocator = CachingAllocator()
    monkeypatch.setattr(device_memory.torch, "empty", allocator.empty)
    case, tensors = tensors_of("contiguous", "float32")
    HandOver("cpu").begin(case, tensors)
    fresh = allocator.fresh
    for in_pass in case.passes:
        size = int(np.prod(case.shape_of(in_pass))) * 4
        held = [allocator.empty(size) for _ in range(2)]
        for memory in held:
            assert all(bool(torch.isnan(memory.view(dtype)).all()) for dtype in (torch.float32, torch.bfloat16, torch.float16))
    assert allocator.fresh == fresh


def test_all_poison_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one size are different blocks."""
    allocator = CachingAllocator()
    monkeypatch.setattr(device_memory.torch, "empty", allocator.empty)
    poison([64, 64], "cpu")
    assert allocator.fresh == 4


def test_all_that_the_allocator_holds_is_poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free blocks of every size are filled, those of segments for small ones in the largest pieces that come from there."""
    allocator, mebibyte = CachingAllocator(), 2**20
    segments = [
        {"segment_type": "small", "blocks": [{"state": "inactive", "size": 2 * mebibyte}]},
        {"segment_type": "small", "blocks": [{"state": "active_allocated", "size": 4096}, {"state": "inactive", "size": mebibyte + 512}]},
        {"segment_type": "large", "blocks": [{"state": "inactive", "size": 5 * mebibyte}, {"state": "active_pending_free", "size": 64}]},
    ]
    filled = []

    def empty(size: int, **options: Any) -> Any:
        filled.append(size)
        return allocator.empty(size, **options)

    monkeypatch.setattr(device_memory.torch, "empty", empty)
    monkeypatch.setattr(device_memory.torch.cuda, "memory_snapshot", lambda: segments)
    monkeypatch.setattr(device_memory.torch.cuda, "mem_get_info", lambda: (80 * mebibyte, 100 * mebibyte))
    device_memory.poison_everything("cpu")
    assert sorted(filled, reverse=True)[:3] == [10 * mebibyte, 10 * mebibyte, 5 * mebibyte]
    assert filled.count(mebibyte) == 16 + 3
    assert filled.count(512) == 1
    assert 4096 not in filled


KERNEL = """
import convfuzz
import torch
from convfuzz.backends.torch import device_memory

@convfuzz.backend(tensors="torch", device="meta", gradients=False)
def strides(x, w, b, config):
    assert (x.stride(), x.storage_offset()) == {x}, (x.stride(), x.storage_offset())
    raise convfuzz.Unsupported("seen")
"""


def test_a_kernel_on_a_device_gets_the_cases_strides(tmp_path: Path) -> None:
    """A user's kernel that declares a device sees the strides and the offset of the case's line there."""
    case, _ = tensors_of("non_contiguous", "float32")
    lies = placements(case.config)["x"]
    (tmp_path / "kernel.py").write_text(KERNEL.format(x=(lies.strides, lies.offset)))
    (result,) = convfuzz.check(str(case).replace("_grad", ""), [f"{tmp_path / 'kernel.py'}::strides"]).results
    assert (result.verdict, result.reason) == ("unsupported", "seen")


def test_what_a_call_does_to_its_operands_there_is_seen_on_the_host() -> None:
    """An operand that a call has changed on the device is changed on the host, and no other is."""
    case, tensors = tensors_of("non_contiguous", "float32")
    before = {name: array.copy() for name, array in tensors.named().items()}
    hand_over = HandOver("cpu")
    hand_over.begin(case, tensors)
    there = {name: hand_over.tensor(array) for name, array in tensors.named().items()}
    there["w"][0, 0, 0, 0] += 1.0
    hand_over.end(tensors)
    changed = [name for name, array in tensors.named().items() if array.tobytes() != before[name].tobytes()]
    assert changed == ["w"]
    assert tensors.w[0, 0, 0, 0] == before["w"][0, 0, 0, 0] + 1.0


SCRIPTED = """
import convfuzz

@convfuzz.backend(tensors="torch", device="cuda", gradients=False)
def plus_stride(x, w, b, config):
    return x + x.stride(3) + 1000 * x.storage_offset()
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_script_puts_a_kernels_operands_where_convfuzz_does(tmp_path: Path, dtype: str) -> None:
    """A reproduction script of a kernel on a device, run on the processor in its place, has strides and offset on the device as well."""
    case, tensors = tensors_of("non_contiguous", dtype)
    (tmp_path / "kernel.py").write_text(SCRIPTED)
    backend = resolve(f"{tmp_path / 'kernel.py'}::plus_stride")
    assert isinstance(backend, Scripted)
    source = backend.script(Case(case.config, case.recipe))
    assert source is not None
    assert ", 'cuda')" in source
    scope: dict[str, Any] = {"np": np}
    exec(source.replace("'cuda'", "'cpu'"), scope)  # noqa: S102 - that is what a script is for
    given = [array.view(np.uint16) if dtype == "bfloat16" else array for array in (tensors.x, tensors.w, tensors.b) if array is not None]
    expected = (to_torch(tensors.x) + 2 + 1000).float().numpy()
    assert np.array_equal(scope["run"](*given), expected)
