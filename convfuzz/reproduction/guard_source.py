"""The part of a script that puts an operand against memory that cannot be accessed, where a kernel was found to overrun it."""

from __future__ import annotations

import re

from convfuzz.record.finding import Finding

_OVERRUN = re.compile(r"\b(?:reads|writes|wrote \d+ bytes?) (beyond the end|before the beginning) of (\w+)")
_OPERANDS = ("x", "w", "b", "dy")

_BESIDE_PAGE = '''\
import ctypes
import mmap


def beside_page(a):
    """Return an array as it is, except that {side} touches memory that cannot be accessed."""
    a = np.asarray(a)
    low, high = np.lib.array_utils.byte_bounds(a) if a.size else (0, 0)
    pages = -(-max(high - low, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, pages + mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert mprotect(memory.ctypes.data + {page}, mmap.PAGESIZE, 0) == 0
    copy = np.ndarray(a.shape, a.dtype, memory, {begins}, a.strides)
    copy[...] = a
    return copy
'''
_WRAPPED = """\
{name}_anywhere = {name}


def {name}(*arguments):
    return beside_page({name}_anywhere(*arguments))
"""


def is_overrun(finding: Finding) -> bool:
    """Whether a finding says which operand or output was overrun."""
    return _OVERRUN.search(finding.reason) is not None


def guard_source(finding: Finding, call: str) -> str:
    """Write what follows the data in a script, so that the overrun of a finding ends its process; nothing where it is no overrun."""
    found = _OVERRUN.search(finding.reason)
    if found is None:
        return ""
    is_end, name = found[1] == "beyond the end", found[2]
    page, begins = ("pages", "pages - (high - low)") if is_end else ("0", "mmap.PAGESIZE")
    source = _BESIDE_PAGE.format(side="its end" if is_end else "its beginning", page=page, begins=begins)
    if name == "out":
        return f"{source}\n\n{_WRAPPED.format(name='unwritten')}"
    if f"{name} = moved({name}," in call:
        return f"{source}\n\n{_WRAPPED.format(name='moved')}"
    index = _OPERANDS.index(name)
    return f"{source}\n\noperands[{index}] = beside_page(operands[{index}])\n"
