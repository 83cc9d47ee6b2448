"""The server of one environment: it imports a framework once and forks a backend process for every worker that asks."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np
import psutil

from convfuzz.backends import cuda
from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.backends.compiling import seconds_compiled, watch
from convfuzz.backends.isolated import wire
from convfuzz.backends.kernels.asked import answer
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.protocol import Backend
from convfuzz.backends.registry import preload, resolve
from convfuzz.case import Case
from convfuzz.errors import BackendError, Unsupported
from convfuzz.system.die_with_parent import die_with
from convfuzz.system.json_records import decode, encode
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.poison import fill_freed

_HANDED_OVER = 5
_LOOK_SECONDS = 0.05
"""How often the memory of a backend's process is checked: a backend can fill a gigabyte in a few tenths of a second."""


def serve(requests: int, backend: str) -> NoReturn:
    """Import the framework of ``backend``, then fork a process for each request until no client is left.

    Each byte that arrives at the socket ``requests`` brings five file descriptors: the connection, the pipe that ends the
    process, the pipe that tells how it ended, standard output and standard error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # finished monitors leave no zombies
    asked = socket.socket(fileno=requests)
    preload(backend)
    asked.sendall(b"+")
    while True:
        byte, descriptors, _, _ = socket.recv_fds(asked, 1, _HANDED_OVER)
        if not byte:
            os._exit(0)
        if os.fork() == 0:
            asked.close()
            _monitor(*descriptors)
        for number in descriptors:
            os.close(number)


def _monitor(connection: int, lifeline: int, ended: int, out: int, error: int) -> NoReturn:
    """Fork the backend's process, enforce its memory limit, and report how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    talk = Connection(connection)
    try:
        hello = decode(talk.recv_bytes(), wire.Hello)
    except EOFError:
        os._exit(0)
    process = os.fork()
    if process == 0:
        os.close(ended)
        for number, copy in ((1, out), (2, error)):
            os.dup2(copy, number)
            os.close(copy)
        die_with(lifeline)
        faulthandler.enable(file=2, all_threads=False)
        _answer(talk, hello.backend)
    talk.close()
    for number in (lifeline, out, error):
        os.close(number)
    resident = 0
    while (status := os.waitpid(process, os.WNOHANG))[0] == 0:
        if hello.memory_limit and resident <= hello.memory_limit:
            resident = psutil.Process(process).memory_info().rss
            if resident > hello.memory_limit:
                os.kill(process, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)
    beyond = resident if hello.memory_limit and resident > hello.memory_limit else 0
    with contextlib.suppress(BrokenPipeError):  # the client is gone too
        Connection(ended, readable=False).send_bytes(encode(wire.Ended(exitcode=os.waitstatus_to_exitcode(status[1]), resident=beyond)))
    os._exit(0)


def _answer(connection: Connection, name: str) -> NoReturn:
    """Run one case after the other until the worker is gone."""
    cuda.is_replaced()
    try:
        backend = resolve(name)
    except BackendError as error:
        connection.send_bytes(str(error).encode())
        os._exit(0)
    connection.send_bytes(b"")
    watch(_Compilations(connection))
    while True:
        try:
            request: wire.Request | wire.Question = decode(connection.recv_bytes(), wire.Request | wire.Question)  # type: ignore[arg-type]
            if isinstance(request, wire.Question):
                connection.send_bytes(encode(_told(backend, request)))
                continue
            arrays = {name: wire.receive_array(connection, described) for name, described in request.tensors.items()}
        except EOFError:
            os._exit(0)
        _reply(connection, backend, Case.parse(request.case), arrays)


class _Compilations:
    """Tells the worker of compilations, so that it counts their time and its supervisor knows their limit."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._before = connection, 0.0

    def __call__(self, limit: float | None) -> None:
        seconds = 0.0 if limit is not None else seconds_compiled() - self._before
        self._before = seconds_compiled()
        self._connection.send_bytes(encode(wire.Compiling(limit=limit, seconds=seconds)))


def _told(backend: Backend, question: wire.Question) -> wire.Answer:
    try:
        assert isinstance(backend, KernelBackend), "only kernels are asked"
        return answer(backend.declared, question)
    except BaseException as error:  # noqa: BLE001 - the author's functions may raise anything
        return wire.Answer(raised=_kind(error), message=_text(error))


def _reply(connection: Connection, backend: Backend, case: Case, arrays: Mapping[str, Array]) -> None:
    before = {name: wire.memory_of(array).tobytes() for name, array in arrays.items()}
    tensors = Tensors(arrays["x"], arrays["w"], arrays.get("b"), arrays.get("dy"))
    outputs: dict[str, Array] = {}
    raised, message = "", ""
    if case.config.is_valid:
        for in_pass in case.passes:
            fill_freed(case.shape_of(in_pass), tensors.x.dtype)
    try:
        outputs = {name: np.ascontiguousarray(y).reshape(y.shape) for name, y in backend.run(case, tensors.views()).items() if _is_array(y)}
    except BaseException as error:  # noqa: BLE001 - whatever a backend raises is its verdict
        raised, message = _kind(error), _text(error)
    changed = {name: array for name, array in arrays.items() if wire.memory_of(array).tobytes() != before[name]}
    described = {name: wire.describe(y) for name, y in outputs.items()}
    connection.send_bytes(encode(wire.Reply(outputs=described, changed=list(changed), raised=raised, message=message)))
    wire.send_arrays(connection, outputs)
    wire.send_arrays(connection, changed)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype != object


def _kind(error: BaseException) -> str:
    if isinstance(error, Unsupported):
        return "unsupported"
    return "no array" if isinstance(error, NotAnArrayError) else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return str(error).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001 - the message is the framework's code, which may raise anything
        return "its message cannot be shown"
