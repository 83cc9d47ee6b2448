"""Backends in processes of their own, for modes whose framework has to be imported in another environment.

    worker ──asks──▶ server (framework imported once) ──forks──▶ monitor ──forks──▶ the backend's process
       ◀────────────────────────── outputs ─────────────────────────────────────────────┘

A process imports a framework once, with the environment variables of that moment. So that one campaign holds
``tensorflow`` and ``tensorflow:native``, the second runs elsewhere: a server per environment imports its framework, and
forks a process for every worker that asks. A worker's cases, their memory layout included, go there over a socket; what
comes back is what a call would have done: outputs, exceptions, changed inputs, or the same death.
"""

from __future__ import annotations

from convfuzz.backends.isolated.client import MEMORY_LIMIT, IsolatedBackend, Surroundings, start_server

__all__ = ["MEMORY_LIMIT", "IsolatedBackend", "Surroundings", "start_server"]
