"""The judge's side of a solution's process: it is started, asked and ended here, and what it says is data."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import psutil

from convfuzz.backends.isolated import wire
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.errors import UsageError
from convfuzz.processes.endings import beyond_memory, death
from convfuzz.solutions.messages import Call, Construct, End, Ended, Load, Request, Returned
from convfuzz.system.json_records import decode, encode
from convfuzz.tensors.generator import Array

_SERVE = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.readline()); "
    "from convfuzz.solutions.nursery import serve; serve(int(sys.argv[1]))"
)
_WATCH_SECONDS = 0.05
_SETTLE_SECONDS = 0.05
"""How long a result has to stay as it was returned, after the last call."""
_GOODBYE_SECONDS = 5.0
_PATIENCE = 5.0
"""So many times as long as it may compute a solution may wait, for the processor or for anything else."""
_MOST_OUTPUTS = 64
_MOST_BYTES_OF_AN_ANSWER = 2**22
_PART, _LONG = 2**20, 0x7FFFFFFF
_DTYPES = {name: numpy_dtype(name) for name in ("float64", "float32", "float16", "bfloat16")} | {
    name: np.dtype(name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "complex64", "complex128")
}

_lock = threading.Lock()
_nursery: list[int] = []
"""The socket of the running nursery, and the process that has started it."""


class Gone(Exception):
    """The solution's process does not answer any more; the message says why."""


def _open_nursery() -> int:
    """Return the socket of the nursery; start it where there is none, which imports PyTorch once for all solutions."""
    if _nursery and _nursery[1] == os.getpid():
        return _nursery[0]
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-P", "-c", _SERVE, str(theirs.fileno())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603 - our own module
    assert process.stdin is not None, "it was asked for"
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(json.dumps([str(entry) for entry in sys.path]).encode() + b"\n")
    if ours.recv(1) != b"+":
        ours.close()
        raise UsageError(f"PyTorch cannot be imported: the process that was to do it ended with status {process.wait()}")
    process.returncode = 0  # it ends when its socket is closed, and nobody waits for it
    _nursery[:] = [ours.detach(), os.getpid()]
    return _nursery[0]


def get_ready() -> None:
    """Have the nursery started, so that its import of PyTorch is not in the time of a solution.

    Raises:
        UsageError: it cannot be imported.
    """
    with _lock:
        _open_nursery()


class SolutionProcess:
    """A process that holds one solution, from its loading to its end."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._folder = tempfile.TemporaryDirectory(prefix="solution-")
        self._connection, theirs = Pipe()
        lifeline, self._lifeline = Pipe(duplex=False)
        self._told, told = os.pipe()
        _lock.acquire()
        try:
            self._hand_over([theirs.fileno(), lifeline.fileno(), told])
        except BaseException:
            _lock.release()
            raise
        finally:
            theirs.close()
            lifeline.close()
            os.close(told)
        self._messages = os.fdopen(self._told, "rb")
        self.pid = int(self._messages.readline() or 0)
        self.is_open = True
        self._seconds, self._deadline, self._had = 0.0, math.inf, 0.0
        self.left = 0
        """How many processes it has left behind, known when it is closed; none of them is there any more."""
        os.set_blocking(self._connection.fileno(), False)

    @staticmethod
    def _hand_over(descriptors: Sequence[int]) -> None:
        for attempt in (1, 2):
            try:
                with socket.socket(fileno=os.dup(_open_nursery())) as way:
                    socket.send_fds(way, [b"+"], list(descriptors))
            except OSError:  # it has been ended
                os.close(_nursery[0])
                _nursery.clear()
                if attempt == 2:
                    raise
            else:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, path: Path, device: str, seconds: float) -> Returned:
        """Load the file of a solution."""
        return self._ask(Load(path=str(path), folder=self._folder.name, device=device), [], seconds)[0]

    def construct(self, arguments: Any, seed: int, state: Mapping[str, Array], seconds: float) -> Returned:
        """Make an instance; ``arguments`` are packed."""
        described = {name: wire.describe(array) for name, array in state.items()}
        return self._ask(Construct(arguments=arguments, seed=seed, state=described), list(state.values()), seconds)[0]

    def call(
        self, inputs: list[Array | None], plain: Sequence[Any], seconds: float, *, kept: Sequence[int] | None = None, traced: bool = False
    ) -> tuple[Returned, list[Array]]:
        """Call the instance, and return what it returned: all, or the members of the batch that are ``kept``.

        The inputs are let go of as they are sent: the list is empty then.
        """
        described = [None if array is None else wire.describe(array) for array in inputs]
        arrays = [array for array in inputs if array is not None]
        inputs.clear()
        return self._ask(Call(inputs=described, plain=list(plain), traced=traced), arrays, seconds, kept)

    def end(self) -> Returned:
        """Let it end, and return what else it was seen to do; results that it returned have to be as they were."""
        time.sleep(_SETTLE_SECONDS)
        try:
            found = self._ask(End(), [], _GOODBYE_SECONDS)[0]
        except Gone:
            return Returned()
        return Returned(acts=found.acts, noted=found.noted)

    def _ask(
        self, request: Request, arrays: list[Array], seconds: float, kept: Sequence[int] | None = None
    ) -> tuple[Returned, list[Array]]:
        self._seconds, self._deadline, self._had = seconds, time.monotonic() + seconds, _seconds_computed(self.pid)
        try:
            self._write(encode(request))
            while arrays:
                memory = wire.memory_of(arrays[0])
                for part in wire.parts(len(memory)):
                    self._write(memory[part].data)
                del memory
                arrays.pop(0)
            found = decode(self._read(_MOST_BYTES_OF_AN_ANSWER), Returned)
            return found, [self._receive(one, kept) for one in found.outputs[:_MOST_OUTPUTS]]
        except (EOFError, OSError):
            raise Gone(self._how_it_ended()) from None
        except (msgspec.DecodeError, ValueError):
            raise Gone("what its process sent is no answer") from None

    def _receive(self, header: wire.Strided, kept: Sequence[int] | None) -> Array:
        """Receive an output: as many bytes as its shape has, of a dtype that there is. Of members that are not kept nothing is left."""
        dtype = _DTYPES.get(header.dtype)
        if dtype is None or any(size < 0 for size in header.shape):
            raise ValueError
        size = math.prod(header.shape) * dtype.itemsize
        if size > self._memory:
            raise ValueError
        is_whole = kept is None or not header.shape or header.shape[0] <= max(kept)
        members = range(1) if is_whole or kept is None else kept
        of_one = size if is_whole else size // header.shape[0]
        array = np.empty(header.shape if is_whole else (len(members), *header.shape[1:]), dtype)
        data = array.reshape(-1).view(np.uint8)
        for part in wire.parts(size):
            came = np.frombuffer(self._read(part.stop - part.start), np.uint8)
            if len(came) != part.stop - part.start:
                raise ValueError
            for row, member in enumerate(members):
                low, high = max(member * of_one, part.start), min((member + 1) * of_one, part.stop)
                if low < high:
                    to = row * of_one - member * of_one
                    data[low + to : high + to] = came[low - part.start : high - part.start]
        return array

    # Messages are framed as `multiprocessing` does it. They are read and written here, since whoever is at the other end may send
    # half a message and wait, or send what is none.

    def _read(self, most: int) -> bytes:
        """Receive a message of at most so many bytes.

        Raises:
            ValueError: it is larger.
        """
        (size,) = struct.unpack("!i", self._bytes(4))
        if size == -1:
            (size,) = struct.unpack("!Q", self._bytes(8))
        if not 0 <= size <= most:
            raise ValueError
        return self._bytes(size)

    def _bytes(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            self._wait(select.POLLIN)
            part = os.read(self._connection.fileno(), min(count - len(data), _PART))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def _write(self, message: bytes | memoryview) -> None:
        header = struct.pack("!i", len(message)) if len(message) <= _LONG else struct.pack("!iQ", -1, len(message))
        for data in (memoryview(header), memoryview(message)):
            sent = 0
            while sent < len(data):
                self._wait(select.POLLOUT)
                sent += os.write(self._connection.fileno(), data[sent : sent + _PART])

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._connection.fileno(), event)
        while not poll.poll(_WATCH_SECONDS * 1e3):
            too_large = beyond_memory(self.pid, self._memory)
            if too_large:
                raise Gone(too_large)
            if time.monotonic() > self._deadline and self._has_had_its_time():
                raise Gone("no answer in time")

    def _has_had_its_time(self) -> bool:
        """Whether the process has computed for as long as it may, which takes longer on a busy machine, or waits for too long."""
        waited = time.monotonic() - self._deadline + self._seconds
        return waited > _PATIENCE * self._seconds or _seconds_computed(self.pid, with_children=True) - self._had >= self._seconds

    def _how_it_ended(self) -> str:
        self._kill()
        try:
            ended = decode(self._messages.readline(), Ended)
        except msgspec.DecodeError:
            return "its process is gone"
        self.left = ended.left
        return death(ended.exitcode)

    def _kill(self) -> None:
        if self.pid > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process, and what it has started in its group."""
        if not self.is_open:
            return
        self.is_open = False
        self._connection.close()
        self._kill()
        self._lifeline.close()
        rest = self._messages.read()  # to its end: the nursery has taken the status
        if rest:
            with contextlib.suppress(msgspec.DecodeError):
                self.left = decode(rest, Ended).left
        self._messages.close()
        self._folder.cleanup()
        _lock.release()


def _seconds_computed(pid: int, *, with_children: bool = False) -> float:
    """Return for how long a process has computed."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *(process.children(recursive=True) if with_children else ())):
            with contextlib.suppress(psutil.Error):
                total += sum(one.cpu_times()[:4])
    return total
