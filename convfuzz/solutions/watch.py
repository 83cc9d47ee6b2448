"""What a solution is seen to do in its own process that no solution has to do: look around, replace, fork.

None of it can reach the judge. It is watched to say why a solution is refused, since one that does this and happens to be right
today is not a kernel.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import re
import shlex
import sys
import time
from collections.abc import Callable
from operator import is_
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.random
import numpy.testing
import torch
import torch.testing
from torch.nn import functional

from convfuzz.solutions.process_state import ProcessState, replaced_operations

_LAYERS = {f"torch.nn.{name}": layer for name, layer in vars(torch.nn).items() if isinstance(layer, type)}
"""Classes of layers, whose own methods are watched, and which inherit ``torch.nn.Module``'s."""
_WATCHED: dict[str, Any] = {
    "torch": torch,
    "torch.Tensor": torch.Tensor,
    "torch.nn.functional": functional,
    "torch.nn.init": torch.nn.init,
    "torch.nn.Module": torch.nn.Module,
    "torch.testing": torch.testing,
    "torch.random": torch.random,
    "torch.linalg": torch.linalg,
    "torch.cuda": torch.cuda,
    "numpy": np,
    "numpy.testing": numpy.testing,
    "numpy.random": numpy.random,
    "random": random,
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
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
_JUDGE = "convfuzz.solutions"
_CODE = (".py", ".pyc", ".so", ".pyd")
_PACKAGES = tuple(str(Path(module.__file__ or "").resolve().parents[1]) for module in (torch, np))
_NOT_READ = ("/proc/", "/sys/", "/dev/", sys.prefix, sys.base_prefix, *_PACKAGES)
"""Where files lie that say nothing of an answer."""
_MOST_TOLD = 4
_LIBRARIES = tuple(str(Path(module.__file__ or "").parent) for module in (torch, np))
_all, _len, _map, _vars = all, len, map, vars
"""Taken hold of before there is a solution, which may replace them."""
_INSPECT = (os.sep + "inspect.py", os.sep + "traceback.py")
_DEPTH, _DEEP = 3, 64
_OF_PROCESS = re.compile(r"/proc/([0-9]+)/")
"""Files that show a process by its number."""
_OF_OTHERS = frozenset({"ptrace", "process_vm_readv", "process_vm_writev"})
"""Functions of the C library for which there is no other use."""


def _callables() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for where, space in _WATCHED.items():
        # What a class inherits is replaced by a definition of its own.
        spaces = reversed(space.__mro__[:-1]) if isinstance(space, type) else [space]
        found |= {(where, name): value for one in spaces for name, value in list(vars(one).items()) if callable(value)}
    for where, layer in _LAYERS.items():
        found |= {(where, name): value for name, value in list(vars(layer).items()) if callable(value)}
    return found


def _contents(where: str) -> list[Any]:
    """Return all names and values of a module, of a layer, or of a class and those that it inherits from."""
    space = _LAYERS[where] if where in _LAYERS else _WATCHED[where]
    spaces = space.__mro__[:-1] if isinstance(space, type) and where not in _LAYERS else [space]
    return [one for held in spaces for one in (*_vars(held), *_vars(held).values())]


def _there(where: str, name: str) -> Any:
    if where in _LAYERS:
        return vars(_LAYERS[where]).get(name)
    space = _WATCHED[where]
    return next((vars(one)[name] for one in getattr(space, "__mro__", [space]) if name in vars(one)), None)


class Watch:
    """Watches a process from before the solution is loaded."""

    def __init__(self) -> None:
        self.acts: list[str] = []
        self.opened: list[str] = []
        self.noted: list[str] = []
        self._solution = ""
        self._before = _callables()
        self._contents = {where: _contents(where) for where in (*_WATCHED, *_LAYERS)}
        self._state = ProcessState()
        self._written: set[str] = set()
        self._modules = {name: sys.modules[name] for name in ("torch", "torch.nn.functional", "numpy", "json", "time", "os")}
        self._busy = False
        self._handlers: dict[str, Callable[[str, tuple[Any, ...], FrameType | None], None]] = {
            **dict.fromkeys(_EVENTS, self._acts),
            **dict.fromkeys(_STARTS, self._starts),
            "open": self._opens,
            "os.link": self._links,
            "import": self._imports,
            "ctypes.dlsym": self._finds_a_symbol,
        }

    def begin(self, solution: str) -> None:
        """Watch what the code of the file ``solution`` does; Python has no way to take that back."""
        self._solution = solution
        sys.addaudithook(self._heard)

    def look(self) -> list[str]:
        """Return what was seen so far, and what has been replaced meanwhile."""
        changed = self._changed()
        for (where, name), before in self._before.items():
            if where in changed and (now := _there(where, name)) is not before and not _is_library(now):
                self._add(f"replaces {where}.{name}")
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                self._add(f"replaces the module {name}")
        self._look_at_layers(changed)
        for finder in self._state.finders():
            if getattr(finder if isinstance(finder, type) else type(finder), "__module__", "") == "solution":
                self._add("changes how modules are imported (sys.meta_path)")
        for act in self._state.changed():
            self._add(act)
        for note in self._state.settings():
            self._note(note)
        return self.acts

    def _changed(self) -> set[str]:
        """Return where anything is another object than at the last look, which nearly always is nowhere."""
        changed = set()
        for where, before in self._contents.items():
            now = _contents(where)
            if _len(now) != _len(before) or not _all(_map(is_, now, before)):
                changed.add(where)
                self._contents[where] = now
        return changed

    def _look_at_layers(self, changed: set[str]) -> None:
        """See which of the layers that have changed have a method now that they inherited before."""
        for where in changed & _LAYERS.keys():
            for name, value in list(vars(_LAYERS[where]).items()):
                if (where, name) not in self._before and name in vars(torch.nn.Module) and callable(value) and not _is_library(value):
                    self._add(f"replaces {where}.{name}")

    def look_last(self) -> list[str]:
        """Return what was seen, and what takes a while to look at."""
        self.look()
        for act in replaced_operations():
            self._add(act)
        return self.acts

    def _note(self, note: str) -> None:
        if note not in self.noted:
            self.noted.append(note)

    def _add(self, act: str) -> None:
        if act not in self.acts:
            self.acts.append(act)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        handle = self._handlers.get(event)
        if handle is None or self._busy:
            return
        self._busy = True
        try:
            handle(event, arguments, sys._getframe(1))  # noqa: SLF001 - who it was
        finally:
            self._busy = False

    def _acts(self, event: str, _: tuple[Any, ...], frame: FrameType | None) -> None:
        if self._is_from_solution(frame):
            self._add(_EVENTS[event])

    def _imports(self, _: str, arguments: tuple[Any, ...], frame: FrameType | None) -> None:
        if str(arguments[0]).startswith(_JUDGE) and self._is_from_solution(frame):
            self._add(f"looks for its judge (imports {arguments[0]})")

    def _finds_a_symbol(self, _: str, arguments: tuple[Any, ...], __: FrameType | None) -> None:
        if arguments[1] in _OF_OTHERS:
            self._add("looks into another process")

    def _starts(self, event: str, arguments: tuple[Any, ...], _: FrameType | None) -> None:
        for word in _words(event, arguments):
            self._names(word)

    def _links(self, _: str, arguments: tuple[Any, ...], __: FrameType | None) -> None:
        self._names(arguments[0])

    def _opens(self, _: str, arguments: tuple[Any, ...], frame: FrameType | None) -> None:
        """Take down which code is read, whether another process is looked into, and which data."""
        name, mode, flags = arguments
        if not isinstance(name, str | bytes | os.PathLike):
            return
        path = os.path.realpath(os.fsdecode(name))
        self._names(name)
        process = _OF_PROCESS.match(os.path.normpath(os.fsdecode(name))) or _OF_PROCESS.match(path)
        if process is not None and int(process[1]) != os.getpid() and self._is_from_solution(frame):
            self._add("looks into another process")
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(flags, int) else "r" not in (mode or "r")
        if writes:
            self._written.add(path)
        elif path not in self._written and not path.endswith(_CODE) and not path.startswith(_NOT_READ) and Path(path).is_file():
            told = sum(note.startswith("reads the file") for note in self.noted)
            if told < _MOST_TOLD and self._is_from_solution(frame, _DEEP):
                self._note(f"reads the file {path}")

    def _names(self, name: Any) -> None:
        """Take down a file with code in it, by where it really lies from where the solution stands."""
        path = os.path.realpath(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else ""
        if path.endswith((".py", ".pyc")) and path not in self.opened:
            self.opened.append(path)

    def _is_from_solution(self, frame: FrameType | None, depth: int = _DEPTH) -> bool:
        """Whether the solution's own code asked, directly or through the library that walks stacks or imports for others.

        With a greater ``depth``, whether it is anywhere among those who called.
        """
        for _ in range(depth):
            while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
                frame = frame.f_back
            if frame is None:
                return False
            if frame.f_code.co_filename == self._solution:
                return True
            if depth == _DEPTH and not frame.f_code.co_filename.endswith(_INSPECT):
                return False
            frame = frame.f_back
        return False


def _words(event: str, arguments: tuple[Any, ...]) -> list[Any]:
    """Return the words of a command that is started."""
    if event == "os.system":
        command = os.fsdecode(arguments[0])
    else:
        given = arguments[1]
        if not isinstance(given, str | bytes | os.PathLike):
            return [word for one in given for word in [one, *_split(one)]]
        command = os.fsdecode(given)
    return _split(command)


def _split(command: Any) -> list[str]:
    """Return what a shell would make of a command, roughly."""
    text = os.fsdecode(command) if isinstance(command, str | bytes | os.PathLike) else ""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _is_library(function: Any) -> bool:
    """Whether a replacement is the library's own, which replaces some functions when its compiler loads."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return code is not None and code.co_filename.startswith(_LIBRARIES)
