"""Backends: whatever computes a convolution, behind one small protocol and one registry.

Backends see the case model, tensors and ``Numerics``; only ``reference`` imports the oracle, so that no backend under test shares
code with what judges it. A framework is imported when its backend is loaded.
"""

from __future__ import annotations

from convfuzz.backends.kernels.declaration import backend
from convfuzz.backends.protocol import Backend, Costly, Guarded, Outputs, Sampled, Scripted, Support, Titled
from convfuzz.backends.registry import Family, available, families, preload, require_all, resolve, resolve_all, summary_of
from convfuzz.judging.numerics import Numerics

__all__ = [
    "Backend",
    "Costly",
    "Family",
    "Guarded",
    "Numerics",
    "Outputs",
    "Sampled",
    "Scripted",
    "Support",
    "Titled",
    "available",
    "backend",
    "families",
    "preload",
    "require_all",
    "resolve",
    "resolve_all",
    "summary_of",
]
