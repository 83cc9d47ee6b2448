"""A case's bytes: the values of its tensors and how they lie in memory."""

from __future__ import annotations

from convfuzz.tensors.generator import Tensors, make_tensors

__all__ = ["Tensors", "make_tensors"]
