"""Backends that run in a separate process, for modes whose framework has to be imported in another environment.

    worker ──asks──▶ server (framework imported once) ──forks──▶ monitor ──forks──▶ the backend's process
       ◀────────────────────────── outputs ─────────────────────────────────────────────┘

A process imports a framework once, with the environment variables of that moment. For one campaign to have both
``tensorflow`` and ``tensorflow:native``, the second runs in another process: one server for each environment imports the
framework and forks a process for every worker that asks. The worker sends its cases over a socket, memory layout
included, and gets back what a local call would have given: outputs, exceptions, changed inputs, or the same crash.
"""

from __future__ import annotations

from convfuzz.backends.isolated.client import (
    MEMORY_LIMIT,
    Elsewhere,
    IsolatedBackend,
    Surroundings,
    exception_named,
    is_own_process,
    own_process,
    start_server,
)

__all__ = [
    "MEMORY_LIMIT",
    "Elsewhere",
    "IsolatedBackend",
    "Surroundings",
    "exception_named",
    "is_own_process",
    "own_process",
    "start_server",
]
