"""A process that runs one ``convfuzz`` command after another: only the first pays for imports, the forkserver and the report's engine."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import NamedTuple


class Called(NamedTuple):
    """A command that is over: its exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


class Warm:
    """The process, started with the first command and anew after one that did not end.

    A command there is what it is in a process of its own but for two things: modules are loaded already, and children start from a
    forkserver that has the environment of the first command. Who is about either starts a program.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def call(self, arguments: Sequence[str], folder: Path, path: Sequence[Path] = (), seconds: float = 300.0, **variables: str) -> Called:
        """Run ``convfuzz`` with these arguments and variables in a folder, with ``path`` before the other places to import from.

        Raises:
            TimeoutError: it takes more than so many seconds; the process is killed with all its children.
        """
        connection = self._connection or self._started()
        order = {"arguments": list(arguments), "folder": str(folder), "path": [str(place) for place in path], "variables": variables}
        connection.send_bytes(json.dumps(order).encode())
        if not connection.poll(seconds):
            self.close()
            raise TimeoutError(f"convfuzz {' '.join(arguments)} takes more than {seconds:g} s")
        return Called(**json.loads(connection.recv_bytes()))

    def close(self) -> None:
        """End the process and what is left of its children."""
        connection, process = self._connection, self._process
        self._connection = self._process = None
        if connection is not None:
            connection.close()
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _started(self) -> Connection:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        return self._connection


def _serve(connection: Connection) -> None:
    """Run what is asked for until nobody asks any more."""
    own = sys.path[1:]
    while True:
        try:
            order = json.loads(connection.recv_bytes())
        except EOFError:
            return
        os.chdir(order["folder"])
        sys.path[:] = [order["folder"], *order["path"], *own]
        os.environ |= order["variables"]
        done = _call(order["arguments"])
        for name in order["variables"]:
            os.environ.pop(name)
        connection.send_bytes(json.dumps(done).encode())


def _call(arguments: list[str]) -> dict[str, int | str]:
    from convfuzz import cli  # noqa: PLC0415 - in the process that is asked

    streams = sys.stdout, sys.stderr
    printed, said = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    sys.stdout, sys.stderr, sys.argv = printed, said, ["convfuzz", *arguments]
    status: object = 1
    try:
        cli.main()
    except SystemExit as stop:
        status = stop.code
    except BaseException:  # noqa: BLE001 - shown as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout, sys.stderr = streams
    texts = [stream.buffer.getvalue().decode() for stream in (printed, said)]
    return {"status": int(status), "stdout": texts[0], "stderr": texts[1]}


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
