"""What a solution is seen to do in its own process that no solution has to do: look around, replace, fork.

None of it can reach the judge. It is watched to say why a solution is refused, since one that does this and happens to be right
today is not a kernel.
"""

from __future__ import annotations

import builtins
import json
import os
import re
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.testing
import torch
import torch.testing
from torch.nn import functional

_WATCHED: dict[str, Any] = {
    "torch": torch,
    "torch.Tensor": torch.Tensor,
    "torch.nn.functional": functional,
    "torch.nn.Module": torch.nn.Module,
    "torch.testing": torch.testing,
    "torch.cuda": torch.cuda,
    "numpy": np,
    "numpy.testing": numpy.testing,
    "time": time,
    "json": json,
    "builtins": builtins,
    "os": os,
}
_EVENTS = {
    "gc.get_objects": "searches the heap (gc.get_objects)",
    "gc.get_referrers": "searches the heap (gc.get_referrers)",
    "gc.get_referents": "searches the heap (gc.get_referents)",
    "sys._getframe": "walks the stack (sys._getframe)",
    "sys._current_frames": "walks the stack (sys._current_frames)",
    "sys.settrace": "traces what runs (sys.settrace)",
    "sys.setprofile": "traces what runs (sys.setprofile)",
    "sys.addaudithook": "listens to what runs (sys.addaudithook)",
    "socket.connect": "connects to another process or machine",
    "os.fork": "forks its process",
    "os.forkpty": "forks its process",
    "os.kill": "sends a signal to a process",
    "os.killpg": "sends a signal to a process",
}
_LIBRARIES = tuple(str(Path(module.__file__ or "").parent) for module in (torch, np))
_INSPECT = os.sep + "inspect.py"
_DEPTH = 3
_OF_PROCESS = re.compile(r"/proc/[0-9]+/")
"""Files that show a process by its number; who looks at itself has a shorter name for that."""
_OF_OTHERS = frozenset({"ptrace", "process_vm_readv", "process_vm_writev"})
"""Functions of the C library for which there is no other use."""


def _callables() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for where, space in _WATCHED.items():
        # What a class inherits is replaced by a definition of its own.
        spaces = reversed(space.__mro__[:-1]) if isinstance(space, type) else [space]
        found |= {(where, name): value for one in spaces for name, value in list(vars(one).items()) if callable(value)}
    return found


def _there(where: str, name: str) -> Any:
    space = _WATCHED[where]
    return next((vars(one)[name] for one in getattr(space, "__mro__", [space]) if name in vars(one)), None)


class Watch:
    """Watches a process from before the solution is loaded."""

    def __init__(self) -> None:
        self.acts: list[str] = []
        self.opened: list[str] = []
        self._solution = ""
        self._before = _callables()
        self._modules = {name: sys.modules[name] for name in ("torch", "torch.nn.functional", "numpy", "json", "time", "os")}
        self._busy = False

    def begin(self, solution: str) -> None:
        """Watch what the code of the file ``solution`` does; Python has no way to take that back."""
        self._solution = solution
        sys.addaudithook(self._heard)

    def look(self) -> list[str]:
        """Return what was seen so far, and what has been replaced meanwhile."""
        for (where, name), before in self._before.items():
            now = _there(where, name)
            if now is not before and not _is_library(now):
                self._add(f"replaces {where}.{name}")
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                self._add(f"replaces the module {name}")
        return self.acts

    def _add(self, act: str) -> None:
        if act not in self.acts:
            self.acts.append(act)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS and event not in ("open", "ctypes.dlsym"):
            return
        if self._busy:
            return
        self._busy = True
        try:
            frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - who it was
            if event == "open":
                if isinstance(arguments[0], str) and arguments[0].endswith((".py", ".pyc")) and arguments[0] not in self.opened:
                    self.opened.append(arguments[0])
                if isinstance(arguments[0], str | bytes) and _OF_PROCESS.match(os.fsdecode(arguments[0])) and self._is_from_solution(frame):
                    self._add("looks into another process")
            elif event == "ctypes.dlsym":
                if arguments[1] in _OF_OTHERS:
                    self._add("looks into another process")
            elif self._is_from_solution(frame):
                self._add(_EVENTS[event])
        finally:
            self._busy = False

    def _is_from_solution(self, frame: FrameType | None) -> bool:
        """Whether the solution's own code asked, directly or through the library that walks stacks for others."""
        for _ in range(_DEPTH):
            if frame is None:
                return False
            if frame.f_code.co_filename == self._solution:
                return True
            if not frame.f_code.co_filename.endswith(_INSPECT):
                return False
            frame = frame.f_back
        return False


def _is_library(function: Any) -> bool:
    """Whether a replacement is the library's own, which replaces some functions when its compiler loads."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return code is not None and code.co_filename.startswith(_LIBRARIES)
