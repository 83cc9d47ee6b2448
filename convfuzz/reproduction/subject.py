"""What one script is about, and which of its parts that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FloatFormat, component_format, is_complex, is_integer
from convfuzz.judging.numerics import Numerics, overflows_from
from convfuzz.judging.pass_sums import LayerSums, PassSums
from convfuzz.judging.tiles import Tile
from convfuzz.judging.tolerance import tolerance
from convfuzz.tensors.generator import Tensors

Bools = npt.NDArray[np.bool_]

_FEW_ELEMENTS = 64
"""Of so many elements a script has the tolerances as numbers."""


@dataclass(frozen=True)
class Subject:
    """The judged pass of a case, its tensors, and the arithmetic that the backend declares for that pass.

    ``focus`` has the flat indices of the elements that a finding is about, and ``tile`` is the part of a large layer that they are in.
    """

    case: Case
    in_pass: str
    tensors: Tensors
    numerics: Numerics
    focus: tuple[int, ...] = ()
    tile: Tile | None = None

    @cached_property
    def of_tile(self) -> Subject:
        """What is compared of a large layer: the tile, a small layer; else all of it."""
        if self.tile is None:
            return self
        case = replace(self.case, config=self.tile.config)
        return Subject(case, self.in_pass, self.tile.tensors, self.numerics)

    @property
    def config(self) -> ConvConfig:
        """The case's configuration."""
        return self.case.config

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the tensors that the judged result is computed from."""
        if self.in_pass == "forward":
            return ("x", "w", "b") if self.config.bias else ("x", "w")
        return {"grad_input": ("dy", "w"), "grad_weight": ("x", "dy"), "grad_bias": ("dy",)}[self.in_pass]

    @property
    def is_complex(self) -> bool:
        """Whether the dtype is complex: a sum then is two, of the real and of the imaginary parts, on a first axis."""
        return is_complex(self.config.dtype)

    @property
    def result(self) -> str:
        """What the judged result is called: ``y``, or ``g`` for a gradient."""
        return "y" if self.in_pass == "forward" else "g"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the sums."""
        shape = self.case.shape_of(self.in_pass)
        return (2, *shape) if self.is_complex else shape

    @property
    def held_dtype(self) -> str:
        """The dtype of the values in NumPy: the case's own, float32 for bfloat16."""
        return "float32" if self.config.dtype == "bfloat16" else self.config.dtype

    @property
    def wide_dtype(self) -> str:
        """The dtype in which the script adds up."""
        return "int64" if self.is_integer else "longdouble" if self.form.name == "float64" else "float64"

    @property
    def form(self) -> FloatFormat:
        """The format of the result, or of its real and imaginary parts."""
        return component_format(self.config.dtype)

    @property
    def accumulator(self) -> FloatFormat:
        """The format of partial sums."""
        return self.numerics.accumulator_format(self.config.dtype)

    @cached_property
    def sums(self) -> PassSums:
        """What convfuzz judges the pass by."""
        return LayerSums(self.config, self.tensors, integers=self.case.recipe.has_integers).of(self.in_pass)

    @property
    def is_integer(self) -> bool:
        """Whether the dtype is an integer one, so that a sum is exact modulo 2^bits."""
        return is_integer(self.config.dtype)

    @property
    def certified(self) -> Bools | None:
        """Mark the elements whose sum of integers is exact in any order; ``None`` where the data are no such integers."""
        return self.sums.certified(self.numerics)

    @cached_property
    def is_exact(self) -> bool:
        """Whether every sum is exact in any order, so that none is bounded."""
        return self.is_integer or (self.certified is not None and bool(self.certified.all()))

    @cached_property
    def has_moments(self) -> bool:
        """Whether the tolerance is computed from moments of the products; that of a few finite elements is written down."""
        few = self.sums.expected.y.size <= _FEW_ELEMENTS and self.certified is None and self.is_calm
        return not self.is_exact and not few

    @property
    def exact_limit(self) -> float | None:
        """Up to which S = Σ|p| sums are exact, where some are and some are not."""
        return None if self.certified is None else self.sums.exact_up_to(self.numerics)

    @cached_property
    def is_calm(self) -> bool:
        """Whether all is finite, also what a transform reads beside the taps, and no sum comes near overflow, in any order."""
        if self.is_exact:
            return True
        expected = self.sums.expected
        assert expected.S is not None, "rounded sums have moments"
        with np.errstate(all="ignore"):
            largest = expected.S + tolerance(expected, self.numerics, self.sums.operands)
        if self.numerics.algorithm == "transform" and self.sums.smeared.any():
            return False
        return self.sums.may_be_nan is None and bool(
            np.all(largest < min(self.accumulator.max, self.form.max, overflows_from(self.config.dtype, self.numerics)))
        )
