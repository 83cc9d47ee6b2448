"""The part of a script that puts operands against memory that cannot be accessed, where a kernel was found to overrun them."""

from __future__ import annotations

import re

from convfuzz.record.finding import Finding

_OVERRUN = re.compile(r"\b(?:reads|writes|wrote \d+ bytes?) (beyond the end|before the beginning) of (\w+)")
_OPERANDS = ("x", "w", "b", "dy")

_IMPORTS = """\
import ctypes
import mmap
"""
_BESIDE_PAGE = '''\


def {function}(a):
    """Return an array as it is, except that {side} touches memory that cannot be accessed."""
    a = np.asarray(a)
    low, high = np.lib.array_utils.byte_bounds(a) if a.size else (0, 0)
    pages = -(-max(high - low, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, pages + mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if mprotect(memory.ctypes.data + {page}, mmap.PAGESIZE, 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    copy = np.ndarray(a.shape, a.dtype, memory, {begins}, a.strides)
    copy[...] = a
    return copy
'''
_WRAPPED = """\
{name}_anywhere = {name}


def {name}(*arguments):
    return {function}({name}_anywhere(*arguments))
"""


def is_overrun(finding: Finding) -> bool:
    """Whether a finding says which operand or output was overrun."""
    return _OVERRUN.search(finding.reason) is not None


def guard_source(finding: Finding, call: str) -> str:
    """Write what follows the data in a script, so that the overrun of a finding ends its process; nothing where it is no overrun."""
    found: dict[str, bool] = {}
    for place, name in _OVERRUN.findall(finding.reason):
        found.setdefault(_put_by(name, call), place == "beyond the end")
    if not found:
        return ""
    sides = dict(zip(dict.fromkeys(found.values()), ("beside_page", "beside_other_page"), strict=False))
    lines = [_IMPORTS]
    for is_end, function in sides.items():
        page, begins = ("pages", "pages - (high - low)") if is_end else ("0", "mmap.PAGESIZE")
        lines.append(_BESIDE_PAGE.format(function=function, side="its end" if is_end else "its beginning", page=page, begins=begins))
    lines += ["\n\n" + _put_there(target, sides[is_end]) for target, is_end in found.items()]
    return "".join(lines)


def _put_by(name: str, call: str) -> str:
    """Return the function of a script that hands over an array, or the operand itself: each can be put beside one page."""
    if name == "out":
        return "unwritten"
    return "moved" if f"{name} = moved({name}," in call else name


def _put_there(target: str, function: str) -> str:
    if target not in _OPERANDS:
        return _WRAPPED.format(name=target, function=function)
    index = _OPERANDS.index(target)
    return f"operands[{index}] = {function}(operands[{index}])\n"
