"""A case's bytes: the values of its tensors, the same on every machine, and how they lie in memory. It imports the case only."""

from __future__ import annotations

from convfuzz.tensors.generator import Tensors, make_tensors

__all__ = ["Tensors", "make_tensors"]
