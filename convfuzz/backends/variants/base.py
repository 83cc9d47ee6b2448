"""What every variant shares: the backend it wraps, and the rounding of its sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from convfuzz.backends.protocol import Backend, Confined, Costly, Guarded, Support
from convfuzz.case import Case
from convfuzz.case.domain import Domain
from convfuzz.case.dtypes import FLOATS, numpy_dtype
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Array, round_once
from convfuzz.tensors.guards import BufferNeeds


class Wrapped:
    """A variant of a backend; a subclass sets :attr:`suffix`."""

    suffix = ""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name = f"{inner.name}+{self.suffix}"

    @property
    def versions(self) -> Mapping[str, str]:
        """The wrapped backend's."""
        return self._inner.versions

    @property
    def share(self) -> float:
        """The wrapped backend's."""
        return self._inner.share if isinstance(self._inner, Costly) else 1.0

    @property
    def domain(self) -> Domain | None:
        """The wrapped backend's: what the variant declines of it is left to it."""
        return self._inner.domain if isinstance(self._inner, Confined) else None

    @property
    def buffer_needs(self) -> BufferNeeds | None:
        """The wrapped backend's."""
        return self._inner.buffer_needs if isinstance(self._inner, Guarded) else None

    def _declined(self, case: Case) -> str | None:
        """Return why the rewriting does not apply to a valid case, or ``None`` if it does."""
        raise NotImplementedError

    def _rewritten(self, case: Case) -> Case:
        """Return what the wrapped backend runs instead of ``case``."""
        raise NotImplementedError

    def supports(self, case: Case) -> Support:
        """Decline what the rewriting does not apply to, and what the wrapped backend declines, the case or its rewriting."""
        if not case.config.is_valid:
            return Support.no(f"+{self.suffix} has no meaning for an invalid configuration")
        reason = self._declined(case)
        if reason is not None:
            return Support.no(f"+{self.suffix}: {reason}")
        rewritten = self._rewritten(case)
        if not rewritten.config.is_valid:
            return Support.no(f"+{self.suffix}: the rewriting is no valid convolution")
        whole = self._inner.supports(case)
        return self._inner.supports(rewritten) if whole else whole

    def numerics(self, case: Case) -> Numerics:
        """The wrapped backend's, for the rewritten case, whose sums have another order."""
        return self._inner.numerics(self._rewritten(case)).in_any_order()


def summed(numerics: Numerics, dtype: str) -> Numerics:
    """Return the arithmetic of a sum of parts that were each rounded to ``dtype``: its accumulator is no better than that."""
    return replace(numerics, accumulator=dtype) if dtype in FLOATS else numerics


def rounded(total: Array, dtype: str) -> Array:
    """Round a sum made in float64, complex128 or 64-bit integers to ``dtype`` once; integers wrap around."""
    with np.errstate(invalid="ignore"):
        return round_once(total, dtype)


def wide(dtype: str) -> np.dtype[Any]:
    """Return the dtype in which parts of ``dtype`` are summed."""
    kind = numpy_dtype(dtype).kind
    return np.dtype(np.int64 if kind == "i" else np.complex128 if kind == "c" else np.float64)
