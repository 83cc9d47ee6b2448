"""The worker's side of a backend that runs in another process."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing import Pipe
from typing import NoReturn, TypeVar

from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.backends.compiling import compiled_elsewhere
from convfuzz.backends.isolated import wire
from convfuzz.backends.protocol import Backend, Confined, Costly, Outputs, Scripted, Support, Titled
from convfuzz.case import Case
from convfuzz.case.domain import Domain
from convfuzz.errors import BackendError, MemoryLimitExceeded, Unsupported
from convfuzz.judging.numerics import Numerics
from convfuzz.system.json_records import decode, encode
from convfuzz.tensors.generator import Tensors

Told = TypeVar("Told")

_OWN_PROCESS = "CONVFUZZ_OWN_PROCESS"
"""The environment variable by which a process knows the family, or the kernel, that it was started for."""
MEMORY_LIMIT = "CONVFUZZ_MEMORY_LIMIT"
"""The environment variable with the limit of resident memory, in bytes, of a backend's process; no limit if it is not set."""

_SERVE = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.readline()); "
    "from convfuzz.backends.isolated.server import serve; serve(int(sys.argv[1]), sys.argv[2])"
)
"""The program of a server; it gets this process's ``sys.path``, so that it finds the same modules."""


@dataclass(frozen=True)
class Surroundings:
    """The environment variables in which a framework is imported; ``None`` stands for one that must not be set."""

    framework: str
    variables: tuple[tuple[str, str | None], ...]

    def environment(self) -> dict[str, str]:
        """Return this process's environment with these variables."""
        own = {name: value for name, value in os.environ.items() if name not in dict(self.variables)}
        return own | {name: value for name, value in self.variables if value is not None}


def own_process(backend: str, environment: Mapping[str, str]) -> Surroundings:
    """Return the surroundings of a process for ``backend`` alone, which knows itself by a variable: see :func:`is_own_process`."""
    return Surroundings(backend, tuple(sorted({**environment, _OWN_PROCESS: backend}.items())))


def is_own_process(backend: str) -> bool:
    """Whether this is the process that was started for ``backend`` alone."""
    return os.environ.get(_OWN_PROCESS) == backend


_servers: dict[Surroundings, int] = {}
"""The socket of each running server; forked processes share them."""


def start_server(backend: str, surroundings: Surroundings) -> None:
    """Start the server that imports the framework of ``backend`` in ``surroundings``, unless it runs already.

    Raises:
        BackendError: importing the framework ends the process.
    """
    if surroundings in _servers:
        return
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = [sys.executable, "-P", "-c", _SERVE, str(theirs.fileno()), backend]
        process = subprocess.Popen(  # noqa: S603 - our own module, and a name that the registry has resolved
            arguments, stdin=subprocess.PIPE, env=surroundings.environment(), pass_fds=[theirs.fileno()]
        )
    assert process.stdin is not None, "it was asked for"
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(json.dumps([str(entry) for entry in sys.path]).encode() + b"\n")
    if ours.recv(1) != b"+":
        ours.close()
        raise BackendError(f"backend {backend!r} cannot be loaded: importing its framework ended a process, status {process.wait()}")
    process.returncode = 0  # it ends after the last process that can ask it, and nobody waits for it
    _servers[surroundings] = ours.detach()


class Elsewhere:
    """The process in which a backend runs: it is started when it is first needed, and anew in a process that was forked off."""

    def __init__(self, backend: str, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self._backend = backend
        self._process: _Process | None = None
        self._lock = threading.Lock()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute ``case`` there, see :meth:`IsolatedBackend.run`."""
        return self._talk(lambda process: process.call(case, tensors))

    def ask(self, question: wire.Question) -> wire.Answer:
        """Ask the kernel there what its author has declared; where that ends the process, this one ends in the same way.

        Raises:
            BackendError: the process cannot be started, since the kernel's module does not import, for one.
        """
        return self._talk(lambda process: process.ask(question))

    def _talk(self, what: Callable[[_Process], Told]) -> Told:
        with self._lock:
            if self._process is None or self._process.owner != os.getpid():
                self._process = _Process(self._backend, self.surroundings)
            try:
                return what(self._process)
            except (EOFError, OSError):
                process, self._process = self._process, None
                process.follow()


class IsolatedBackend:
    """A backend whose calls run in a process with another environment.

    ``here`` is the same backend in this process, or what is known of it: it answers questions about the backend and is never run.
    """

    def __init__(self, here: Backend, surroundings: Surroundings, elsewhere: Elsewhere | None = None) -> None:
        self._here, self.surroundings = here, surroundings
        self.name = here.name
        self._elsewhere = elsewhere or Elsewhere(here.name, surroundings)

    @property
    def versions(self) -> Mapping[str, str]:
        """The framework's."""
        return self._here.versions

    @property
    def share(self) -> float:
        """The backend's."""
        return self._here.share if isinstance(self._here, Costly) else 1.0

    @property
    def domain(self) -> Domain | None:
        """The backend's."""
        return self._here.domain if isinstance(self._here, Confined) else None

    def supports(self, case: Case) -> Support:
        """Say what the backend says."""
        return self._here.supports(case)

    def numerics(self, case: Case) -> Numerics:
        """Declare what the backend declares."""
        return self._here.numerics(case)

    def title(self, case: Case) -> str:
        """Name what the backend calls."""
        return self._here.title(case) if isinstance(self._here, Titled) else self.name

    def script(self, case: Case) -> str | None:
        """Return the backend's script, which sets the environment itself."""
        return self._here.script(case) if isinstance(self._here, Scripted) else None

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute ``case`` in the other process; the result is that of a local call: outputs, an exception, or the death of this process.

        Raises:
            BackendError: the process cannot be started.
            MemoryLimitExceeded: the process was killed because it exceeded its memory limit.
        """
        return self._elsewhere.run(case, tensors)


class _Process:
    """The backend's process: the connection to it, a pipe that ends it when this process ends, and a pipe that tells how it ended."""

    def __init__(self, backend: str, surroundings: Surroundings) -> None:
        self.owner = os.getpid()
        self._connection, theirs = Pipe()
        lifeline, self._lifeline = Pipe(duplex=False)
        self._ended, ended = Pipe(duplex=False)
        outputs = [_copy(1), _copy(2)]
        try:
            _ask(backend, surroundings, [theirs.fileno(), lifeline.fileno(), ended.fileno(), *outputs])
        finally:
            for pipe in (theirs, lifeline, ended):
                pipe.close()
            for output in outputs:
                os.close(output)
        try:
            self._connection.send_bytes(encode(wire.Hello(backend=backend, memory_limit=_memory_limit())))
            refused = self._connection.recv_bytes().decode()
        except (EOFError, OSError):
            raise BackendError(f"backend {backend!r} cannot be loaded: its process ended") from None
        if refused:
            raise BackendError(refused)

    def call(self, case: Case, tensors: Tensors) -> Outputs:
        """Run one case.

        Raises:
            EOFError: the process is gone.
            OSError: likewise.
        """
        connection, arrays = self._connection, tensors.named()
        described = {name: wire.describe(array) for name, array in arrays.items()}
        connection.send_bytes(encode(wire.Request(case=str(case), tensors=described)))
        wire.send_arrays(connection, arrays)
        while not isinstance(reply := _said(connection.recv_bytes()), wire.Reply):
            compiled_elsewhere(reply.limit, reply.seconds)
        outputs = {name: wire.receive_array(connection, output) for name, output in reply.outputs.items()}
        for name in reply.changed:
            wire.fill(wire.memory_of(arrays[name]), connection)
        if reply.raised == "unsupported":
            raise Unsupported(reply.message)
        if reply.raised == "no array":
            raise NotAnArrayError(reply.message, message=reply.message)
        if reply.raised:
            raise exception_named(reply.raised)(reply.message)
        return outputs

    def ask(self, question: wire.Question) -> wire.Answer:
        """Ask a question about the backend.

        Raises:
            EOFError: the process is gone.
            OSError: likewise.
        """
        self._connection.send_bytes(encode(question))
        return decode(self._connection.recv_bytes(), wire.Answer)

    def follow(self) -> NoReturn:
        """End in the same way as the other process, so that the supervisor of this one sees it.

        Raises:
            MemoryLimitExceeded: the other process was killed because it exceeded its memory limit; this one goes on.
        """
        try:
            ended = decode(self._ended.recv_bytes(), wire.Ended)
        except EOFError:  # its monitor was killed as well
            ended = wire.Ended(exitcode=-signal.SIGKILL)
        if ended.resident:
            raise MemoryLimitExceeded(ended.resident, _memory_limit())
        if ended.exitcode < 0:
            faulthandler.disable()  # the other process has printed the traceback that counts
            with contextlib.suppress(OSError, ValueError):
                signal.signal(-ended.exitcode, signal.SIG_DFL)
            os.kill(os.getpid(), -ended.exitcode)
        os._exit(ended.exitcode if ended.exitcode >= 0 else 128 - ended.exitcode)


def _ask(backend: str, surroundings: Surroundings, handed_over: list[int]) -> None:
    """Ask the server to fork a process with these file descriptors; start a new server if the old one is gone."""
    start_server(backend, surroundings)
    try:
        _hand_over(_servers[surroundings], handed_over)
    except OSError:
        os.close(_servers.pop(surroundings))
        start_server(backend, surroundings)
        _hand_over(_servers[surroundings], handed_over)


def _hand_over(server: int, descriptors: list[int]) -> None:
    with socket.socket(fileno=os.dup(server)) as way:
        socket.send_fds(way, [b"+"], descriptors)


def _said(message: bytes) -> wire.Reply | wire.Compiling:
    said: wire.Reply | wire.Compiling = decode(message, wire.Reply | wire.Compiling)  # type: ignore[arg-type]
    return said


def _memory_limit() -> int:
    return int(os.environ.get(MEMORY_LIMIT, "0"))


def _copy(output: int) -> int:
    """Return a copy of a standard stream's descriptor, or the null device where a backend has closed it."""
    try:
        return os.dup(output)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


@cache
def exception_named(name: str) -> type[Exception]:
    """Return an exception class with the same name as the one raised in the other process."""
    return type(name, (Exception,), {})
