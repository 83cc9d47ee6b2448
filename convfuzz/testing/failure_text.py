"""What a failed assertion prints of one pass: the verdict, the layer as one line, how far off and where, and what would explain it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import DTYPES
from convfuzz.case.dtypes import FLOATS, component_format, dtype_name, is_complex, is_integer
from convfuzz.judging.comparing import comparable
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import Judgement
from convfuzz.judging.models import MODELS
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors
from convfuzz.testing.given_layer import Array, ForeignLayer
from convfuzz.testing.likely_cause import LikelyCause, other_weights
from convfuzz.testing.whole_numbers import hold_integers
from convfuzz.verdicts import Discrepancy, Verdict

Row = tuple[str, ...]
Floats = npt.NDArray[np.float64]

_WORST = 5
_MOST_FLOPS = 50_000_000
"""What is spent at most on references of the same layer with other weights, to say which one was used."""


@dataclass(frozen=True)
class Diagnosis:
    """Why ``judge`` made its ``judgement`` of the ``output`` of the pass ``name`` under ``numerics``; ``str`` is the text.

    Places are in the order of axes that the layer's owner has.
    """

    layer: ForeignLayer
    judge: Judge
    numerics: Numerics
    name: str
    output: Array
    judgement: Judgement

    def __str__(self) -> str:
        found, case = self.judgement.discrepancy, ("case", str(self.judge.case))
        likely = self._likely_cause()
        tables = [[case, *self._hint()]] if found is None else [[case, *self._measures(found)], self._worst(), self._explanation(found)]
        tables.append([("it seems", likely)] if likely else [])
        return "\n\n".join([self._headline(), *(_aligned(rows) for rows in tables if rows)])

    def _headline(self) -> str:
        judgement, found = self.judgement, self.judgement.discrepancy
        subject = "" if self.name == "forward" else f"{self.name} "
        model = judgement.model if self._is_exact or judgement.shown else ""
        model = f" ({model})" if model else ""
        reason = judgement.reason
        if judgement.verdict is Verdict.WRONG_SHAPE:
            expected = self.layer.theirs(self.name, self.judge.case.shape_of(self.name))
            reason = f"shape {self.output.shape}, expected {expected}"
        elif found is not None and (found.non_finite or is_integer(self._dtype)):  # the judge's reason has a place in it
            reason = f"{found.non_finite or found.over} of {found.elements} elements, {self._at(found)}"
        return f"{subject}{judgement.verdict}{model}: {reason}"

    def _hint(self) -> list[Row]:
        """Say what to do about an output of another dtype."""
        own, other = self.layer.tensors.x.dtype, self.output.dtype
        if self.judgement.verdict is not Verdict.WRONG_DTYPE or is_complex(dtype_name(other)) != is_complex(self._dtype):
            return []
        if np.can_cast(own, other) and dtype_name(other) in DTYPES:
            return [("hint", f"where the layer is to widen {self._dtype}, hand in its operands as {dtype_name(other)} too")]
        if dtype_name(other) in FLOATS and not is_integer(self._dtype):
            rounds = (
                f"where the layer computes in {dtype_name(other)}, as under autocast, hand in its operands rounded to {dtype_name(other)}"
            )
            return [("hint", f"{rounds}; where only its result is rounded, the output before that")]
        return []

    def _likely_cause(self) -> str:
        """Say what was probably done to the output; it is worth little where an error model explains it."""
        verdict, config = self.judgement.verdict, self.judge.case.config
        if self.name != "forward" or is_complex(self._dtype) or (self.judgement.model and verdict is not Verdict.WRONG):
            return ""
        if verdict not in (Verdict.WRONG, Verdict.IMPRECISE, Verdict.WRONG_SHAPE) or self.output.dtype != self.layer.tensors.x.dtype:
            return ""
        expected = comparable(self.judge.of(self.name).expected.y).astype(np.float64)
        bias = None if self.layer.tensors.b is None else comparable(self.layer.tensors.b).astype(np.float64)
        is_exact = is_integer(self._dtype) or self._is_exact
        usual = self.judge.errors(expected.astype(self.output.dtype), self.numerics, self.name)[1]
        rounding = 0.0 if is_integer(self._dtype) else component_format(self._dtype).unit_roundoff
        axes = self.layer.theirs("forward", tuple(range(expected.ndim)))
        cause = LikelyCause(config, expected, np.zeros_like(expected) if is_exact else usual, bias, rounding, axes)
        if verdict is Verdict.WRONG_SHAPE:
            return cause.in_other_order(comparable(self.output).astype(np.float64))
        return cause.of(comparable(self._output).astype(np.float64)) or self._other_weight()

    def _other_weight(self) -> str:
        """Say from which other weight of the same shape the output is the layer's; small layers are tried alone."""
        tensors, left = self.layer.tensors, _MOST_FLOPS
        axes = self.layer.theirs("w", tuple(range(tensors.w.ndim)))
        for said, other in other_weights(tensors.w, axes):
            left -= self.judge.case.config.flops
            if left < 0:
                break
            if np.array_equal(other, tensors.w):
                continue
            judge = Judge(self.judge.case, Tensors(tensors.x, np.ascontiguousarray(other), tensors.b, tensors.dy), integers=self._is_exact)
            if not judge.judge(self._output, self.numerics, "forward").verdict.failing:
                return f"the weight is another: the output is that of {said}"
        return ""

    # -- how far off ----------------------------------------------------------------------------------------------------

    def _measures(self, found: Discrepancy) -> list[Row]:
        rows: list[Row] = []
        if found.non_finite:
            rows.append(("NaN or Inf", f"wrong in {found.non_finite} of {found.elements} elements"))
        if found.undecided:
            rows.append(("undecided", f"{found.undecided} elements, where NaN and Inf are left open"))
        if found.over:
            rows.append(("over", f"{found.over} of {found.elements} elements{self._within()}"))
            rows.append(("max-abs", _number(found.max_abs) + ("" if found.non_finite else f" {self._at(found)}")))
        if found.ulps:
            rows.append(("ULP", _number(found.ulps)))
        if found.u_s:
            rows.append(("e/(u·S)", _number(found.u_s)))
        if found.ratio:
            rows.append(("ratio", f"{_number(found.ratio)} times the tolerance, at {self._place(found.ratio_index)}"))
        if self._is_exact:
            rows.append(("tolerance", f"0: sums of these whole numbers are exact in {self._dtype}"))
        if not found.non_finite:
            relative = f" or rtol={_rounded_up(found.required_rtol)}" if math.isfinite(found.required_rtol) else ""
            rows.append(("would need", f"atol={_rounded_up(found.required_atol)}{relative}"))
        return rows

    def _worst(self) -> list[Row]:
        """Return the elements that are furthest beyond their tolerance, below a title."""
        error, tolerance, ratio = (a.reshape(-1) for a in self._errors)
        expected = self.judge.of(self.name).expected.y
        actual = comparable(self._output).reshape(-1)
        columns = 4 if self._is_exact else 6
        rows: list[Row] = [("worst", "expected", "actual", "|error|", "tolerance", "ratio")[:columns]]
        for k in np.lexsort((-error, -ratio))[:_WORST]:
            if ratio[k] > 1.0:
                place = self._place(tuple(int(i) for i in np.unravel_index(k, expected.shape)))
                values = self._value(expected.reshape(-1)[k]), self._value(actual[k])
                rows.append((place, *values, *map(_number, (error[k], tolerance[k], ratio[k])))[:columns])
        return rows

    def _explanation(self, found: Discrepancy) -> list[Row]:
        if found.non_finite or (self._is_exact and not self.judgement.model):
            return []
        if not self.judgement.model:
            return [("explained by", f"no arithmetic that convfuzz knows ({', '.join(name for name, change in MODELS.items() if change)})")]
        model = self.judgement.model
        rows: list[Row]
        if self._is_exact and "algorithm" in MODELS[model]:
            rows = [("explained by", f"{model}, off by less than 0.5 on whole numbers where a wrong tap is off by 1 or more")]
        elif self._is_exact:
            rows = [("explained by", f"{model}: exact sums rounded like that are this very output")]
        elif self.judgement.shown and "inputs" in MODELS[model]:
            rows = [("explained by", f"{model}: from operands rounded like that, the output is within the tolerance")]
        elif self.judgement.shown and "outputs" in MODELS[model]:
            rows = [
                ("explained by", f"{model}: every number of the output is one of that format, and the rounding to it covers the errors")
            ]
        elif self.judgement.shown:
            rows = [("explained by", f"{model}: sums of these very products that are kept in that format err as much")]
        else:
            refuted = "; but operands rounded like that do not give this output" if "inputs" in MODELS[model] else ""
            rows = [
                ("covered by", f"{model}, the smallest error model whose bound holds for every element{refuted}"),
                ("or it is", "a wrong tap with a product as small: on small whole numbers it would be off by 1 or more"),
            ]
        allowed = self._passing(model)
        return rows if allowed is None else [*rows, ("to allow it", f"numerics=convfuzz.{_declaration(allowed)}")]

    def _passing(self, model: str) -> Numerics | None:
        """Return the declaration of ``model`` where the output passes with it: advice is tried out before it is given."""
        allowed = replace(self.numerics, **MODELS[model])
        judge = Judge(self.judge.case, self.layer.tensors, integers=hold_integers(self.layer, allowed))
        return None if judge.judge(self._output, allowed, self.name).verdict.failing else allowed

    @property
    def _is_exact(self) -> bool:
        """Whether the judge had no tolerance for rounding."""
        return self.judgement.discrepancy is not None and self.judgement.discrepancy.ratio is None

    @property
    def _output(self) -> Array:
        return self.layer.ours(self.name, self.output)

    @cached_property
    def _errors(self) -> tuple[Floats, Floats, Floats]:
        """|error|, its tolerance and the ratio of both, per element."""
        error, tolerance = self.judge.errors(self._output, self.numerics, self.name)
        with np.errstate(all="ignore"):
            ratio = np.where(np.isfinite(error) & (tolerance > 0.0), error / tolerance, np.where(error > 0.0, np.inf, 0.0))
        return error, tolerance, ratio

    def _within(self) -> str:
        """Name the smallest slice that holds every element beyond its tolerance, where it is less than everything."""
        over = np.asarray(self._errors[2] > 1.0)
        if is_complex(self._dtype):
            over = np.asarray(over.any(axis=-1))
        box = [(int(places.min()), int(places.max())) for places in np.nonzero(over)]
        spans = [f"{lo}:{hi + 1}" if lo < hi else f"{lo}" for lo, hi in box]
        slices = tuple(":" if span == f"0:{size}" else span for span, size in zip(spans, over.shape, strict=True))
        everything = all(hi - lo + 1 == size for (lo, hi), size in zip(box, over.shape, strict=True))
        return "" if everything or over.sum() == 1 else f", all within [{', '.join(self.layer.theirs(self.name, slices))}]"

    # -- one place, one number ------------------------------------------------------------------------------------------

    @property
    def _dtype(self) -> str:
        return self.judge.case.config.dtype

    def _at(self, found: Discrepancy) -> str:
        expected, actual = self.judge.of(self.name).expected.y[found.index], comparable(self._output)[found.index]
        return f"at {self._place(found.index)}: expected {self._value(expected)}, got {self._value(actual)}"

    def _place(self, index: tuple[int, ...]) -> str:
        part = ""
        if is_complex(self._dtype):
            index, part = index[:-1], (".real", ".imag")[index[-1]]
        return f"{list(self.layer.theirs(self.name, index))}{part}"

    def _value(self, value: float) -> str:
        """Print every digit that tells two numbers of the dtype apart."""
        if is_integer(self._dtype):
            return str(int(value))
        return f"{value:.{math.ceil(component_format(self._dtype).precision * math.log10(2)) + 1}g}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _rounded_up(value: float) -> str:
    """Print a tolerance with three digits, and not less than it is."""
    text = _number(value)
    return text if float(text) >= value else _number(value + 0.5 * 10.0 ** (math.floor(math.log10(value)) - 2))


def _declaration(numerics: Numerics) -> str:
    said = {f.name: getattr(numerics, f.name) for f in fields(numerics) if getattr(numerics, f.name) != f.default}
    return f"Numerics({', '.join(f'{name}={value!r}' for name, value in said.items())})"


def _aligned(rows: list[Row]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
