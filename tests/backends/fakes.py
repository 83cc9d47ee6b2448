"""Backends that a test can look into: the one from the protocol's docstring, one that records, one that repeats a reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convfuzz.backends import Numerics, Outputs, Support
from convfuzz.case import Case
from convfuzz.dtypes import FLOATS, numpy_dtype
from convfuzz.oracle import reference
from convfuzz.tensors import Array, Tensors


def exact(case: Case, tensors: Tensors) -> Array:
    """Return the reference's sum, rounded once to the case's dtype."""
    y = reference(case.config, tensors.x, tensors.w, tensors.b, moments=False).y
    with np.errstate(over="ignore", invalid="ignore"):
        return FLOATS[case.config.dtype].round(y).astype(numpy_dtype(case.config.dtype))


@dataclass
class Spy:
    """Computes correctly and keeps what it was handed."""

    name: str = "spy"
    versions: Mapping[str, str] = field(default_factory=dict)
    seen: list[tuple[Case, Tensors]] = field(default_factory=list)

    def supports(self, case: Case) -> Support:
        """Take everything."""
        del case
        return Support.YES

    def numerics(self, case: Case) -> Numerics:
        """Declare nothing."""
        del case
        return Numerics()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute, and keep copies of the tensors."""
        self.seen.append((case, Tensors(tensors.x.copy(), tensors.w.copy(), None if tensors.b is None else tensors.b.copy())))
        if case.config.invalid_reason:
            raise ValueError(case.config.invalid_reason)
        return {"forward": exact(case, tensors)}


@dataclass(frozen=True)
class FakePoint:
    """An entry point that has been loaded already."""

    name: str
    loaded: Any

    def load(self) -> Any:
        """Return what the entry point names."""
        return self.loaded
