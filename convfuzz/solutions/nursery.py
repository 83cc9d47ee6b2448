"""The solution's side: a process that has imported PyTorch, and forks one for each solution that answers calls until it is told to end.

What the answering code needs it has taken hold of before the solution is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from convfuzz.backends.isolated import wire
from convfuzz.backends.torch.device_memory import placed, poison_everything
from convfuzz.solutions.messages import Call, Construct, End, Ended, Load, Request, Returned, unpacked
from convfuzz.solutions.watch import Watch
from convfuzz.system.die_with_parent import die_with
from convfuzz.system.json_records import decode, encode
from convfuzz.tensors.generator import Array

HANDED_OVER = 3
_PERTURB, _BEGINS_AS = -6, 0x100
"""``mallopt``: memory that is handed out has this byte's complement in it, 0xff, which is NaN in every format."""
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_MOST_ROUNDS = 100
_MOST_COPIED = 2**24
"""Of larger inputs and outputs there are no copies, so that a large layer takes what the solution itself needs."""
_tensor_type, _no_grad, _from_numpy = torch.Tensor, torch.no_grad, torch.from_numpy
_seed, _synchronize, _current_stream = torch.manual_seed, torch.cuda.synchronize, torch.cuda.current_stream
_base = torch._C.TensorBase  # noqa: SLF001 - whose methods nobody can replace
_contiguous, _detach, _copy_to, _data_ptr = _base.contiguous, _base.detach, _base.to, _base.data_ptr
_stride, _numel, _storage = _base.stride, _base.numel, torch.Tensor.untyped_storage
_without_negation, _without_conjugation = torch.resolve_neg, torch.resolve_conj
_clock, _getpid, _leave, _string_at = time.perf_counter, os.getpid, os._exit, ctypes.string_at
_byte, _hash, _parts = ctypes.c_char, hashlib.blake2b, wire.parts
_state_dict = torch.nn.Module.state_dict


def keep_to_oneself() -> None:
    """Close this process's memory to others of the same user, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def serve(requests: int) -> NoReturn:
    """Fork a process for each request, one after the other, until nobody is left who could ask.

    A byte that arrives at the socket ``requests`` brings the descriptors of the connection, of the pipe that ends the process, and
    of the pipe that tells its id and how it ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the judge's
    keep_to_oneself()
    _adopt()
    decode(encode(End()), Request)  # type: ignore[arg-type] # what a request is made of is looked up in modules that will be hidden
    asked = socket.socket(fileno=requests)
    asked.sendall(b"+")
    while True:
        byte, descriptors, _, _ = socket.recv_fds(asked, 1, HANDED_OVER)
        if not byte:
            os._exit(0)
        connection, lifeline, told = descriptors
        process = os.fork()
        if process == 0:
            asked.close()
            os.close(told)
            _answer(connection, lifeline)
        for number in (connection, lifeline):
            os.close(number)
        with contextlib.suppress(OSError):  # the judge is gone
            os.write(told, f"{process}\n".encode())
            _, status = os.waitpid(process, 0)
            os.write(told, encode(Ended(exitcode=os.waitstatus_to_exitcode(status), left=_end_what_is_left())) + b"\n")
        os.close(told)


def _adopt() -> None:
    """Become the parent of what a solution leaves behind, in whichever session it hides, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_what_is_left() -> int:
    """End all children, and their children in turn: nothing of a solution may be there when what is right is computed."""
    ended = 0
    for _ in range(_MOST_ROUNDS):
        children = _children()
        if not children:
            break
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                ended += 1
    return ended


def _children() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = entry.read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(entry.parent.name))
    return found


def _answer(connection: int, lifeline: int) -> NoReturn:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
    die_with(lifeline)
    ctypes.CDLL(None).mallopt(_PERTURB, _BEGINS_AS)
    session = _Session(Connection(connection))
    _hide()
    while True:
        session.answer()


def _hide() -> None:
    """Take what tells a solution that it is judged out of where it would look first."""
    for name in [name for name in sys.modules if "convfuzz" in name]:
        del sys.modules[name]
    vars(sys.modules["__main__"]).pop(serve.__name__, None)
    sys.argv, sys.orig_argv = [""], [sys.executable]


class _Session:
    """One solution in its process."""

    def __init__(self, talk: Connection) -> None:
        self._receive, self._send, self._talk = talk.recv_bytes, talk.send_bytes, talk
        self._process = _getpid()
        self._watch = Watch()
        self._look, self._look_last, self._noted = self._watch.look, self._watch.look_last, self._watch.noted
        self._device = "cpu"
        self._make: Any = None
        self._model: Any = None
        self._last: list[tuple[Any, _Taken]] = []
        self._is_late = False

    def answer(self) -> None:
        """Answer one request."""
        try:
            request: Request = decode(self._receive(), Request)  # type: ignore[arg-type] # a union is a type here
            late = self._changed_since()
            if isinstance(request, End):
                self._reply(Returned(acts=[*self._look_last(), *late], noted=list(self._noted)))
                _leave(0)
            arrays = self._arrays(request)
        except (EOFError, OSError):
            _leave(0)
        outputs: list[_Taken] = []
        try:
            if isinstance(request, Load):
                found = self._load(request)
            elif isinstance(request, Construct):
                found = self._construct(request, arrays)
            else:
                found, outputs = self._call(request, arrays)
        except BaseException as error:  # noqa: BLE001 - SystemExit is an answer too
            found = Returned(raised=type(error).__name__, message=str(error)[:2000])
        if _getpid() != self._process:
            _leave(0)  # a copy that the solution has forked has nothing to say
        acts = [*self._look(), *late, *found.acts]
        noted = [*found.noted, *self._noted]
        self._reply(_with(found, acts=acts, noted=noted, opened=list(self._watch.opened)), outputs)

    def _reply(self, found: Returned, outputs: list[_Taken] | None = None) -> None:
        self._send(encode(found))
        for one in outputs or []:
            sent = _hash()
            for part in _parts(one.size):
                data = one.part(part)
                if one.data is None:
                    sent.update(data)
                self._send(data)
            self._is_late |= one.data is None and sent.digest() != one.digest

    def _arrays(self, request: Request) -> list[Array]:
        described = request.state.values() if isinstance(request, Construct) else request.inputs if isinstance(request, Call) else ()
        return [wire.receive_array(self._talk, one) for one in described if one is not None]

    # -- what is asked ------------------------------------------------------------------------------------------------

    def _load(self, request: Load) -> Returned:
        path = Path(request.path)
        self._device = request.device
        os.chdir(request.folder)
        self._watch.begin(str(path))
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location("solution", path)
        assert spec is not None, "the judge has seen that it is a Python file"
        assert spec.loader is not None, "which has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules["solution"] = module
        spec.loader.exec_module(module)
        self._make = getattr(module, "ModelNew", None)
        if self._make is None:
            return Returned(raised="AttributeError", message=f"{path.name} has no class ModelNew")
        return Returned()

    def _construct(self, request: Construct, arrays: list[Array]) -> Returned:
        assert self._make is not None, "it was loaded"
        _seed(request.seed)
        model = self._make(*unpacked(request.arguments))
        if not isinstance(model, torch.nn.Module):
            return Returned(raised="TypeError", message=f"ModelNew gives a {type(model).__name__}, not an nn.Module")
        model.eval()
        own, missing = _state_dict(model), []  # of the class, whatever the solution says it has
        with _no_grad():
            for name, array in zip(request.state, arrays, strict=True):
                if name in own and tuple(own[name].shape) == array.shape:
                    own[name].copy_(_as_tensor(array))
                else:
                    missing.append(name)
        self._model = model.to(self._device)
        return Returned(missing=missing)

    def _call(self, request: Call, arrays: list[Array]) -> tuple[Returned, list[_Taken]]:
        plain, tensors = iter(request.plain), iter(arrays)
        if self._device != "cpu":
            poison_everything(self._device)
        given = [unpacked(next(plain)) if one is None else self._on_device(next(tensors)) for one in request.inputs]
        before = [_kept(memory) for memory in map(wire.memory_of, arrays)]
        called: set[str] = set()
        began = _clock()
        with _no_grad(), _Operations(called) if request.traced else contextlib.nullcontext():
            result = self._model(*given)
        if self._device != "cpu":
            _current_stream().synchronize()  # as whoever uses the result next does
        seconds = _clock() - began
        results = list(result) if type(result) in (tuple, list) else [result]
        if not results:
            return Returned(acts=[f"returns an empty {type(result).__name__}"]), []
        acts: list[str] = []
        inputs = [one for one in given if isinstance(one, _tensor_type)]
        other = next((type(one).__name__ for one in results if type(one) is not _tensor_type), None)
        if other is not None:
            return Returned(acts=[f"returns a {other}, not a plain tensor"]), []
        early: list[_Taken] = []
        if self._device != "cpu":
            early = [_taken(one) for one in results]
            _synchronize()  # all streams
        taken = [_taken(one) for one in results]
        self._last = list(zip(results, taken, strict=True))
        if any(_shares_memory(one, other) for one in results for other in inputs):
            acts.append("returns memory of its input")
        if early and any(was.differs(now) for was, now in zip(early, taken, strict=True)):
            acts.append("writes its result after it has returned")
        acts += self._changed_inputs(inputs, arrays, before)
        noted = ["calls the library's own convolution"] if any("conv" in name for name in called) else []
        if any(0 in _stride(one) and _numel(one) > 1 for one in results):
            noted.append("returns an expanded view")
        container = type(result).__name__ if result is not results[0] else ""
        outputs = [one.header for one in taken]
        return Returned(outputs=outputs, container=container, acts=acts, noted=noted, seconds=seconds), taken

    def _on_device(self, array: Array) -> Any:
        tensor = _as_tensor(array)
        if self._device == "cpu":
            return tensor
        return placed(array, tensor, self._device)

    def _changed_inputs(self, inputs: list[Any], arrays: list[Array], before: list[bytes]) -> list[str]:
        for tensor, array, was in zip(inputs, arrays, before, strict=True):
            is_same = (
                _kept(wire.memory_of(array)) == was if self._device == "cpu" else not _taken(tensor).differs(_taken(_as_tensor(array)))
            )
            if not is_same:
                return ["changes its inputs"]
        return []

    def _changed_since(self) -> list[str]:
        """Say whether what was returned has changed since it was taken."""
        late = self._is_late or any(_taken(tensor).differs(taken) for tensor, taken in self._last)
        self._last, self._is_late = [], False
        return ["writes its result after it has returned"] if late else []


class _Taken:
    """The values of a tensor when a call has returned: a copy of the bytes, or of a large one a digest, with what they are read from.

    What is sent of a large one has to have that digest, so that it is what it was then.
    """

    def __init__(self, plain: Any, header: wire.Strided) -> None:
        self.header, self.size, self._plain = header, header.nbytes, plain
        self.data, self.digest = None, b""
        if self.size <= _MOST_COPIED:
            self.data = _string_at(_data_ptr(plain), self.size) if self.size else b""
        else:
            found = _hash()
            for part in _parts(self.size):
                found.update(self.part(part))
            self.digest = found.digest()

    def part(self, of: slice) -> Any:
        """Return some of the bytes."""
        if self.data is not None:
            return self.data if of.stop - of.start == self.size else self.data[of]
        return (_byte * (of.stop - of.start)).from_address(_data_ptr(self._plain) + of.start)

    def differs(self, other: _Taken) -> bool:
        """Whether others are there now."""
        return (self.data, self.digest) != (other.data, other.digest)


def _with(found: Returned, **changed: Any) -> Returned:
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    return Returned(**(fields | changed))


def _as_tensor(array: Array) -> Any:
    """Return the array's memory as a tensor; PyTorch does not know NumPy's bfloat16."""
    if array.dtype == ml_dtypes.bfloat16:
        return _from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return _from_numpy(array)


def _kept(memory: Array) -> bytes:
    """Return what shows whether memory has changed: a copy, or of much of it a digest."""
    return memory.tobytes() if memory.nbytes <= _MOST_COPIED else _hash(memory.data).digest()


def _taken(tensor: Any) -> _Taken:
    """Take the values of a tensor."""
    plain = _without_negation(_without_conjugation(_contiguous(_copy_to(_detach(tensor), "cpu"))))
    size = _numel(plain) * plain.element_size()
    name = str(plain.dtype).removeprefix("torch.")
    shape = tuple(plain.shape)
    strides = tuple(int(stride) * plain.element_size() for stride in _row_major(shape))
    return _Taken(plain, wire.Strided(dtype=name, shape=shape, strides=strides, offset=0, address=0, nbytes=size))


def _row_major(shape: tuple[int, ...]) -> list[int]:
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return strides


def _shares_memory(one: Any, other: Any) -> bool:
    if _numel(one) == 0 or one.device != other.device:
        return False
    return bool(_storage(one).data_ptr() == _storage(other).data_ptr())


class _Operations(TorchFunctionMode):  # type: ignore[misc, unused-ignore] # where PyTorch is not installed to be looked at
    """Takes down which of PyTorch's functions are called."""

    def __init__(self, called: set[str]) -> None:
        super().__init__()
        self._called = called

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._called.add(str(getattr(func, "__name__", func)))
        return func(*args, **(kwargs or {}))
